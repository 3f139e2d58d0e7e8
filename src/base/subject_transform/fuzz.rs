//! Fuzz body of subject transforms.

use fastrand::Rng;

use crate::base::subject::{has_empty_token, is_literal, is_valid_pattern, matches};
use crate::base::subject_transform::{ImportTransform, Transform};

/// Of three lines, a source, a destination and a subject: whatever they are, the two make a
/// transform or a fault with a text; a subject comes back through the inverse.
pub fn fuzz_transform(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (source, destination, subject) = (line(), line(), line().as_bytes());
    let is_source = matches(source.as_bytes(), subject);
    match Transform::new(source, destination) {
        Ok(transform) if is_source => {
            let mut out = b"kept".to_vec();
            transform.apply(subject, &mut Rng::with_seed(1), &mut out);
            assert!(out.starts_with(b"kept"));
            assert!(
                transform.is_random() || again(&transform, subject) == again(&transform, subject)
            );
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ImportTransform::new(source, destination) {
        Ok(transform) => {
            let reversed = transform.reversed();
            assert_eq!(reversed.reversed(), transform);
            assert!(is_valid_pattern(&transform.destination()));
            if is_source {
                let (mut there, mut back) = (Vec::new(), Vec::new());
                transform.apply(subject, &mut there);
                assert!(!has_empty_token(&there));
                assert!(matches(&transform.destination(), &there));
                assert_eq!(is_literal(&there), is_literal(subject));
                reversed.apply(&there, &mut back);
                assert_eq!(back, subject);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn again(transform: &Transform, subject: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    transform.apply(subject, &mut Rng::new(), &mut out);
    out
}
