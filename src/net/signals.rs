//! Signals: those that reach this process, and those sent to another one by `--signal`.
//!
//! The caller knows the meaning of a signal; here it is only received, and logged.
//! nats: server/signal.go

use std::fmt;
use std::fs;
use std::io;

use rustix::process::{self, Pid};
use tokio::signal::unix::{self, SignalKind};
use tracing::info;

use crate::base::os_error::OsError;
use crate::config::cli;

/// The signals that the server catches, from [`Signals::listen`] on.
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
}

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trapped {
    /// SIGINT: shut down.
    Interrupt,
    /// SIGTERM: shut down, unless that is under way in lame duck mode.
    Terminate,
    /// SIGQUIT: end at once with code 2.
    Abort,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the log file anew.
    ReopenLog,
    /// SIGUSR2: enter lame duck mode.
    LameDuck,
}

/// The reason why a signal was not sent.
#[derive(Debug)]
pub enum SendErr {
    /// Neither a process id nor a file that holds one.
    InvalidPid(String),
    /// The process does not exist, or belongs to another user.
    Refused(cli::Signal, Pid, io::Error),
}

impl Signals {
    /// Catches the signals, which otherwise would end the process. Needs a tokio runtime.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user_1: unix::signal(SignalKind::user_defined1())?,
            user_2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal and logs it. May be cancelled without losing one.
    pub async fn next(&mut self) -> Trapped {
        let (name, trapped) = tokio::select! {
            // Before the signal to terminate that service managers send after it.
            biased;
            _ = self.user_2.recv() => ("user defined signal 2", Trapped::LameDuck),
            _ = self.interrupt.recv() => ("interrupt", Trapped::Interrupt),
            _ = self.terminate.recv() => ("terminated", Trapped::Terminate),
            _ = self.quit.recv() => ("quit", Trapped::Abort),
            _ = self.hangup.recv() => ("hangup", Trapped::Reload),
            _ = self.user_1.recv() => ("user defined signal 1", Trapped::ReopenLog),
        };
        info!("Trapped \"{name}\" signal");
        trapped
    }
}

/// Sends a signal. `process` is a file that holds a process id, or the process id.
///
/// # Errors
/// The process does not exist, or belongs to another user.
pub fn send(signal: cli::Signal, process: &str) -> Result<(), SendErr> {
    let written = fs::read_to_string(process).unwrap_or_else(|_| process.to_owned());
    let written = written.trim();
    let pid = written.parse().ok().filter(|&pid: &i32| pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| SendErr::InvalidPid(written.to_owned()))?;
    let number = match signal {
        cli::Signal::Stop => process::Signal::KILL,
        cli::Signal::Quit => process::Signal::INT,
        cli::Signal::Term => process::Signal::TERM,
        cli::Signal::Reopen => process::Signal::USR1,
        cli::Signal::Reload => process::Signal::HUP,
        cli::Signal::LameDuck => process::Signal::USR2,
    };
    process::kill_process(pid, number).map_err(|error| SendErr::Refused(signal, pid, error.into()))
}

impl fmt::Display for SendErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPid(written) => write!(f, "invalid pid: {written}"),
            Self::Refused(signal, pid, error) => {
                let pid = pid.as_raw_nonzero();
                write!(f, "signal \"{}\" {pid}: {}", signal.word(), OsError(error))
            }
        }
    }
}

impl std::error::Error for SendErr {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_by_number_or_by_file() {
        for wrong in ["abc", "0", "-1", "1.5"] {
            let error = send(cli::Signal::Reload, wrong).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid pid: {wrong}"));
        }
        // Above the largest process id of Linux.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "2147483647\n").unwrap();
        for process in ["2147483647", path.to_str().unwrap()] {
            let error = send(cli::Signal::Quit, process).unwrap_err();
            assert_eq!(error.to_string(), "signal \"quit\" 2147483647: no such process");
        }
    }

    #[tokio::test]
    async fn a_signal_is_trapped() {
        let mut signals = Signals::listen().unwrap();
        send(cli::Signal::Reopen, &std::process::id().to_string()).unwrap();
        assert_eq!(signals.next().await, Trapped::ReopenLog);
    }
}
