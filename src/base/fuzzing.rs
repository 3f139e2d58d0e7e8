//! Runs the fuzz bodies under `cargo test`: over a committed corpus, then over seeded inputs.
//!
//! `FUZZ_SECONDS=60 cargo test fuzz` goes on for that long with each of them, from a new seed. An
//! input that fails is printed with its seed, as a byte string literal.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// Feeds `body` with each file of `fuzz/corpus/<corpus>`, then with `cases` inputs from `make`,
/// which gets the corpus to mutate.
pub(crate) fn run(
    corpus: &str,
    cases: u64,
    body: fn(&[u8]),
    mut make: impl FnMut(&mut Rng, &[Vec<u8>]) -> Vec<u8>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!inputs.is_empty(), "no corpus for {corpus}");
    for input in &inputs {
        feed(body, 0, input);
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse::<u64>().unwrap());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let first = seconds.map_or(1, |_| fastrand::u64(..1 << 48));
    for case in 0.. {
        match end {
            None if case == cases => return,
            Some(end) if Instant::now() >= end => {
                println!("{corpus}: {case} inputs from seed {first}");
                return;
            }
            _ => {}
        }
        let mut random = Rng::with_seed(first + case);
        let input = make(&mut random, &inputs);
        feed(body, first + case, &input);
    }
}

/// A copy of some input with a few bytes changed, taken out, doubled or put in.
pub(crate) fn mutated(random: &mut Rng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(inputs).cloned().unwrap_or_default();
    for _ in 0..=random.usize(..6) {
        let at = random.usize(..=bytes.len());
        match random.u8(..4) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => {
                let end = (at + 1 + random.usize(..8)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let from = random.usize(..=at);
                let piece = bytes[from..at.min(from + 64)].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.insert(at, random.u8(..)),
        }
    }
    bytes
}

fn feed(body: fn(&[u8]), seed: u64, input: &[u8]) {
    let shown = Shown { seed, input };
    body(input);
    std::mem::forget(shown);
}

/// Prints the input when the body panics.
struct Shown<'a> {
    seed: u64,
    input: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("seed {}, input b\"{}\"", self.seed, self.input.escape_ascii());
    }
}
