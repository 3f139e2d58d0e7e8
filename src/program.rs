//! The program: reads the command line and runs its command.
//!
//! Part of the library, so that its parts stay private.
//! Errors of the command line and of the configuration go to standard error as
//! `nats-server: text`, the form that scripts around the real server look for; later errors are in
//! the log. Those of `pub` and its like begin with the word.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::base::os_error::OsError;
use crate::base::quoted::Escaped;
use crate::bounded_file;
use crate::config::cli::{self, CliError, Command, Flags, LoadError, Loaded};
use crate::config::conf::{Severity, Sources};
use crate::config::options::Options;
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

/// Reads the options apart from all other memory, and copies them. The tree of values that they are
/// read from is several times as large. The C library keeps the memory of a thread by itself, and
/// gives it back to the system when none of it is in use.
fn read(flags: &Flags) -> Result<Loaded, LoadError> {
    let load = || (flags.load(SOURCES), Vec::<u8>::with_capacity(CONSOLIDATING_LEN));
    let (loaded, last) = in_thread(load);
    let copy = loaded.clone();
    // This thread would keep some of what it frees.
    in_thread(move || drop(loaded));
    drop(last);
    copy
}

/// A piece of memory that makes glibc consolidate those freed before when it is freed: more than
/// 64 KiB, and less than the 128 KiB of a mapping of its own.
const CONSOLIDATING_LEN: usize = 96 * 1024;

/// Does some work in a thread of its own.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Reads the options, and the certificates that they name.
fn load(flags: &Flags) -> Result<Loaded, String> {
    let loaded = read(flags).map_err(|error| error.to_string())?;
    TlsPort::load_all(&loaded.options, None)?;
    Ok(loaded)
}

fn check_config(flags: &Flags) -> ExitCode {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return failed(error),
    };
    if !loaded.is_valid() {
        let warnings = loaded.problems.iter().filter(|p| p.severity != Severity::Notice);
        return failed(warnings.map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    let file = flags.config.as_deref().unwrap_or(Path::new("")).display();
    let digest = loaded.options.config_digest.unwrap_or_default();
    eprintln!("{SERVER}: configuration file {file} is valid ({digest})");
    ExitCode::SUCCESS
}

async fn serve(flags: &Flags) -> ExitCode {
    let Loaded { options, problems } = match load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return failed(error),
    };
    let logger = match Logger::new(&options.log) {
        Ok(logger) => logger,
        Err(error) => return failed(error),
    };
    logger.install();
    for problem in problems {
        warn!("{problem}");
    }
    let code = match serve_with(flags, options, &logger).await {
        Ok(code) => code,
        Err(reason) => {
            error!(fatal = true, "{reason}");
            ExitCode::FAILURE
        }
    };
    logger.flush();
    code
}

/// Runs from start to end. An error is the reason why there was no start.
async fn serve_with(flags: &Flags, options: Options, logger: &Logger) -> Result<ExitCode, String> {
    raise_descriptor_limit();
    let mut signals = Signals::listen().map_err(|error| error.to_string())?;
    let source = flags.config.is_some().then(|| -> Source {
        let flags = flags.clone();
        Box::new(move || read(&flags).map_err(Into::into))
    });
    let origin = Origin { source, logger: Some(logger.clone()), rustls: None };
    let server = Server::start(options, origin).map_err(|error| error.to_string())?;
    let leave = Notify::new();
    let left = async {
        leave.notified().await;
        server.lame_duck().await;
    };
    Ok(tokio::select! {
        code = obey(&mut signals, &server, logger, &leave) => code,
        () = left => ExitCode::SUCCESS,
        () = server.stopped() => ExitCode::SUCCESS,
    })
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
