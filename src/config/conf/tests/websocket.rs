//! The block `websocket`.

use super::*;

#[test]
fn a_block_for_websocket_in_all_its_parts() {
    let options = options(
        "ws { host: \"[::1]\", port: 8080, no_tls: true, compress: true, origin: \"http://a.com\"
            same_origin: true, headers { x: y }, handshake_timeout: 5, ping_interval: \"3s\"
            user_cookie: u, pass_cookie: p, token_cookie: t, advertise: \"b:1\"
            authorization { user: a, password: b, timeout: 4 } }",
    );
    let websocket = options.websocket.as_ref().unwrap();
    assert_eq!(options.check(), Ok(()));
    assert_eq!((&*websocket.listen.host, websocket.listen.port), ("::1", Port::Number(8080)));
    assert!(websocket.compression && websocket.same_origin);
    assert_eq!(websocket.allowed_origins, [Origin::parse("HTTP://A.com:80/").unwrap()]);
    assert_eq!(websocket.headers["x"], "y");
    let seconds = Duration::from_secs;
    assert_eq!(websocket.handshake_timeout, seconds(5));
    assert_eq!(websocket.ping_interval, Some(seconds(3)));
    let authorization = websocket.authorization(&options.authorization);
    assert_eq!(websocket.auth_timeout, Some(seconds(4)));
    assert!(matches!(authorization.login, Login::Single { user, .. } if user == "a"));
    assert_eq!(websocket.token_cookie.as_deref(), Some("t"));
}

#[test]
fn websocket_with_tls_has_one_time_for_handshakes_unless_two_are_set() {
    let times = |block: &str, more: &str| {
        let tls = format!("tls {{ cert_file: c, key_file: k, {more} }}");
        let options = options(&format!("websocket {{ port: 1, {tls}, {block} }}"));
        assert_eq!(options.check(), Ok(()));
        let websocket = options.websocket.unwrap();
        let tls = websocket.tls.unwrap();
        [tls.timeout, websocket.handshake_timeout].map(|time| time.as_secs())
    };
    assert_eq!(times("", ""), [2, 2]);
    assert_eq!(times("handshake_timeout: 5", "handshake_first: true"), [5, 5]);
    assert_eq!(times("handshake_timeout: 5", "timeout: 3"), [3, 5]);
    assert_eq!(times("no_tls: true", "timeout: 3"), [3, 2]);
}

#[test]
fn a_block_for_websocket_that_cannot_be_is_refused() {
    const HEADER: &str = "websocket: invalid header";
    for (block, wanted) in [
        ("port: -1", "c.conf:1:0: websocket requires TLS configuration"),
        ("listen: x", "could not parse address string \"x\""),
        ("bogus: 1", "unknown field \"bogus\""),
        ("origin: x", "unable to parse allowed origin: parse \"x\": invalid URI for request"),
        (
            "origins: \"*\"",
            "unable to parse allowed origin \"*\": allowed origins must be absolute URLs with http \
             or https scheme",
        ),
        ("origins: [\"http://\"]", "unable to parse allowed origin \"http://\": host is required"),
        ("headers { Host: x }", &format!("{HEADER} \"Host\" not allowed")),
        (
            "headers { Sec-WebSocket-Accept: x }",
            &format!("{HEADER} \"Sec-WebSocket-Accept\", \"Sec-WebSocket-\" prefix not allowed"),
        ),
        ("headers { a: 5 }", "error parsing header key a: unsupported type integer"),
        ("headers { a: \"b\\r\\nc: d\" }", "\"b\\r\\nc: d\" is no value of a header"),
        ("headers { \"a b\": c }", "\"a b\" is no name of a header"),
        (
            "jwt_cookie: j",
            "trusted operators or trusted keys configuration is required for JWT authentication \
             via cookie \"j\"",
        ),
        ("authorization { users: [] }", "unknown field \"users\""),
        ("tls { cert_file: c }", "missing 'key_file' in TLS configuration"),
        (
            "tls { cert_file: c, key_file: k, handshake_first: auto }",
            "'handshake_first' of websocket: clients always begin, without a delay",
        ),
    ] {
        let text = refusal(&format!("websocket {{ {block} }}"));
        assert!(text.ends_with(wanted), "{block}: {text}");
    }
    let users = "authorization { users: [{user: u, password: p}] }";
    for (block, wanted) in [
        (
            "authorization { user: a }",
            "websocket authentication username not compatible with presence of users/nkeys",
        ),
        (
            "authorization { token: a }",
            "websocket authentication token not compatible with presence of users/nkeys",
        ),
        (
            "no_auth_user: z",
            "no_auth_user: \"z\" not present as user or nkey in authorization block or account \
             configuration",
        ),
        ("advertise: \"x:y\"", "websocket advertise: \"x:y\" is not HOST or HOST:PORT"),
    ] {
        let text = format!("{users}\nwebsocket {{ port: -1, no_tls: true, {block} }}");
        assert_eq!(options(&text).check().unwrap_err().to_string(), wanted);
    }
}
