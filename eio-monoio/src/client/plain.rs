//! [`Connect::plain_websocket`]: a client's WebSocket without Engine.IO.

use std::cell::RefCell;
use std::rc::Rc;

use eio_core::packet::Message;

use crate::client::connect::Connect;
use crate::client::cookies::CookieJar;
use crate::client::dial::{Path, dial};
use crate::client::error::ConnectError;
use crate::client::settings::Settings;
use crate::client::websocket::handshake;
use crate::io::raw_websocket::{self, PlainSocket};
use crate::worker::context::WorkerContext;

/// # WebSockets without Engine.IO
impl Connect {
    /// Opens a WebSocket (RFC 6455) without Engine.IO at exactly this URL, and runs it until it ends.
    ///
    /// `on_open` is called once and may keep the socket, so that other tasks of the worker send by it. `on_message` is
    /// called with each message. Returns the code of the server's close frame, if the server closed first and gave a
    /// code. If the future is dropped before, the connection is closed without a closing handshake. Options of
    /// transports, upgrade, timestamps and SIGINT have no effect.
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
    /// [`ConnectError`] if the WebSocket was not opened.
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
            let conn = dial(&worker, &settings, Path::Tunnel).await?;
            handshake(conn, &settings, &cookies, &target).await
        };
        // Boxed: the future of the handshake is large, and not needed while the WebSocket is open.
        let (conn, terms) = Box::pin(opening).await.map_err(ConnectError::Failed)?;
        let max = settings.options.max_payload;
        let deflate = settings.deflate(&worker, terms);
        Ok(raw_websocket::run_client(conn, max, deflate, on_open, on_message)
            .await
            .map(|code| code.get()))
    }
}
