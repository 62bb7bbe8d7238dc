//! A polling session, request by request.

use std::net::SocketAddr;

use super::connection::Connection;
use super::refusals::UNKNOWN_SID;
use super::request::{POLLING, Request, target};
use super::response::Response;

/// A polling session with one connection for its GETs and one for its POSTs, as browsers do it.
#[derive(Debug)]
pub(crate) struct Polling {
    pub(crate) sid: String,
    pub(crate) get: Connection,
    pub(crate) post: Connection,
}

impl Polling {
    #[track_caller]
    pub(crate) fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, "")
    }

    /// Opens a session with an addition to the query of the handshake, such as `&b64=1`.
    #[track_caller]
    pub(crate) fn open_with(addr: SocketAddr, query: &str) -> Self {
        let (mut get, post) = (Connection::open(addr), Connection::open(addr));
        let response = get.request(&Request::get(&format!("{POLLING}{query}")));
        assert_eq!(response.status, 200, "{response:?}");
        Self { sid: sid_of(response.text()), get, post }
    }

    /// Sends a GET and leaves its response for [`poll_response`](Self::poll_response).
    #[track_caller]
    pub(crate) fn start_poll(&mut self) {
        self.get.send(&Request::get(&target(&self.sid)));
    }

    /// Sends a GET and returns once the server holds it. The application must be [`App`](super::app::App), and
    /// nothing may be queued.
    #[track_caller]
    pub(crate) fn hold_poll(&mut self) {
        self.hold_poll_after("4!ack", "4ack");
    }

    /// [`hold_poll`](Self::hold_poll) for an application that answers `message` with `answer`: the GET follows another
    /// one on the same connection, and the answer to that one shows that the server has read both.
    #[track_caller]
    pub(crate) fn hold_poll_after(&mut self, message: &str, answer: &str) {
        self.post_ok(message);
        let get = Request::get(&target(&self.sid)).bytes();
        self.get.write([&*get, &*get].concat());
        assert_eq!(self.poll_response(), answer);
    }

    /// Sends all of a POST but its last byte, which is returned, and returns once the server reads this POST.
    #[track_caller]
    pub(crate) fn begin_post(&mut self, body: &str) -> Vec<u8> {
        let bytes = Request::post(&target(&self.sid), body).bytes();
        let (first, rest) = bytes.split_at(bytes.len() - 1);
        // A complete POST before it: its answer shows that the server reads the next one.
        let before = Request::post(&target(&self.sid), "3").bytes();
        self.post.write([&*before, first].concat());
        self.post.response().assert(200, "ok");
        rest.to_vec()
    }

    /// The body of the GET's response, which must be 200.
    #[track_caller]
    pub(crate) fn poll_response(&mut self) -> String {
        let response = self.get.response();
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    #[track_caller]
    pub(crate) fn poll(&mut self) -> String {
        self.start_poll();
        self.poll_response()
    }

    /// POSTs a body.
    #[track_caller]
    pub(crate) fn try_post(&mut self, body: impl AsRef<[u8]>) -> Response {
        self.post.request(&Request::post(&target(&self.sid), body))
    }

    /// POSTs a body that must be accepted.
    #[track_caller]
    pub(crate) fn post_ok(&mut self, body: impl AsRef<[u8]>) {
        self.try_post(body).assert(200, "ok");
    }

    /// Fails unless the session echoes a message.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.post_ok("4still here");
        assert_eq!(self.poll(), "4still here");
    }

    /// Fails unless the server refuses requests for this session, on new connections, because it does not know it.
    #[track_caller]
    pub(crate) fn assert_unknown(&self) {
        let addr = self.get.stream().peer_addr().expect("a connected stream");
        for request in [Request::get(&target(&self.sid)), Request::post(&target(&self.sid), "4a")] {
            Connection::open(addr).request(&request).assert(400, UNKNOWN_SID);
        }
    }
}

/// The value of `"sid"` in an open packet.
#[track_caller]
pub(crate) fn sid_of(open: &str) -> String {
    let rest = open.strip_prefix("0{").and_then(|json| json.split_once("\"sid\":\""));
    let sid = rest.and_then(|(_, rest)| rest.split_once('"'));
    sid.unwrap_or_else(|| panic!("not an open packet: {open:?}")).0.to_owned()
}
