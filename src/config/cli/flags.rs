//! The flags of a server, each once.
//!
//! Parsing, the help, the man page and the completions of shells all use these tables.
//! nats: main.go, server/opts.go `ConfigureOptions`

use crate::base::limits;
use crate::config::cli::flag::{Effect, Flag, Form, Overlay, Section, filled};
use crate::config::cli::{apply_login, cluster, tls};
use crate::config::options::{Listen, Port, SyslogUrl};

/// The first sections of the help; [`LAST`] ends it.
pub(super) static SECTIONS: [Section<Effect>; 5] = [
    Section { title: "Server", flags: &SERVER },
    Section { title: "Cluster", flags: &cluster::FLAGS },
    Section { title: "Login", flags: &LOGIN },
    Section { title: "TLS", flags: &tls::FLAGS },
    Section { title: "Log", flags: &LOG },
];

static SERVER: [Flag<Effect>; 11] = [
    Flag {
        names: &["-a", "--addr", "--net"],
        argument: "HOST",
        help: "address for clients (default 0.0.0.0)",
        effect: Effect::Text(|overlay, host| {
            overlay.options.host = some(host).unwrap_or_else(|| limits::HOST_DEFAULT.to_owned());
        }),
    },
    Flag {
        names: &["-p", "--port"],
        argument: "N",
        help: "port for clients (default 4222, -1 any free one)",
        effect: Effect::Port(|overlay, port| {
            overlay.options.port = port.unwrap_or(Port::Number(limits::PORT_DEFAULT));
        }),
    },
    Flag {
        names: &["-n", "--name", "--server_name"],
        argument: "NAME",
        help: "server name (default: the server's id)",
        effect: Effect::Text(|overlay, name| overlay.options.server_name = some(name)),
    },
    Flag {
        names: &["-m", "--http_port"],
        argument: "N",
        help: "port for monitoring (default off, -1 any free one)",
        effect: Effect::Port(|overlay, port| Listen::set_port(&mut overlay.options.http, port)),
    },
    Flag {
        names: &["-ms", "--https_port"],
        argument: "N",
        help: "the same encrypted, in place of it",
        effect: Effect::Port(|overlay, port| Listen::set_port(&mut overlay.options.https, port)),
    },
    Flag {
        names: &["--client_advertise"],
        argument: "HOST[:PORT]",
        help: "address that clients are told",
        effect: Effect::Text(|overlay, address| overlay.options.client_advertise = some(address)),
    },
    Flag {
        names: &["-c", "--config"],
        argument: "FILE",
        help: "configuration file; flags win over it",
        effect: Effect::Ask(|server, written, words| {
            server.flags.config = filled(&words.path(written)?);
            Ok(())
        }),
    },
    Flag {
        names: &["-t"],
        argument: "",
        help: "check the configuration file and exit",
        effect: Effect::Ask(|server, written, _| {
            server.check = written.bool()?;
            Ok(())
        }),
    },
    Flag {
        names: &["-P", "--pid"],
        argument: "FILE",
        help: "file to write the process id to",
        effect: Effect::Path(|overlay, path| overlay.options.pid_file = path),
    },
    Flag {
        names: &["--ports_file_dir"],
        argument: "DIR",
        help: "folder for the list of addresses the server got",
        effect: Effect::Path(|overlay, path| overlay.options.ports_file_dir = path),
    },
    Flag {
        names: &["-sl", "--signal"],
        argument: "CMD[=PID]",
        help: "tell a running server: ldm, stop, quit, term, reopen,\n\
               reload; PID is its process id, its pid file, or the\n\
               beginning of several ids and * (default: the only one)",
        effect: Effect::Ask(|server, written, words| {
            server.signal = Some(words.text(written)?);
            Ok(())
        }),
    },
];

static LOGIN: [Flag<Effect>; 3] = [
    Flag {
        names: &["--user"],
        argument: "NAME",
        help: "",
        effect: Effect::Text(|overlay, user| user.clone_into(&mut overlay.user)),
    },
    Flag {
        names: &["--pass"],
        argument: "PASSWORD",
        help: "the one user that may connect",
        effect: Effect::Text(|overlay, password| password.clone_into(&mut overlay.password)),
    },
    Flag {
        names: &["--auth"],
        argument: "TOKEN",
        help: "the token that clients must know",
        effect: Effect::Text(|overlay, token| token.clone_into(&mut overlay.token)),
    },
];

static LOG: [Flag<Effect>; 12] = [
    Flag {
        names: &["-l", "--log"],
        argument: "FILE",
        help: "file to log to (default: standard error)",
        effect: Effect::Path(|overlay, path| overlay.options.log.log_file = path),
    },
    Flag {
        names: &["--log_size_limit"],
        argument: "BYTES",
        help: "size at which the file is rotated (default: never)",
        effect: Effect::Number(|overlay, limit| {
            overlay.options.log.log_size_limit = u64::try_from(limit).unwrap_or(0);
        }),
    },
    Flag {
        names: &["-s", "--syslog"],
        argument: "",
        help: "log to the system log of this machine",
        effect: Effect::Switch(|overlay, on| overlay.options.log.syslog = on),
    },
    Flag {
        names: &["-r", "--remote_syslog"],
        argument: "URL",
        help: "the same of another one: udp://HOST:PORT, tcp, unix",
        effect: Effect::Url(|overlay, url| {
            let url = some(url).map(|url| SyslogUrl::parse(&url)).transpose();
            overlay.options.log.remote_syslog = url.map_err(|error| error.to_string())?;
            Ok(())
        }),
    },
    Flag {
        names: &["-T", "--logtime"],
        argument: "[=false]",
        help: "time in front of each line (default true)",
        effect: Effect::Switch(|overlay, on| overlay.options.log.logtime = on),
    },
    Flag {
        names: &["--logtime_utc"],
        argument: "",
        help: "that time in UTC",
        effect: Effect::Switch(|overlay, on| overlay.options.log.logtime_utc = on),
    },
    Flag {
        names: &["-D", "--debug"],
        argument: "",
        help: "log connections",
        effect: Effect::Switch(debug),
    },
    Flag {
        names: &["-V", "--trace"],
        argument: "",
        help: "log protocol lines",
        effect: Effect::Switch(trace),
    },
    Flag {
        names: &["-VV"],
        argument: "",
        help: "the same, system account included",
        effect: Effect::Switch(trace_verbose),
    },
    Flag {
        names: &["-DV"],
        argument: "",
        help: "",
        effect: Effect::Switch(|overlay, on| {
            debug(overlay, on);
            trace(overlay, on);
        }),
    },
    Flag {
        names: &["-DVV"],
        argument: "",
        help: "--debug with -V, with -VV",
        effect: Effect::Switch(|overlay, on| {
            debug(overlay, on);
            trace_verbose(overlay, on);
        }),
    },
    Flag {
        names: &["--max_traced_msg_len"],
        argument: "BYTES",
        help: "longest message shown by --trace (default: all)",
        effect: Effect::Number(|overlay, len| {
            overlay.options.log.max_traced_msg_len = usize::try_from(len).unwrap_or(0);
        }),
    },
];

/// The end of the help.
pub(super) static LAST: Section<Effect> = Section {
    title: "",
    flags: &[
        Flag {
            names: &["-h", "--help"],
            argument: "",
            help: "print this",
            effect: Effect::Ask(|server, written, _| {
                server.help = written.bool()?;
                Ok(())
            }),
        },
        Flag {
            names: &["-v", "--version"],
            argument: "",
            help: "print the version of nats-server that this one follows",
            effect: Effect::Ask(|server, written, _| {
                server.version = written.bool()?;
                Ok(())
            }),
        },
    ],
};

/// Flags of the real server for features absent here; the help does not name them.
static ABSENT: [Flag<Effect>; 3] = [
    absent(&["-sd", "--store_dir"], Effect::Nothing(Form::Word, NO_JETSTREAM)),
    absent(&["-js", "--jetstream"], Effect::Nothing(Form::Switch, NO_JETSTREAM)),
    absent(&["--profile"], Effect::Nothing(Form::Number, "there is no Go profiler here")),
];

const NO_JETSTREAM: &str = "nothing is stored, there is no JetStream here";

const fn absent(names: &'static [&'static str], effect: Effect) -> Flag<Effect> {
    Flag { names, argument: "", help: "", effect }
}

/// The flag with that name, without dashes.
pub(super) fn find(name: &str) -> Option<&'static Flag<Effect>> {
    let shown = SECTIONS.iter().chain([&LAST]).flat_map(|section| section.flags);
    shown.chain(&ABSENT).find(|flag| flag.is_called(name))
}

impl Overlay<'_> {
    /// Completes settings that several flags form together.
    ///
    /// # Errors
    /// The flags conflict with each other, or with the file.
    pub(super) fn finish(self) -> Result<(), String> {
        let Self { options, cluster, has_routes, user, password, token, tls: flags } = self;
        options.cluster = cluster::finish(cluster, has_routes)?;
        tls::lay(flags, options)?;
        let login = &mut options.authorization.login;
        apply_login(login, &user, &password, &token).map_err(str::to_owned)
    }
}

fn debug(overlay: &mut Overlay<'_>, on: bool) {
    overlay.options.log.debug = on;
}

fn trace(overlay: &mut Overlay<'_>, on: bool) {
    overlay.options.log.trace = on;
}

fn trace_verbose(overlay: &mut Overlay<'_>, on: bool) {
    overlay.options.log.trace = on;
    overlay.options.log.trace_verbose = on;
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
