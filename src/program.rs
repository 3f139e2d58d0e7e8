//! The program: reads the command line and runs its command.
//!
//! Part of the library, so that its parts stay private.
//! Errors of the command line and of the configuration go to standard error as
//! `nats-server: text`, the form that scripts around the real server look for; later errors are in
//! the log. Those of `pub` and its like begin with the word.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::apart::Apart;
use crate::base::os_error::OsError;
use crate::base::quoted::Escaped;
use crate::bounded_file;
use crate::config::check::Checked;
use crate::config::cli::{self, CliError, Command, Flags, LoadError};
use crate::config::conf::{Loaded, Severity, Sources, Unchecked};
use crate::logging::Logger;
use crate::net::signals::{self, Signals, Trapped};
use crate::net::tls::TlsPort;
use crate::server::Server;
use crate::server::origin::{Origin, Source};
use crate::tool::commands;

/// The name in errors of the server.
const SERVER: &str = "nats-server";

/// Exit code after SIGQUIT, as for Go programs.
const ABORTED: u8 = 2;

const SOURCES: Sources<'static> =
    Sources { file: &bounded_file::read_text, environment: &|name| std::env::var(name).ok() };

/// Runs the program to its end.
pub fn run() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let command = match cli::parse(&args, SOURCES.environment) {
        Ok(command) => command,
        Err(error) => return misused(&error),
    };
    match command {
        Command::Help => say(&cli::help()),
        Command::HelpTls => say(&cli::help_tls()),
        Command::Version => say(&cli::version_line()),
        Command::CheckConfig(flags) => return check_config(&flags),
        Command::Serve(flags) => return block_on(serve(&flags)),
        Command::Signal { signal, processes } => {
            if let Err(error) = signals::send(signal, &processes) {
                return failed(error);
            }
        }
        Command::Client(client) => {
            let input = Some(io::stdin()).filter(|input| !input.is_terminal());
            if let Err(error) = block_on(commands::run(&client, input, &mut io::stdout())) {
                // A server may have said it.
                let error = error.to_string();
                return failed_as(client.action.word(), Escaped(error.as_bytes()));
            }
        }
    }
    ExitCode::SUCCESS
}

/// The server has threads of its own; this one only waits.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a process that has just begun has descriptors left").block_on(future)
}

fn say(text: &str) {
    // A reader that has seen enough, as `head`, is no failure.
    let _ = writeln!(io::stdout(), "{text}");
}

fn failed(error: impl Display) -> ExitCode {
    failed_as(SERVER, error)
}

fn failed_as(name: &str, error: impl Display) -> ExitCode {
    eprintln!("{name}: {error}");
    ExitCode::FAILURE
}

/// Wrong flags also name the help.
///
/// nats-differs: the real server prints its whole usage and exits with 0; a script would go on.
fn misused(error: &CliError) -> ExitCode {
    let code = failed_as(error.word().unwrap_or(SERVER), error);
    if error.is_of_a_flag() {
        eprintln!("Run with --help for the flags and commands there are.");
    }
    code
}

/// Reads the options. The tree of values that they are read from is several times as large.
fn read(flags: &Flags) -> Result<Apart<Unchecked>, LoadError> {
    let flags = flags.clone();
    Apart::make(move || flags.read(SOURCES))
}

/// Checks the options, and the certificates that they name.
fn check(read: &mut Unchecked) -> Result<Loaded<'_>, String> {
    let loaded = read.check::<LoadError>(None).map_err(|error| error.to_string())?;
    TlsPort::load_all(loaded.checked.options, None)?;
    Ok(loaded)
}

fn check_config(flags: &Flags) -> ExitCode {
    let mut read = match read(flags) {
        Ok(read) => read,
        Err(error) => return failed(error),
    };
    let loaded = match check(&mut read) {
        Ok(loaded) => loaded,
        Err(error) => return failed(error),
    };
    if !loaded.is_valid() {
        let warnings = loaded.problems.iter().filter(|p| p.severity != Severity::Notice);
        return failed(warnings.map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    let file = flags.config.as_deref().unwrap_or(Path::new("")).display();
    let digest = loaded.checked.options.config_digest.as_deref().unwrap_or_default();
    eprintln!("{SERVER}: configuration file {file} is valid ({digest})");
    ExitCode::SUCCESS
}

async fn serve(flags: &Flags) -> ExitCode {
    let mut read = match read(flags) {
        Ok(read) => read,
        Err(error) => return failed(error),
    };
    let Loaded { checked, problems } = match check(&mut read) {
        Ok(loaded) => loaded,
        Err(error) => return failed(error),
    };
    let logger = match Logger::new(&checked.options.log) {
        Ok(logger) => logger,
        Err(error) => return failed(error),
    };
    logger.install();
    for problem in problems {
        warn!("{problem}");
    }
    let started = start(flags, checked, &logger);
    drop(read);
    let code = match started {
        Ok((server, signals)) => run_to_end(&server, signals, &logger).await,
        Err(reason) => {
            error!(fatal = true, "{reason}");
            ExitCode::FAILURE
        }
    };
    logger.flush();
    code
}

/// Starts the server. An error is the reason why there was no start.
fn start(
    flags: &Flags,
    checked: Checked<'_>,
    logger: &Logger,
) -> Result<(Server, Signals), String> {
    raise_descriptor_limit();
    let signals = Signals::listen().map_err(|error| error.to_string())?;
    let source = flags.config.is_some().then(|| -> Source {
        let flags = flags.clone();
        Box::new(move || read(&flags).map_err(Into::into))
    });
    let origin = Origin { source, logger: Some(logger.clone()), rustls: None };
    let server = Server::start(checked, origin).map_err(|error| error.to_string())?;
    Ok((server, signals))
}

/// Runs until a signal or a request ends it.
async fn run_to_end(server: &Server, mut signals: Signals, logger: &Logger) -> ExitCode {
    let leave = Notify::new();
    let left = async {
        leave.notified().await;
        server.lame_duck().await;
    };
    tokio::select! {
        code = obey(&mut signals, server, logger, &leave) => code,
        () = left => ExitCode::SUCCESS,
        () = server.stopped() => ExitCode::SUCCESS,
    }
}

/// Obeys signals until one of them ends the server. `leave` makes it enter lame duck mode.
async fn obey(signals: &mut Signals, server: &Server, logger: &Logger, leave: &Notify) -> ExitCode {
    let mut is_leaving = false;
    loop {
        match signals.next().await {
            // Service managers send it right behind the other one.
            Trapped::Terminate if is_leaving => {}
            Trapped::Interrupt | Trapped::Terminate => {
                server.shutdown().await;
                return ExitCode::SUCCESS;
            }
            Trapped::Abort => return ExitCode::from(ABORTED),
            Trapped::ReopenLog => logger.reopen(),
            Trapped::Reload => {
                if let Err(error) = server.reload().await {
                    // A file may have several faults, and a line of the log is one line.
                    let text = format!("Failed to reload server configuration: {error}");
                    text.lines().for_each(|line| error!("{line}"));
                }
            }
            Trapped::LameDuck => {
                is_leaving = true;
                leave.notify_one();
            }
        }
    }
}

/// Each connection takes a descriptor. Go raises the limit of its programs too.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("The limit of open files stays as it is: {}", OsError(&error.into()));
    }
}
