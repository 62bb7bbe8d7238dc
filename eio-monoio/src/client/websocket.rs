//! The WebSocket lane of a session: opening handshake, reading and the end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use eio_core::http::{EMPTY, ResponseHead, ResponseLines, WriteError};
use eio_core::packet::Packet;
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;
use eio_core::ws::deflate::Terms;
use eio_core::ws::handshake::{Key, Mismatch, check_response, check_response_deflate};
use eio_core::ws::{self, CloseCode, Event, Kind, Ready, Role};

use crate::client::cookies::CookieJar;
use crate::client::dial::dial_lane;
use crate::client::error::Fault;
use crate::client::http::{
    Refusal, begin_request, error_body_decoder, flush, read_error_body, scan_head,
};
use crate::client::session::Session;
use crate::client::session::lanes::SocketGuard;
use crate::client::settings::Settings;
use crate::deflate::PerMessageDeflate;
use crate::io::http_conn::HttpConn;
use crate::io::ws_conn::{self, SendObserver, WsConn};
use crate::io::ws_reader::WsReader;
use crate::message::OutBuf;

/// Opens the WebSocket of a session and runs it until it ends.
pub(crate) async fn run(session: Rc<Session>) {
    // Boxed: the future of the handshake is large, and not needed while the WebSocket is open.
    let (conn, terms) = match Box::pin(open(&session)).await {
        Ok(opened) => opened,
        Err(fault) => return session.lost(Lane::WebSocket, fault),
    };
    let (outward, inward) = session.settings.deflate(&session.worker, terms);
    let (ws, rx) = WsConn::new(conn, Role::Client, outward);
    if !session.handle_connected(&ws.sender) {
        return;
    }
    let reader = WsReader::new(Role::Client, session.settings.options.max_payload, inward, rx);
    let reader = Reader { session: &session, ws: &ws, reader, fault: None };
    let observer = SessionObserver { session: &session, ws: &ws };
    ws_conn::run(&observer, pin!(reader.run())).await;
}

async fn open(session: &Rc<Session>) -> Result<(HttpConn, Option<Terms>), Fault> {
    let conn = dial_lane(session, Lane::WebSocket).await?;
    let _guard = SocketGuard::new(session, Lane::WebSocket, &conn);
    let sid = session.sid();
    let target = session.settings.target(Transport::WebSocket, sid.as_ref(), sid.is_none());
    handshake(conn, &session.settings, &session.cookies, &target).await
}

/// RFC 6455 4.1: performs the client's opening handshake. Also returns the negotiated compression.
pub(crate) async fn handshake(
    mut conn: HttpConn,
    settings: &Settings,
    cookies: &RefCell<CookieJar>,
    target: &str,
) -> Result<(HttpConn, Option<Terms>), Fault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Fault::Lost)?;
    let key = Key::new(random);
    let deflate = settings.options.per_message_deflate.as_ref().map(PerMessageDeflate::terms);
    write_request(settings, &cookies.borrow(), conn.out_mut(), target, &key, deflate.as_ref());
    flush(&mut conn).await?;
    conn.set_deadline(settings.options.request_timeout);
    let len = scan_final_head(&mut conn).await?;
    let outcome = {
        let mut slots = [EMPTY; 100];
        let bytes = conn.rx.unread().get(..len).unwrap_or_default();
        let head = ResponseHead::parse(bytes, &mut slots).map_err(Fault::Http)?;
        cookies.borrow_mut().store(&head.headers);
        let (status, headers) = (head.status, head.headers.iter());
        let protocols: Vec<_> = settings.fields.protocols.iter().map(String::as_str).collect();
        let checked = match &deflate {
            Some(offered) => check_response_deflate(&key, &protocols, offered, status, headers)
                .map(|(_, negotiated)| negotiated),
            None => check_response(&key, &protocols, status, headers).map(|_| None),
        };
        match checked {
            Ok(negotiated) => Ok(negotiated),
            Err(Mismatch::Status) => {
                let decoder = error_body_decoder(&head).map_err(Fault::Http)?;
                Err((status, Refusal::new(&head.headers), decoder))
            }
            Err(mismatch) => return Err(Fault::Handshake(mismatch)),
        }
    };
    conn.rx.skip(len);
    match outcome {
        Ok(negotiated) => Ok((conn, negotiated)),
        Err((status, refusal, mut decoder)) => {
            let body = read_error_body(&mut conn, &mut decoder).await;
            Err(refusal.fault(status, body))
        }
    }
}

/// Waits for the head of the final response, after interim ones (RFC 9110 section 15.2), and returns its length.
async fn scan_final_head(conn: &mut HttpConn) -> Result<usize, Fault> {
    loop {
        let len = scan_head(conn).await?;
        let head = ResponseLines::parse(conn.rx.unread().get(..len).unwrap_or_default());
        match head.map_err(Fault::Http)?.status {
            101 | 200.. => return Ok(len),
            _ => conn.rx.skip(len),
        }
    }
}

fn write_request(
    settings: &Settings,
    jar: &CookieJar,
    out: &mut OutBuf,
    target: &str,
    key: &Key,
    deflate: Option<&Terms>,
) {
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let mut head = begin_request(out, "GET", target, settings, jar)?;
        if let Some(deflate) = deflate {
            head = head.header("Sec-WebSocket-Extensions", &deflate.offer().to_string())?;
        }
        if !settings.fields.protocols.is_empty() {
            head = head.header("Sec-WebSocket-Protocol", &settings.fields.protocols.join(", "))?;
        }
        head.header("Upgrade", "websocket")?
            .header("Connection", "Upgrade")?
            .header("Sec-WebSocket-Version", "13")?
            .header("Sec-WebSocket-Key", key.as_str())?
            .end()
    };
    let written = write(out);
    debug_assert!(written.is_ok(), "options are checked, and cookies come from parsed heads");
}

/// Moves queued messages of the session to its WebSocket after each write.
struct SessionObserver<'o> {
    session: &'o Session,
    ws: &'o WsConn,
}

impl SendObserver for SessionObserver<'_> {
    fn ws(&self) -> &WsConn {
        self.ws
    }

    fn on_written(&self) {
        if self.session.is_current_ws(&self.ws.sender) {
            self.session.on_sent();
        }
    }
}

/// Why a reader ended, with the effect of a violation on the session.
type ReadEnd = ws_conn::ReadEnd<CloseReason>;

struct Reader<'r> {
    session: &'r Rc<Session>,
    ws: &'r WsConn,
    reader: WsReader,
    /// The cause of the end.
    fault: Option<Fault>,
}

impl Reader<'_> {
    async fn run(mut self) {
        let end = match self.read().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.begin_close(end);
        // For a WebSocket that the session does not use any more.
        self.ws.sender.close();
        self.ws.complete_close(&end, &mut self.reader).await;
    }

    async fn read(&mut self) -> Result<Infallible, ReadEnd> {
        loop {
            self.wait_for_room().await?;
            let wanted = self.next()?;
            if wanted > 0 {
                self.ws.receive(&mut self.reader, wanted).await?;
            }
        }
    }

    /// Backpressure: waits for an application that takes no messages, and for a server that does not read the pongs that
    /// it causes.
    async fn wait_for_room(&self) -> Result<(), ReadEnd> {
        poll_fn(|cx| {
            if !self.ws.sender.is_open() {
                return Poll::Ready(Err(self.ws.read_end()));
            }
            ready!(self.ws.poll_room());
            self.session.poll_inbox(cx).map(Ok)
        })
        .await
    }

    /// Handles one frame and returns 0, or returns the number of bytes that are missing.
    fn next(&mut self) -> Result<usize, ReadEnd> {
        if !self.ws.sender.is_open() {
            return Err(ReadEnd::Local);
        }
        let ready = match self.reader.poll() {
            Ok(ws::Step::Ready(ready)) => ready,
            Ok(ws::Step::Need(n)) => return Ok(n),
            Err(error) => return Err(self.violation(error)),
        };
        match ready.kind() {
            Kind::Ping => self.ws.pong(&mut self.reader, ready),
            Kind::Pong => {}
            Kind::Close => return Err(self.close_frame(ready)),
            Kind::Text | Kind::Binary => self.handle(ready)?,
        }
        Ok(0)
    }

    /// Handles a message, which is one packet (docs/protocol.md 1.2).
    fn handle(&mut self, ready: Ready) -> Result<(), ReadEnd> {
        let payload = self.reader.payload_mut(ready);
        let packet = if ready.kind() == Kind::Binary {
            Packet::parse_binary(payload)
        } else {
            match Packet::parse_text(payload) {
                Ok(packet) => packet,
                Err(error) => {
                    self.fault = Some(Fault::Packet(error));
                    return Err(ReadEnd::Violation(error.close_code(), error.close_reason()));
                }
            }
        };
        // The state machine has applied the consequence of a violation, and closed the sender.
        if self.session.handle_packet(Lane::WebSocket, packet) {
            Ok(())
        } else {
            Err(ReadEnd::Local)
        }
    }

    #[cold]
    fn violation(&mut self, error: ws::Error) -> ReadEnd {
        self.fault = Some(Fault::WebSocket(error));
        ReadEnd::Violation(error.close_code(), error.close_reason())
    }

    fn close_frame(&mut self, ready: Ready) -> ReadEnd {
        let (code, reason) = match self.reader.event(ready) {
            Ok(Event::Close(code, reason)) => (code, reason.to_owned()),
            Ok(_) | Err(_) => (None, String::new()),
        };
        self.fault = Some(Fault::CloseFrame { code: code.map(CloseCode::get), reason });
        ReadEnd::CloseFrame(code)
    }

    /// Begins the closing handshake and reports the end to the session.
    fn begin_close(&mut self, end: ReadEnd) {
        let is_current = self.session.is_current_ws(&self.ws.sender);
        self.ws.begin_close(&end);
        let fault = self.fault.take().unwrap_or_else(|| match self.ws.failure() {
            Some(failure) => Fault::Tls(failure.into()),
            None => Fault::Lost,
        });
        match end {
            ReadEnd::Closed | ReadEnd::CloseFrame(_) if is_current => {
                self.session.lost(Lane::WebSocket, fault)
            }
            ReadEnd::Violation(_, reason) if is_current => {
                self.session.fail(Lane::WebSocket, reason, fault)
            }
            _ => {}
        }
    }
}
