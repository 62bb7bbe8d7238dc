//! Delivery of requests, responses and bytes to both ends.

use eio_core::session::{Lane, ServerSession, Violation};
use eio_core::transport::Transport;
use eio_core::ws::Role;

use super::{SERVER, Simulation};
use crate::endpoint::{Connection, Endpoint, Socket};
use crate::event::SimEvent;
use crate::plan::Side;

impl Simulation {
    pub(super) fn reaches_server(&mut self, event: SimEvent) {
        let now = self.clock(Side::Server);
        match event {
            SimEvent::GetArrives(id) => match self.attach_or_open(Lane::Get) {
                Ok(()) => {
                    self.server.as_mut().expect("a session").get = Some(id);
                    self.answered = false;
                }
                Err(violation) => {
                    assert_eq!(violation, Violation::Ended);
                    self.later(SimEvent::GetAnswered(id, None));
                }
            },
            SimEvent::GetWritten(id) => {
                let server = self.server.as_mut().expect("a session");
                if server.get == Some(id) {
                    server.get = None;
                    server.session.detach(Lane::Get);
                }
            }
            SimEvent::PostHead(id) => self.post_head(id),
            SimEvent::PostBody(id, body) => {
                let server = self.server.as_mut().expect("a session");
                if server.post != Some(id) {
                    return;
                }
                server.post = None;
                let accepted = server.read_body(Lane::Post, body, now);
                server.session.detach(Lane::Post);
                self.later(SimEvent::PostAnswered(id, accepted));
            }
            SimEvent::Dial(id) => {
                let result = self.attach_or_open(Lane::WebSocket);
                match result {
                    Ok(()) => {
                        let socket = Socket::new(id, Role::Server);
                        self.server.as_mut().expect("a session").websocket = Some(socket);
                    }
                    Err(violation) => assert_eq!(violation, Violation::Ended),
                }
                self.later_in_order(Side::Client, SimEvent::Dialed(id, result.is_ok()));
            }
            SimEvent::Bytes(id, _, bytes) => {
                // The bytes of a connection that the client gave up can arrive before its handshake does.
                let Some(server) = &mut self.server else { return };
                if server.lane(id) == Some(Lane::WebSocket) {
                    server.read_frames(&bytes, now);
                }
            }
            other => unreachable!("{other:?} is not an event of the server"),
        }
    }

    /// A request arrives: the first one opens the session.
    fn attach_or_open(&mut self, lane: Lane) -> Result<(), Violation> {
        let now = self.clock(Side::Server);
        if let Some(server) = &mut self.server {
            return server.session.attach(lane, now);
        }
        let transport = match lane {
            Lane::WebSocket => Transport::WebSocket,
            Lane::Get | Lane::Post => Transport::Polling,
        };
        self.server = Some(Endpoint::new(ServerSession::new(transport, SERVER, now)));
        Ok(())
    }

    fn post_head(&mut self, id: Connection) {
        let now = self.clock(Side::Server);
        let server = self.server.as_mut().expect("a session");
        match server.session.attach(Lane::Post, now) {
            Ok(()) => server.post = Some(id),
            Err(violation) => {
                // A server may notice the end of one POST after the start of the next.
                let overtaken = !self.plan.breaks.is_empty();
                let overlapping = overtaken && violation == Violation::OverlappingPost;
                assert!(violation == Violation::Ended || overlapping, "{violation:?}");
                self.later(SimEvent::PostAnswered(id, false));
            }
        }
    }

    pub(super) fn reaches_client(&mut self, event: SimEvent) {
        let now = self.clock(Side::Client);
        let client = &mut self.client;
        match event {
            SimEvent::GetAnswered(id, body) if client.get == Some(id) => {
                client.get = None;
                let Some(body) = body else { return client.session.lost(Lane::Get) };
                client.read_body(Lane::Get, body, now);
                client.session.detach(Lane::Get);
            }
            SimEvent::PostAnswered(id, ok) if client.post == Some(id) => {
                client.post = None;
                match ok {
                    true => client.session.detach(Lane::Post),
                    false => client.session.lost(Lane::Post),
                }
            }
            SimEvent::Dialed(id, ok) if client.lane(id) == Some(Lane::WebSocket) => {
                if ok {
                    client.session.handle_connected().expect("the session wants the connection");
                } else {
                    client.lose(id);
                }
            }
            SimEvent::Bytes(id, _, bytes) if client.lane(id) == Some(Lane::WebSocket) => {
                client.read_frames(&bytes, now);
            }
            _ => {}
        }
    }
}
