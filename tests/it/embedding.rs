//! A server inside this process: its builder, its clients, and its end.

use std::sync::Arc;
use std::time::Duration;

use dialtone::config::{Cluster, Listen, Log, Port, RouteUrl, Websocket};
use dialtone::{LineClient, LineErr, LineOptions, Options, Server, StartError};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::tls::{self, Means};
use crate::support::{Client, PATIENCE};

/// A server on a free port of the loopback.
async fn server() -> Server {
    Server::builder().host("127.0.0.1").port(0).start().await.unwrap()
}

async fn client(server: &Server) -> LineClient {
    server.client(&LineOptions::default()).await.unwrap()
}

async fn next(subscriber: &mut dialtone::Subscriber) -> dialtone::Message {
    timeout(PATIENCE, subscriber.next()).await.expect("in time").expect("a message")
}

/// The text of a failed start, and true if it has a source.
fn told(started: Result<Server, StartError>) -> (String, bool) {
    let error = started.unwrap_err();
    (error.to_string(), std::error::Error::source(&error).is_some())
}

#[tokio::test]
async fn what_was_built_before_the_options_stays() {
    let mut options = Options::default();
    options.max_payload = 77;
    options.host = "0.0.0.0".to_owned();
    let builder = Server::builder().host("127.0.0.1").port(0).name("first").options(options);
    let server = builder.start().await.unwrap();
    let address = server.client_addr().unwrap();
    assert!(address.ip().is_loopback() && address.port() != 4222, "{address}");
    let info = client(&server).await.info();
    assert_eq!((info.max_payload, info.server_name.as_str()), (77, "first"));
}

#[tokio::test]
async fn what_is_built_after_the_options_wins() {
    let mut options = Options::default();
    options.host = "0.0.0.0".to_owned();
    let server = Server::builder().options(options).host("127.0.0.1").port(0).start().await;
    assert!(server.unwrap().client_addr().unwrap().ip().is_loopback());
}

/// A configuration of the library, and a port that encrypts by it.
#[tokio::test]
async fn encryption_may_be_ready_made() {
    let [cert, key] = ["server.pem", "server.key"].map(tls::file);
    let certificate = CertificateDer::from_pem_file(cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let builder = Server::builder().host("127.0.0.1").port(0).rustls(Arc::clone(&config));
    let server = builder.start().await.unwrap();
    let port = server.client_addr().unwrap().port();
    let mut client = tls::connect(port, &Means::default()).unwrap();
    assert!(client.frame().starts_with(b"INFO {"));
    client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
    client.expect("PONG\r\n");
    assert_eq!(server.connz("").unwrap()["connections"][0]["tls_version"], "1.3");

    let mut options = Options::default();
    options.https = Some(Listen { host: "127.0.0.1".to_owned(), port: Port::Free });
    let (text, _) = told(Server::builder().options(options).rustls(config).start().await);
    assert_eq!(text, "rustls and https exclude each other");
}

#[tokio::test]
async fn a_port_for_websocket_is_one_of_the_options() {
    let listen = Listen { host: "127.0.0.1".to_owned(), port: Port::Free };
    let mut websocket = Websocket::new(listen);
    let mut options = Options::default();
    options.websocket = Some(websocket.clone());
    let (text, _) = told(Server::builder().options(options.clone()).start().await);
    assert_eq!(text, "websocket requires TLS configuration");
    websocket.no_tls = true;
    options.websocket = Some(websocket);
    let server = Server::builder().options(options).host("127.0.0.1").port(0).start().await;
    let server = server.unwrap();
    assert_eq!(server.varz()["websocket"]["port"], server.websocket_addr().unwrap().port());
}

/// A file lies over the options and under what is told by itself.
#[tokio::test]
async fn a_configuration_file_lies_between() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.conf");
    let text = "port: -1, server_name: file, max_payload: 99\n\
                authorization { user: file, password: x }";
    std::fs::write(&file, text).unwrap();
    let mut options = Options::default();
    options.server_name = Some("options".to_owned());
    options.max_control_line = 512;
    let builder =
        Server::builder().name("itself").user("till", "secret").config_file(&file).host("::1");
    let server = builder.options(options).start().await.unwrap();
    let varz = server.varz();
    assert_eq!(varz["server_name"], "itself");
    assert_eq!(varz["max_payload"], 99);
    assert_eq!(varz["max_control_line"], 512);
    assert_eq!(varz["host"], "::1");
    assert!(varz["config_digest"].as_str().unwrap().starts_with("sha256:"));
    let mut login = LineOptions::default();
    (login.user, login.pass) = (Some("file".to_owned()), Some("x".to_owned()));
    assert!(matches!(server.client(&login).await, Err(LineErr::Refused(_))));
    (login.user, login.pass) = (Some("till".to_owned()), Some("secret".to_owned()));
    server.client(&login).await.unwrap();
}

#[tokio::test]
async fn who_may_come() {
    let builder = Server::builder().no_listener();
    let server = builder.clone().user("a", "1").user("b", "2").start().await.unwrap();
    for (user, pass) in [("a", "1"), ("b", "2")] {
        let mut login = LineOptions::default();
        (login.user, login.pass) = (Some(user.to_owned()), Some(pass.to_owned()));
        server.client(&login).await.unwrap();
    }
    server.client(&LineOptions::default()).await.unwrap_err();
    let server = builder.clone().token("t").start().await.unwrap();
    let mut login = LineOptions::default();
    login.token = Some("t".to_owned());
    server.client(&login).await.unwrap();
    assert!(!format!("{:?}", builder.token("sekret").user("a", "sekret")).contains("sekret"));
}

#[tokio::test]
async fn what_cannot_be_started() {
    let builder = Server::builder().host("127.0.0.1").port(0);
    let both = told(builder.clone().user("a", "b").token("t").start().await);
    assert_eq!(both, ("user and token exclude each other".to_owned(), false));
    let neither = told(builder.clone().no_listener().start().await);
    assert_eq!(neither, ("port and no_listener exclude each other".to_owned(), false));
    let (text, has_source) = told(builder.clone().config_file("/nonexistent").start().await);
    assert!(text.contains("no such file or directory") && has_source, "{text}");
    let (text, has_source) = told(builder.clone().name("a b").start().await);
    assert!(text == "server name cannot contain spaces" && has_source, "{text}");
    let mut log = Log::default();
    log.log_file = Some("/nonexistent/log".into());
    let (text, has_source) = told(builder.clone().log(log).start().await);
    assert!(text.starts_with("Could not write log file /nonexistent/log") && has_source, "{text}");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let (text, has_source) = told(builder.port(taken.port()).start().await);
    assert!(text.starts_with("Error listening on port") && has_source, "{text}");
}

/// The log of this process is the first server's, since nobody else has asked for it.
#[tokio::test]
async fn a_log_that_is_asked_for_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let mut log = Log::default();
    log.log_file = Some(file.clone());
    let builder = Server::builder().no_listener();
    let server = builder.clone().name("logged").log(log).start().await.unwrap();
    let mut options = Options::default();
    options.log.debug = true;
    builder.options(options).start().await.unwrap().shutdown().await;
    server.shutdown().await;
    let text = std::fs::read_to_string(file).unwrap();
    for told in ["Name:     logged", "The log's settings are not obeyed", "Server Exiting"] {
        assert!(text.contains(told), "{told} in {text}");
    }
}

#[tokio::test]
async fn two_servers_are_strangers() {
    let (one, other) = (server().await, server().await);
    assert_ne!(one.id(), other.id());
    let (sender, receiver) = (client(&one).await, client(&other).await);
    let mut heard = receiver.subscribe(">", None).await.unwrap();
    receiver.flush().await.unwrap();
    sender.publish("a", "of one").await.unwrap();
    sender.flush().await.unwrap();
    receiver.publish("a", "of the other").await.unwrap();
    assert_eq!(next(&mut heard).await.payload, "of the other");
    one.shutdown().await;
    receiver.publish("a", "still there").await.unwrap();
    assert_eq!(next(&mut heard).await.payload, "still there");
}

/// Clients of the process, of a stream and of a port are in one subject space.
#[tokio::test]
async fn every_way_in_leads_to_the_same_place() {
    let server = server().await;
    let inside = client(&server).await;
    let mut heard = inside.subscribe("a.*", None).await.unwrap();
    inside.flush().await.unwrap();
    let outside = async_nats::connect(server.client_addr().unwrap().to_string()).await.unwrap();
    outside.publish("a.port", "p".into()).await.unwrap();
    outside.flush().await.unwrap();
    assert_eq!(next(&mut heard).await.subject, "a.port");

    let mut stream = server.connect().unwrap();
    stream.write_all(b"CONNECT {}\r\nPUB a.stream 1\r\ns\r\nPING\r\n").await.unwrap();
    let mut text = String::new();
    while !text.ends_with("+OK\r\n+OK\r\nPONG\r\n") {
        let mut bytes = [0; 4096];
        let len = timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert!(len > 0, "{text}");
        text += std::str::from_utf8(&bytes[..len]).unwrap();
    }
    assert!(text.starts_with("INFO {"), "{text}");
    assert_eq!(next(&mut heard).await.subject, "a.stream");
}

#[tokio::test]
async fn a_server_without_listener() {
    let server = Server::builder().no_listener().monitor(0).host("127.0.0.1").start().await;
    let server = server.unwrap();
    assert_eq!(server.client_addr(), None);
    assert!(server.monitor_addr().unwrap().ip().is_loopback());
    let client = client(&server).await;
    let mut heard = client.subscribe("a", None).await.unwrap();
    client.publish("a", "x").await.unwrap();
    assert_eq!(next(&mut heard).await.payload, "x");
    assert_eq!(server.varz()["port"], 0);
}

#[tokio::test]
async fn monitoring_is_values() {
    let server = Server::builder().no_listener().start().await.unwrap();
    let mut named = LineOptions::default();
    named.name = Some("watched".to_owned());
    let client = server.client(&named).await.unwrap();
    let _subscription = client.subscribe("a.b", None).await.unwrap();
    client.flush().await.unwrap();
    let varz = server.varz();
    assert_eq!(varz["connections"], 1);
    assert_eq!(varz["server_id"], server.id());
    let connz = server.connz("subs=1").unwrap();
    let listed = &connz["connections"][0];
    assert_eq!(
        (&listed["name"], &listed["subscriptions_list"][0]),
        (&"watched".into(), &"a.b".into())
    );
    assert_eq!(server.connz("state=closed").unwrap()["num_connections"], 0);
    let refused = server.connz("sort=stop").unwrap_err().to_string();
    assert_eq!(refused, "sort by stop only valid on closed connections");
}

/// A client of the process and one of the port learn of the end, in the middle of what they say.
#[tokio::test]
async fn a_shutdown_under_traffic() {
    let server = Arc::new(server().await);
    let inside = client(&server).await;
    let address = server.client_addr().unwrap();
    let outside = LineClient::connect_tcp(address, &LineOptions::default()).await.unwrap();
    let mut heard = inside.subscribe("busy", None).await.unwrap();
    inside.flush().await.unwrap();
    let publish = |client: LineClient| {
        tokio::spawn(async move { while client.publish("busy", [0; 512]).await.is_ok() {} })
    };
    let publishing = [publish(inside.clone()), publish(outside)];
    next(&mut heard).await;
    let stopped = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.stopped().await }
    });
    timeout(PATIENCE, server.shutdown()).await.unwrap();
    timeout(PATIENCE, stopped).await.unwrap().unwrap();
    for task in publishing {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    while timeout(PATIENCE, heard.next()).await.unwrap().is_some() {}
    assert!(server.connect().is_err());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    server.shutdown().await; // again: nothing happens
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let server = server().await;
    let address = server.client_addr().unwrap();
    let client = client(&server).await;
    drop(server);
    timeout(PATIENCE, client.closed()).await.unwrap();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// The server's threads are its own: it serves on when the runtime that started it is gone.
#[test]
fn the_runtime_of_the_caller_may_end() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime().block_on(server());
    let mut outside = Client::open_port(server.client_addr().unwrap().port());
    outside.send("SUB a 1\r\nPING\r\n");
    outside.expect("+OK\r\nPONG\r\n");
    runtime().block_on(async {
        let inside = client(&server).await;
        inside.publish("a", "x").await.unwrap();
        inside.flush().await.unwrap();
    });
    outside.expect("MSG a 1 1\r\nx\r\n");
    runtime().block_on(server.shutdown());
    outside.expect_closed();
}

/// A server of a cluster that dials `routes`.
async fn member(routes: Vec<RouteUrl>) -> Server {
    let mut cluster = Cluster::default();
    cluster.name = Some("embedded".to_owned());
    cluster.listen = Some(Listen { host: "127.0.0.1".to_owned(), port: Port::Free });
    cluster.routes = routes;
    Server::builder().cluster(cluster).no_listener().start().await.unwrap()
}
/// On a runtime of one thread, which the clients share with whoever waits for the server's end.
#[tokio::test]
async fn what_a_client_of_the_process_was_confirmed_arrives() {
    let stays = member(Vec::new()).await;
    let url = format!("nats://{}", stays.cluster_addr().unwrap());
    let stops = member(vec![RouteUrl::parse(&url).unwrap()]).await;
    let receiver = stays.client(&LineOptions::default()).await.unwrap();
    let mut subscription = receiver.subscribe("count", None).await.unwrap();
    receiver.flush().await.unwrap();
    let sender = stops.client(&LineOptions::default()).await.unwrap();
    while timeout(Duration::from_millis(10), subscription.next()).await.is_err() {
        sender.publish("count", "0").await.unwrap();
    }

    let (confirmed_one, first) = tokio::sync::oneshot::channel();
    let publishing = tokio::spawn(async move {
        let mut confirmed_one = Some(confirmed_one);
        for number in 1.. {
            if sender.publish("count", number.to_string()).await.is_err()
                || sender.flush().await.is_err()
            {
                return number - 1;
            }
            confirmed_one.take().map(|first| first.send(()));
        }
        unreachable!("the server ends")
    });
    first.await.unwrap();
    stops.shutdown().await;
    stops.client(&LineOptions::default()).await.unwrap_err();
    let confirmed: u64 = publishing.await.unwrap();
    let mut arrived = 0;
    while arrived < confirmed {
        let message = timeout(PATIENCE, subscription.next()).await.expect("in time").unwrap();
        let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        assert!(number <= arrived + 1, "{arrived}, then {number} of {confirmed}");
        arrived = number;
    }
}

/// Settings of the builder go before those of the file, also when it is read again.
#[tokio::test]
async fn a_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.conf");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("max_payload: 100, server_name: file\n");
    let builder = Server::builder().no_listener().name("builder").config_file(&file);
    let server = builder.start().await.unwrap();
    write("max_payload: 50, server_name: other\n");
    server.reload().await.unwrap();
    let varz = server.varz();
    assert_eq!((&varz["max_payload"], &varz["server_name"]), (&50.into(), &"builder".into()));
    assert_ne!(varz["config_load_time"], varz["start"]);
    write("max_payload: 25, max_pending: 5\n");
    let error = server.reload().await.unwrap_err().to_string();
    assert_eq!(error, "max_payload (25) cannot be higher than max_pending (5)");
    assert_eq!(server.varz()["max_payload"], 50);
    server.shutdown().await;
    assert_eq!(server.reload().await.unwrap_err().to_string(), "server is not running");
    let without = Server::builder().no_listener().start().await.unwrap();
    assert!(without.reload().await.is_err());
}

/// The clients are told, and closed when the grace period is over; nobody comes in meanwhile.
#[tokio::test]
async fn lame_duck_mode_ends_with_the_server() {
    let mut options = Options::default();
    options.lame_duck_grace_period = Duration::from_millis(50);
    options.lame_duck_duration = Duration::from_millis(100);
    let server = Server::builder().options(options).host("127.0.0.1").port(0).start().await;
    let server = server.unwrap();
    let (first, second) = (client(&server).await, client(&server).await);
    let mut subscription = first.subscribe("a", None).await.unwrap();
    first.flush().await.unwrap();
    let meanwhile = async {
        while !second.info().ldm {
            tokio::task::yield_now().await;
        }
        assert!(server.connect().is_err());
        assert_eq!(server.client_addr(), None);
        second.publish("a", "still").await.unwrap();
        assert_eq!(next(&mut subscription).await.payload, "still");
    };
    timeout(PATIENCE, async { tokio::join!(server.lame_duck(), meanwhile) }).await.unwrap();
    assert!(timeout(PATIENCE, subscription.next()).await.unwrap().is_none());
    // It has stopped.
    server.lame_duck().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_ends_lame_duck_mode() {
    let server = server().await;
    let client = client(&server).await;
    let stopping = async {
        while !client.info().ldm {
            tokio::task::yield_now().await;
        }
        server.shutdown().await;
    };
    // Of two calls, the second one only waits.
    let both = async { tokio::join!(server.lame_duck(), server.lame_duck(), stopping) };
    timeout(PATIENCE, both).await.unwrap();
}
