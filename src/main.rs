//! The `dialtone` binary.
fn main() {}
