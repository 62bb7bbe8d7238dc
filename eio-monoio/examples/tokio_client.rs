//! A client inside a tokio program: `client::Handle` runs it on a thread of its own.
//!
//! Sends each argument, prints the answers, and ends the session after as many messages, or on SIGINT.

use std::error::Error;
use std::sync::Arc;

use eio_monoio::Driver;
use eio_monoio::client::{Backoff, Client, Event, Handle};

async fn run(url: &str, messages: Vec<String>) -> Result<(), Box<dyn Error>> {
    let connect = Client::connect(url).handle_sigint(true);
    let backoff = Backoff::new().attempts(3).on_retry(|retry| eprintln!("{retry}"));
    let handle = Arc::new(Handle::connect_with(Driver::Auto, connect, &backoff).await?);
    let (sender, mut expected) = (handle.clone(), messages.len());
    let sending = tokio::spawn(async move {
        for message in messages {
            sender.send(message).await?; // waits while the queue is full
        }
        Ok::<(), eio_monoio::SendError>(())
    });
    while let Some(event) = handle.next().await {
        match event {
            Event::Message(message) => {
                println!("{message:?}");
                expected = expected.saturating_sub(1);
                if expected == 0 {
                    handle.disconnect().await;
                }
            }
            Event::Closed(closed) => println!("{closed}"),
            _ => {}
        }
    }
    sending.await??;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: tokio_client URL MESSAGE...")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    runtime.block_on(run(&url, arguments.collect()))
}
