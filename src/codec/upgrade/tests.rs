use super::*;
use crate::base::fuzzing;
use crate::config::options::{Listen, Port};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h.com\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n";

fn options() -> Websocket {
    Websocket::new(Listen { host: "127.0.0.1".to_owned(), port: Port::Free })
}

/// Judges the valid request with another `old`, and with more header lines.
fn judge(options: &Websocket, old: &str, new: &str, more: &str) -> Result<Upgrade, RefusedUpgrade> {
    assert!(REQUEST.contains(old), "{old}");
    let head = format!("{}{more}\r\n", REQUEST.replace(old, new));
    let (_, judged) = RequestHead::read(head.as_bytes(), |request, headers| {
        Upgrade::read(request, headers, options)
    })
    .unwrap();
    judged
}

#[test]
fn a_request_is_answered_in_the_real_servers_order() {
    let mut options = options();
    options.compression = true;
    options.headers.insert("x".to_owned(), "y".to_owned());
    let more =
        "Sec-WebSocket-Extensions: foo; Permessage-Deflate; bogus\r\nNats-No-Masking: true\r\n";
    let upgrade = judge(&options, "Host", "Host", more).unwrap();
    assert_eq!(
        upgrade.answer(options.headers.iter()),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: \
         permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\
         Nats-No-Masking: true\r\nx: y\r\n\r\n"
    );
    assert_eq!(upgrade.agreed, Agreed { masked: false, compressed: true });
    let more = "Sec-WebSocket-Extensions: permessage-deflateX\r\nNats-No-Masking: True\r\n";
    let upgrade = judge(&options, "Host", "Host", more).unwrap();
    assert_eq!(upgrade.agreed, Agreed { masked: true, compressed: false });
}

#[test]
fn what_is_wrong_is_told_in_the_real_servers_words() {
    let options = options();
    for (old, new, status, why) in [
        ("GET / ", "GET /x/mqtt?a ", 404, "mqtt websocket endpoint not enabled"),
        ("GET", "POST", 405, "request method must be GET"),
        ("GET", "HEAD", 405, "request method must be GET"),
        ("h.com", "", 400, "'Host' missing in request"),
        (": websocket", ": web", 400, "invalid value for header 'Upgrade'"),
        (": Upgrade", ": close", 400, "invalid value for header 'Connection'"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", 400, "key missing"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400, "invalid websocket key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400, "invalid websocket key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "!GhlIHNhbXBsZSBub25jZQ==", 400, "invalid websocket key"),
        ("13", "8", 400, "invalid version"),
    ] {
        let refused = judge(&options, old, new, "").unwrap_err();
        assert_eq!((refused.status, refused.why.as_str()), (status, why), "{new}");
    }
    for (old, new) in [
        (": Upgrade", ": keep-alive, UPGRADE"),
        (": websocket", ": x\r\nupgrade: WebSocket"),
        ("13", "8, 13"),
        ("jZQ==", "jZR=="),
        ("GET / ", "GET /LEAFNODE?/leafnode "),
        ("GET / ", "GET /%6dqtt "),
    ] {
        let upgrade = judge(&options, old, new, "").unwrap();
        assert_eq!(upgrade.wanted, Wanted::Clients, "{new}");
    }
    let leafnode = judge(&options, "GET / ", "GET /x/leafnode?a ", "").unwrap();
    assert_eq!(leafnode.wanted, Wanted::Leafnodes);
}

#[test]
fn origins_are_checked_where_that_is_asked_for() {
    let mut options = options();
    let origin = |options: &Websocket, host: &str, origin: &str| {
        let more = format!("Origin: {origin}\r\n");
        judge(options, "h.com", host, &more).map(|_| ()).map_err(|refused| refused.why)
    };
    assert_eq!(origin(&options, "h.com", "null"), Ok(()));
    options.same_origin = true;
    for (host, given) in [
        ("h.com", "http://h.com"),
        ("h.com", "HTTP://u@H.com/path"),
        ("h.com:80", "http://h.com"),
        ("h.com:8080", "http://h.com:8080"),
        ("h.com", ""),
    ] {
        assert_eq!(origin(&options, host, given), Ok(()), "{given}");
    }
    let not_same = Err("origin not allowed: not same origin".to_owned());
    for (host, given) in [
        ("h.com", "https://h.com"),
        ("h.com", "file://"),
        ("h.com:8080", "http://h.com"),
        ("h.com:443", "https://h.com"),
    ] {
        assert_eq!(origin(&options, host, given), not_same, "{given}");
    }
    let none = origin(&options, "h.com", "null").unwrap_err();
    assert_eq!(none, "origin not allowed: parse \"null\": invalid URI for request");
    options.same_origin = false;
    options.allowed_origins = vec![Origin::parse("https://s.com:8443").unwrap()];
    assert_eq!(origin(&options, "h.com", "HTTPS://s.com:8443/x"), Ok(()));
    let not_listed = Err("origin not allowed: not in the allowed list".to_owned());
    assert_eq!(origin(&options, "s.com:8443", "https://s.com"), not_listed);
    let old = judge(&options, "13", "13", "Sec-WebSocket-Origin: http://a.com\r\n").unwrap_err();
    assert_eq!(old.status, 403);
}

#[test]
fn cookies_carry_credentials() {
    let mut options = options();
    options.user_cookie = Some("u".to_owned());
    options.pass_cookie = Some("p".to_owned());
    options.token_cookie = Some("t".to_owned());
    let cookies = |more| judge(&options, "13", "13", more).unwrap().cookies;
    let found = cookies("Cookie: a=b; u=one; u=\"t w\"\r\nCookie: p=%41; t=a\\b; P=x\r\n").unwrap();
    assert_eq!((found.user.as_deref(), found.pass.as_deref()), (Some("t w"), Some("%41")));
    assert_eq!(found.auth_token, None);
    assert_eq!(cookies("Cookie: u=; x=y\r\n"), None);
    let found = cookies("Cookie: u = one ;p=two\t\r\n").unwrap();
    assert_eq!((found.user.as_deref(), found.pass.as_deref()), (Some(" one"), Some("two")));
}

#[test]
fn proxies_and_browsers_are_known_by_their_headers() {
    let options = options();
    let judge = |more: &str| judge(&options, "13", "13", more).unwrap();
    for (given, forwarded) in [
        ("1.2.3.4", Some("1.2.3.4")),
        ("2001:db8::7", Some("[2001:db8::7]")),
        ("1.2.3.4, 5.6.7.8", None),
        ("a\tb", None),
    ] {
        let upgrade = judge(&format!("X-Forwarded-For: {given}\r\n"));
        assert_eq!(upgrade.forwarded.as_deref(), forwarded);
    }
    const MAX: usize = usize::MAX;
    for (agent, plain, compressed) in [
        ("nats", MAX, MAX),
        ("Mozilla/5.0 Chrome/1 Safari/2", 4096, 4096),
        ("Mozilla/5.0 Version/1 Safari/2", 4096, MAX),
    ] {
        let upgrade = judge(&format!("User-Agent: {agent}\r\n"));
        assert_eq!(upgrade.frame_len_max, FrameLenMax { plain, compressed }, "{agent}");
    }
}

#[test]
fn whatever_comes_is_judged() {
    fuzzing::run("upgrade", 5_000, fuzz_upgrade, fuzzing::mutated);
}
