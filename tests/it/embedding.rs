//! A server inside this process: how it is built, and how it ends under clients of the process.

use std::time::Duration;

use dialtone::config::{Cluster, Listen, Port, RouteUrl};
use dialtone::{LineOptions, Options, Server};
use tokio::time::timeout;

use crate::support::PATIENCE;

#[tokio::test]
async fn what_was_built_before_the_options_stays() {
    let options = Options { max_payload: 77, ..Options::default() };
    let server = Server::builder().host("127.0.0.1").port(0).options(options).start().await;
    let server = server.unwrap();
    assert!(server.client_addr().ip().is_loopback(), "{}", server.client_addr());
    assert_ne!(server.client_addr().port(), 4222);
    let client = server.client(&LineOptions::default()).await.unwrap();
    assert_eq!(client.info().max_payload, 77);
}

#[tokio::test]
async fn what_is_built_after_the_options_wins() {
    let options = Options { host: "0.0.0.0".to_owned(), ..Options::default() };
    let server = Server::builder().options(options).host("127.0.0.1").port(0).start().await;
    assert!(server.unwrap().client_addr().ip().is_loopback());
}

/// A server of a cluster that dials `routes`.
async fn member(routes: Vec<RouteUrl>) -> Server {
    let listen = Listen { host: "127.0.0.1".to_owned(), port: Port::Free };
    let name = Some("embedded".to_owned());
    let cluster = Cluster { name, listen: Some(listen), routes, ..Cluster::default() };
    let options = Options { cluster: Some(cluster), ..Options::default() };
    Server::builder().host("127.0.0.1").port(0).options(options).start().await.unwrap()
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
