//! Draws a record as SVG: the ratios as bars on a logarithmic axis, the growth as lines.

use std::fmt::Write;

use crate::record::{Record, Row, factor};
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
.cpu{fill:#1f6feb}.rate{fill:#9ec5fe}.floor{stroke:#d1242f;stroke-width:2}\
.first{stroke:#8c959f;fill:none;stroke-width:2}.second{stroke:#1f6feb;fill:none;stroke-width:2.5}\
@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}.small{fill:#8b949e}\
.grid{stroke:#21262d}.one{stroke:#8b949e}.cpu{fill:#388bfd}.rate{fill:#1f3f6e}\
.floor{stroke:#f85149}.first{stroke:#6e7681}.second{stroke:#388bfd}}</style>";

/// The growth, if the record holds growth alone; else the ratios.
pub(crate) fn draw(record: &Record) -> String {
    let growth = |row: &Row| number_of(&row.name).is_some();
    if record.rows.iter().all(growth) { draw_growth(record) } else { draw_ratios(record) }
}

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

fn draw_ratios(record: &Record) -> String {
    let ratio = |row: &Row, metric| row.times_better(&record.targets, metric);
    let all =
        record.rows.iter().flat_map(|row| [ratio(row, Metric::Cpu), ratio(row, Metric::Rate)]);
    let top = all.flatten().fold(10.0, f64::max) * 1.15;
    let bottom: f64 = 0.5;
    let scale = (WIDTH - LEFT - RIGHT) / (top / bottom).ln();
    let x = |value: f64| LEFT + (value.clamp(bottom, top) / bottom).ln() * scale;
    let height = TOP + record.rows.len() as f64 * ROW + 46.0;
    let end = height - 40.0;
    let mut svg = open(height, "How many times better than nats-server", record);
    let _ = writeln!(
        svg,
        "<rect class=\"cpu\" x=\"{LEFT}\" y=\"61\" width=\"12\" height=\"9\"/>\
<text class=\"small\" x=\"{}\" y=\"70\">less CPU per message</text>\
<rect class=\"rate\" x=\"{}\" y=\"61\" width=\"12\" height=\"9\"/>\
<text class=\"small\" x=\"{}\" y=\"70\">more per second</text>\
<path class=\"floor\" d=\"M{} 60v11\"/>\
<text class=\"small\" x=\"{}\" y=\"70\">the least owed</text>",
        LEFT + 17.0,
        LEFT + 150.0,
        LEFT + 167.0,
        LEFT + 276.0,
        LEFT + 283.0
    );
    for tick in [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0] {
        if tick > top {
            continue;
        }
        let class = if tick == 1.0 { "one" } else { "grid" };
        let at = x(tick);
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{at:.1} {} V{end:.1}\"/>\
<text class=\"small\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}x</text>",
            TOP - 8.0,
            end + 16.0
        );
    }
    for (index, row) in record.rows.iter().enumerate() {
        let y = TOP + index as f64 * ROW;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 12.0,
            y + 13.0,
            escape(&row.title)
        );
        let bars = [(Metric::Cpu, "cpu", y, 12.0), (Metric::Rate, "rate", y + 13.0, 6.0)];
        for (metric, class, y, bar_height) in bars {
            let Some(value) = ratio(row, metric) else { continue };
            let (from, to) = (x(value.min(1.0)), x(value.max(1.0)));
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
height=\"{bar_height}\" rx=\"1.5\"/>",
                (to - from).max(1.0)
            );
            if metric == Metric::Cpu {
                let _ = writeln!(
                    svg,
                    "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    to + 6.0,
                    y + 10.0,
                    factor(value)
                );
            }
            for floor in row.floors.iter().filter(|f| f.metric == metric.key()) {
                let at = x(floor.owed);
                let _ = writeln!(svg, "<path class=\"floor\" d=\"M{at:.1} {y:.1}v{bar_height}\"/>");
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_growth(record: &Record) -> String {
    const PANEL: f64 = 360.0;
    let height = 380.0;
    let mut svg = open(height, "CPU microseconds per message as numbers grow", record);
    let cpu = |row: &Row, target: &String| row.median(target, Metric::Cpu);
    let all = || record.rows.iter().flat_map(|row| record.targets.iter().map(move |t| cpu(row, t)));
    let low = all().flatten().fold(f64::INFINITY, f64::min) / 1.5;
    let high = all().flatten().fold(0.0, f64::max) * 1.5;
    let y = |value: f64| 320.0 - (value / low).ln() / (high / low).ln() * 240.0;
    for (panel, kind) in ["connections", "subscriptions"].into_iter().enumerate() {
        let left = 64.0 + panel as f64 * (PANEL + 40.0);
        let mine: Vec<(f64, &Row)> = record
            .rows
            .iter()
            .filter_map(|row| number_of(&row.name).filter(|n| n.0 == kind).map(|n| (n.1, row)))
            .collect();
        let most = mine.iter().map(|point| point.0).fold(10.0, f64::max);
        let x = |count: f64| left + count.ln() / most.ln() * (PANEL - 20.0);
        for tick in [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0] {
            if (low..high).contains(&tick) {
                let _ = writeln!(
                    svg,
                    "<path class=\"grid\" d=\"M{left:.1} {0:.1}h{1:.1}\"/>\
<text class=\"small\" x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{tick}</text>",
                    y(tick),
                    PANEL - 20.0,
                    left - 6.0,
                    y(tick) + 4.0
                );
            }
        }
        for (count, _) in &mine {
            let _ = writeln!(
                svg,
                "<text class=\"small\" x=\"{:.1}\" y=\"338\" text-anchor=\"middle\">{count}</text>",
                x(*count)
            );
        }
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"362\">{kind}</text>");
        for (target, class) in record.targets.iter().zip(["first", "second"]) {
            let points: Vec<String> = mine
                .iter()
                .filter_map(|(n, row)| Some(format!("{:.1},{:.1}", x(*n), y(cpu(row, target)?))))
                .collect();
            let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
            if let Some((n, value)) = mine.last().and_then(|(n, row)| Some((n, cpu(row, target)?)))
            {
                let _ = writeln!(
                    svg,
                    "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\" \
text-anchor=\"end\">{target}</text>",
                    x(*n),
                    y(value) - 8.0
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}
