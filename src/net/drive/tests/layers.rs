//! Layers in any order, cut anywhere, through full sockets.

use std::io::Read;

use socket2::SockRef;

use super::*;
use crate::codec::http_head::RequestHead;
use crate::codec::s2::{Compressor, Decompressor};
use crate::codec::upgrade::Upgrade;
use crate::codec::websocket;
use crate::config::compression::{Compression, Level};
use crate::config::options::{Cluster, Credential, Listen, Login, Port, User, Websocket};
use crate::conn::frames::Frames;
use crate::conn::taken::Taken;
use crate::net::compressed::Compressed;
use crate::net::deflate::deflate;
use crate::net::drive::tests::masked::{CLOSE, DATA, Masked, PING, Unmasked, frame};
use crate::net::layer::{Inflow, Next};
use crate::net::websocket::{Framed, Unframed};
use crate::net::worker::READ_LEN;
use crate::route::{Role, Route};

/// A kind of layer.
#[derive(Debug, Clone, Copy)]
enum Over {
    Mask,
    S2,
    /// Compressed in parts.
    WebSocket,
}

impl Over {
    /// A frame that has to be answered.
    fn ping(self) -> Vec<u8> {
        match self {
            Over::WebSocket => [&b"\x89\x7d"[..], &[b'x'; 125]].concat(),
            Over::Mask => frame(PING, &[b'x'; 125]),
            Over::S2 => Vec::new(),
        }
    }
}

/// The writing half of a layer on a task's.
enum Writing {
    Masked(Arc<Masked>),
    Framed(Arc<Framed>),
    Compressed,
}

impl Writing {
    /// Bytes of its own frames that are not written.
    fn held_len(&self) -> usize {
        match self {
            Writing::Masked(masked) => masked.held_len(),
            Writing::Framed(framed) => framed.held_len(),
            Writing::Compressed => 0,
        }
    }
}

/// What a client asks for that masks nothing.
fn upgrade() -> Upgrade {
    let listen = Listen { host: String::new(), port: Port::Free };
    let mut options = Websocket::new(listen);
    options.compression = true;
    let head = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate\r\nNats-No-Masking: true\r\n\r\n";
    RequestHead::read(head, |request, headers| Upgrade::read(request, headers, &options))
        .unwrap()
        .1
        .unwrap()
}

/// The other side of a task with layers.
struct Peer {
    socket: net::UnixStream,
    /// From the socket up.
    kinds: Vec<Over>,
    inflows: Vec<Box<dyn Inflow>>,
    masks: Vec<Arc<Masked>>,
    /// Bytes that have passed all of them.
    plain: Vec<u8>,
    random: fastrand::Rng,
}

impl Peer {
    fn new(socket: net::UnixStream, seed: u64) -> Peer {
        let random = fastrand::Rng::with_seed(seed);
        let (kinds, inflows, masks) = (Vec::new(), Vec::new(), Vec::new());
        Peer { socket, kinds, inflows, masks, plain: Vec::new(), random }
    }

    fn add_layer(&mut self, kind: Over) {
        self.kinds.push(kind);
        self.inflows.push(match kind {
            Over::S2 => Box::new(Decompressor::new()),
            Over::Mask => {
                let mask = Arc::new(Masked::new(Arc::new(Taken::default()), 0));
                self.masks.push(Arc::clone(&mask));
                Box::new(Unmasked::new(mask))
            }
            Over::WebSocket => {
                let framed = Framed::new(Arc::new(Taken::default()), &upgrade());
                Box::new(Unframed::new(Arc::new(framed), &upgrade()))
            }
        });
    }

    fn pongs(&self) -> usize {
        self.masks.iter().map(|mask| mask.pongs.load(Ordering::SeqCst)).sum()
    }

    /// The bytes of `text` on the socket, and the number of pings among them.
    fn encode(&mut self, text: &[u8]) -> (Vec<u8>, usize) {
        let (mut bytes, mut pings) = (text.to_vec(), 0);
        for kind in self.kinds.iter().rev() {
            let mut out = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len_max = if matches!(kind, Over::Mask) { 3_000 } else { 200_000 };
                let (piece, after) = rest.split_at(self.random.usize(..len_max).min(rest.len()));
                rest = after;
                match kind {
                    Over::WebSocket if self.random.bool() => {
                        let mut payload = Vec::new();
                        deflate([piece].into_iter(), &mut payload);
                        let len_max = self.random.usize(1..=payload.len());
                        websocket::write_compressed(&payload, len_max, &mut out);
                    }
                    Over::WebSocket => websocket::write_message([piece].into_iter(), &mut out),
                    Over::S2 => Compressor::new(Level::Fast).compress(piece, &mut out),
                    Over::Mask => {
                        out.extend(frame(DATA, piece));
                        if self.random.u8(..10) == 0 {
                            pings += 1;
                            out.extend(frame(PING, &piece[..piece.len().min(125)]));
                        }
                    }
                }
            }
            bytes = out;
        }
        (bytes, pings)
    }

    /// Reads until `end`.
    fn read_to(&mut self, end: &[u8]) {
        let mut buf = vec![0; 9_000];
        while !self.plain.ends_with(end) {
            let len = self.random.usize(1..buf.len());
            let len = self.socket.read(&mut buf[..len]).unwrap();
            assert_ne!(len, 0, "{} bytes have come", self.plain.len());
            unwrap(&mut self.inflows, &mut buf[..len], &mut self.plain);
        }
    }
}

/// Appends the output of `layers` for `input`.
fn unwrap(layers: &mut [Box<dyn Inflow>], input: &mut [u8], plain: &mut Vec<u8>) {
    let Some((layer, above)) = layers.split_first_mut() else {
        return plain.extend_from_slice(input);
    };
    let mut used = 0;
    loop {
        match layer.next_piece(&mut input[used..]) {
            Ok(Next::Piece(piece, len)) => {
                used += len;
                unwrap(above, piece, plain);
            }
            Ok(Next::Missing) => return,
            Ok(Next::End) => panic!("no server ends a stream"),
            Err(error) => panic!("{}", error.text),
        }
    }
}

/// Puts a layer of that kind on top of a task's.
fn add_layer<M: Machine>(drive: &mut Drive<M>, kind: Over) -> Writing {
    let conn = Arc::clone(drive.conn());
    match kind {
        Over::S2 => {
            conn.rewire(|below, clear_len| Compressed::new(below, Level::Fast, clear_len)).unwrap();
            drive.extras().add_layer(Box::new(Decompressor::new()));
            Writing::Compressed
        }
        Over::Mask => {
            let masked = conn.rewire(Masked::new).unwrap();
            drive.extras().add_layer(Box::new(Unmasked::new(Arc::clone(&masked))));
            Writing::Masked(masked)
        }
        Over::WebSocket => {
            let framed = conn.rewire(|below, _| Framed::new(below, &upgrade())).unwrap();
            drive.extras().add_layer(Box::new(Unframed::new(Arc::clone(&framed), &upgrade())));
            Writing::Framed(framed)
        }
    }
}

/// Input stays where it is when handling stops (for a check, the end of a turn, a stall), and goes
/// on from there; the answers come complete, with those of the layers between them.
#[test]
fn layers_stack_in_any_order() {
    use Over::{Mask, S2, WebSocket};
    let stacks: [&[Over]; 7] = [
        &[Mask],
        &[S2],
        &[WebSocket],
        &[Mask, S2],
        &[S2, Mask],
        &[Mask, WebSocket],
        &[Mask, S2, Mask],
    ];
    thread::scope(|scope| {
        for (seed, stack) in stacks.into_iter().enumerate() {
            // A thread serves one server only.
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(play(stack, seed as u64));
            });
        }
    });
}

const PENDING_MAX: usize = 4 * 1024 * 1024;

/// The input of a client, and the messages and the PONG expected for it.
fn conversation(random: &mut fastrand::Rng) -> (Vec<u8>, String) {
    let mut text = b"CONNECT {\"user\":\"u\",\"pass\":\"p\",\"verbose\":false}\r\n".to_vec();
    for n in 0..3_000 {
        text.extend(format!("SUB some.{n}.> {n}1\r\n").as_bytes());
    }
    text.extend(b"SUB a 0\r\n");
    let mut expected = String::new();
    for len in (0..1_500).step_by(5).chain([60_000]) {
        let payload: String = (0..len).map(|_| random.char('a'..='p')).collect();
        text.extend(format!("PUB a {len}\r\n{payload}\r\n").as_bytes());
        expected += &format!("MSG a 0 {len}\r\n{payload}\r\n");
    }
    text.extend(b"PING\r\n");
    expected += "PONG\r\n";
    (text, expected)
}

async fn play(stack: &[Over], seed: u64) {
    let (stream, theirs) = local_stream();
    let Stream::Local(ours) = &*stream else { unreachable!("it is one") };
    for socket in [SockRef::from(&theirs), SockRef::from(ours)] {
        socket.set_send_buffer_size(8 * 1024).unwrap();
    }
    let password = bcrypt::hash("p", 4).unwrap();
    let user = User::new(Credential::Password { user: "u".to_owned(), password });
    let mut options = Options { max_pending: PENDING_MAX, ..Options::default() };
    options.authorization.login = Login::Users(vec![user]);
    options.authorization.timeout = Some(Duration::from_secs(60));
    let shared = new_shared(options);
    let sweep = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.sweep.run(Arc::clone(&shared.registry), shared.clock).await }
    });
    // A receiver that reads nothing makes publishers pause.
    let (deaf, mut deaf_peer) = local_stream();
    let deaf = add_drive(Arc::clone(&shared), Arc::clone(&deaf), deaf);
    let deaf_conn = Arc::clone(deaf.conn());
    tokio::spawn(deaf);
    deaf_peer.write_all(b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\nSUB a 1\r\n").unwrap();
    while deaf_conn.subscriptions().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let policy = shared.registry.settings().policy;
    deaf_conn.send(&Frames::from(&vec![b'x'; PENDING_MAX - 500_000]), &policy);

    let mut drive = add_drive(shared, Arc::clone(&stream), stream);
    let mut peer = Peer::new(theirs, seed);
    for kind in stack {
        add_layer(&mut drive, *kind);
        peer.add_layer(*kind);
    }
    let task = tokio::spawn(drive);

    let (text, expected) = conversation(&mut peer.random);
    let (bytes, pings) = peer.encode(&text);
    let mut writer = peer.socket.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..20_000).min(rest.len()));
            writer.write_all(piece).unwrap();
            rest = after;
        }
    });
    let peer = tokio::task::spawn_blocking(move || {
        peer.read_to(b"PONG\r\n");
        peer
    });
    let mut peer = peer.await.unwrap();
    writing.join().unwrap();
    let plain = String::from_utf8(std::mem::take(&mut peer.plain)).unwrap();
    let (info, plain) = plain.split_once("\r\n").unwrap();
    assert!(info.starts_with("INFO {"));
    // It gets a PING if that takes long.
    assert!(plain.replace("PING\r\n", "") == expected, "{stack:?}");
    assert_eq!(peer.pongs(), pings, "{stack:?}");
    assert_ne!(deaf_conn.received().stalls, 0, "{stack:?}");
    drop(peer);
    task.await.unwrap();
    sweep.abort();
}

/// A layer's own frames for a client that does not read wait, and nothing more is read meanwhile.
#[tokio::test]
async fn a_layer_whose_answers_nobody_reads_is_asked_no_more() {
    for kind in [Over::Mask, Over::WebSocket] {
        let (stream, mut theirs) = local_stream();
        let mut drive = new_drive(Arc::clone(&stream), stream);
        let layer = add_layer(&mut drive, kind);
        theirs.set_nonblocking(true).unwrap();
        let pings = kind.ping().repeat(100);
        let (mut written, mut refused) = (0, 0);
        while refused < 20 {
            match theirs.write(&pings[written % pings.len()..]) {
                Ok(len) => written += len,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    refused += 1;
                }
            }
            tokio::task::yield_now().await;
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut drive).poll(&mut cx).is_pending());
            assert!(layer.held_len() <= READ_LEN);
        }
        assert!(layer.held_len() > 0);
        let task = tokio::spawn(drive);

        let mut peer = Peer::new(theirs, 1);
        peer.add_layer(kind);
        peer.socket.set_nonblocking(false).unwrap();
        let (last, _) = peer.encode(b"PING\r\n");
        let behind = [&pings[written % pings.len()..], &last].concat();
        let mut writer = peer.socket.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(&behind).unwrap());
        let peer = tokio::task::spawn_blocking(move || {
            peer.read_to(b"PONG\r\n");
            peer
        });
        let peer = peer.await.unwrap();
        writing.join().unwrap();
        if let Over::Mask = kind {
            assert_eq!(peer.pongs(), (written / pings.len() + 1) * 100);
        }
        drop(peer);
        task.await.unwrap();
    }
}

/// Frames that bring nothing are work, too: those of one read take turns, and cost no more than
/// lines do.
#[tokio::test]
async fn frames_without_bytes_are_read_in_turns() {
    const COUNT: usize = 100_000;
    let fragments = |first: &[u8]| [first, &b"\0\0".repeat(COUNT)].concat();
    for (text, frames) in [
        ("messages", b"\x82\0".repeat(COUNT)),
        ("fragments", fragments(b"\x02\0")),
        ("compressed fragments", fragments(b"\x42\0")),
        ("answers", b"\x8a\0".repeat(COUNT)),
        ("pings", b"\x89\0".repeat(COUNT)),
    ] {
        let (stream, mut theirs) = local_stream();
        let mut drive = new_drive(Arc::clone(&stream), stream);
        let layer = add_layer(&mut drive, Over::WebSocket);
        theirs.set_nonblocking(true).unwrap();
        let (mut written, mut polls, mut buf) = (0, 0, vec![0; 300_000]);
        let mut goes_on = true;
        while written < frames.len() || goes_on {
            while let Ok(len @ 1..) = theirs.write(&frames[written..]) {
                written += len;
            }
            tokio::task::yield_now().await;
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut drive).poll(&mut cx).is_pending());
            while theirs.read(&mut buf).is_ok() {}
            goes_on = layer.held_len() > 0
                || drive.extras.as_ref().is_some_and(|extras| extras.lane.is_some());
            polls += 1;
        }
        let frames_per_turn = LONG_TURN.work_ns_max / 100 + 1;
        assert!(polls > COUNT / frames_per_turn, "{text}: {polls} polls");
    }
}

/// A layer may end the stream, or find an error: above it nothing more is handled.
#[tokio::test]
async fn a_layer_ends_the_connection() {
    let cases = [(CLOSE, ClosedReason::ClientClosed), (9, ClosedReason::ProtocolViolation)];
    for (kind, reason) in cases {
        for stack in [&[Over::Mask][..], &[Over::S2, Over::Mask]] {
            let (stream, theirs) = local_stream();
            let mut drive = new_drive(Arc::clone(&stream), stream);
            let mut peer = Peer::new(theirs, 1);
            for layer in stack {
                add_layer(&mut drive, *layer);
                peer.add_layer(*layer);
            }
            let conn = Arc::clone(drive.conn());
            let data = |text: &[u8]| frame(DATA, text);
            let mut bytes = [data(b"SUB a 1\r\n"), frame(kind, b""), data(b"SUB a 2\r\n")].concat();
            if stack.len() > 1 {
                let frames = std::mem::take(&mut bytes);
                Compressor::new(Level::Fast).compress(&frames, &mut bytes);
            }
            peer.socket.write_all(&bytes).unwrap();
            while conn.closed().is_none() {
                tokio::task::yield_now().await;
                let _ = Pin::new(&mut drive).poll(&mut Context::from_waker(Waker::noop()));
            }
            assert_eq!(conn.closed(), Some(reason));
            assert!(conn.subscriptions().len() <= 1);
        }
    }
}

/// Regression: an automatic level changed while compressed input was being handled. Then the input
/// after the PONG was lost, INFO was sent again, and queued bytes went out uncompressed.
#[tokio::test]
async fn another_level_of_compression_loses_no_input() {
    let (stream, theirs) = local_stream();
    let cluster = Cluster {
        name: Some("c".to_owned()),
        listen: Some(Listen { host: "127.0.0.1".to_owned(), port: Port::Number(6222) }),
        compression: Compression::named("s2_auto", &[1_000, 3_600_000_000_000]).unwrap(),
        ..Cluster::default()
    };
    let shared = new_shared(Options { cluster: Some(cluster), ..Options::default() });
    let (registry, now) = (Arc::clone(&shared.registry), shared.clock.now());
    let mesh = Arc::clone(shared.mesh.as_ref().unwrap());
    let wire = Arc::clone(&stream) as Arc<dyn Wire>;
    let conn = registry.add(|cid, slot| Conn::new(cid, Kind::Route, slot, None, now, wire));
    // The round trip time of a route without compression, until a PING has measured it.
    conn.set_rtt(1);
    let route = Route::new(Arc::clone(&registry), mesh, Arc::clone(&conn), Role::Accepted);
    let mut drive = Drive::new(shared, stream, route, false);
    let mut peer = Peer::new(theirs, 1);
    add_layer(&mut drive, Over::Mask);
    peer.add_layer(Over::Mask);
    let poll = async |drive: &mut Drive<Route>, peer: &mut Peer, end: &[u8]| {
        peer.socket.set_nonblocking(true).unwrap();
        let mut buf = vec![0; 9_000];
        while !peer.plain.ends_with(end) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut *drive).poll(&mut cx).is_pending());
            while let Ok(len) = peer.socket.read(&mut buf) {
                unwrap(&mut peer.inflows, &mut buf[..len], &mut peer.plain);
            }
        }
        String::from_utf8(std::mem::take(&mut peer.plain)).unwrap()
    };

    let info = poll(&mut drive, &mut peer, b"\r\n").await;
    assert!(info.contains("\"compression\":\"s2_auto\""), "{info}");
    // All of it in one write: the bytes after the first INFO are already compressed.
    let id = "NB".repeat(28);
    let info = format!(
        "INFO {{\"server_id\":\"{id}\",\"server_name\":\"b\",\"cluster\":\"c\",\"headers\":true,\
         \"compression\":\"s2_auto\"}}\r\n"
    );
    let connect = format!("CONNECT {{\"name\":\"{id}\",\"cluster\":\"c\",\"headers\":true}}\r\n");
    let (clear, _) = peer.encode([connect, info.clone()].concat().as_bytes());
    peer.add_layer(Over::S2);
    let (compressed, _) = peer.encode([&info, "RS+ $G first\r\nPING\r\n"].concat().as_bytes());
    peer.socket.write_all(&[clear, compressed].concat()).unwrap();
    let said = poll(&mut drive, &mut peer, b"PONG\r\n").await;
    assert_eq!(said.matches("INFO ").count(), 1, "{said}");

    poll(&mut drive, &mut peer, b"PING\r\n").await;
    let (bytes, _) = peer.encode(b"PONG\r\nRS+ $G second\r\nPING\r\n");
    peer.socket.write_all(&bytes).unwrap();
    assert_eq!(poll(&mut drive, &mut peer, b"PONG\r\n").await, "PONG\r\n");
    assert_eq!(registry.global().with_sublist(|list| list.iter().count()), 2);
    assert_ne!(conn.rtt(), 1);
}
