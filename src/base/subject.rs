//! Subjects: tokens, wildcards, validity, and the relations of subjects and patterns.
//!
//! Pure functions over bytes. A subject is opaque apart from `.` between tokens and the tokens that
//! are exactly `*` (one token) or a final `>` (one token or more); `foo*`, `**` and `>>` are
//! literals. No UTF-8 check. A *pattern* is a subject in which wildcard tokens have their meaning.
//! nats: server/sublist.go `isValidLiteralSubject`, `isSubsetMatchTokenized`, `SubjectsCollide`

use memchr::memchr;

/// Splits a subject into its tokens, empty ones included; an empty subject is one empty token.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|&byte| byte == b'.')
}

/// Counts the tokens, empty ones included.
pub fn token_count(subject: &[u8]) -> usize {
    memchr::memchr_iter(b'.', subject).count() + 1
}

/// Splits off the first token: it, and the text behind its dot, `None` after the last token.
pub fn split_first(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    // Tokens are short: below some 16 bytes this loop beats a call of memchr, above it loses.
    let near = subject.len().min(16);
    let dot = match subject[..near].iter().position(|&byte| byte == b'.') {
        None => memchr(b'.', &subject[near..]).map(|dot| dot + near),
        found => found,
    };
    match dot {
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
        None => (subject, None),
    }
}

/// True if one of the tokens is empty, as in `foo.`, `.foo`, `a..b`, `.` and the empty
/// subject. Such a subject matches nothing, not even `>`.
pub fn has_empty_token(subject: &[u8]) -> bool {
    let (Some(&first), Some(&last)) = (subject.first(), subject.last()) else { return true };
    // No early exit, so that the compiler turns the loop into vector instructions.
    let doubled = subject
        .iter()
        .zip(&subject[1..])
        .fold(false, |found, (&left, &right)| found | ((left == b'.') & (right == b'.')));
    doubled | (first == b'.') | (last == b'.')
}

/// True if no token is a wildcard. Empty tokens do not matter.
pub fn is_literal(subject: &[u8]) -> bool {
    memchr::memchr2_iter(b'*', b'>', subject).all(|at| {
        let starts = at == 0 || subject[at - 1] == b'.';
        let ends = at + 1 == subject.len() || subject[at + 1] == b'.';
        !(starts && ends)
    })
}

/// True if a subscription may have this subject: no empty token, and `>` only as the last.
///
/// nats: server/sublist.go `Insert` (`Invalid Subject`)
pub fn is_valid_subscription(subject: &[u8]) -> bool {
    if has_empty_token(subject) {
        return false;
    }
    let mut wildcards = memchr::memchr_iter(b'>', subject);
    wildcards
        .all(|at| !((at == 0 || subject[at - 1] == b'.') && subject.get(at + 1) == Some(&b'.')))
}

/// True if a setting may name this pattern: without the blanks that would end it in a protocol
/// line.
///
/// nats: server/sublist.go `IsValidSubject`
pub fn is_valid_pattern(pattern: &[u8]) -> bool {
    is_valid_subscription(pattern) && !pattern.iter().any(u8::is_ascii_whitespace)
}

/// True if pedantic mode allows to publish here: literal and without empty token.
///
/// nats: server/sublist.go `IsValidLiteralSubject` (`Invalid Publish Subject`)
pub fn is_valid_publish(subject: &[u8]) -> bool {
    !has_empty_token(subject) && is_literal(subject)
}

/// As [`is_valid_publish`], for a text that may hold blanks: one of a control line holds none.
pub fn is_valid_publish_text(text: &[u8]) -> bool {
    !text.iter().any(u8::is_ascii_whitespace) && is_valid_publish(text)
}

/// True if a message published on `subject` reaches a subscription on `pattern`.
///
/// The tokens of `subject` are bytes without meaning: `foo.*` matches the subject `foo.*` and also
/// `foo.>`. A subject with an empty token matches nothing.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    !has_empty_token(subject) && matches_from(Some(pattern), Some(subject))
}

/// [`matches()`] for the rest of both after equally many tokens, `None` if nothing is left; the
/// subject is known to have no empty token.
pub fn matches_from(mut pattern: Option<&[u8]>, mut subject: Option<&[u8]>) -> bool {
    loop {
        let (Some(wanted), Some(given)) = (pattern, subject) else {
            return pattern.is_none() && subject.is_none();
        };
        if wanted == b">" {
            return true;
        }
        let (wanted, wanted_rest) = split_first(wanted);
        let (given, given_rest) = split_first(given);
        if wanted != b"*" && wanted != given {
            return false;
        }
        (pattern, subject) = (wanted_rest, given_rest);
    }
}

/// True if every subject that `inner` matches is matched by `outer` too; both are patterns.
///
/// `*` covers `*` and any literal token, `>` covers everything, and only `>` covers `>`.
/// nats: server/sublist.go `isSubsetMatchTokenized`
pub fn covers(outer: &[u8], inner: &[u8]) -> bool {
    // A final `>` inside must not be taken as a literal token: `*` would match it, and a user with
    // permission for one level would see everything.
    (is_open_ended(outer) || !is_open_ended(inner)) && matches(outer, inner)
}

/// True if the last token is `>`.
pub fn is_open_ended(pattern: &[u8]) -> bool {
    pattern == b">" || pattern.ends_with(b".>")
}

/// The pattern of the subjects that both patterns match; `None` if there are none.
pub fn intersection(left: &[u8], right: &[u8]) -> Option<Vec<u8>> {
    let mut both = Vec::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (left, right);
    loop {
        if left == b">" || right == b">" {
            both.extend_from_slice(if left == b">" { right } else { left });
            return Some(both);
        }
        let (one, one_rest) = split_first(left);
        let (other, other_rest) = split_first(right);
        if one != other && one != b"*" && other != b"*" {
            return None;
        }
        both.extend_from_slice(if one == b"*" { other } else { one });
        match (one_rest, other_rest) {
            (Some(one_rest), Some(other_rest)) => (left, right) = (one_rest, other_rest),
            (None, None) => return Some(both),
            _ => return None,
        }
        both.push(b'.');
    }
}

/// True if some subject is matched by both patterns.
///
/// nats: server/sublist.go `SubjectsCollide`
pub fn overlaps(left: &[u8], right: &[u8]) -> bool {
    let (mut left, mut right) = (Some(left), Some(right));
    loop {
        let (Some(one), Some(other)) = (left, right) else {
            return left.is_none() && right.is_none();
        };
        if one == b">" || other == b">" {
            return true;
        }
        let (one, one_rest) = split_first(one);
        let (other, other_rest) = split_first(other);
        if one != other && one != b"*" && other != b"*" {
            return false;
        }
        (left, right) = (one_rest, other_rest);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        covers, intersection, is_valid_publish, is_valid_subscription, matches, overlaps,
        split_first, token_count, tokens,
    };

    #[test]
    fn tokens_are_split_at_dots() {
        let split = |subject: &'static str| tokens(subject.as_bytes()).collect::<Vec<_>>();
        assert_eq!(split("a.bc.d"), [&b"a"[..], b"bc", b"d"]);
        assert_eq!(split(".a"), [&b""[..], b"a"]);
        assert_eq!(split(""), [b""]);
        for (subject, count) in [("", 1), ("a", 1), ("a.b", 2), ("a..b.", 4)] {
            assert_eq!(token_count(subject.as_bytes()), count, "{subject}");
        }
        let long = b"0123456789abcdefghij.k";
        assert_eq!(split_first(long), (&long[..20], Some(&b"k"[..])));
        assert_eq!(split_first(b"a."), (&b"a"[..], Some(&b""[..])));
        assert_eq!(split_first(b"a"), (&b"a"[..], None));
    }

    #[test]
    fn validity_follows_the_real_server() {
        // subject, valid subscription, valid pedantic publish
        let table = [
            ("foo", true, true),
            ("foo.bar", true, true),
            ("foo*", true, true),
            ("*foo", true, true),
            ("f>o", true, true),
            ("**", true, true),
            (">>", true, true),
            ("foo.>>.a", true, true),
            ("*", true, false),
            (">", true, false),
            ("foo.*", true, false),
            ("*.foo.>", true, false),
            (">.foo", false, false),
            ("a.>.b", false, false),
            ("", false, false),
            (".", false, false),
            ("foo.", false, false),
            (".foo", false, false),
            ("a..b", false, false),
        ];
        for (subject, subscription, publish) in table {
            assert_eq!(is_valid_subscription(subject.as_bytes()), subscription, "{subject}");
            assert_eq!(is_valid_publish(subject.as_bytes()), publish, "{subject}");
        }
    }

    #[test]
    fn published_subjects_are_opaque() {
        let table = [
            ("foo", "foo", true),
            ("foo", "foo.bar", false),
            ("foo.*", "foo.bar", true),
            ("foo.*", "foo", false),
            ("foo.*", "foo.*", true),
            ("foo.*", "foo.>", true),
            ("foo.bar", "foo.*", false),
            ("foo.>", "foo", false),
            ("foo.>", "foo.a.b", true),
            (">", "a.b", true),
            (">", ">", true),
            (">", "a..b", false),
            (">", "", false),
            ("*", "", false),
            ("foo.>", "foo.", false),
            ("*.*", "a.b", true),
            ("*.b.*", "a.b.c", true),
            ("*.b.*", "a.c.c", false),
        ];
        for (pattern, subject, expected) in table {
            let found = matches(pattern.as_bytes(), subject.as_bytes());
            assert_eq!(found, expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn covering_is_a_subset_relation() {
        let table = [
            ("a.>", "a.*", true),
            ("a.>", "a.>", true),
            ("a.>", "*", false),
            ("a.>", ">", false),
            (">", ">", true),
            ("*", "*", true),
            ("*", ">", false),
            ("a.*", "a.>", false),
            ("a.*", "a.b", true),
            ("a.b", "a.*", false),
            ("a.*.>", "a.>", false),
            ("a.>", "a.*.>", true),
        ];
        for (outer, inner, expected) in table {
            assert_eq!(covers(outer.as_bytes(), inner.as_bytes()), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        let table = [
            ("a.*", "*.b", true),
            ("a.*", "b.*", false),
            ("a.>", "*.b.c", true),
            ("a.>", "a", false),
            (">", "x", true),
            ("a.*", "a.*.c", false),
            ("a.b", "a.b", true),
        ];
        for (left, right, expected) in table {
            assert_eq!(overlaps(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
            assert_eq!(overlaps(right.as_bytes(), left.as_bytes()), expected, "{right} {left}");
            for (one, other) in [(left, right), (right, left)] {
                let both = intersection(one.as_bytes(), other.as_bytes());
                assert_eq!(both.is_some(), expected, "{one} {other}");
            }
        }
    }

    #[test]
    fn the_intersection_has_the_narrower_tokens() {
        let table = [
            ("a.*", "*.b", "a.b"),
            ("a.>", "*.b.c", "a.b.c"),
            ("*.*.q", "n.>", "n.*.q"),
            ("*.>", "a.*", "a.*"),
            (">", "*.>", "*.>"),
            ("a", "a", "a"),
        ];
        for (left, right, expected) in table {
            for (one, other) in [(left, right), (right, left)] {
                let both = intersection(one.as_bytes(), other.as_bytes());
                assert_eq!(both.as_deref(), Some(expected.as_bytes()), "{one} {other}");
            }
        }
    }
}
