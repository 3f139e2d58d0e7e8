//! The monitoring endpoint: HTTP/1 around the pages of [`View`].
//!
//! Bounded: so many connections, each for a limited time and with a short head; a request's body
//! is not read. Pages are made on threads for blocking work, so that a long list of connections
//! does not hold up those connections.
//! nats: server/server.go `startMonitoring`; server/monitor.go `handleResponse`

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task;

use crate::clock::Clock;
use crate::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN};
use crate::moment::Moment;
use crate::monitor::{Answer, View};
use crate::net::process::Meter;
use crate::registry::Registry;
use crate::route::mesh::Mesh;

/// Connections at the same time; others wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// Longest request line with its headers, bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// Time for the head of a request, and for the next one on a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// Life of a connection, with all its requests and answers.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(120);

/// What all requests share.
struct Endpoint {
    registry: Arc<Registry>,
    mesh: Option<Arc<Mesh>>,
    clock: Clock,
    port: u16,
    meter: Mutex<Meter>,
}

/// Answers requests at `listener` for ever.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    mesh: Option<Arc<Mesh>>,
    clock: Clock,
) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let meter = Mutex::new(Meter::new());
    let endpoint = Arc::new(Endpoint { registry, mesh, clock, port, meter });
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                pause = ACCEPT_PAUSE_MIN;
                let endpoint = Arc::clone(&endpoint);
                tokio::spawn(async move {
                    let _place = place;
                    let served =
                        tokio::time::timeout(CONNECTION_TIME_MAX, connection(stream, endpoint));
                    if let Ok(Err(error)) = served.await {
                        tracing::debug!("Monitoring connection ended: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::error!("Temporary Monitor Accept Error ({error}), sleeping {pause:?}");
                tokio::time::sleep(pause).await;
                pause = Duration::min(pause * 2, ACCEPT_PAUSE_MAX);
            }
        }
    }
}

async fn connection(stream: TcpStream, endpoint: Arc<Endpoint>) -> Result<(), hyper::Error> {
    let service = service_fn(|request| {
        let endpoint = Arc::clone(&endpoint);
        async move { Ok::<_, Infallible>(respond(request, endpoint).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// Any method is answered as GET; what HEAD leaves out is hyper's business.
async fn respond<B>(request: Request<B>, endpoint: Arc<Endpoint>) -> Response<Full<Bytes>> {
    let uri = request.uri().clone();
    let made =
        task::spawn_blocking(move || endpoint.answer(uri.path(), uri.query().unwrap_or_default()));
    match made.await {
        Ok(answer) => response(answer),
        // The server is stopping, or making the page has failed, which the log tells.
        Err(_) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

impl Endpoint {
    fn answer(&self, path: &str, query: &str) -> Answer {
        let now = self.clock.now();
        let view = View {
            registry: &self.registry,
            mesh: self.mesh.as_deref(),
            now,
            start: self.clock.wall(Moment::START),
            http_port: self.port,
            process: self.meter.lock().read(now),
        };
        view.answer(path, query)
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let is_json = answer.is_json();
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).expect("pages give the few codes that exist");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if is_json {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::ids::ServerId;
    use crate::options::Options;

    use super::*;

    /// Sends `request` to an endpoint of its own and reads until the connection ends.
    async fn exchange(request: &str) -> String {
        let id = ServerId::new(&"N".repeat(ServerId::LEN)).unwrap();
        let registry = Arc::new(Registry::new(id, Options::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, registry, None, Clock::start()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer.to_lowercase()
    }

    #[tokio::test]
    async fn a_page_has_its_headers() {
        let answer = exchange("GET /varz?x=1 HTTP/1.0\r\n\r\n").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("http/1.0 200 ok\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        let varz: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_ne!(varz["http_port"], 0);
        assert!(varz["mem"].as_u64() > Some(0));
    }

    #[tokio::test]
    async fn errors_are_plain_text() {
        let answer = exchange("POST /connz?limit=x HTTP/1.0\r\nContent-Length: 0\r\n\r\n").await;
        assert!(answer.starts_with("http/1.0 400 bad request\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; charset=utf-8"), "{answer}");
        assert!(!answer.contains("access-control"), "{answer}");
        let answer = exchange("HEAD /nope HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("http/1.0 404 not found\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_long_head_is_refused() {
        let long = "x".repeat(2 * HEAD_LEN_MAX);
        let answer = exchange(&format!("GET / HTTP/1.1\r\nX: {long}\r\n")).await;
        assert!(answer.starts_with("http/1.1 431 "), "{answer}");
    }
}
