//! The client in a tokio program: a thread of its own runs it, and two channels connect it to tokio's tasks. Prints what
//! the server answers to the words of the command line: `tokio_client URL WORD ...`.

use std::error::Error;
use std::rc::Rc;

use eio_monoio::client::{self, Client, ConnectError, Event};
use eio_monoio::{Driver, OwnedMessage};
use tokio::sync::{mpsc, oneshot};

/// A session for tasks of any runtime. It ends after its queued messages when `outgoing` is dropped.
struct Session {
    outgoing: mpsc::Sender<OwnedMessage>,
    incoming: mpsc::Receiver<OwnedMessage>,
}

async fn connect(url: String) -> Result<Session, Box<dyn Error + Send + Sync>> {
    let (outgoing, queue) = mpsc::channel(64);
    let (inbox, incoming) = mpsc::channel(64);
    let (connected, result) = oneshot::channel();
    std::thread::spawn(move || client::block_on(Driver::Auto, run(url, connected, queue, inbox)));
    result.await??;
    Ok(Session { outgoing, incoming })
}

/// Runs on the thread of the client. Both channels are bounded: a slow side makes the other one wait.
async fn run(
    url: String,
    connected: oneshot::Sender<Result<(), ConnectError>>,
    mut queue: mpsc::Receiver<OwnedMessage>,
    inbox: mpsc::Sender<OwnedMessage>,
) {
    let client = match Client::connect(&url).await {
        Ok(client) => Rc::new(client),
        Err(error) => return drop(connected.send(Err(error))),
    };
    connected.send(Ok(())).ok();
    let sender = client.clone();
    client::spawn(async move {
        while let Some(message) = queue.recv().await {
            sender.send(&message).await.ok(); // after the end of the session, messages are dropped
        }
        sender.disconnect().await;
    });
    while let Some(event) = client.next().await {
        if let Event::Message(message) = event
            && inbox.send(message.into_owned()).await.is_err()
        {
            return client.disconnect().await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: tokio_client URL WORD ...")?;
    let mut session = connect(url).await?;
    for word in arguments {
        session.outgoing.send(word.into()).await?;
        match session.incoming.recv().await {
            Some(OwnedMessage::Text(text)) => println!("{text}"),
            Some(OwnedMessage::Binary(bytes)) => println!("{} bytes", bytes.len()),
            None => return Err("the session has ended".into()),
        }
    }
    Ok(())
}
