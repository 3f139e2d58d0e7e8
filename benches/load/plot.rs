//! Draws a record as SVG: the ratios as bars on a logarithmic axis, the growth as lines.

use std::fmt::Write;

use crate::floors::Bound;
use crate::growth::grouped;
use crate::record::{Record, Row};
use crate::report::factor;
use crate::scenario::Metric;

/// Pixels.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 258.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 92.0;
const ROW: f64 = 27.0;

/// Colours for light pages, and for dark ones where the page says so.
const STYLE: &str = "<style>\
.page{fill:#fff}text{font:13px system-ui,sans-serif;fill:#24292f}\
.head{font-size:17px;font-weight:600}\
.small{font-size:11px;fill:#6e7781}.grid{stroke:#d8dee4}.one{stroke:#6e7781}\
.cpu{fill:#1f6feb}.rate{fill:#9ec5fe}.each{fill:#1a7f64}.tail{fill:#c297ff}\
.floor{stroke:#d1242f;stroke-width:2}\
.first{stroke:#8c959f;fill:none;stroke-width:2}.second{stroke:#1f6feb;fill:none;stroke-width:2.5}\
@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}.small{fill:#8b949e}\
.grid{stroke:#21262d}.one{stroke:#8b949e}.cpu{fill:#388bfd}.rate{fill:#1f3f6e}\
.each{fill:#2ea583}.tail{fill:#6e40c9}\
.floor{stroke:#f85149}.first{stroke:#6e7681}.second{stroke:#388bfd}}</style>";

/// `connections-100` and `subscriptions-10` carry their place on the axis in their name.
fn number_of(name: &str) -> Option<(&str, f64)> {
    let (kind, number) = name.rsplit_once('-')?;
    let known = kind == "connections" || kind == "subscriptions";
    Some((kind, number.parse().ok()?)).filter(|_| known)
}

fn open(height: f64, title: &str, record: &Record) -> String {
    let machine = &record.machine;
    let versions = record.targets.iter().take(2).filter_map(|name| record.versions.get(name));
    let under = format!(
        "{}; {} cores of {}, Linux {}; medians of {} rounds; {}",
        versions.map(|version| escape(version)).collect::<Vec<_>>().join(" and "),
        machine.cores,
        escape(&machine.cpu),
        escape(&machine.kernel),
        record.rounds,
        record.date.split(' ').next().unwrap_or_default(),
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
width=\"{WIDTH}\" height=\"{height}\">{STYLE}\n\
<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n\
<text class=\"head\" x=\"20\" y=\"30\">{title}</text>\n\
<text class=\"small\" x=\"20\" y=\"48\">{under}</text>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The two bars of a row: its main metric, and the other one with a floor.
fn bars(row: &Row) -> [Metric; 2] {
    let judged = |metric| row.verdicts.iter().any(|verdict| verdict.floor.metric == metric);
    let first = if judged(Metric::Each) { Metric::Each } else { Metric::Cpu };
    let latency = judged(Metric::P99) && !judged(Metric::Rate);
    [first, if latency { Metric::P99 } else { Metric::Rate }]
}

fn class(metric: Metric) -> &'static str {
    match metric {
        Metric::Each => "each",
        Metric::P99 => "tail",
        Metric::Rate => "rate",
        _ => "cpu",
    }
}

/// The factor by which dialtone is better, by scenario; `None` if there is but growth.
pub(crate) fn ratios(record: &Record) -> Option<String> {
    let targets = &record.targets;
    let rows: Vec<&Row> = record.rows.iter().filter(|r| number_of(&r.name).is_none()).collect();
    if rows.is_empty() {
        return None;
    }
    let all = rows.iter().flat_map(|row| bars(row).map(|m| row.times_better(targets, m)));
    let axis = Axis::new(all.flatten().fold(10.0, f64::max) * 1.2);
    let height = TOP + rows.len() as f64 * ROW + 46.0;
    let mut svg = open(height, "How many times better than nats-server", record);
    let legend = [
        ("cpu", 12, "less CPU per message"),
        ("rate", 6, "more per second"),
        ("tail", 6, "lower p99"),
        ("each", 12, "less memory"),
    ];
    let mut x = LEFT;
    for (class, height, text) in legend {
        let y = 70 - height;
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"12\" height=\"{height}\"/>\
<text class=\"small\" x=\"{}\" y=\"70\">{text}</text>",
            x + 17.0
        );
        x += 30.0 + 6.2 * text.len() as f64;
    }
    let _ = writeln!(
        svg,
        "<path class=\"floor\" d=\"M{x} 58v12\"/>\
<text class=\"small\" x=\"{}\" y=\"70\">the target</text>",
        x + 7.0
    );
    axis.draw(&mut svg, height - 40.0);
    for (index, row) in rows.iter().enumerate() {
        draw_row(&mut svg, row, targets, &axis, TOP + index as f64 * ROW);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// The logarithmic axis of the ratios.
struct Axis {
    top: f64,
}

impl Axis {
    /// The left end; worse than this is drawn as this.
    const BOTTOM: f64 = 0.5;

    fn new(top: f64) -> Self {
        Self { top }
    }

    fn x(&self, value: f64) -> f64 {
        let scale = (WIDTH - LEFT - RIGHT) / (self.top / Self::BOTTOM).ln();
        LEFT + (value.clamp(Self::BOTTOM, self.top) / Self::BOTTOM).ln() * scale
    }

    fn draw(&self, svg: &mut String, end: f64) {
        for tick in [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0] {
            if tick > self.top {
                break;
            }
            let class = if tick == 1.0 { "one" } else { "grid" };
            let _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{0:.1} {1} V{end:.1}\"/>\
<text class=\"small\" x=\"{0:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">{tick}x</text>",
                self.x(tick),
                TOP - 8.0,
                end + 16.0
            );
        }
    }
}

fn draw_row(svg: &mut String, row: &Row, targets: &[String], axis: &Axis, y: f64) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        LEFT - 12.0,
        y + 14.0,
        escape(&row.title)
    );
    let [first, second] = bars(row);
    for (metric, y, height) in [(first, y, 12.0), (second, y + 13.0, 6.0)] {
        let Some(value) = row.times_better(targets, metric) else { continue };
        let (from, mut to) = (axis.x(value.min(1.0)), axis.x(value.max(1.0)));
        let _ = writeln!(
            svg,
            "<rect class=\"{}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
height=\"{height}\" rx=\"1.5\"/>",
            class(metric),
            (to - from).max(1.0)
        );
        let floors = row.verdicts.iter().map(|verdict| verdict.floor);
        for floor in floors.filter(|floor| floor.metric == metric) {
            let at = axis.x(match floor.bound {
                Bound::Times(times) => times,
                // It stands where a ratio would have to reach.
                Bound::AtMost(most) => {
                    let reference = targets.first().and_then(|target| row.median(target, metric));
                    reference.unwrap_or(0.0) / most
                }
            });
            let _ = writeln!(svg, "<path class=\"floor\" d=\"M{at:.1} {y:.1}v{height}\"/>");
            if at > to && at < to + 40.0 {
                to = at;
            }
        }
        if metric == first {
            let _ = writeln!(
                svg,
                "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                to + 6.0,
                y + 10.0,
                factor(value)
            );
        }
    }
}

/// Two panels, one over connections and one over subscriptions; `None` if there are no such rows.
pub(crate) fn growth(record: &Record) -> Option<String> {
    let rows: Vec<&Row> = record.rows.iter().filter(|r| number_of(&r.name).is_some()).collect();
    if rows.is_empty() {
        return None;
    }
    let mut svg = open(380.0, "CPU µs per message as numbers grow", record);
    for (index, name) in record.targets.iter().take(2).enumerate() {
        let (x, class) = (64.0 + index as f64 * 130.0, ["first", "second"][index]);
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{x} 67h18\"/>\
<text class=\"small\" x=\"{}\" y=\"71\">{name}</text>",
            x + 24.0
        );
    }
    let servers = &record.targets[..record.targets.len().min(2)];
    let cpus = rows
        .iter()
        .flat_map(|row| servers.iter().filter_map(|target| row.median(target, Metric::Cpu)));
    let (low, high) =
        cpus.fold((f64::INFINITY, 0.0), |(low, high), cpu| (cpu.min(low), cpu.max(high)));
    for (index, kind) in ["connections", "subscriptions"].into_iter().enumerate() {
        let left = 64.0 + index as f64 * 400.0;
        draw_panel(&mut svg, servers, &rows, kind, (left, low / 1.4, high * 1.4));
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn draw_panel(
    svg: &mut String,
    servers: &[String],
    rows: &[&Row],
    kind: &str,
    (left, low, high): (f64, f64, f64),
) {
    const PANEL: f64 = 345.0;
    let y = |cpu: f64| 320.0 - (cpu / low).ln() / (high / low).ln() * 230.0;
    let points: Vec<(f64, &Row)> = rows
        .iter()
        .filter_map(|row| number_of(&row.name).filter(|n| n.0 == kind).map(|n| (n.1, *row)))
        .collect();
    let most = points.iter().map(|point| point.0).fold(10.0, f64::max);
    let x = |count: f64| left + count.ln() / most.ln() * PANEL;
    for tick in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0] {
        if (low..high).contains(&tick) {
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left:.1} {0:.1}h{PANEL}\"/>\
<text class=\"small\" x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{tick}</text>",
                y(tick),
                left - 6.0,
                y(tick) + 4.0
            );
        }
    }
    for (count, _) in &points {
        let _ = writeln!(
            svg,
            "<text class=\"small\" x=\"{:.1}\" y=\"338\" text-anchor=\"middle\">{}</text>",
            x(*count),
            grouped(*count as usize)
        );
    }
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"362\">{kind}</text>");
    for (target, class) in servers.iter().zip(["first", "second"]) {
        let line: Vec<String> = points
            .iter()
            .filter_map(|(count, row)| Some((*count, row.median(target, Metric::Cpu)?)))
            .map(|(count, cpu)| format!("{:.1},{:.1}", x(count), y(cpu)))
            .collect();
        let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", line.join(" "));
    }
}
