//! A handler that describes each client to itself.

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};

/// Echoes. The first message is the description of the client by its handshake.
pub(crate) struct Describing(pub(crate) fn(&ConnectRequest<'_>) -> String);

impl Handler for Describing {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        Ok((self.0)(request))
    }

    async fn open(&self, socket: &Socket<String>) {
        socket.try_send(socket.data().as_str()).expect("the queue has room");
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}
