//! The client of the scene `rolling`, with async-nats; the head of `rolling` says what it prints.

use std::env;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, RequestErrorKind};
use futures::StreamExt;

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let listener = connected("listener", "LISTENER_URL").await?;
    let mut messages = listener.subscribe("rolling.rs").await?;
    // An answer to this comes behind the SUB.
    let _ = listener.request("rolling.nobody", "".into()).await;
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            println!("got {}", String::from_utf8_lossy(&message.payload));
        }
    });
    let publisher = connected("publisher", "PUBLISHER_URL").await?;
    for number in 1.. {
        let _ = publisher.publish("rolling.rs", number.to_string().into()).await;
        let answer = publisher.request("rolling.nobody", "".into()).await;
        if answer.is_err_and(|e| e.kind() == RequestErrorKind::NoResponders) {
            println!("sent {number}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn connected(who: &'static str, url: &str) -> Result<Client, async_nats::Error> {
    let options = ConnectOptions::new()
        .request_timeout(Some(Duration::from_secs(1)))
        .reconnect_delay_callback(|_| Duration::from_millis(100))
        .event_callback(move |event| async move {
            match event {
                Event::Disconnected => println!("down {who}"),
                Event::Connected => println!("up {who}"),
                Event::Closed => println!("closed {who}"),
                _ => {}
            }
        });
    Ok(options.connect(env::var(url)?).await?)
}
