//! Command lines as people, launchers and the clients' test suites write them.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::options::{Cluster, Listen, Tls};
use crate::config::route_url::RouteUrl;

fn parsed(line: &str) -> Result<Command, String> {
    let args: Vec<_> = line.split(' ').filter(|w| !w.is_empty()).map(OsString::from).collect();
    parse(&args, &|_| None).map_err(|error| error.to_string())
}

fn loaded_with(line: &str, file: &str) -> Result<Unchecked, String> {
    let sources = Sources { file: &|_| Ok(file.to_owned()), environment: &|_| None };
    match parsed(line) {
        Ok(Command::Serve(flags) | Command::CheckConfig(flags)) => {
            let mut read = flags.read(sources).map_err(|error| error.to_string())?;
            read.check::<LoadError>(None).map_err(|error| error.to_string())?;
            Ok(read)
        }
        other => panic!("{line}: {other:?}"),
    }
}

fn options(line: &str) -> Options {
    loaded_with(line, "").unwrap().options
}

#[test]
fn no_flags_give_the_defaults() {
    assert_eq!(options(""), Options::default());
}

#[test]
fn one_dash_two_dashes_and_equals() {
    for line in ["-p -1", "--port -1", "-port=-1", "--p=-1"] {
        assert_eq!(options(line).port, Port::Free, "{line}");
    }
    assert_eq!(options("-p 0").port, Port::Number(4222));
    assert_eq!(options("-a ::1 -p 1 --port 2").port, Port::Number(2));
    assert_eq!(options("--addr ::1").host, "::1");
}

#[test]
fn verbosity() {
    let verbosity = |line| {
        let log = options(line).log;
        (log.debug, log.trace, log.trace_verbose)
    };
    assert_eq!(verbosity("-D"), (true, false, false));
    assert_eq!(verbosity("--debug -V"), (true, true, false));
    assert_eq!(verbosity("-VV"), (false, true, true));
    assert_eq!(verbosity("-DV"), (true, true, false));
    assert_eq!(verbosity("-DVV"), (true, true, true));
    assert_eq!(verbosity("-DVV -V=false"), (true, false, true));
    assert!(!options("-T=false").log.logtime);
    assert!(options("--logtime_utc").log.logtime_utc);
}

#[test]
fn files_and_names() {
    let options = options(
        "-n a --client_advertise h:1 -P /p --ports_file_dir /d -l /l --log_size_limit 5 \
         --max_traced_msg_len 7 -m -1",
    );
    assert_eq!(options.server_name.as_deref(), Some("a"));
    assert_eq!(options.client_advertise.as_deref(), Some("h:1"));
    assert_eq!(options.pid_file.as_deref(), Some(Path::new("/p")));
    assert_eq!(options.ports_file_dir.as_deref(), Some(Path::new("/d")));
    assert_eq!(options.log.log_file.as_deref(), Some(Path::new("/l")));
    assert_eq!((options.log.log_size_limit, options.log.max_traced_msg_len), (5, 7));
    let http = Listen { host: "0.0.0.0".to_owned(), port: Port::Free };
    assert_eq!(options.monitor_listen(), Some(http.clone()));
    let encrypted = self::options("--tls --tlscert c --tlskey k -ms -1");
    assert_eq!((encrypted.http, encrypted.https.unwrap().port), (None, http.port));
}

/// Regression: without `--tls` the others did nothing, and the port was open to all in the clear.
#[test]
fn any_flag_of_tls_asks_for_it() {
    let file = "tls { cert_file: a, key_file: b, verify: true }";
    for flags in ["", "--tls", "--tlsverify=false"] {
        let given = format!("-c f {flags} --tlscert c --tlskey k");
        let tls = loaded_with(&given, file).unwrap().options.tls.unwrap();
        assert_eq!(tls, Tls::new("c", "k"), "{flags}");
    }
    for flags in ["--tlscacert x", "--tlskey k", "--tlsverify"] {
        let text = loaded_with(&format!("-c f {flags}"), file).unwrap_err();
        assert_eq!(text, "TLS Server certificate must be present and valid", "{flags}");
    }
    let off = loaded_with("-c f --tls=false --tlscert c", file).unwrap();
    assert_eq!(off.options.tls, None);
}

#[test]
fn flags_win_over_the_file() {
    let file = "port: 1, http: \"1.2.3.4:5\", debug: true, authorization {user: a, password: b}";
    let options = loaded_with("-c f -p 2 -m 6 -D=false --user c", file).unwrap().options;
    assert_eq!(options.port, Port::Number(2));
    assert_eq!(options.monitor_listen().unwrap().host, "1.2.3.4");
    assert_eq!(options.monitor_listen().unwrap().port, Port::Number(6));
    assert!(!options.log.debug);
    let login = Login::Single { user: "c".to_owned(), password: "b".to_owned() };
    assert_eq!(options.authorization.login, login);
    assert_eq!(loaded_with("-c f -m 0", file).unwrap().options.http, None);
}

#[test]
fn logins_that_do_not_fit() {
    let users = "authorization { users: [{user: a, password: b}] }";
    for (line, file, wanted) in [
        ("--user a --auth t", "", "Cannot have a user/pass and token"),
        ("--pass a", "", "a password without a user"),
        (
            "-c f --user a --pass b",
            users,
            "--user, --pass and --auth do not go with the users of the configuration file",
        ),
    ] {
        assert_eq!(loaded_with(line, file), Err(wanted.to_owned()), "{line}");
    }
    assert_eq!(options("--auth t").authorization.login, Login::Token("t".to_owned()));
}

/// Texts of the real server; see configuration.md for its exit codes.
#[test]
fn errors_say_what_is_wrong() {
    for (line, wanted) in [
        ("--max_payload 3", "flag provided but not defined: -max_payload"),
        ("-p 4x", "invalid value \"4x\" for flag -p: parse error"),
        ("-p 70000", "invalid value \"70000\" for flag -p: parse error"),
        ("-p", "flag needs an argument: -p"),
        ("-debug=maybe", "invalid boolean value \"maybe\" for -debug: parse error"),
        ("---p 1", "bad flag syntax: ---p"),
        ("-T false", "unrecognized command: \"false\""),
        ("foo bar", "unrecognized command: \"foo\""),
        ("-t", "must specify [-c, --config] option to check configuration file syntax"),
        ("--signal foo=1", "unknown signal \"foo\""),
        ("--signal ldm=1=2=3", "invalid signal parameters: [2 3]"),
        ("--tlscert", "flag needs an argument: -tlscert"),
    ] {
        assert_eq!(parsed(line), Err(wanted.to_owned()), "{line}");
    }
    assert!(parsed("-js=false --tls=false -s=false").is_ok());
}

#[test]
fn help_version_and_signals() {
    for line in ["-v", "--version", "version", "VERSION", "-p -1 -v", "-- version", "-h -v"] {
        assert_eq!(parsed(line), Ok(Command::Version), "{line}");
    }
    for line in ["-h", "--help", "help", "-p 1 help"] {
        assert_eq!(parsed(line), Ok(Command::Help), "{line}");
    }
    assert_eq!(parsed("--help_tls"), Ok(Command::HelpTls));
    assert_eq!(version_line(), "nats-server: v2.15.1");
    let ldm = |processes: &str| {
        Ok(Command::Signal { signal: Signal::LameDuck, processes: processes.to_owned() })
    };
    assert_eq!(parsed("--signal ldm=12"), ldm("12"));
    assert_eq!(parsed("-sl=ldm=12*"), ldm("12*"));
    assert_eq!(parsed("--signal ldm"), ldm(""));
}

#[test]
fn a_check_fails_for_warnings_but_not_for_notices() {
    let checked = |file| {
        let mut read = loaded_with("-t -c f", file).unwrap();
        read.check::<LoadError>(None).unwrap().is_valid()
    };
    assert!(checked("port: 1"));
    assert!(checked("mqtt { port: 1 }"));
    assert!(!checked("ping_interval: 2"));
    assert!(!checked(""));
}

#[test]
fn flags_without_effect_are_accepted() {
    let mut read = loaded_with("--store_dir /x --profile 1 -js", "").unwrap();
    let loaded = read.check::<LoadError>(None).unwrap();
    let texts: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with("--store_dir has no effect"), "{texts:?}");
    assert!(texts[2].starts_with("--jetstream has no effect"), "{texts:?}");
    assert!(texts[1].starts_with("--profile has no effect"), "{texts:?}");
}

fn client(line: &str) -> ClientCommand {
    match parsed(line) {
        Ok(Command::Client(client)) => *client,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn client_actions() {
    let publish = client("pub a.b hello -H X:1 --header Y:2 -s nats://u:p%40@h:1");
    let (subject, body) = (b"a.b".to_vec(), Some(b"hello".to_vec()));
    assert_eq!(publish.action, Action::Publish { subject: subject.clone(), body });
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(publish.headers, [header("X", "1"), header("Y", "2")]);
    let credentials = UrlCredentials::User { user: "u".to_owned(), password: "p@".to_owned() };
    assert_eq!(
        publish.server,
        ServerUrl {
            scheme: Scheme::Nats,
            host: "h".to_owned(),
            port: 1,
            path: String::new(),
            credentials
        }
    );

    let action = client("sub --queue q a.b --count 3").action;
    let (queue, count) = (Some("q".to_owned()), Some(3));
    assert_eq!(action, Action::Subscribe { subject: subject.clone(), queue, count });

    let action = client("req a.b --timeout 500ms -- -x").action;
    let (body, timeout) = (Some(b"-x".to_vec()), Duration::from_millis(500));
    assert_eq!(action, Action::Request { subject: subject.clone(), body, timeout });

    let action = client("reply a.b").action;
    assert_eq!(action, Action::Reply { subject, body: Vec::new(), queue: None, count: None });
    assert!(matches!(client("pub a").action, Action::Publish { body: None, .. }));

    for (line, wanted) in [
        ("pub", "needs a subject without blanks"),
        ("sub a b", "unexpected word \"b\""),
        ("pub a b c", "unexpected word \"c\""),
        ("pub a --count 1", "flag provided but not defined: -count"),
        ("sub a --count 0", "invalid value \"0\" for flag -count: parse error"),
        ("req a --timeout 5", "invalid value \"5\" for flag -timeout: parse error"),
        ("pub a -s x://h", "server address \"x://h\": expected nats, tls, ws or wss before ://"),
        ("pub a --tlscert c", "--tlscert and --tlskey need each other"),
        ("pub a -s nats://u:secret@h:x", "server address \"h:x\": the port is no number"),
        ("pub a -s tls://h/p", "server address \"tls://h/p\": only ws:// and wss:// have a path"),
        (SEED_FOR_FILE, "--nkey names a file with the seed, and takes no seed"),
    ] {
        assert_eq!(parsed(line), Err(wanted.to_owned()), "{line}");
    }
}

/// A seed where a file is expected.
const SEED_FOR_FILE: &str =
    "pub a --nkey SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn the_environment_names_the_server() {
    let args = ["sub", "a"].map(OsString::from);
    let environment = |name: &str| (name == "NATS_URL").then(|| "token@[::1]:7".to_owned());
    let Ok(Command::Client(client)) = parse(&args, &environment) else { panic!("client") };
    let credentials = UrlCredentials::Token("token".to_owned());
    assert_eq!(
        client.server,
        ServerUrl {
            scheme: Scheme::Nats,
            host: "::1".to_owned(),
            port: 7,
            path: String::new(),
            credentials
        }
    );
    let Ok(Command::Client(client)) = parse(&args, &|_| None) else { panic!("client") };
    assert_eq!((client.server.host.as_str(), client.server.port), ("127.0.0.1", 4222));
}

#[test]
fn help_names_every_flag() {
    for flag in [
        "--addr",
        "--port",
        "--name",
        "--http_port",
        "--client_advertise",
        "--config",
        "-t",
        "--pid",
        "--ports_file_dir",
        "--signal",
        "--user",
        "--pass",
        "--auth",
        "--log",
        "--log_size_limit",
        "--logtime",
        "--logtime_utc",
        "--debug",
        "--trace",
        "-VV",
        "-DVV",
        "--max_traced_msg_len",
        "--server",
        "--header",
        "--queue",
        "--count",
        "--timeout",
    ] {
        assert!(help().contains(flag), "{flag}");
    }
}

fn cluster(line: &str) -> Cluster {
    options(line).cluster.unwrap()
}

#[test]
fn a_cluster_by_flags_alone() {
    let flags = "--cluster nats://127.0.0.1:-1 --cluster_name X --no_advertise \
                 --cluster_advertise a:1 --connect_retries 5 --routes nats://u:p@b:1,,tls://c:2/";
    let cluster = cluster(flags);
    let listen = Listen { host: "127.0.0.1".to_owned(), port: Port::Free };
    assert_eq!(cluster.listen, Some(listen));
    assert_eq!(cluster.name.as_deref(), Some("X"));
    assert_eq!((cluster.no_advertise, cluster.connect_retries), (true, 5));
    assert_eq!(cluster.advertise.as_deref(), Some("a:1"));
    let routes: Vec<_> = cluster.routes.iter().map(RouteUrl::to_string).collect();
    assert_eq!(routes, ["b:1", "c:2"]);
    assert_eq!(options("--cluster_name X --no_advertise").cluster, None);
    assert_eq!(options("--cluster nats://a:1 --cluster=").cluster, None);
    assert_eq!(options("--cluster nats://a:0").cluster, None);
}

#[test]
fn cluster_flags_win_over_the_block() {
    let block = "cluster { port: 1, name: A, authorization { user: u, password: p }, \
                 routes: [\"nats://r:1\"], no_advertise: true }";
    let with = |flags: &str| loaded_with(&format!("-c f {flags}"), block).unwrap().options.cluster;
    let cluster =
        with("--cluster_listen nats://h:2 --cluster_name B --no_advertise=false").unwrap();
    assert_eq!(cluster.listen, Some(Listen { host: "h".to_owned(), port: Port::Number(2) }));
    assert_eq!((cluster.name.as_deref(), cluster.no_advertise), (Some("B"), false));
    assert_eq!((cluster.login, cluster.routes.len()), (Login::Open, 1));
    let login = Login::Single { user: "x".to_owned(), password: "y".to_owned() };
    assert_eq!(with("--cluster nats://x:y@h:2").unwrap().login, login);
    assert_eq!(with("--routes=").unwrap().routes, []);
    assert_eq!(with("--cluster="), None);
}

/// Texts of the real server.
#[test]
fn clusters_that_cannot_be_started() {
    for (line, wanted) in [
        ("--routes nats://a:1", "solicited routes require cluster capabilities, e.g. --cluster"),
        (
            "--cluster= --routes nats://a:1",
            "solicited routes require cluster capabilities, e.g. --cluster",
        ),
        ("--cluster 6222", "missing port in address"),
        ("--cluster nats://a", "address a: missing port in address"),
        ("--cluster nats://a@b:1", "expected cluster password to be set"),
        (
            "--cluster nats://a:1 --routes 127.0.0.1:1",
            "parse \"127.0.0.1:1\": first path segment in URL cannot contain colon",
        ),
    ] {
        assert_eq!(loaded_with(line, "").unwrap_err(), wanted, "{line}");
    }
}
