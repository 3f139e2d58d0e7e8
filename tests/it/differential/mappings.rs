//! The part of a configuration that maps subjects.

use fastrand::Rng;

use super::configuration::Configuration;
use super::subjects;

/// Mappings of an account at most.
const COUNT_MAX: usize = 5;

/// Adds mappings to some of the accounts. None of them leaves anything to chance.
pub(super) fn add(random: &mut Rng, configuration: &mut Configuration) {
    for account in &mut configuration.accounts {
        let mut sources: Vec<String> = Vec::new();
        for _ in 0..random.usize(..COUNT_MAX) {
            let source = subjects::pattern(random);
            // Known difference: of two that match, the more specific one counts here.
            if !sources.iter().any(|other| subjects::overlap(other, &source)) {
                sources.push(source);
            }
        }
        let entry = |source: &String| format!("  {source:?}: {}", destinations(random, source));
        let entries: Vec<String> = sources.iter().map(entry).collect();
        if !entries.is_empty() {
            account.settings.push(format!("mappings {{\n{}\n}}", entries.join("\n")));
        }
    }
}

/// What stands behind a source.
fn destinations(random: &mut Rng, source: &str) -> String {
    let [one, other] = [(); 2].map(|()| destination(random, source));
    let is_literal = !source.contains(['*', '>']);
    match random.u8(..8) {
        0 => format!("{{ dest: {one:?}, weight: 100% }}"),
        1 => format!("[ {{ destination: {one:?}, weight: 100 }} ]"),
        2 if one != other => {
            format!("[ {{dest: {one:?}, weight: 100}}, {{dest: {other:?}, weight: \"0%\"}} ]")
        }
        3 => format!("{{ dest: {one:?}, weight: 0 }}"),
        4 => format!("{{ dest: {one:?}, weight: 100, cluster: elsewhere }}"),
        // It is lost.
        5 if is_literal => format!("{{ dest: {source:?}, weight: 0 }}"),
        _ => format!("{one:?}"),
    }
}

/// A destination that fits to the source.
fn destination(random: &mut Rng, source: &str) -> String {
    let wildcard_count = source.split('.').filter(|token| *token == "*").count();
    let mut tokens = vec![subjects::token(random).to_owned()];
    for _ in 0..random.usize(..3) {
        tokens.push(match wildcard_count {
            0 => subjects::token(random).to_owned(),
            count => {
                let wildcard = 1 + random.usize(..count);
                function(random, wildcard)
            }
        });
    }
    if source.ends_with('>') {
        tokens.push(">".to_owned());
    }
    tokens.join(".")
}

/// A function of a wildcard.
fn function(random: &mut Rng, wildcard: usize) -> String {
    let len = random.usize(..4);
    let call = match random.u8(..10) {
        0..3 => return format!("${wildcard}"),
        3 => format!("wildcard({wildcard})"),
        4 => format!("partition({len},{wildcard})"),
        5 => format!("split({wildcard},-)"),
        6 => format!("{}({wildcard},{len})", ["left", "right"][random.usize(..2)]),
        7 => format!("splitFrom{}({wildcard}, {len})", ["Left", "Right"][random.usize(..2)]),
        8 => format!("SliceFrom{}({wildcard},{len})", ["Left", "Right"][random.usize(..2)]),
        _ => format!("partition({})", 1 + len),
    };
    format!("{{{{{call}}}}}")
}
