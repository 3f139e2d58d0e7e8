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
    /// The system does not tell which processes there are.
    Unresolved,
    /// No other process has this name.
    NoneRuns(String),
    /// Several have this name, and it was not said which are meant.
    SeveralRun(String, Vec<Pid>),
    /// These processes do not exist, or belong to another user.
    Refused(cli::Signal, Vec<(Pid, io::Error)>),
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

/// Sends a signal. `processes` is a process id, or the beginning of some and `*`, or a file that
/// holds one of these; empty for the only process with the name of this one.
///
/// # Errors
/// There is no such process, or one that belongs to another user; or several have the name.
pub fn send(signal: cli::Signal, processes: &str) -> Result<(), SendErr> {
    let written = fs::read_to_string(processes).unwrap_or_else(|_| processes.to_owned());
    let written = written.trim();
    let start = written.strip_suffix('*');
    let pid = Some(start.unwrap_or(written)).filter(|number| !number.is_empty());
    let pids = match (pid.map(read_pid).transpose()?, start) {
        (_, Some(start)) => namesakes()?.beginning_with(start),
        (Some(pid), None) => vec![pid],
        (None, None) => namesakes()?.only()?,
    };
    let number = match signal {
        cli::Signal::Stop => process::Signal::KILL,
        cli::Signal::Quit => process::Signal::INT,
        cli::Signal::Term => process::Signal::TERM,
        cli::Signal::Reopen => process::Signal::USR1,
        cli::Signal::Reload => process::Signal::HUP,
        cli::Signal::LameDuck => process::Signal::USR2,
    };
    let refused = |pid| Some((pid, process::kill_process(pid, number).err()?.into()));
    let refused: Vec<_> = pids.into_iter().filter_map(refused).collect();
    if refused.is_empty() { Ok(()) } else { Err(SendErr::Refused(signal, refused)) }
}

fn read_pid(written: &str) -> Result<Pid, SendErr> {
    let pid = written.parse().ok().filter(|&pid: &i32| pid > 0).and_then(Pid::from_raw);
    pid.ok_or_else(|| SendErr::InvalidPid(written.to_owned()))
}

/// Other processes with the name of this one.
struct Namesakes {
    name: String,
    /// At least one, in ascending order.
    pids: Vec<Pid>,
}

impl Namesakes {
    /// Those whose ids begin with these digits.
    fn beginning_with(mut self, digits: &str) -> Vec<Pid> {
        self.pids.retain(|pid| pid.to_string().starts_with(digits));
        self.pids
    }

    fn only(self) -> Result<Vec<Pid>, SendErr> {
        match self.pids.len() {
            1 => Ok(self.pids),
            _ => Err(SendErr::SeveralRun(self.name, self.pids)),
        }
    }
}

/// Looks for other processes with the name of this one: that of its executable, up to 15 bytes.
///
/// nats-differs: the real server looks for names with `nats-server` in them, by `pgrep`.
fn namesakes() -> Result<Namesakes, SendErr> {
    let name_of = |process: &str| fs::read_to_string(format!("/proc/{process}/comm")).ok();
    let name = name_of("self").ok_or(SendErr::Unresolved)?;
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").map_err(|_| SendErr::Unresolved)?;
    let mut pids: Vec<Pid> = processes
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|process| *process != own && name_of(process).as_ref() == Some(&name))
        .filter_map(|process| Pid::from_raw(process.parse().ok()?))
        .collect();
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    let name = name.trim_end().to_owned();
    if pids.is_empty() { Err(SendErr::NoneRuns(name)) } else { Ok(Namesakes { name, pids }) }
}

impl fmt::Display for SendErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPid(written) => write!(f, "invalid pid: {written}"),
            Self::Unresolved => f.write_str("unable to resolve pid, try providing one"),
            Self::NoneRuns(name) => write!(f, "no {name} processes running"),
            Self::SeveralRun(name, pids) => {
                write!(f, "multiple {name} processes running:")?;
                pids.iter().try_for_each(|pid| write!(f, "\n{pid}"))
            }
            Self::Refused(signal, refused) => {
                let word = signal.word();
                let lines = refused.iter();
                let lines = lines
                    .map(|(pid, error)| format!("signal \"{word}\" {pid}: {}", OsError(error)));
                f.write_str(&lines.collect::<Vec<_>>().join("\n"))
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
        for wrong in ["abc", "0", "-1", "1.5", "abc*", "0*"] {
            let error = send(cli::Signal::Reload, wrong).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid pid: {}", wrong.trim_end_matches('*')));
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
