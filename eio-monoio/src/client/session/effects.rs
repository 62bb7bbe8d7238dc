//! What the machine wants is done: lanes, words for them, events, wakings.

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
    /// Lets every change take effect: lanes, words for them, events, wakings, the deadline.
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
                    self.idle.borrow_mut().clear();
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
            // The server hears of an end over polling by a POST: until that is through, the GET stays, for
            // its loss would be the end the server sees first.
            if !self.machine.borrow().attached(Lane::Post) {
                self.cut_polling();
            }
        } else if let Some(due) = self.machine.borrow().poll_timeout() {
            self.timer.set_at(due);
        }
    }

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

    /// Writes what goes into one POST. False: nothing.
    fn fill_post(&self, body: &mut OutBuf) -> bool {
        /// python-engineio answers 200 to a body of more packets, and drops all of them (protocol 2.3.14).
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
                "admitted, and asked before"
            );
            if next == Some(Transmit::Message) {
                queue.pop();
            }
        }
        !encoder.is_empty()
    }

    /// Moves what the machine allows from the queue into the WebSocket's frames.
    pub(super) fn flush_ws(&self) {
        self.outgoing.flush(
            |queued| self.next_on_ws(queued),
            |ws, message| self.write_frame(ws, &Packet::Message(message)),
            |ws, packet| match ws {
                Some(ws) => self.transmit(ws, packet),
                // It is still being opened, and not needed any more.
                None => {
                    self.ws_unwanted.set(true);
                    self.cut_socket(Lane::WebSocket);
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

    pub(super) fn write_frame(&self, sender: &WsSender, packet: &Packet<'_>) {
        let (pool, mask) = (&self.worker.pool, Some(self.worker.mask()));
        match packet {
            Packet::Message(_) => sender.message(pool, packet.frame(), mask),
            _ => sender.write(pool, |out| out.frame(packet.frame(), mask)),
        }
    }

    /// Anything but a message, on the WebSocket.
    pub(super) fn transmit(&self, sender: &Rc<WsSender>, what: Transmit) {
        match what {
            Transmit::Control(packet) => self.write_frame(sender, &packet),
            Transmit::Hangup => self.close_ws(sender),
            Transmit::Message => {}
        }
    }

    /// RFC 6455 7.1.1: our part of the closing handshake.
    fn close_ws(&self, sender: &Rc<WsSender>) {
        let (ended, code) = {
            let machine = self.machine.borrow();
            (machine.ended(), machine.hangup_code())
        };
        let (pool, mask) = (&self.worker.pool, Some(self.worker.mask()));
        sender.write(pool, |out| never_full(ws::encode_close(out, Some(code), "", mask)));
        if ended == Some(CloseReason::PingTimeout) { sender.abort() } else { sender.close() }
    }

    /// The probing WebSocket is none of ours any more; its task ends it.
    fn detach_probe(&self) {
        let probe = self.outgoing.take_ws();
        if let Some(sender) = probe
            && sender.is_open()
        {
            self.close_ws(&sender);
            *self.closing_probe.borrow_mut() = Some(sender);
        }
    }

    pub(super) fn notify(&self, notice: Notice) {
        self.inbox.borrow_mut().notify(notice);
        self.receivers.wake_all();
        self.watchers.wake_all();
    }

    pub(super) fn on_closed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
        self.timer.clear();
        self.outgoing.queue().borrow_mut().clear();
        self.idle.borrow_mut().clear();
        if reason == CloseReason::PingTimeout {
            // The peer is not there to hear of it.
            self.end.advance(Stage::Cut);
        }
        self.notify(Notice::Closed(reason));
        self.senders.wake_all();
    }

    pub(super) fn cut_off(&self) {
        self.end.advance(Stage::Cut);
        self.cut_polling();
        self.cut_socket(Lane::WebSocket);
        self.watchers.wake_all();
    }

    fn cut_polling(&self) {
        self.end.advance(Stage::Cut);
        self.cut_socket(Lane::Get);
        self.cut_socket(Lane::Post);
        self.watchers.wake_all();
    }

    fn cut_socket(&self, lane: Lane) {
        if let Some(fd) = self.sockets[index(lane)].get() {
            net::abort(fd);
        }
    }
}
