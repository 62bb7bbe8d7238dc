//! [`ClientHandler`]: events as calls instead of as a stream.

use std::future::Future;

use eio_core::packet::Message;
use eio_core::session::UpgradeFailure;

use crate::client::{Client, Closed, Event, SendError};

/// What an application does with the events of a [`Client`], run by [`Client::run`]. One event at a time.
pub trait ClientHandler {
    /// The session is open.
    fn connect(&self, _client: &Client) -> impl Future<Output = ()> {
        async {}
    }

    /// A message came.
    fn message(&self, client: &Client, message: Message<'_>) -> impl Future<Output = ()>;

    /// From now on a WebSocket carries the session.
    fn upgrade(&self, _client: &Client) -> impl Future<Output = ()> {
        async {}
    }

    /// The session goes on over polling.
    fn upgrade_failed(&self, _client: &Client, _why: UpgradeFailure) -> impl Future<Output = ()> {
        async {}
    }

    /// A message that a [`Remote`](crate::client::Remote) sent was not taken.
    fn unsent(&self, _client: &Client, _why: SendError) -> impl Future<Output = ()> {
        async {}
    }

    /// The session has ended.
    fn disconnect(&self, _client: &Client, _closed: &Closed) -> impl Future<Output = ()> {
        async {}
    }
}

impl Client {
    /// Hands every event to `handler` until the session has ended.
    pub async fn run(&self, handler: &impl ClientHandler) -> Closed {
        handler.connect(self).await;
        while let Some(event) = self.next().await {
            match event {
                Event::Message(message) => handler.message(self, Message::from(&message)).await,
                Event::Upgraded => handler.upgrade(self).await,
                Event::UpgradeFailed(why) => handler.upgrade_failed(self, why).await,
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
