//! Whole files: those that `nats-server -t` 2.15.1 accepts or refuses, its texts, the differences.

mod tls;
mod websocket;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::base::fuzzing;
use crate::config::conf::fuzz::fuzz_conf;
use crate::config::options::{
    AllowResponses, ConnectionType, Credential, HandshakeFirst, Listen, Login, MappingDestination,
    Permissions, Port, SubjectMapping, SubjectPermission, WriteTimeout,
};
use crate::config::origin::Origin;

/// Loads `c.conf` from a few texts, with a few environment variables.
fn load_from(
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Result<(Options, Vec<String>), String> {
    let files: HashMap<_, _> = files.iter().copied().collect();
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    let sources = Sources {
        file: &|path| match files.get(path.to_str().unwrap()) {
            Some(text) => Ok((*text).to_owned()),
            None => Err("no such file or directory".to_owned()),
        },
        environment: &|name| environment.get(name).map(|value| (*value).to_owned()),
    };
    let mut options = Options::default();
    match load(Path::new("c.conf"), sources, &mut options) {
        Ok(problems) => Ok((options, problems.iter().map(ToString::to_string).collect())),
        Err(error) => Err(error.to_string()),
    }
}

/// The options of a file without problems.
fn options(text: &str) -> Options {
    let (options, problems) = load_from(&[("c.conf", text)], &[]).unwrap();
    assert_eq!(problems, [""; 0], "{text}");
    options
}

/// The problems reported for a refused file.
fn refusal(text: &str) -> String {
    load_from(&[("c.conf", text)], &[]).unwrap_err()
}

/// The problems reported for an accepted file.
fn remarks(text: &str) -> Vec<String> {
    load_from(&[("c.conf", text)], &[]).unwrap().1
}

fn digest(text: &str) -> String {
    options(text).config_digest.unwrap()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let (options, problems) = load_from(&[("c.conf", "# nothing\n")], &[]).unwrap();
    assert_eq!(problems, ["c.conf: config has no values or is empty"]);
    let (file, sha) = (options.config_file.clone(), options.config_digest.clone());
    assert_eq!(options, Options { config_file: file, config_digest: sha, ..Options::default() });
}

#[test]
fn top_level_settings() {
    let options = options(
        r#"
        listen: "127.0.0.1:-1"  // any free port
        Server_Name = A; client_advertise "h:1"
        server_tags: [a, b]; server_metadata { k: v }
        http: "[::1]:8222", http_base_path: "nats/"
        max_payload: 128KB
        max_pending 2m
        MAX_CONN: 0, max_subs: -1, max_sub_tokens: 255, max_closed_clients: 5
        ping_interval: 1m30s, ping_max: 3, write_deadline: "500ms", write_timeout: retry
        no_fast_producer_stall: yes, no_header_support: on
        trace_verbose: true, logtime: off, log_file: /tmp/x.log, log_size_limit: 1kb
        pid_file: /tmp/x.pid, ports_file_dir: ".", workers: 2
        lame_duck_duration: "1m0.5s", lame_duck_grace_period: "1s"
        disable_sublist_cache: true, jetstream: disabled, allow_non_tls: false, syslog: false
        ocsp: false, https_port: 0, accounts {}, mappings {}, gateway {}, remote_syslog: ""
        "#,
    );
    assert_eq!((options.host.as_str(), options.port), ("127.0.0.1", Port::Free));
    assert_eq!(options.server_name.as_deref(), Some("A"));
    assert_eq!(options.client_advertise.as_deref(), Some("h:1"));
    assert_eq!(options.server_tags, ["a", "b"]);
    assert_eq!(options.server_metadata["k"], "v");
    let http = Listen { host: "::1".to_owned(), port: Port::Number(8222) };
    assert_eq!(options.monitor_listen(), Some(http));
    assert_eq!(options.http_base_path, "/nats");
    assert_eq!((options.max_payload, options.max_pending), (128 * 1024, 2_000_000));
    assert_eq!((options.max_connections, options.max_subscriptions), (0, 0));
    assert_eq!((options.max_sub_tokens, options.max_closed_clients), (255, 5));
    assert_eq!((options.ping_interval, options.ping_max), (Duration::from_secs(90), 3));
    assert_eq!(options.write_deadline, Duration::from_millis(500));
    assert_eq!(options.write_timeout, WriteTimeout::Retry);
    assert!(options.no_fast_producer_stall && options.no_header_support);
    assert!(options.log.trace && options.log.trace_verbose && !options.log.logtime);
    assert_eq!(options.log.log_file.as_deref(), Some(Path::new("/tmp/x.log")));
    assert_eq!(options.log.log_size_limit, 1024);
    assert_eq!(options.workers, Some(2));
    assert_eq!(options.lame_duck_duration, Duration::from_millis(60_500));
}

#[test]
fn zero_means_the_default() {
    let options = options(
        "port: 0, max_payload: 0, max_pending: 0, max_control_line: 0, ping_max: 0\n\
         ping_interval: '0', http: 0",
    );
    let (file, sha) = (options.config_file.clone(), options.config_digest.clone());
    assert_eq!(options, Options { config_file: file, config_digest: sha, ..Options::default() });
}

#[test]
fn http_port_alone_listens_at_the_clients_host() {
    let options = options("http_port: -1\nhost: 10.0.0.1");
    let wanted = Listen { host: "10.0.0.1".to_owned(), port: Port::Free };
    assert_eq!(options.monitor_listen(), Some(wanted));
}

/// Digests printed by `nats-server -t` for the same files.
#[test]
fn digests_equal_those_of_the_real_server() {
    let port = "sha256:797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e";
    for text in ["port\n4222", "{ port: 4222\n", "port: 4222\n}\n", "# c\nport = 4222;"] {
        assert_eq!(digest(text), port, "{text:?}");
    }
    for (text, wanted) in [
        (
            "ping_interval: 90s",
            "sha256:812ecc3e185ce82723189a6f680230dd8a827495bf52e163fd408350ed22c649",
        ),
        (
            "server_metadata: {a: \"<x>&\\t\\x08é\\x0c\"}",
            "sha256:78229a172eab0edd5268f1492e0df82630d2f0bf47a0fcde624564383d1f987a",
        ),
        (
            "server_tags: []",
            "sha256:6347faf9d6691d35437cc5ce90e411751bdf4570bc0a89d1ab0d1c3d1936b0e2",
        ),
        (
            "authorization { user: a, password: $2a$11$abc }",
            "sha256:57fea8940d9a716af99fdbaae6ff84f71e6f0c036c0c84fe8f14a9b7e3c14314",
        ),
    ] {
        assert_eq!(digest(text), wanted, "{text:?}");
    }
}

/// Texts and positions printed by `nats-server -t` for the same files.
#[test]
fn refusals_have_the_real_servers_texts() {
    for (text, wanted) in [
        (
            "a: { b\n 1 }\n  bogus: 1",
            "c.conf:1:0: unknown field \"a\"\nc.conf:3:3: unknown field \"bogus\"",
        ),
        ("server_name: \"a b\"", "c.conf:1:0: server name cannot contain spaces"),
        ("listen: \"0.0.0.0\"", "c.conf:1:0: could not parse address string \"0.0.0.0\""),
        ("listen: \"0.0.0.0:x\"", "c.conf:1:0: could not parse port \"x\""),
        ("listen: true", "c.conf:1:0: expected port or host:port, got bool"),
        ("max_payload: 2gb", "c.conf:1:0: max_payload value is too big"),
        ("max_sub_tokens: 0", "c.conf:1:0: max_sub_tokens value can not be negative"),
        ("max_sub_tokens: 256", "c.conf:1:0: max_sub_tokens value is too big"),
        ("write_timeout: x", "c.conf:1:0: write_timeout must be 'default', 'close' or 'retry'"),
        (
            "write_deadline: 5mb5",
            "c.conf:1:0: error parsing write_deadline: time: unknown unit \"mb\" in duration \
             \"5mb5\"",
        ),
        (
            "lame_duck_duration: \"10.5s\"",
            "c.conf:1:0: invalid lame_duck_duration of 10.5s, minimum is 30 seconds",
        ),
        (
            "\nlame_duck_grace_period: \"-1s\"",
            "c.conf:2:1: invalid lame_duck_grace_period, needs to be positive",
        ),
        (
            "jetstream: foo",
            "c.conf:1:0: Expected 'enabled' or 'disabled' for string value, got 'foo'",
        ),
        ("cluster: x", "c.conf:1:0: Expected map to define cluster, got string"),
        (
            "cluster { port: 1, permissions { export { deny: [\"a\", \"b w\"] } } }",
            "c.conf:1:19: cluster export deny: subject \"b w\" is not a valid subject",
        ),
        (
            "cluster { port: 1, permissions { export: \"a b\" } }",
            "c.conf:1:19: cluster export allow: subject \"a b\" is not a valid subject",
        ),
        (
            "cluster { port: 1, authorization { permissions { sub { allow: \"a b\" } } } }",
            "c.conf:1:19: cluster export allow: subject \"a b\" is not a valid subject",
        ),
        ("authorization { user: a, token: b}", "c.conf:1:0: Cannot have a user/pass and token"),
        (
            "authorization { token: b, users: [{user: c}]}",
            "c.conf:1:0: Can not have a token and a users array",
        ),
        (
            "authorization { user: b, users: [{user: c}]}",
            "c.conf:1:0: Can not have a single user/pass and a users array",
        ),
        (
            "authorization { timeout: \"1ss\" }",
            "c.conf:1:16: error parsing authorization config, 'timeout' time: unknown unit \
             \"ss\" in duration \"1ss\"",
        ),
        (
            "authorization { bog: 1, users: [{user: a, bog: 2}]}",
            "c.conf:1:16: unknown field \"bog\"\nc.conf:1:42: unknown field \"bog\"",
        ),
        (
            "authorization { users: [a]}",
            "c.conf:1:24: Expected user entry to be a map/struct, got string",
        ),
        (
            "authorization { users: {} }",
            "c.conf:1:16: Expected users field to be an array, got map",
        ),
        (
            "authorization { users: [{nkey: UAX}]}",
            "c.conf:1:24: Not a valid public nkey for a user",
        ),
        ("authorization { users: [\n {pass: c} ] }", "c.conf:2:2: User entry requires a user"),
        (
            "authorization { users: [\n{user: a}\n{user: a}]}",
            "c.conf:3:1: Duplicate user \"a\" detected",
        ),
        (
            "authorization { users: [{user: a, clients: [FOO, STANDARD]}]}",
            "c.conf:1:34: invalid connection types [\"FOO\"]",
        ),
        (
            "authorization { users: [{user: a, permissions: 3}]}",
            "c.conf:1:34: Expected permissions to be a map/struct, got integer",
        ),
        (
            "authorization { users: [{user: a, permissions: {publish: {bog: 1}, subscribe: \
             {allow: [\"foo bar baz\"]}}}]}",
            "c.conf:1:58: Unknown field name \"bog\" parsing subject permissions, only 'allow' \
             or 'deny' are permitted\n\
             c.conf:1:88: subject \"foo bar baz\" is not a valid subject",
        ),
        (
            "authorization { users: [{user: a, permissions: {publish: 1, allow_responses: 3, \
             bog: 1}}]}",
            "c.conf:1:48: Expected subject permissions to be a subject, or array of subjects, \
             got integer\n\
             c.conf:1:60: error parsing response permissions, expected a boolean or a map\n\
             c.conf:1:80: Unknown field \"bog\" parsing permissions",
        ),
        (
            "authorization { users: [{user: a, permissions: {publish: \"a..b\"}}]}",
            "c.conf:1:48: subject \"a..b\" is not a valid subject",
        ),
        (
            "authorization { users: [{user: a, permissions: {publish: \"a q\"}}]}",
            "c.conf:1:48: subject \"a q\" is not a valid subject",
        ),
        (
            "authorization { users: [{user: a, permissions: {allow_responses: {expires: 3}}}]}",
            "c.conf:1:66: error parsing expires, not a duration string",
        ),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn mappings_belong_to_their_account() {
    let to = |subject: &str, weight| MappingDestination::new(subject).weight(weight);
    let options = options(
        "mappings { f: g, \"a.*\": [ {dest: \"b.$1\", weight: 25}\n
           {DESTINATION: c, weight: \"5%\"}, {dest: d, weight: 100%, cluster: C} ]
           maps: null, none: [] }
         MAPS = { f: { dest: h, weight: 7, cluster: \"\" } }
         accounts { A { mappings { \">\": \"pre.>\" } }, B { maps {} } }",
    );
    assert_eq!(
        options.mappings,
        [
            SubjectMapping::new("f").with(to("g", 100)),
            SubjectMapping::new("a.*")
                .with(to("b.$1", 25))
                .with(to("c", 5))
                .with(to("d", 100).in_cluster("C")),
            SubjectMapping::new("maps").with(to("null", 100)),
            SubjectMapping::new("none"),
            SubjectMapping::new("f").with(to("h", 7)),
        ]
    );
    let accounts: Vec<_> =
        options.accounts.iter().map(|one| (one.name.as_str(), &*one.mappings)).collect();
    let everything = [SubjectMapping::new(">").with(to("pre.>", 100))];
    assert_eq!(accounts, [("A", &everything[..]), ("B", &[])]);
}

/// The files that `tests/it/configuration.rs` shows to nats-server are not here.
#[test]
fn mappings_that_nats_server_cannot_apply_are_refused() {
    for (text, wanted) in [
        (
            "f: \"\"",
            "11: Error adding mapping for \"f\" to \"\" : invalid mapping destination: invalid \
             transform",
        ),
        (
            "f: [ {weight: 5} ]",
            "11: Error adding mapping for \"f\" : invalid mapping destination: invalid transform",
        ),
        (
            "\"f.*\": \"$0\"",
            "12: Error adding mapping for \"f.*\" to \"$0\" : invalid mapping destination: \
             wildcard index out of range in $0: [0]",
        ),
        ("f: [ {dest: g} ]", "16: Missing weight for mapping destination \"g\""),
        ("f: { dest: 5, weight: 5 }", "16: dest: expected a string, got integer"),
        ("f: { dest: g, weight: true }", "25: weight: expected a number of percent, got bool"),
    ] {
        assert_eq!(refusal(&format!("mappings {{ {text} }}")), format!("c.conf:1:{wanted}"));
    }
    assert_eq!(refusal("mappings: [a]"), "c.conf:1:0: mappings: expected a map, got array");
}

#[test]
fn a_wrong_type_names_the_setting() {
    assert_eq!(
        refusal("debug: \"true\"\n trace: 1\nport: 70000\nmax_pending: -5"),
        "c.conf:1:0: debug: expected a bool (true or false, without quotes), got string\n\
         c.conf:2:2: trace: expected a bool (true or false, without quotes), got integer\n\
         c.conf:3:1: port: port 70000 is out of range (1 to 65535, or -1 for any free port)\n\
         c.conf:4:1: max_pending can not be negative: -5"
    );
}

#[test]
fn grammar_errors_end_the_reading() {
    assert_eq!(
        refusal("bogus: 1\nport: 4222 debug: true"),
        "c.conf:2:12: Parse error on line 2: 'Expected a top-level value to end with a new line, \
         comment or EOF, but got 'd' instead.'"
    );
}

#[test]
fn what_restricts_access_is_never_ignored() {
    for (text, wanted) in [
        (
            "accounts { A { nkey: U } }",
            "c.conf:1:15: Not a valid public nkey for an account: \"U\"",
        ),
        ("accounts { $G { users: [] } }", "c.conf:1:11: \"$G\" is a Reserved Account"),
        ("accounts { \"A B\" {} }", "c.conf:1:12: account name \"A B\" may not contain spaces"),
        ("accounts [\"A\tB\"]", "c.conf:1:11: account name \"A\\tB\" may not contain spaces"),
        ("accounts [ A, A ]", "c.conf:1:14: Duplicate Account Entry: A"),
        ("accounts { A: 5 }", "c.conf:1:11: Expected map entries for accounts"),
        (
            "accounts { A { users: [{user: a}] } }\nauthorization { token: x }",
            "c.conf:1:15: Can not have a token and accounts",
        ),
        (
            "authorization { user: x }\naccounts { A { users: [{user: a}] } }",
            "c.conf:2:16: Can not have a single user/pass and accounts",
        ),
        (
            "accounts { A { users: [{user: a}] }, B { users: [{user: a}] } }",
            "c.conf:1:41: Duplicate user \"a\" detected",
        ),
        ("operator: x", "c.conf:1:0: operator mode (JWT) is not supported"),
        ("proxy_protocol: true", "c.conf:1:0: the PROXY protocol is not supported"),
        ("gateway { name: a }", "c.conf:1:0: gateways are not supported"),
        ("leafnodes { remotes: [{url: x}] }", "c.conf:1:12: leaf nodes are not supported"),
        (
            "authorization { auth_callout { issuer: A } }",
            "c.conf:1:16: auth_callout is not supported",
        ),
        ("authorization { password: x }", "c.conf:1:0: a password without a user"),
        (
            "authorization { users: [{user: a, proxy_required: true}] }",
            "c.conf:1:34: trusted proxies are not supported",
        ),
        ("remote_syslog: \"a:1\"", "c.conf:1:0: error invalid network type: \"a:1\""),
        ("operator: \"\"", "c.conf:1:0: operator mode (JWT) is not supported"),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn what_the_server_can_do_without_is_a_notice() {
    const TLS: &str = "cert_file: c, key_file: k, ca_file: a";
    for (text, wanted) in [
        (
            &*format!("cluster {{ port: 1, tls {{ {TLS}, connection_rate_limit: 5 }} }}"),
            "c.conf:1:19: connection_rate_limit has no effect in a cluster",
        ),
        (
            "websocket { no_tls: true }",
            "c.conf:1:0: a websocket block without port or listen has no effect",
        ),
        (
            "leafnodes { listen: \"127.0.0.1:-1\" }",
            "c.conf:1:0: leaf nodes are not supported: no listener is opened for them",
        ),
        ("mqtt { port: 1 }", "c.conf:1:0: mqtt has no effect: no MQTT listener is opened"),
        (
            "jetstream { store_dir: /tmp/x }",
            "c.conf:1:0: jetstream has no effect: nothing is stored, there is no JetStream here",
        ),
        (
            "jetstream: enabled",
            "c.conf:1:0: jetstream has no effect: nothing is stored, there is no JetStream here",
        ),
        (
            "store_dir: /tmp/x",
            "c.conf:1:0: store_dir has no effect: nothing is stored, there is no JetStream here",
        ),
        ("prof_port: 1", "c.conf:1:0: prof_port has no effect: there is no Go profiler here"),
        (
            "cluster { name: x }",
            "c.conf:1:0: a cluster without port or listen has no effect without --cluster",
        ),
        (
            "authorization { users: [] }",
            "c.conf:1:16: the list of users is empty: everybody may connect",
        ),
        (
            "authorization { token: t, permissions: {publish: x} }",
            "c.conf:1:0: permissions apply to a list of users only: this login may do everything",
        ),
        (
            "ping_interval: 2",
            "c.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be \
             converted to a duration",
        ),
        (
            "authorization { timeout: 61 , token: t}",
            "c.conf:1:16: invalid use of field \"timeout\": timeout of 61 (61.000000 seconds) is \
             high, consider keeping it under 60 seconds. possibly caused by unquoted duration; \
             use '1m' instead of 1m, for example",
        ),
    ] {
        assert_eq!(remarks(text), [wanted], "{text}");
    }
}

#[test]
fn users_and_permissions() {
    let options = options(
        r#"
        P = { publish: "a.>", subscribe { allow: [ "b", "q  v.*" ], deny = c } }
        authorization {
          timeout: 0.5
          default_permissions { publish: { allow: [] } }
          users = [
            { user: a, pass: $2a$04$hash, permission: $P }
            { username: b, password: "x", allowed_connection_types: [standard, "WEBSOCKET"] }
            { nkey: UA3M3XWP6GRYCTWSS6GAH3LP7LDN7HC6HX4CUWP27PKCCC5OPK6FW7MX
              permissions { publish { deny: x }, allow_responses: { max: 2, expires: "-1s" } } }
          ]
        }
        no_auth_user: b
        "#,
    );
    let authorization = &options.authorization;
    assert_eq!(authorization.timeout, Some(Duration::from_millis(500)));
    assert_eq!(authorization.no_auth_user.as_deref(), Some("b"));
    let Login::Users(users) = &authorization.login else { panic!("users") };
    assert_eq!(
        users[0].credential,
        Credential::Password { user: "a".to_owned(), password: "$2a$04$hash".to_owned() }
    );
    let list = |subjects: &[&str]| subjects.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        users[0].permissions,
        Some(Box::new(Permissions {
            publish: SubjectPermission { allow: Some(list(&["a.>"])), deny: list(&[]) },
            subscribe: SubjectPermission { allow: Some(list(&["b", "q v.*"])), deny: list(&["c"]) },
            allow_responses: None,
        }))
    );
    // The default permissions; an empty list allows everything.
    assert_eq!(users[1].permissions, Some(Box::default()));
    let types = [ConnectionType::Standard, ConnectionType::Websocket];
    assert_eq!(users[1].allowed_connection_types, types);
    assert!(matches!(&users[2].credential, Credential::Nkey(key) if key.starts_with("UA3M")));
    let permissions = users[2].permissions.as_ref().unwrap();
    assert_eq!(permissions.publish.allow, Some(vec![]), "only replies");
    assert_eq!(permissions.allow_responses, Some(AllowResponses { max: 2, expires: None }));
}

#[test]
fn a_variable_may_have_the_name_of_a_setting() {
    let text = "authorization { PASS: x\n users: [{user: a, password: $PASS}] }";
    assert!(matches!(options(text).authorization.login, Login::Users(_)));
}

#[test]
fn a_key_that_comes_twice_keeps_its_last_value() {
    assert_eq!(options("ping_max: 3, port: 1, ping_max: 4").ping_max, 4);
    assert_eq!(options("P: 5, P: 6, max_subs: $P, P: $P, ping_max: $P").ping_max, 6);
    let files = [("c.conf", "ping_max: 3, include x"), ("x", "ping_max: 4")];
    assert_eq!(load_from(&files, &[]).unwrap().0.ping_max, 4);
    let files = [("c.conf", "\n\nPING_MAX: 3, include x"), ("x", "ping_max: 4")];
    assert_eq!(load_from(&files, &[]).unwrap().0.ping_max, 4, "of two spellings the later one");
}

#[test]
fn the_order_of_publish_and_allow_responses_does_not_matter() {
    for permissions in
        ["publish: {deny: x}, allow_responses: true", "allow_responses: true, publish: {deny: x}"]
    {
        let text =
            format!("authorization {{ users: [{{user: a, permissions: {{{permissions}}}}}] }}");
        let Login::Users(users) = options(&text).authorization.login else { panic!("users") };
        assert_eq!(users[0].permissions.as_ref().unwrap().publish.allow, Some(vec![]));
    }
}

#[test]
fn includes_are_relative_and_merge_where_they_stand() {
    let files = [
        ("c.conf", "authorization { include sub/auth.conf\n timeout: 1 }\nport: 1"),
        ("sub/auth.conf", "user: a\ninclude 'deep.conf'"),
        ("sub/deep.conf", "password: b"),
    ];
    let (options, _) = load_from(&files, &[]).unwrap();
    let login = Login::Single { user: "a".to_owned(), password: "b".to_owned() };
    assert_eq!(options.authorization.login, login);

    let missing = load_from(&[("c.conf", "include 'x'")], &[]).unwrap_err();
    let wanted = "error parsing include file 'x', open x: no such file or directory";
    assert_eq!(missing, format!("c.conf:1:0: {wanted}"));
    let unknown = load_from(&[("c.conf", "include x"), ("x", "bogus: 1")], &[]).unwrap_err();
    assert_eq!(unknown, "x:1:0: unknown field \"bogus\"");
    let cycle = load_from(&[("c.conf", "include c.conf")], &[]).unwrap_err();
    assert!(cycle.ends_with("c.conf: included too often"), "{cycle}");
}

#[test]
fn variables_come_from_the_file_then_from_the_environment() {
    let text =
        "N: A\nserver_name: $N\nauthorization { N: B, user: $N, password: $PW }\nport: $PORT";
    let environment = [("PORT", "$P2"), ("P2", "4333"), ("PW", "$2a$11$x"), ("N", "C")];
    let (options, _) = load_from(&[("c.conf", text)], &environment).unwrap();
    assert_eq!(options.server_name.as_deref(), Some("A"));
    assert_eq!(options.port, Port::Number(4333));
    let login = Login::Single { user: "B".to_owned(), password: "$2a$11$x".to_owned() };
    assert_eq!(options.authorization.login, login);

    let wanted = "c.conf:1:6: variable reference for 'NOPE' on line 1 can not be found";
    assert_eq!(refusal("port: $NOPE"), wanted);
    let cycle = load_from(&[("c.conf", "port: $X")], &[("X", "$Y"), ("Y", "$X")]).unwrap_err();
    assert_eq!(
        cycle,
        "c.conf:1:6: variable reference for 'X' on line 1 could not be parsed: variable reference \
         for 'Y' on line 1 could not be parsed: variable reference for 'X' on line 1 could not be \
         parsed: variable reference cycle for 'X'"
    );
    assert_eq!(refusal("A: x\nB: $A"), "c.conf:2:1: unknown field \"B\"");
}

#[test]
fn variables_cannot_grow_without_end() {
    let mut text = "A0: [x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 0..10 {
        text += &format!("A{}: [$A{n}, $A{n}, $A{n}, $A{n}, $A{n}, $A{n}, $A{n}, $A{n}]\n", n + 1);
    }
    assert!(refusal(&text).ends_with("copies too much"));
}

/// The forms in the clients' own test suites.
#[test]
fn files_of_the_client_suites() {
    let (_, problems) = load_from(
        &[(
            "c.conf",
            r#"{"host": "127.0.0.1", "port": -1, "http": "127.0.0.1:-1",
                "leafnodes": {"listen": "127.0.0.1:-1"}, "server_tags": [],
                "websocket": {"port": -1, "no_tls": true}, "ports_file_dir": "/tmp"}"#,
        )],
        &[],
    )
    .unwrap();
    assert_eq!(problems.len(), 1);
    options(
        "port: 4222\nnet: 127.0.0.1\nmax_payload: 1048576, ping_interval: \
         \"100ms\"\nauthorization: { timeout: \"2s\", token: \"x\" }",
    );
}

#[test]
fn files_in_conf_load() {
    let sources = Sources {
        file: &|path| std::fs::read_to_string(path).map_err(|error| error.to_string()),
        environment: &|_| None,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let problems = load(&path, sources, &mut Options::default());
        assert_eq!(problems, Ok(vec![]), "{}", path.display());
    }
}

#[test]
fn fuzz_conf_corpus_and_its_mutations() {
    fuzzing::run("conf", 1_500, fuzz_conf, |random, corpus| {
        let mut bytes = random.choice(corpus).unwrap().clone();
        if random.u8(..3) == 0 {
            bytes.truncate(random.usize(..bytes.len()));
            return bytes;
        }
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = *random.choice(b" \n{}[]()\"'\\:=,;#/$.-0a\0\xff").unwrap(),
                1 => drop(bytes.remove(at)),
                _ => {
                    let other = random.choice(corpus).unwrap();
                    let from = random.usize(..other.len());
                    let to = random.usize(from..other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
        bytes
    });
}
