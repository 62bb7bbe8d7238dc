//! A client that reconnects.

use std::error::Error;

use eio_monoio::Driver;
use eio_monoio::client::{self, Backoff, Client, Event};

async fn chat() -> Result<(), Box<dyn Error>> {
    let client = Client::connect("http://127.0.0.1:3000").header("X-User", "ada").await?;
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
        client.reconnect_with(&Backoff::default()).await?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    client::block_on(Driver::Auto, chat())? // or in a handler of a server, on its worker
}
