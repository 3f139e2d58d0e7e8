//! The `dialtone` binary. All it does is in the library, where it is [`dialtone::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    dialtone::program::run()
}
