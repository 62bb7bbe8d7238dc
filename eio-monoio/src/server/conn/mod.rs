//! [`Conn`]: one connection of a server, from HTTP requests to the WebSocket it may become.
//!
//! [`http`] serves requests, [`decide`] determines what each asks for, [`polling`] and [`websocket`] carry sessions.

pub(crate) mod app_request;
mod away;
mod decide;
pub(crate) mod dispatch;
pub(crate) mod file;
pub(crate) mod handshake;
mod head_ranges;
mod header_slots;
pub(crate) mod http;
#[cfg(feature = "nats")]
pub(crate) mod link;
#[cfg(feature = "nats")]
pub(crate) mod link_accept;
mod middleware;
pub(crate) mod polling;
mod proxy_header;
pub(crate) mod raw_websocket;
mod reason;
#[cfg(feature = "nats")]
pub(crate) mod relay;
pub(crate) mod reply;
mod request;
pub(crate) mod start;
#[cfg(feature = "tls")]
mod tls_accept;
pub(crate) mod websocket;

use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use eio_core::http::{BodyDecoder, Framing, Step};

use crate::io::http_conn::{HttpConn, RecvError};
use crate::io::permit::ConnectionPermit;
use crate::io::stream::Stream;
use crate::server::access::Access;
use crate::server::shard::ShardState;
use crate::server::shard::shared::MovedConnection;
use crate::server::via::Via;
use crate::web::compress::Coding;
use crate::web::request::Attached;
use crate::worker::budget::{RecvBytes, RecvStorage};
use crate::worker::context::Activity;
use crate::worker::pool::SCRATCH;

/// The body that the head of a request announces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
}

impl Body {
    /// Whether there is no body.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
    }
}

/// A buffered HTTP connection, to which it dereferences, with the state of the current request.
///
/// It is passed on in a box: without one, the future of each function that owns it would have room for it.
pub(crate) struct Conn<T> {
    pub(crate) state: Rc<ShardState<T>>,
    pub(crate) http: HttpConn,
    /// The client, also if the connection is a link.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) via: Via,
    /// Header lines of the response to the current request: CORS, cookie, those of hooks.
    pub(crate) extra: Vec<u8>,
    /// The content coding for the response to the current request, if it is large enough.
    pub(crate) coding: Option<Coding>,
    /// Values and header fields that the application has attached to the current request.
    pub(crate) attached: Attached,
    /// The entry of the current request in the access log, if the application has one.
    pub(crate) access: Option<Box<Access>>,
    /// This worker has not answered a request on it yet.
    pub(crate) fresh: bool,
    /// This worker has accepted it for a client, and its first request is not counted yet.
    pub(crate) uncounted: bool,
}

impl<T> Deref for Conn<T> {
    type Target = HttpConn;

    fn deref(&self) -> &HttpConn {
        &self.http
    }
}

impl<T> DerefMut for Conn<T> {
    fn deref_mut(&mut self) -> &mut HttpConn {
        &mut self.http
    }
}

impl<T> Conn<T> {
    pub(crate) fn new(
        state: Rc<ShardState<T>>,
        stream: impl Into<Stream>,
        peer: Option<SocketAddr>,
        permit: Option<ConnectionPermit>,
    ) -> Self {
        let http = HttpConn::new(state.conn_env.clone(), stream, permit);
        let attached = Attached::default();
        let (via, extra) = (Via::default(), Vec::new());
        Self {
            state,
            http,
            peer,
            via,
            extra,
            coding: None,
            attached,
            access: None,
            fresh: true,
            uncounted: true,
        }
    }

    /// Continues a connection of another worker.
    pub(crate) fn from_moved(state: Rc<ShardState<T>>, moved: MovedConnection) -> io::Result<Self> {
        let mut conn = Self::new(state, Stream::attach(moved.stream)?, moved.peer, moved.permit);
        conn.via = moved.via;
        conn.uncounted = false;
        let storage = conn.state.pool.take_receive(moved.unread.len().max(SCRATCH));
        conn.rx = RecvBytes::new(RecvStorage::new(storage));
        // The storage has room for it.
        let _ = conn.rx.append(&moved.unread);
        Ok(conn)
    }

    /// Detaches the connection from this worker. No bytes may wait to be sent.
    pub(crate) fn into_moved(mut self) -> io::Result<MovedConnection> {
        debug_assert!(self.out.0.is_empty());
        if let Some(access) = &mut self.access {
            access.cancel();
        }
        let unread = self.rx.unread().to_vec();
        let (stream, permit) = self.http.into_stream();
        let (peer, via) = (self.peer, self.via);
        Ok(MovedConnection { stream: stream.detach()?, unread, peer, permit, via })
    }

    /// Begins the entry of a request in the access log, if the application has one.
    fn begin_request(&mut self) {
        let log = self.state.hooks.access.clone();
        self.access = log.map(|log| Box::new(Access::new(log, self.peer)));
    }

    /// The status of the response to the current request, for the access log.
    pub(crate) fn set_status(&mut self, status: u16) {
        if let Some(access) = &mut self.access {
            access.set_status(status);
        }
    }

    /// The response to the current request is sent.
    pub(crate) fn end_request(&mut self) {
        self.access = None;
    }

    /// Closes the connection after the response; see [`HttpConn::close_lingering`].
    pub(crate) async fn close_lingering(&mut self) {
        // The peer may take long to close.
        if self.access.is_some() {
            _ = self.flush().await;
            self.end_request();
        }
        self.http.close_lingering().await;
    }

    /// Receives the whole body, which `rx` keeps then. Sends 100 (Continue) if the client expects it. A body that is
    /// announced as too large is an error before it is received.
    pub(crate) async fn receive_body(&mut self, body: Body) -> Result<(), RecvError> {
        let mut decoder = BodyDecoder::new(body.framing, self.state.config.max_payload);
        if decoder.poll(&mut self.rx).map_err(RecvError::Bad)? == Step::Done {
            return Ok(());
        }
        if body.expects_continue && self.rx.is_empty() {
            self.out_mut().0.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.flush().await?;
        }
        self.set_deadline(self.state.config.body_timeout);
        self.set_activity(Activity::Receiving);
        loop {
            match decoder.poll(&mut self.rx).map_err(RecvError::Bad)? {
                Step::Done => break,
                Step::Need(n) => self.receive(n).await?,
            }
        }
        self.set_activity(Activity::Busy);
        Ok(())
    }
}
