//! Seeds of tests that draw: a failing one prints its seed, and takes it again.

/// The seed in the environment variable, else a new one.
pub(crate) fn seed_from_env(name: &str) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => fastrand::u64(..1_000_000_007),
    }
}
