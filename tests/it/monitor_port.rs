//! The monitoring port as an HTTP server: the same bytes to both, the same answers; and probes in
//! a crowd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Client, PATIENCE, Server, Which, http};

/// Follows each request of the table, to see whether the connection is kept.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Targets that are asked for with GET and a Host.
const TARGETS: [&[u8]; 62] = [
    b"/",
    b"/healthz",
    b"/healthz?",
    b"/healthz?x=%zz",
    b"/healthz#x",
    b"/varz",
    b"/varz/",
    b"/Varz",
    b"/%76arz",
    b"/varz%00",
    b"/%zz",
    b"/%2",
    b"/%2fvarz",
    b"/x%2f..%2fvarz",
    b"/%2e%2e/varz",
    b"/nope",
    b"/favicon.ico",
    b"/raftz",
    b"/ipqueuesz",
    b"//",
    b"//varz",
    b"//varz?a=%3e&b=>",
    b"///x/../varz",
    b"/./varz",
    b"/a/../varz/",
    b"/varz/.",
    b"/varz/..",
    b"/..",
    b"/x/../../y/./z/..",
    b"//a//",
    b"//a:b",
    b"//a%20b>c",
    b"//%41%2fb",
    b"//a!b'(c)*[d];,=:@",
    b"//\"<\xc3\xa4",
    b"//\xff",
    b"//a?b?c//d/../e",
    b"//x?",
    b"//x?\xc3\xa4<\"'>&",
    b"//h/healthz?x#y",
    b"/\xc3\xa4",
    b"/connz?filter_subject=f.>",
    b"/connz?user=\"<\xc3\xa4>",
    b"/connz?state=f.\"<\xc3\xa4>",
    b"/connz?state=a;b",
    b"/connz?state=a#b",
    b"/connz?state=a?b",
    b"/connz?sort=a|b\\^`{}",
    b"/connz?auth=\"<>",
    b"/connz?limit=x",
    b"*",
    b"healthz",
    b"?x",
    b"",
    b"/healthz x",
    b"/heal\x01thz",
    b"http://h/healthz",
    b"http://u:p@h:1//healthz?a",
    b"http://h",
    b"http://h?x",
    b"http:///healthz",
    b"1x://h/healthz",
];

/// Whole heads of requests, some with a body behind them.
const REQUESTS: [&str; 40] = [
    "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /nope HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST //varz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "get /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "G(T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\n\r\n",
    "OPTIONS /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS //varz HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT //healthz HTTP/1.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: \r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: a<b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: [::1%25a_b]:8222\r\n\r\n",
    "GET /healthz HTTP/1.0\r\n\r\n",
    "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n",
    "GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
    "GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET /healthz HTTP/0.9\r\nHost: x\r\n\r\n",
    "GET /healthz FTP/1.1\r\nHost: x\r\n\r\n",
    "GET /healthz\r\n\r\n",
    "GET\r\n\r\n",
    "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /healthz HTTP/1.1\nHost: x\n\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nA: \u{1}\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nA: \u{e4}\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n",
    "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n",
    "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
];

/// One answer, without its variable parts.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    /// Sorted; without the date, and for a living page without its length.
    headers: Vec<String>,
    /// None for a living page.
    body: Option<String>,
}

/// Sends `request` and the next one behind it, and reads to the end.
fn exchange(server: &Server, request: &[u8]) -> Vec<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.monitor_port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[request, NEXT.as_bytes()].concat()).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    let mut rest = &*text;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let bodiless = answers.is_empty() && request.starts_with(b"HEAD");
        answers.push(Answer::take(&mut rest, bodiless));
    }
    answers
}

impl Answer {
    fn take(text: &mut &str, bodiless: bool) -> Answer {
        let (head, rest) = text.split_once("\r\n\r\n").expect("a blank line ends the head");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().to_owned();
        let mut headers: Vec<String> = lines.map(str::to_owned).collect();
        headers.retain(|line| !line.starts_with("Date: "));
        headers.sort();
        let len = headers.iter().find_map(|line| line.strip_prefix("Content-Length: "));
        let is_living = |body: &str| body.starts_with("{\n") || body.contains("<html");
        let (body, rest) = match len {
            _ if bodiless => ("", rest),
            Some(len) => rest.split_at(len.parse().unwrap()),
            None => rest.find("HTTP/1.1").map_or((rest, ""), |next| rest.split_at(next)),
        };
        *text = rest;
        let body = (!is_living(body)).then(|| body.to_owned());
        if body.is_none() {
            let sized = ["Content-Length: ", "Transfer-Encoding: "];
            headers.retain(|line| !sized.iter().any(|name| line.starts_with(name)));
        }
        Answer { status, headers, body }
    }
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn requests_are_answered_alike() {
    let [real, ours] =
        [Which::Real, Which::Dialtone].map(|which| Server::with().monitored().start(which));
    let gets =
        TARGETS.iter().map(|target| [b"GET ", *target, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
    let requests = gets.chain(REQUESTS.iter().map(|request| request.as_bytes().to_vec()));
    let mut problems = Vec::new();
    for request in requests {
        let [real, ours] = [&real, &ours].map(|server| exchange(server, &request));
        if real != ours {
            let request = String::from_utf8_lossy(&request).into_owned();
            problems.push(format!("{request:?}\n  real: {real:?}\n  ours: {ours:?}"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Connections that come again when they are closed, each with the same request, and read nothing.
struct Crowd {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Starts when all are connected.
    fn start(server: &Server, count: usize, request: &'static str) -> Crowd {
        let port = server.monitor_port();
        let connect = move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // It may be closed again already.
            let _ = stream.write_all(request.as_bytes());
            stream
        };
        let mut streams: Vec<TcpStream> = std::iter::repeat_with(connect).take(count).collect();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            while !is_over.load(Ordering::Relaxed) {
                let watch = |stream| PollFd::new(stream, PollFlags::RDHUP);
                let mut watched: Vec<_> = streams.iter().map(watch).collect();
                poll(&mut watched, Some(&pause)).unwrap();
                let closed: Vec<_> = watched.iter().map(|one| !one.revents().is_empty()).collect();
                let ended = streams.iter_mut().zip(closed).filter(|(_, closed)| *closed);
                ended.for_each(|(stream, _)| *stream = connect());
            }
        });
        Crowd { over, thread: Some(thread) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

#[test]
fn probes_get_through_any_crowd() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let server = Server::with().monitored().start(Which::Dialtone);
    let mut client = Client::connect(&server, "");
    let subscriptions: String = (0..20_000).map(|sid| format!("SUB a.{sid} {sid}\r\n")).collect();
    client.send(&subscriptions);
    client.fence();
    let list = "GET /subsz?subs=1&limit=100000 HTTP/1.1\r\nHost: x\r\n\r\n";
    for request in ["", "GET /healthz HT", list] {
        for count in [64, 1100] {
            let _crowd = Crowd::start(&server, count, request);
            for _ in 0..50 {
                let page = http::page(&server, "/healthz");
                assert_eq!((page.status, &*page.body), (200, r#"{"status":"ok"}"#), "{request}");
            }
        }
    }
}
