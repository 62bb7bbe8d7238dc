//! [`ClientHandler`]: receives events by calls instead of [`Client::next`].

use std::future::Future;

use eio_core::packet::Message;

use crate::client::{Client, Closed, Event, SendError, UpgradeFailed};

/// The reaction of an application to the events of a [`Client`], called by [`Client::run`].
///
/// The next event is handled when the future of the previous one has completed.
///
/// ```no_run
/// use eio_monoio::client::{self, Client, ClientHandler, Closed};
/// use eio_monoio::{Driver, Message};
///
/// struct Echo;
///
/// impl ClientHandler for Echo {
///     async fn message(&self, client: &Client, message: Message<'_>) {
///         client.send(message).await.ok(); // an error means that the session has ended
///     }
///
///     async fn disconnect(&self, _: &Client, closed: &Closed) {
///         println!("{closed}");
///     }
/// }
///
/// client::block_on(Driver::Auto, async {
///     let client = Client::connect("http://localhost:3000").await?;
///     client.run(&Echo).await;
///     Ok::<(), client::ConnectError>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ClientHandler {
    /// The session is open. Called once, before any event.
    fn connect(&self, _client: &Client) -> impl Future<Output = ()> {
        async {}
    }

    /// The server sent a message.
    fn message(&self, client: &Client, message: Message<'_>) -> impl Future<Output = ()>;

    /// The upgrade succeeded: a WebSocket carries the session.
    fn upgrade(&self, _client: &Client) -> impl Future<Output = ()> {
        async {}
    }

    /// The upgrade failed: polling still carries the session.
    fn upgrade_failed(&self, _client: &Client, _why: &UpgradeFailed) -> impl Future<Output = ()> {
        async {}
    }

    /// A message of a [`RemoteClient`](crate::client::RemoteClient) was dropped; see [`Event::Unsent`].
    fn unsent(&self, _client: &Client, _why: SendError) -> impl Future<Output = ()> {
        async {}
    }

    /// The session has ended. It is the last call.
    fn disconnect(&self, _client: &Client, _closed: &Closed) -> impl Future<Output = ()> {
        async {}
    }
}

/// # Handling events
impl Client {
    /// Calls `handler` for every event until the session has ended. Dropped before, it ends the call in progress, and
    /// does not return that event again.
    pub async fn run(&self, handler: &impl ClientHandler) -> Closed {
        handler.connect(self).await;
        while let Some(event) = self.next().await {
            match event {
                Event::Message(message) => handler.message(self, Message::from(&message)).await,
                Event::Upgraded => handler.upgrade(self).await,
                Event::UpgradeFailed(why) => handler.upgrade_failed(self, &why).await,
                Event::Unsent(why) => handler.unsent(self, why).await,
                Event::Closed(closed) => {
                    handler.disconnect(self, &closed).await;
                    return closed;
                }
            }
        }
        self.ended().await
    }
}
