//! WebSockets without Engine.IO, from the client's end.

use std::cell::RefCell;
use std::rc::Rc;

use eio_core::packet::Message;

use crate::client::connect::Connect;
use crate::client::cookies::CookieJar;
use crate::client::dial::dial;
use crate::client::error::ConnectError;
use crate::client::settings::Settings;
use crate::client::websocket::handshake;
use crate::io::raw_websocket::{self, PlainSocket};
use crate::worker::context::WorkerContext;

impl Connect {
    /// Opens a WebSocket of RFC 6455 at exactly this URL, without Engine.IO, and serves it to its end in this
    /// future; dropped before, the connection is cut. The other end of
    /// [`Server::plain_websockets`](crate::Server::plain_websockets).
    ///
    /// `on_open` may keep the socket, to send by it from other tasks of the core. `on_message` is called with each
    /// message. The result is the code of the server's close frame, if the end was the server's and it gave a code. Of
    /// the options those of transports, upgrade, timestamps and SIGINT have no meaning here.
    ///
    /// ```no_run
    /// # use eio_monoio::client::{Client, ConnectError};
    /// # async fn f() -> Result<(), ConnectError> {
    /// let greet = |socket: &std::rc::Rc<eio_monoio::PlainSocket>| socket.send("hello");
    /// Client::connect("ws://localhost:9001/chat")
    ///     .plain_websocket(greet, |socket, message| {
    ///         println!("{message:?}");
    ///         socket.close();
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError`], if there is no WebSocket.
    pub async fn plain_websocket(
        self,
        on_open: impl FnOnce(&Rc<PlainSocket>),
        on_message: impl Fn(&PlainSocket, Message<'_>),
    ) -> Result<Option<u16>, ConnectError> {
        let settings = Settings::new(self.options)?;
        let worker = WorkerContext::current().ok_or(ConnectError::NoRuntime)?;
        let target = settings.plain_target()?;
        let cookies = RefCell::new(CookieJar::default());
        let opening = async {
            let conn = dial(&worker, &settings).await?;
            handshake(conn, &settings, &cookies, &target).await
        };
        // Rare and large: not part of what the socket pays for while it lives.
        let (conn, terms) = Box::pin(opening).await.map_err(ConnectError::Failed)?;
        let max = settings.options.max_payload;
        let deflate = settings.deflate(&worker, terms);
        Ok(raw_websocket::run_client(conn, max, deflate, on_open, on_message)
            .await
            .map(|code| code.get()))
    }
}
