//! The floors: the least that dialtone has to reach, from `benches/floors.csv`.
//!
//! Knows figures, not who measures them.

use crate::scenario::Metric;

/// A bound of one figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// The figure.
    pub(crate) metric: Metric,
    /// The bound for it.
    pub(crate) bound: Bound,
}

/// The bound for a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// `times`: that many times better than nats-server in the same run.
    Times(f64),
    /// `at_most`: not more than this, whatever nats-server does.
    AtMost(f64),
}

/// All floors, by scenario.
#[derive(Debug)]
pub(crate) struct Floors(Vec<(String, Floor)>);

impl Floors {
    /// Reads lines of `scenario,metric,kind,bound` below their head; `#` begins a comment.
    ///
    /// # Errors
    /// The first line that is no floor, or one of a scenario that `is_known` does not know.
    pub(crate) fn read(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
        let floors = lines.map(|line| {
            floor(line)
                .filter(|(scenario, _)| is_known(scenario))
                .ok_or_else(|| format!("no floor of a scenario there is: {line}"))
        });
        Ok(Self(floors.collect::<Result<_, _>>()?))
    }

    /// Those of one scenario.
    pub(crate) fn of(&self, scenario: &str) -> impl Iterator<Item = Floor> {
        self.0.iter().filter(move |(name, _)| name == scenario).map(|(_, floor)| *floor)
    }
}

fn floor(line: &str) -> Option<(String, Floor)> {
    let mut fields = line.split(',');
    let (scenario, metric) = (fields.next()?, Metric::from_key(fields.next()?)?);
    let (kind, number) = (fields.next()?, fields.next()?.parse().ok()?);
    let bound = match kind {
        "times" => Bound::Times(number),
        "at_most" => Bound::AtMost(number),
        _ => return None,
    };
    Some((scenario.to_owned(), Floor { metric, bound }))
}
