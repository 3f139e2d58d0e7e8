//! The endpoint with a registry of its own: its bounds, and the order of giving way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::base::ids::{Kind, ServerId};
use crate::base::moment::Moment;
use crate::clock::Clock;
use crate::config::check::Checked;
use crate::config::options::Options;
use crate::conn::taken::Taken;
use crate::conn::{About, Conn};
use crate::net::ports::PortFor;
use crate::net::requests::{BODY_LEN_MAX, HEAD_LEN_MAX};
use crate::registry::Registry;

use super::*;

/// An endpoint on a port of its own, which ends with it.
struct Served {
    registry: Arc<Registry>,
    address: std::net::SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Served {
    async fn start() -> Served {
        let id = ServerId::new(&"N".repeat(ServerId::LEN)).unwrap();
        let registry =
            Arc::new(Registry::new(id, Checked::new(&mut Options::default(), None).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::new(Arc::clone(&registry), None, Clock::start()));
        shared.addresses.set(PortFor::Monitor, Some(address));
        let endpoint = Endpoint::new(shared);
        let serving = tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                endpoint.serve(stream, remote).await;
            }
        });
        Served { registry, address, serving }
    }

    /// Adds clients whose round trip time `/connz` asks for when it shows them.
    fn add_clients(&self, count: usize) -> Vec<Arc<Conn>> {
        let new = || {
            let wire = Arc::new(Taken::default());
            let conn = self
                .registry
                .add(|cid, slot| Conn::new(cid, Kind::Client, slot, None, Moment::START, wire));
            conn.set_about(&About { lang: Some("x".into()), ..About::default() });
            conn
        };
        std::iter::repeat_with(new).take(count).collect()
    }

    async fn send(&self, request: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        // Bytes that a reader does not take stay with the server.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Reads until the connection ends.
    async fn exchange(&self, request: &str) -> String {
        read_all(&mut self.send(request).await).await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that gives way may end with an error.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

const LIST: &str = "GET /connz?limit=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// So many that their page is far longer than the buffers of sockets.
const MANY: usize = 4_000;

#[tokio::test]
async fn a_page_has_its_headers() {
    let answer = Served::start().await.exchange("GET /varz?x=1 HTTP/1.0\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: application/json"), "{head}");
    assert!(head.contains("Access-Control-Allow-Origin: *"), "{head}");
    let varz: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_ne!(varz["http_port"], 0);
    assert!(varz["mem"].as_u64() > Some(0));
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let long = "x".repeat(2 * HEAD_LEN_MAX);
    let answer = Served::start().await.exchange(&format!("GET / HTTP/1.1\r\nX: {long}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_long_body_is_the_last() {
    let head = format!("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {}", BODY_LEN_MAX + 1);
    let answer = Served::start().await.exchange(&format!("{head}\r\n\r\n")).await;
    assert!(answer.contains("Connection: close"), "{answer}");
}

#[tokio::test]
async fn of_too_many_connections_the_one_that_waited_longest_goes() {
    let served = Served::start().await;
    let mut first = served.send("GET /healthz HT").await;
    let mut second = served.send("").await;
    let mut others = Vec::new();
    for _ in 2..CONNECTIONS_MAX {
        others.push(served.send("").await);
    }
    let answer = served.exchange("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
    assert_eq!(read_all(&mut first).await, "");
    second.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_all(&mut second).await.ends_with(r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn a_list_is_made_as_it_is_read() {
    let served = Served::start().await;
    let conns = served.add_clients(MANY);
    let mut reader = served.send(LIST).await;
    let mut start = [0; 4096];
    reader.read_exact(&mut start).await.unwrap();
    assert!(conns[0].take_rtt_wanted());
    assert!(!conns[MANY - 1].take_rtt_wanted());
    let rest = read_all(&mut reader).await;
    assert!(rest.ends_with("\r\n0\r\n\r\n"));
    assert!(conns[MANY - 1].take_rtt_wanted());
}

#[tokio::test]
async fn of_too_many_lists_that_of_a_slow_reader_ends() {
    let served = Served::start().await;
    served.add_clients(MANY);
    let mut readers = Vec::new();
    let mut start = [0; 4096];
    for _ in 0..=LISTS_MAX {
        let mut reader = served.send(LIST).await;
        reader.read_exact(&mut start).await.unwrap();
        readers.push(reader);
    }
    let answer = served.exchange("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
    let ends_whole = |answer: String| answer.ends_with("\r\n0\r\n\r\n");
    let mut last = readers.pop().unwrap();
    assert!(ends_whole(read_all(&mut last).await));
    // Mostly the first, but pieces may go into the sockets of the others before the last of its
    // own.
    for mut reader in readers {
        if !ends_whole(read_all(&mut reader).await) {
            return;
        }
    }
    panic!("nobody gave way");
}
