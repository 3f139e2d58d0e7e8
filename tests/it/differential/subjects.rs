//! Subjects and patterns of a few tokens, so that they often meet.

use fastrand::Rng;

/// The tokens, the common ones first. Functions of mappings find something in the longer ones.
const TOKENS: [&str; 6] = ["a", "b", "c", "ab-cd", "-x-y", "12345"];

/// A token.
pub(super) fn token(random: &mut Rng) -> &'static str {
    let count = if random.u8(..4) > 0 { 3 } else { TOKENS.len() };
    TOKENS[random.usize(..count)]
}

/// A literal subject of one to three tokens.
pub(super) fn literal(random: &mut Rng) -> String {
    let count = 1 + random.usize(..3);
    (0..count).map(|_| token(random)).collect::<Vec<_>>().join(".")
}

/// A subject with wildcards, perhaps.
pub(super) fn pattern(random: &mut Rng) -> String {
    if random.u8(..12) == 0 {
        return ">".to_owned();
    }
    let drawn = literal(random);
    let mut wild = |token| if random.u8(..3) == 0 { "*" } else { token };
    let mut tokens: Vec<&str> = drawn.split('.').map(&mut wild).collect();
    if random.u8(..4) == 0 {
        tokens.push(">");
    }
    tokens.join(".")
}

/// True if some subject matches both patterns.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}
