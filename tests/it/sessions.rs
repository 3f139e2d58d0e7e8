//! Random sessions, played to both servers, whose answers must be equal.
//!
//! `SESSIONS_COUNT=n` plays many, `SESSIONS_SEED=n` repeats one run.

use std::time::Instant;

use fastrand::Rng;

use crate::support::client::Arrived;
use crate::support::random::seed_from_env;
use crate::support::{Client, PATIENCE, Server, Which, frames};

/// Turns of a session: the connection, and the bytes it sends.
type Session = Vec<(usize, Vec<u8>)>;

const CONNECTIONS: usize = 3;

const SUBJECTS: [&str; 12] =
    ["a", "a.b", "a.b.c", "b", "a.c", "a*", "A", "x.y", "a.*", "a.>", "a..b", "_R_.x"];
const PATTERNS: [&str; 14] =
    ["a", "a.b", "a.*", "a.>", ">", "*", "*.b", "*.*", "a.*.c", "b", "a.", "a..b", ">.a", "a*"];

fn session(random: &mut Rng) -> Session {
    let mut session: Session = (0..CONNECTIONS).map(|conn| (conn, connect(random))).collect();
    for _ in 0..5 + random.usize(..25) {
        let conn = random.usize(..CONNECTIONS);
        let mut sent = Vec::new();
        for _ in 0..1 + random.usize(..4) {
            op(random, conn, &mut sent);
        }
        session.push((conn, sent));
    }
    session
}

fn connect(random: &mut Rng) -> Vec<u8> {
    let flag = |random: &mut Rng| if random.bool() { "true" } else { "false" };
    // Pedantic stays off: the real server's answer to it depends on how reads are cut.
    format!(
        "CONNECT {{\"verbose\":{},\"pedantic\":false,\"echo\":{},\"headers\":true,\
         \"no_responders\":{}}}\r\n",
        flag(random),
        flag(random),
        flag(random)
    )
    .into_bytes()
}

fn op(random: &mut Rng, conn: usize, sent: &mut Vec<u8>) {
    let blank = random.choice([" ", " ", " ", "  ", "\t"]).unwrap();
    let end = random.choice(["\r\n", "\r\n", "\r\n", "\n", " \r\n"]).unwrap();
    let sid = random.usize(..5);
    let text = match random.usize(..24) {
        0..=6 => {
            // Groups of one: who of several gets a message is chance.
            let queue =
                if random.u8(..3) == 0 { format!("q{conn}{sid}{blank}") } else { String::new() };
            format!("SUB{blank}{}{blank}{queue}{sid}{end}", random.choice(PATTERNS).unwrap())
        }
        7..=9 => format!("UNSUB{blank}{sid}{end}"),
        10..=11 => format!("UNSUB {sid}{blank}{}{end}", random.usize(..4)),
        12..=18 => {
            let reply =
                if random.u8(..3) == 0 { random.choice(["r ", "a.r ", "a "]).unwrap() } else { "" };
            let size = random.choice([0, 1, 5, 300]).unwrap();
            let payload = "p".repeat(size);
            format!(
                "PUB{blank}{} {reply}{size}{end}{payload}\r\n",
                random.choice(SUBJECTS).unwrap()
            )
        }
        19..=21 => {
            let header =
                random.choice(["NATS/1.0\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\n", "h", ""]).unwrap();
            let size = random.usize(..4);
            let total = header.len() + size;
            let payload = "p".repeat(size);
            let subject = random.choice(SUBJECTS).unwrap();
            format!("HPUB {subject} {}{blank}{total}{end}{header}{payload}\r\n", header.len())
        }
        22 => {
            format!("{}{end}", random.choice(["PING", "pong", "+OK", "INFO {}", "ping x"]).unwrap())
        }
        _ if random.u8(..4) == 0 => {
            let wrong = ["FOO", "SUB a", "PUB a x", "PUB a 2\r\nabc", "UNSUB", "HPUB a 5 2", ""];
            format!("{}{end}", random.choice(wrong).unwrap())
        }
        _ => String::new(),
    };
    sent.extend(text.into_bytes());
}

/// Plays a session and returns the bytes to each connection, turn by turn.
fn play(server: &Server, session: &Session) -> Vec<String> {
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::open(server)).collect();
    let mut heard = Vec::new();
    for (speaker, sent) in session {
        let text = sent.escape_ascii();
        heard.push(format!("{speaker}> {text}"));
        listen(&mut clients[*speaker], sent, *speaker, &mut heard);
        for (conn, client) in clients.iter_mut().enumerate().filter(|(conn, _)| conn != speaker) {
            listen(client, b"", conn, &mut heard);
        }
        if clients.iter().any(Client::is_closed) {
            // Whether its subscriptions are gone too is a matter of moments.
            break;
        }
    }
    heard
}

/// Sends, fences, and writes down what came before the fence's PONG.
fn listen(client: &mut Client, sent: &[u8], conn: usize, heard: &mut Vec<String>) {
    if client.is_closed() {
        return;
    }
    client.send_anyway(&[sent, b"PING\r\n"].concat());
    // One PONG for each PING that was sent, and the fence's.
    let lower = sent.to_ascii_lowercase();
    let pings = lower.split(|&b| b == b'\n').filter(|line| line.starts_with(b"ping")).count();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = frames::split(client.received());
        if all.iter().filter(|frame| **frame == b"PONG\r\n").count() > pings {
            break;
        }
        match client.read_some(deadline) {
            Arrived::Bytes => {}
            Arrived::Closed => break,
            Arrived::Nothing => {
                heard.push(format!("{conn}< nothing more"));
                break;
            }
        }
    }
    let received = client.take_received();
    let mut all = frames::split(&received);
    all.retain(|frame| *frame != b"PING\r\n");
    for run in all.chunk_by_mut(|a, b| same_message(a, b)) {
        run.sort_unstable();
    }
    heard.extend(all.iter().map(|frame| format!("{conn}< {}", shown(frame))));
    if client.is_closed() {
        heard.push(format!("{conn} closed"));
    }
}

/// A frame as text. Which of several own subscriptions a 503 names is left to chance.
fn shown(frame: &[u8]) -> String {
    let text = frame.escape_ascii().to_string();
    if !text.contains("NATS/1.0 503") {
        return text;
    }
    let words = text.split(' ').enumerate();
    words.map(|(at, word)| if at == 2 { "SID" } else { word }).collect::<Vec<_>>().join(" ")
}

/// One message for several subscriptions of a connection comes in any order of these.
fn same_message(a: &[u8], b: &[u8]) -> bool {
    let words = |frame: &[u8]| {
        let text = String::from_utf8_lossy(frame).into_owned();
        let mut words = text.split(' ').map(str::to_owned);
        let op = words.next().filter(|op| op.ends_with("MSG"));
        let subject = words.next();
        words.next();
        op.map(|op| (op, subject, words.collect::<Vec<_>>()))
    };
    words(a).is_some_and(|a| words(b) == Some(a))
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn both_answer_alike() {
    let count = std::env::var("SESSIONS_COUNT").map_or(40, |text| text.parse().unwrap());
    play_many(count, [Which::Dialtone, Which::Real]);
}

/// Servers of their own, so that nothing is left from the session before.
fn compare(session: &Session, servers: [Which; 2], name: &str) {
    let [first, second] = servers.map(|which| play(&Server::start(which), session));
    for at in 0..first.len().max(second.len()) {
        let before = first[at.saturating_sub(12)..at].join("\n  ");
        let [one, other] = [&first, &second].map(|heard| heard.get(at));
        assert_eq!(one, other, "{servers:?}, {name}; before it:\n  {before}");
    }
}

/// The real server has to agree with itself, or the sessions hold something that chance decides.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn the_real_one_answers_alike_twice() {
    play_many(10, [Which::Real, Which::Real]);
}

fn play_many(count: usize, servers: [Which; 2]) {
    let seed = seed_from_env("SESSIONS_SEED");
    let mut random = Rng::with_seed(seed);
    for number in 0..count {
        let session = session(&mut random);
        compare(&session, servers, &format!("session {number}, SESSIONS_SEED={seed}"));
    }
}
