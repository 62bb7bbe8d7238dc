//! The smallest application: it echoes every message.

use std::marker::PhantomData;

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};

/// Echoes without a log; each session holds a default `T`.
pub(crate) struct Echo<T = ()>(PhantomData<T>);

impl<T> Echo<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Copy + Default + 'static> Handler for Echo<T> {
    type Session = T;

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<T, Refusal> {
        Ok(T::default())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<T>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s, T> {
        // Never full: the server stops reading from a client that does not read its echoes.
        socket.try_send(message).ok();
        async {}
    }
}
