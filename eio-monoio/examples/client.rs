//! A client that reconnects, and closes its session on SIGINT.

use std::error::Error;

use eio_monoio::client::{self, Backoff, Client, Event};
use eio_monoio::{CloseReason, Driver};

async fn chat() -> Result<(), Box<dyn Error>> {
    let connect = Client::connect("http://127.0.0.1:3000").header("X-User", "ada");
    let backoff = Backoff::new().on_retry(|retry| eprintln!("{retry}"));
    let client = connect.handle_sigint(true).connect_with(&backoff).await?;
    loop {
        client.send("hello").await.ok(); // if the session has ended, the events say why
        while let Some(event) = client.next().await {
            match event {
                Event::Message(message) => println!("{message:?}"),
                Event::Upgraded => println!("upgraded to a WebSocket"),
                Event::Closed(closed) => println!("{closed}"),
                _ => {}
            }
        }
        if client.ended().await.reason == CloseReason::ClientDisconnect {
            return Ok(()); // SIGINT
        }
        client.reconnect_with(&backoff).await?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    client::block_on(Driver::Auto, chat())? // or in a handler of a server, on its worker
}
