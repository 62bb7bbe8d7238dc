//! Checks at the end of a simulation.

use eio_core::session::CloseReason;
use eio_core::transport::Transport;

use super::{BOUND, Simulation};

impl Simulation {
    /// Whether nothing is in flight any more.
    pub(super) fn is_settled(&self) -> bool {
        self.server.as_ref().is_none_or(|server| match (server.closed, self.client.closed) {
            (None, None) => {
                server.received == self.client.queued && self.client.received == server.queued
            }
            (one, other) => one.is_some() && other.is_some(),
        })
    }

    pub(super) fn check_end(&self) {
        let Some(server) = &self.server else {
            return assert!(
                self.client.closed.is_some(),
                "the client waits without a session on the server"
            );
        };
        let client = &self.client;
        let (one, other) = match (server.closed, client.closed) {
            (None, None) => {
                assert_eq!(server.received, client.queued, "the server misses a message");
                assert_eq!(client.received, server.queued, "the client misses a message");
                return;
            }
            (Some(one), Some(other)) => (one, other),
            (one, other) => panic!("only one end has ended: server {one:?}, client {other:?}"),
        };
        // An end cannot notice while it stalls, and data delayed by a stall gives the peer one more timeout.
        let stalled = self.plan.stalled();
        let slack = 3 * self.plan.delay + 2 * stalled + if stalled > 0 { 200 } else { 0 };
        let apart = one.1.abs_diff(other.1);
        assert!(apart <= BOUND + slack, "{apart} ms apart: server {one:?}, client {other:?}");
        if self.plan.has_no_faults() && server.session.ended().is_some() {
            self.check_fault_free_end(one.0, other.0);
        }
        // An end that learns only of a graceful close has all messages sent before it.
        if let (CloseReason::ServerDisconnect, Some(sent), true, None, false) =
            (other.0, server.flushing, server.outbox.is_empty(), client.flushing, server.aborted)
        {
            assert_eq!(client.received, sent, "closed before queued messages were sent");
        }
        if let (CloseReason::ClientDisconnect, Some(sent), true, None, false) =
            (one.0, client.flushing, client.outbox.is_empty(), server.flushing, client.aborted)
        {
            assert_eq!(server.received, sent, "closed before queued messages were sent");
        }
    }

    /// Without faults, one end asked for the close.
    fn check_fault_free_end(&self, server: CloseReason, client: CloseReason) {
        assert!(!self.plan.close.is_empty(), "it ended without a close: {server:?}, {client:?}");
        let said = |reason| {
            matches!(reason, CloseReason::ServerDisconnect | CloseReason::ClientDisconnect)
        };
        assert!(said(server) || said(client), "an end without a cause: {server:?}, {client:?}");
        let told = said(server) || client != CloseReason::ClientDisconnect;
        assert!(
            told || !self.client.session.is_open(),
            "the server did not learn of the close: {server:?}"
        );
    }

    pub(crate) fn assert_alive_and_drained(&self, upgraded: bool) {
        let server = self.server.as_ref().expect("a session");
        assert_eq!((server.closed, self.client.closed), (None, None));
        let transport =
            if upgraded || self.plan.direct { Transport::WebSocket } else { Transport::Polling };
        assert_eq!(server.session.transport(), transport);
        assert_eq!(self.client.session.transport(), transport);
    }
}
