//! Everything that a change of the state machine causes: lanes, packets, events, wakes, deadlines.

use std::rc::Rc;

use eio_core::packet::Packet;
use eio_core::payload;
use eio_core::session::client::Transmit;
use eio_core::session::{CloseReason, Event, Lane};
use eio_core::ws;

use super::{Session, index};
use crate::client::inbox::Notice;
use crate::client::session::end::Stage;
use crate::io::outgoing::Next;
use crate::io::ws_sender::WsSender;
use crate::message::{OutBuf, never_full};
use crate::worker::net;

impl Session {
    /// Applies every change of the state machine; called after each call that may change it.
    pub(super) fn apply_effects(self: &Rc<Self>) {
        loop {
            let queued = !self.outgoing.is_queue_empty();
            let lane = self.machine.borrow_mut().poll_lane(queued);
            match lane {
                Some(lane) => self.start_lane(lane),
                None => break,
            }
        }
        self.flush_ws();
        loop {
            let event = self.machine.borrow_mut().poll_event();
            match event {
                Some(Event::Closed(reason)) => self.on_closed(reason),
                Some(Event::Upgraded) => {
                    self.settings.upgraded_before.set(true);
                    self.idle_conns.borrow_mut().clear();
                    self.notify(Notice::Upgraded);
                }
                Some(Event::UpgradeFailed(why)) => {
                    self.settings.upgraded_before.set(false);
                    self.detach_probe();
                    self.notify(Notice::UpgradeFailed(why));
                }
                None => break,
            }
        }
        if self.closed.get().is_some() {
            // Over polling, a POST reports the end to the server. Until it is answered the GET stays: the server would
            // take its loss for the end of the session.
            if !self.machine.borrow().attached(Lane::Post) {
                self.stop_polling();
            }
        } else if let Some(due) = self.machine.borrow().poll_timeout() {
            self.timer.set_at(due);
        }
    }
}

/// Polling lanes.
impl Session {
    fn start_lane(self: &Rc<Self>, lane: Lane) {
        let mut body = OutBuf::default();
        if lane == Lane::Post {
            body.0 = self.worker.pool.take_send();
            if !self.fill_post(&mut body) {
                return self.machine.borrow_mut().detach(lane);
            }
        }
        (self.run_lane)(self, lane, body);
    }

    /// Writes the body of one POST. Returns false if there is no packet to send.
    fn fill_post(&self, body: &mut OutBuf) -> bool {
        /// docs/protocol.md 3.6: python-engineio answers 200 to a body of more packets, and drops all of them.
        const MAX_PACKETS: usize = 16;
        let mut encoder = payload::Encoder::new(self.max_payload(), MAX_PACKETS);
        loop {
            let mut queue = self.outgoing.queue().borrow_mut();
            let front = queue.front().map(Packet::Message);
            if !encoder.has_room(front.as_ref()) {
                break;
            }
            let next = self.machine.borrow_mut().poll_transmit(Lane::Post, front.is_some());
            let packet = match next {
                Some(Transmit::Message) => front,
                Some(Transmit::Control(packet)) => Some(packet),
                Some(Transmit::Hangup) | None => None,
            };
            let Some(packet) = packet else { break };
            let pushed = encoder.push(body, &packet);
            debug_assert!(
                pushed == Ok(payload::PushOutcome::Written),
                "try_send checks messages, and has_room was called"
            );
            if next == Some(Transmit::Message) {
                queue.pop();
            }
        }
        !encoder.is_empty()
    }
}

/// The WebSocket.
impl Session {
    /// Moves messages from the queue to the WebSocket as far as the state machine allows.
    pub(super) fn flush_ws(&self) {
        self.outgoing.flush(
            |queued| self.next_on_ws(queued),
            |ws, message, _| self.write_frame(ws, &Packet::Message(message)),
            |ws, packet| match ws {
                Some(ws) => self.transmit(ws, packet),
                // The WebSocket is still being opened, and is not needed any more.
                None => {
                    self.ws_cancelled.set(true);
                    self.shut_down_socket(Lane::WebSocket);
                    self.watchers.wake_all();
                }
            },
        );
    }

    /// The packet that the state machine allows next on the WebSocket.
    #[inline]
    pub(super) fn next_on_ws(&self, queued: bool) -> Option<Next<Transmit>> {
        let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, queued)?;
        Some(if next == Transmit::Message { Next::Message } else { Next::Control(next) })
    }

    /// Sends a packet other than a message, or starts the closing handshake.
    pub(super) fn transmit(&self, ws: &Rc<WsSender>, next: Transmit) {
        match next {
            Transmit::Control(packet) => self.write_frame(ws, &packet),
            Transmit::Hangup => self.close_ws(ws),
            Transmit::Message => {}
        }
    }

    pub(super) fn write_frame(&self, ws: &WsSender, packet: &Packet<'_>) {
        let (pool, mask) = (&self.worker.pool, Some(self.worker.mask()));
        match packet {
            Packet::Message(_) => ws.message(pool, packet.frame(), mask),
            _ => ws.write(pool, |out| out.frame(packet.frame(), mask)),
        }
    }

    /// RFC 6455 7.1.2: starts the closing handshake.
    fn close_ws(&self, ws: &Rc<WsSender>) {
        let (ended, code) = {
            let machine = self.machine.borrow();
            (machine.ended(), machine.hangup_code())
        };
        let (pool, mask) = (&self.worker.pool, Some(self.worker.mask()));
        ws.write(pool, |out| never_full(ws::encode_close(out, Some(code), "", mask)));
        if ended == Some(CloseReason::PingTimeout) {
            ws.abort();
        } else {
            ws.close();
        }
    }

    /// Detaches the WebSocket of a failed upgrade. Its own task completes the closing handshake.
    fn detach_probe(&self) {
        let probe = self.outgoing.take_ws();
        if let Some(ws) = probe
            && ws.is_open()
        {
            self.close_ws(&ws);
            *self.closing_probe.borrow_mut() = Some(ws);
        }
    }
}

/// Events.
impl Session {
    pub(super) fn notify(&self, notice: Notice) {
        self.inbox.borrow_mut().notify(notice);
        self.receivers.wake_all();
        self.watchers.wake_all();
    }

    pub(super) fn on_closed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
        self.timer.clear();
        // No longer in the queue, which the state machine would send.
        self.undelivered.borrow_mut().append(self.outgoing.take_queue());
        self.idle_conns.borrow_mut().clear();
        if reason == CloseReason::PingTimeout {
            // A peer that does not answer does not receive a close packet either.
            self.end.advance(Stage::Stopped);
        }
        self.notify(Notice::Closed(reason));
        self.senders.wake_all();
    }
}

/// The end of lanes.
impl Session {
    /// Ends the tasks of all lanes.
    pub(super) fn stop_tasks(&self) {
        self.stop_polling();
        self.shut_down_socket(Lane::WebSocket);
        self.watchers.wake_all();
    }

    fn stop_polling(&self) {
        self.end.advance(Stage::Stopped);
        self.shut_down_socket(Lane::Get);
        self.shut_down_socket(Lane::Post);
        self.watchers.wake_all();
    }

    fn shut_down_socket(&self, lane: Lane) {
        if let Some(fd) = self.sockets[index(lane)].get() {
            net::abort(fd);
        }
    }
}
