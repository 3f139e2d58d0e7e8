//! The part of a configuration by which accounts import messages of others.

use fastrand::Rng;

use super::configuration::Configuration;
use super::subjects;

/// Exports of an account, and imports, at most.
const COUNT_MAX: usize = 4;

/// Adds exports to all accounts but `$G`, and imports from accounts that stand before.
///
/// Known difference: what is a cycle there depends on the order of a hash map.
pub(super) fn add(random: &mut Rng, configuration: &mut Configuration) {
    let mut exported: Vec<(&'static str, String)> = Vec::new();
    for account in &mut configuration.accounts[1..] {
        let mut known: Vec<String> = Vec::new();
        let mut imports = Vec::new();
        for _ in 0..random.usize(..=COUNT_MAX) {
            let Some((from, subject)) = random.choice(&exported) else { break };
            let remote = narrowed(random, subject);
            let text = format!("{{ stream: {{ account: {from}, subject: {remote:?} }}");
            if !known.iter().any(|known| known.starts_with(&text)) {
                imports.push(format!("{text}{} }}", name(random, &remote)));
                known.push(text);
            }
        }
        if !imports.is_empty() {
            account.settings.push(format!("imports: [\n  {}\n]", imports.join("\n  ")));
        }
        let mut own: Vec<String> = Vec::new();
        for _ in 0..random.usize(1..=COUNT_MAX) {
            own.push(subjects::pattern(random));
        }
        let entry = |subject: &String| format!("{{ stream: {subject:?} }}");
        let exports: Vec<String> = own.iter().map(entry).collect();
        account.settings.push(format!("exports: [ {} ]", exports.join(", ")));
        exported.extend(own.into_iter().map(|subject| (account.name, subject)));
    }
}

/// An exported pattern, or a part of it.
fn narrowed(random: &mut Rng, subject: &str) -> String {
    let mut tokens: Vec<&str> = subject.split('.').collect();
    for token in &mut tokens {
        if *token == "*" && random.bool() || *token == ">" && random.u8(..3) == 0 {
            *token = subjects::token(random);
        }
    }
    tokens.join(".")
}

/// The local name of an import, with its key: the same, behind a prefix, or with tokens moved.
fn name(random: &mut Rng, remote: &str) -> String {
    let prefix = subjects::token(random);
    match random.u8(..3) {
        0 => String::new(),
        1 => format!(", prefix: {prefix:?}"),
        _ => {
            let count = remote.split('.').filter(|token| *token == "*").count();
            let mut wildcards: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
            random.shuffle(&mut wildcards);
            let first = random.bool().then(|| prefix.to_owned());
            let rest = remote.ends_with('>').then(|| ">".to_owned());
            let mut tokens: Vec<String> = first.into_iter().chain(wildcards).chain(rest).collect();
            if tokens.is_empty() {
                tokens.push(prefix.to_owned());
            }
            format!(", to: {:?}", tokens.join("."))
        }
    }
}
