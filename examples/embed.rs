//! A server inside the program: started, used without a port in between, and shut down.
//!
//! ```text
//! cargo run --example embed
//! ```

use std::error::Error;

use dialtone::{LineOptions, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().host("127.0.0.1").port(0).start().await?;
    let address = server.client_addr().ok_or("it has a port")?;
    println!("other programs connect to nats://{address}");

    let client = server.client(&LineOptions::default()).await?;
    let mut orders = client.subscribe("orders.*", None).await?;
    client.publish("orders.new", "four teapots").await?;
    if let Some(order) = orders.next().await {
        println!("an order: {}", String::from_utf8_lossy(&order.payload));
    }
    server.shutdown().await;
    Ok(())
}
