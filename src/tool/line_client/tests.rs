//! The client against a server played by hand at the other end of an in-process pipe.

use tokio::io::{AsyncBufReadExt, BufReader, BufStream, DuplexStream};

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// The server's end of the pipe.
pub(crate) struct Played(BufReader<DuplexStream>);

impl Played {
    pub(crate) async fn say(&mut self, lines: &str) {
        self.0.write_all(lines.as_bytes()).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> String {
        let mut line = String::new();
        timeout(SOON, self.0.read_line(&mut line)).await.expect("a line").unwrap();
        line.trim_end().into()
    }

    pub(crate) async fn expect(&mut self, line: &str) {
        assert_eq!(self.hear().await, line);
    }

    /// Expects the SUB of a client's first request; returns the prefix of its reply subjects.
    pub(crate) async fn expect_inbox(&mut self) -> String {
        let sub = self.hear().await;
        sub.strip_prefix("SUB ").unwrap().strip_suffix("* 1").unwrap().to_owned()
    }
}

/// Both ends of a pipe; the client's first.
fn pipe() -> (DuplexStream, Played) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (near, Played(BufReader::new(far)))
}

/// A client that has connected, and its server.
pub(crate) async fn connected() -> (LineClient, Played) {
    let (near, server) = pipe();
    greeted(near, server).await
}

/// The same over a stream of any kind.
async fn greeted<S>(near: S, mut server: Played) -> (LineClient, Played)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let options = LineOptions { name: Some("test".into()), ..LineOptions::default() };
    let greet = async {
        server.say("INFO {\"headers\":true,\"max_payload\":100} \r\n").await;
        assert!(server.hear().await.starts_with("CONNECT {\"verbose\":false,"));
        server.expect("PING").await;
        server.say("PONG\r\nINFO {\"headers\":true,\"max_payload\":100,\"port\":7} \r\n").await;
    };
    let (client, ()) = tokio::join!(LineClient::connect(near, &options), greet);
    (client.unwrap(), server)
}

fn is_closed(err: &LineErr, reason: &str) -> bool {
    matches!(err, LineErr::Closed(why) if **why == *reason)
}

#[tokio::test]
async fn refused_credentials_are_told() {
    let (near, mut server) = pipe();
    let options = LineOptions { token: Some("wrong".into()), ..LineOptions::default() };
    let refuse = async {
        server.say("INFO {\"auth_required\":true} \r\n").await;
        assert!(server.hear().await.contains("\"auth_token\":\"wrong\""));
        server.say("-ERR 'Authorization Violation'\r\n").await;
    };
    let (client, ()) = tokio::join!(LineClient::connect(near, &options), refuse);
    assert!(matches!(client, Err(LineErr::Refused(text)) if &*text == "Authorization Violation"));
}

#[tokio::test]
async fn a_seed_signs_the_nonce() {
    let pair = KeyPair::new_user();
    let seed = Some(pair.seed().unwrap());
    for jwt in [None, Some("eyJ.x.y".to_owned())] {
        let (near, mut server) = pipe();
        let options = LineOptions { seed: seed.clone(), jwt: jwt.clone(), ..Default::default() };
        let greet = async {
            server.say("INFO {\"nonce\":\"abc\"} \r\n").await;
            let connect = server.hear().await;
            let mut read = Connect::default();
            read.overlay(&connect.as_bytes()["CONNECT ".len()..]).unwrap();
            let credentials = read.credentials.unwrap();
            assert_eq!(credentials.jwt.as_deref(), jwt.as_deref());
            let nkey = credentials.nkey.is_some_and(|nkey| *nkey == *pair.public_key());
            assert_eq!(nkey, jwt.is_none());
            let sig = BASE64URL_NOPAD.decode(credentials.sig.unwrap().as_bytes()).unwrap();
            pair.verify(b"abc", &sig).unwrap();
            server.say("-ERR 'enough'\r\n").await;
        };
        let (client, ()) = tokio::join!(LineClient::connect(near, &options), greet);
        assert!(matches!(client, Err(LineErr::Refused(_))));
    }
    let (near, mut server) = pipe();
    server.say("INFO {\"nonce\":\"abc\"} \r\n").await;
    let seed = KeyPair::new_account().seed().unwrap();
    let options = LineOptions { seed: Some(seed), ..Default::default() };
    let refused = LineClient::connect(near, &options).await;
    assert!(matches!(refused, Err(LineErr::InvalidSeed)));
}

#[tokio::test]
async fn what_is_no_nats_is_told() {
    let (near, mut server) = pipe();
    server.say("SSH-2.0-OpenSSH\r\n").await;
    let client = LineClient::connect(near, &LineOptions::default()).await;
    assert!(matches!(client, Err(LineErr::Protocol(ServerOpErr::UnknownVerb))));
}

#[tokio::test]
async fn publications_are_written_in_order() {
    let (client, mut server) = connected().await;
    client.publish("a.b", "hi").await.unwrap();
    let headers = [("A".into(), "1".into())];
    let message =
        OutboundMessage { subject: b"c", reply: Some(b"r"), headers: &headers, payload: b"x" };
    client.send(&message).await.unwrap();
    for line in ["PUB a.b 2", "hi", "HPUB c r 18 19", "NATS/1.0", "A: 1", "", "x"] {
        server.expect(line).await;
    }
}

#[tokio::test]
async fn what_would_break_the_protocol_is_not_sent() {
    let (client, mut server) = connected().await;
    for subject in ["", "a b", "a\tb", "a\r\nPUB b 0\r\n"] {
        assert!(matches!(client.publish(subject, "").await, Err(LineErr::InvalidSubject)));
        assert!(matches!(client.subscribe(subject, None).await, Err(LineErr::InvalidSubject)));
    }
    assert!(matches!(client.subscribe("a", Some("q q")).await, Err(LineErr::InvalidSubject)));
    let headers = [("A".into(), "1\r\nB: 2".into())];
    let message = OutboundMessage { subject: b"c", reply: None, headers: &headers, payload: b"" };
    assert!(matches!(client.send(&message).await, Err(LineErr::InvalidHeader)));
    let large = client.publish("a", [0; 101]).await;
    assert!(matches!(large, Err(LineErr::PayloadTooLarge(100))));
    client.publish("done", "").await.unwrap();
    server.expect("PUB done 0").await;
}

#[tokio::test]
async fn a_subscription_gets_its_messages_and_ends_when_dropped() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe("a.*", Some("q")).await.unwrap();
    server.expect("SUB a.* q 1").await;
    server.say("MSG a.b 1 2\r\nhi\r\nMSG a.c 9 2\r\nno\r\nMSG a.d 1 r 2\r\nho\r\n").await;
    let first = subscription.next().await.unwrap();
    assert_eq!((&first.subject[..], &first.payload[..]), (&b"a.b"[..], &b"hi"[..]));
    let second = subscription.next().await.unwrap();
    assert_eq!(second.reply.as_deref(), Some(&b"r"[..]));
    drop(subscription);
    server.expect("UNSUB 1").await;
}

#[tokio::test]
async fn a_subscription_ends_after_its_max() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe("a", None).await.unwrap();
    subscription.unsubscribe_after(2);
    server.expect("SUB a 1").await;
    server.expect("UNSUB 1 2").await;
    server.say("MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\nMSG a 1 1\r\n3\r\n").await;
    assert_eq!(&subscription.next().await.unwrap().payload[..], b"1");
    assert_eq!(&subscription.next().await.unwrap().payload[..], b"2");
    assert_eq!(subscription.next().await, None);
}

#[tokio::test]
async fn a_slow_subscription_loses_messages_and_counts_them() {
    let (client, mut server) = connected().await;
    let slow = client.subscribe("a", None).await.unwrap();
    server.expect("SUB a 1").await;
    server.say(&"MSG a 1 0\r\n\r\n".repeat(SUBSCRIPTION_MAX + 3)).await;
    let flush = tokio::spawn(async move { (client.flush().await, client) });
    server.expect("PING").await;
    server.say("PONG\r\n").await;
    flush.await.unwrap().0.unwrap();
    assert_eq!(slow.dropped(), 3);
}

#[tokio::test]
async fn requests_share_one_inbox_and_find_their_answers() {
    let (client, mut server) = connected().await;
    let serve = async {
        let inbox = server.expect_inbox().await;
        server.expect(&format!("PUB a {inbox}1 0")).await;
        server.expect("").await;
        server.expect(&format!("PUB b {inbox}2 0")).await;
        server.expect("").await;
        server.say(&format!("MSG {inbox}2 1 1\r\nB\r\nMSG {inbox}1 1 1\r\nA\r\n")).await;
    };
    let (a, b, ()) =
        tokio::join!(client.request("a", "", SOON), client.request("b", "", SOON), serve);
    assert_eq!(&a.unwrap().payload[..], b"A");
    assert_eq!(&b.unwrap().payload[..], b"B");
}

#[tokio::test]
async fn a_request_that_nobody_takes_fails() {
    let (client, mut server) = connected().await;
    let serve = async {
        let inbox = server.expect_inbox().await;
        let mut block = Vec::new();
        headers::write_no_responders(b"a", &mut block);
        let (len, block) = (block.len(), String::from_utf8(block).unwrap());
        server.say(&format!("HMSG {inbox}1 1 {len} {len}\r\n{block}\r\n")).await;
    };
    let (answer, ()) = tokio::join!(client.request("a", "", SOON), serve);
    assert!(matches!(answer, Err(LineErr::NoResponders)));
    let late = client.request("a", "", Duration::from_millis(1)).await;
    assert!(matches!(late, Err(LineErr::TimedOut)));
}

#[tokio::test]
async fn flush_tells_what_was_refused() {
    let (client, mut server) = connected().await;
    let serve = async {
        server.expect("PING").await;
        server.say("-ERR 'Invalid Subject'\r\nPONG\r\n").await;
        server.expect("PING").await;
        server.say("PONG\r\n").await;
    };
    let flush_twice = async { (client.flush().await, client.flush().await) };
    let ((first, second), ()) = tokio::join!(flush_twice, serve);
    assert!(matches!(first, Err(LineErr::Refused(text)) if &*text == "Invalid Subject"));
    assert!(second.is_ok());
}

#[tokio::test]
async fn pings_are_answered() {
    let (_client, mut server) = connected().await;
    server.say("PING\r\n").await;
    server.expect("PONG").await;
}

#[tokio::test]
async fn drain_keeps_what_was_under_way() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe("a", None).await.unwrap();
    server.expect("SUB a 1").await;
    let serve = async {
        server.expect("UNSUB 1").await;
        server.expect("PING").await;
        server.say("MSG a 1 1\r\nx\r\nPONG\r\n").await;
        server.expect("").await; // the end of the stream
    };
    let (drained, ()) = tokio::join!(client.drain(), serve);
    drained.unwrap();
    assert_eq!(&subscription.next().await.unwrap().payload[..], b"x");
    assert_eq!(subscription.next().await, None);
    assert!(is_closed(&client.publish("a", "").await.unwrap_err(), "by this client"));
}

#[tokio::test]
async fn the_end_of_the_connection_reaches_everybody() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe("a", None).await.unwrap();
    server.expect("SUB a 1").await;
    let serve = async {
        for _ in 0..3 {
            server.hear().await;
        }
        server.say("-ERR 'Stale Connection'\r\n").await;
        drop(server);
    };
    let (next, answer, ()) =
        tokio::join!(subscription.next(), client.request("a", "", SOON), serve);
    assert_eq!(next, None);
    assert!(is_closed(&answer.unwrap_err(), "Stale Connection"));
    assert!(is_closed(&client.closed().await, "Stale Connection"));
    assert!(is_closed(&client.flush().await.unwrap_err(), "Stale Connection"));
    assert!(client.subscribe("b", None).await.is_err());
}

#[tokio::test]
async fn publishing_waits_while_the_server_does_not_read() {
    let (client, mut server) = connected().await;
    let payload = [b'x'; 100];
    let flood = async {
        loop {
            client.publish("a", payload).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(50), flood).await.is_err());
    assert!(client.shared.state().outbound.len() < OUTBOUND_MAX + 200);
    server.expect("PUB a 100").await;
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let (client, mut server) = connected().await;
    let subscription = client.subscribe("a", None).await.unwrap();
    client.publish("b", "").await.unwrap();
    drop(client);
    server.expect("SUB a 1").await;
    drop(subscription);
    for line in ["PUB b 0", "", "UNSUB 1", ""] {
        server.expect(line).await;
    }
}

/// Regression: published bytes stayed in the buffer of the stream.
#[tokio::test]
async fn a_stream_with_a_buffer_is_flushed() {
    let (near, server) = pipe();
    let (client, mut server) = greeted(BufStream::new(near), server).await;
    client.publish("a", "hi").await.unwrap();
    server.expect("PUB a 2").await;
}
