//! A real client library, async-nats, against the server.

use std::time::Duration;

use async_nats::{ConnectOptions, Event, HeaderMap};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{PATIENCE, Server, lasting_port, tls, websocket};

/// Runs on a runtime of its own and fails when it takes too long.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(2 * PATIENCE, test).await.expect("in time") });
}

/// Requests of its own, which it answers itself: their frames have all kinds of lengths.
async fn echo(client: async_nats::Client) {
    let mut echo = client.subscribe("echo").await.unwrap();
    client.flush().await.unwrap();
    let answering = client.clone();
    tokio::spawn(async move {
        while let Some(request) = echo.next().await {
            answering.publish(request.reply.unwrap(), request.payload).await.unwrap();
        }
    });
    for len in [0, 125, 126, 70_000, 1_000_000] {
        let answer = client.request("echo", vec![b'x'; len].into()).await.unwrap();
        assert_eq!(answer.payload.len(), len);
    }
}

async fn connect(server: &Server) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

for_both! {
    fn publish_and_subscribe(which) {
        let server = Server::start(which);
        run(async {
            let client = connect(&server).await;
            let mut all = client.subscribe("orders.*").await.unwrap();
            for n in 0..100 {
                client.publish("orders.new", format!("{n}").into()).await.unwrap();
            }
            for n in 0..100 {
                let message = all.next().await.unwrap();
                assert_eq!(message.payload, format!("{n}"));
                assert_eq!(message.subject.as_str(), "orders.new");
            }
        });
    }

    fn requests_by_websocket(which) {
        let server = Server::with().conf(websocket::conf("compression: true")).start(which);
        run(async {
            let url = format!("ws://127.0.0.1:{}", server.websocket_port());
            echo(async_nats::connect(url).await.unwrap()).await;
        });
    }

    fn requests_by_encrypted_websocket(which) {
        let server = Server::with().conf(websocket::wss_conf("", "")).start(which);
        run(async {
            let url = format!("wss://localhost:{}", server.websocket_port());
            let trusting = ConnectOptions::new().add_root_certificates(tls::file("ca.pem"));
            echo(trusting.connect(url).await.unwrap()).await;
        });
    }

    fn a_queue_group_shares(which) {
        const COUNT: usize = 1_000;
        let server = Server::start(which);
        run(async {
            let (sender, mut seen) = mpsc::unbounded_channel();
            for member in 0..4 {
                let client = connect(&server).await;
                let mut work = client.queue_subscribe("work", "workers".into()).await.unwrap();
                client.flush().await.unwrap();
                let sender = sender.clone();
                tokio::spawn(async move {
                    let _client = client;
                    while let Some(message) = work.next().await {
                        let number: usize =
                            std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                        sender.send((member, number)).unwrap();
                    }
                });
            }
            let client = connect(&server).await;
            // Subscriptions of others are in place once the server has answered them.
            for number in 0..COUNT {
                client.publish("work", number.to_string().into()).await.unwrap();
            }
            let mut numbers = Vec::new();
            let mut by_member = [0; 4];
            for _ in 0..COUNT {
                let (member, number): (usize, usize) = seen.recv().await.unwrap();
                numbers.push(number);
                by_member[member] += 1;
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "each once");
            let fair = COUNT / 4 / 3;
            assert!(by_member.iter().all(|&count| count > fair), "{by_member:?}");
        });
    }

    fn request_and_reply(which) {
        let server = Server::start(which);
        run(async {
            let service = connect(&server).await;
            let mut requests = service.subscribe("service").await.unwrap();
            service.flush().await.unwrap();
            tokio::spawn(async move {
                while let Some(request) = requests.next().await {
                    let answer = [b"got ".as_ref(), &request.payload].concat();
                    service.publish(request.reply.unwrap(), answer.into()).await.unwrap();
                }
            });
            let client = connect(&server).await;
            for n in 0..50 {
                let answer = client.request("service", format!("{n}").into()).await.unwrap();
                assert_eq!(answer.payload, format!("got {n}"));
            }
        });
    }

    fn a_request_that_is_not_answered_times_out(which) {
        let server = Server::start(which);
        run(async {
            let silent = connect(&server).await;
            let _requests = silent.subscribe("silent").await.unwrap();
            silent.flush().await.unwrap();
            let options = async_nats::ConnectOptions::new();
            let options = options.request_timeout(Some(Duration::from_millis(200)));
            let client = options.connect(server.url()).await.unwrap();
            let error = client.request("silent", "?".into()).await.unwrap_err();
            assert_eq!(error.kind(), async_nats::RequestErrorKind::TimedOut);
        });
    }

    fn a_request_to_nobody(which) {
        let server = Server::start(which);
        run(async {
            let client = connect(&server).await;
            let error = client.request("nobody", "?".into()).await.unwrap_err();
            assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
        });
    }

    fn headers(which) {
        let server = Server::start(which);
        run(async {
            let client = connect(&server).await;
            let mut all = client.subscribe("head").await.unwrap();
            let mut headers = HeaderMap::new();
            headers.append("Trace", "1");
            headers.append("Trace", "2");
            headers.insert("Other", "x y");
            client.publish_with_headers("head", headers.clone(), "hi".into()).await.unwrap();
            let message = all.next().await.unwrap();
            assert_eq!(message.headers, Some(headers));
            assert_eq!(message.payload, "hi");
        });
    }

    fn a_drained_subscription_ends_after_its_messages(which) {
        let server = Server::start(which);
        run(async {
            let client = connect(&server).await;
            let mut all = client.subscribe("drained").await.unwrap();
            for _ in 0..100 {
                client.publish("drained", "x".into()).await.unwrap();
            }
            // The library may end the subscription by an earlier PONG than the drain's own: its
            // answer to this request comes behind the messages.
            let _ = client.request("nobody", "".into()).await;
            all.drain().await.unwrap();
            assert_eq!(all.count().await, 100);
        });
    }

    fn unsubscribe_after(which) {
        let server = Server::start(which);
        run(async {
            let client = connect(&server).await;
            let mut all = client.subscribe("some").await.unwrap();
            all.unsubscribe_after(3).await.unwrap();
            for _ in 0..10 {
                client.publish("some", "x".into()).await.unwrap();
            }
            assert_eq!(all.count().await, 3);
        });
    }

    fn reconnect_after_a_restart(which) {
        let port = lasting_port();
        let server = Server::with().port(port).start(which);
        run(async move {
            let (sender, mut events) = mpsc::unbounded_channel();
            let options = async_nats::ConnectOptions::new()
                .event_callback(move |event| {
                    let sender = sender.clone();
                    async move {
                        let _ = sender.send(event);
                    }
                })
                .reconnect_delay_callback(|_| Duration::from_millis(20));
            let client = options.connect(server.url()).await.unwrap();
            let mut all = client.subscribe("again").await.unwrap();
            client.flush().await.unwrap();
            server.stop();
            while events.recv().await.unwrap() != Event::Disconnected {}
            let _server = Server::with().port(port).start(which);
            while events.recv().await.unwrap() != Event::Connected {}
            client.publish("again", "back".into()).await.unwrap();
            assert_eq!(all.next().await.unwrap().payload, "back");
        });
    }

    fn a_thousand_subscribers(which) {
        const COUNT: usize = 1_000;
        let server = Server::start(which);
        run(async {
            let mut clients = Vec::new();
            for _ in 0..10 {
                clients.push(connect(&server).await);
            }
            let mut all = Vec::new();
            for n in 0..COUNT {
                all.push(clients[n % clients.len()].subscribe("news").await.unwrap());
            }
            for client in &clients {
                client.flush().await.unwrap();
            }
            // A flush hands the bytes over; a request comes back after they were read.
            for client in &clients {
                let _ = client.request("nobody", "".into()).await;
            }
            clients[0].publish("news", "to all".into()).await.unwrap();
            for subscription in &mut all {
                assert_eq!(subscription.next().await.unwrap().payload, "to all");
            }
        });
    }

    fn a_megabyte(which) {
        let server = Server::start(which);
        run(async {
            let client = connect(&server).await;
            assert_eq!(client.server_info().max_payload, 1_048_576);
            let mut all = client.subscribe("big").await.unwrap();
            let payload: Vec<u8> = (0..1_048_576_usize).map(|n| (n % 251) as u8).collect();
            for _ in 0..5 {
                client.publish("big", payload.clone().into()).await.unwrap();
            }
            for _ in 0..5 {
                assert!(all.next().await.unwrap().payload == payload);
            }
        });
    }

    fn user_and_password(which) {
        let server = Server::with().flags(["--user", "a", "--pass", "b"]).start(which);
        run(async {
            let right = async_nats::ConnectOptions::with_user_and_password("a".into(), "b".into());
            right.connect(server.url()).await.unwrap();
            let wrong = async_nats::ConnectOptions::with_user_and_password("a".into(), "x".into());
            let error = wrong.connect(server.url()).await.unwrap_err();
            assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
        });
    }
}
