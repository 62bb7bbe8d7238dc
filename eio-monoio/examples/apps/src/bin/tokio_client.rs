//! The client in a tokio program: a `Handle`, which any task of any runtime may use. Prints what the server answers to
//! the words of the command line: `tokio_client URL WORD ...`.

use std::error::Error;

use eio_monoio::client::{Client, Event, Handle};
use eio_monoio::{Driver, OwnedMessage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: tokio_client URL WORD ...")?;
    let handle = Handle::connect(Driver::Auto, Client::connect(&url)).await?;
    for word in arguments {
        handle.send(word).await?;
        println!("{}", answer(&handle).await.ok_or("the session has ended")?);
    }
    handle.disconnect().await;
    Ok(())
}

/// The next text message; `None` if the session ends before.
async fn answer(handle: &Handle) -> Option<String> {
    loop {
        if let Event::Message(OwnedMessage::Text(text)) = handle.next().await? {
            return Some(text);
        }
    }
}
