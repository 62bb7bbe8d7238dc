//! What the machine wants is done: lanes, words for them, events, wakings.

use std::rc::Rc;

use eio_core::packet::Packet;
use eio_core::payload;
use eio_core::session::client::Transmit;
use eio_core::session::{CloseReason, Event, Lane};
use eio_core::ws::{self, CloseCode};

use super::{Session, index};
use crate::client::inbox::Notice;
use crate::client::{polling, websocket};
use crate::message::{OutBuf, never_full};
use crate::net;
use crate::session::link::{Ending, Link};

impl Session {
    /// Lets every change take effect: lanes, words for them, events, wakings, the deadline.
    pub(super) fn settle(self: &Rc<Self>) {
        loop {
            let queued = !self.outbox.borrow().is_empty();
            let lane = self.machine.borrow_mut().poll_lane(queued);
            match lane {
                Some(lane) => self.start_lane(lane),
                None => break,
            }
        }
        self.flush_link();
        loop {
            let event = self.machine.borrow_mut().poll_event();
            match event {
                Some(Event::Closed(reason)) => self.on_closed(reason),
                Some(Event::Upgraded) => {
                    self.settings.upgraded_before.set(true);
                    self.idle.borrow_mut().clear();
                    self.tell(Notice::Upgraded);
                }
                Some(Event::UpgradeFailed(why)) => {
                    self.settings.upgraded_before.set(false);
                    self.drop_probe();
                    self.tell(Notice::UpgradeFailed(why));
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
        match lane {
            Lane::Get => self.spawn(polling::get(self.clone())),
            Lane::Post => {
                let mut body = OutBuf(self.local.pool.take_send());
                if self.fill_post(&mut body) {
                    self.spawn(polling::post(self.clone(), body));
                } else {
                    self.machine.borrow_mut().detach(lane);
                }
            }
            Lane::WebSocket => self.spawn(websocket::run(self.clone())),
        }
    }

    /// Writes what goes into one POST. False: nothing.
    fn fill_post(&self, body: &mut OutBuf) -> bool {
        /// python-engineio answers 200 to a body of more packets, and drops all of them (protocol 2.3.14).
        const MOST_PACKETS: usize = 16;
        let mut encoder = payload::Encoder::new(self.max_payload(), MOST_PACKETS);
        loop {
            let mut outbox = self.outbox.borrow_mut();
            let front = outbox.front().map(Packet::Message);
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
                outbox.pop();
            }
        }
        !encoder.is_empty()
    }

    /// Moves what the machine allows from the queue into the WebSocket's frames.
    pub(super) fn flush_link(&self) {
        let link = self.link.borrow();
        loop {
            let mut outbox = self.outbox.borrow_mut();
            let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, !outbox.is_empty());
            match (next, &*link, outbox.front()) {
                (Some(Transmit::Message), Some(link), Some(message)) => {
                    self.write_frame(link, &Packet::Message(message));
                    outbox.pop();
                }
                (Some(next), Some(link), _) => self.transmit(link, next),
                // It is still being opened, and not wanted any more.
                (Some(_), None, _) => {
                    drop(outbox);
                    self.hung_up.set(true);
                    self.cut_socket(Lane::WebSocket);
                    self.watchers.wake();
                }
                (None, ..) => break,
            }
        }
    }

    pub(super) fn write_frame(&self, link: &Link, packet: &Packet<'_>) {
        let (pool, mask) = (&self.local.pool, Some(self.local.mask()));
        match packet {
            Packet::Message(_) => link.message(pool, packet.frame(), mask),
            _ => link.write(pool, |out| out.frame(packet.frame(), mask)),
        }
    }

    /// Anything but a message, on the WebSocket.
    pub(super) fn transmit(&self, link: &Rc<Link>, what: Transmit) {
        match what {
            Transmit::Control(packet) => self.write_frame(link, &packet),
            Transmit::Hangup => self.hang_up(link),
            Transmit::Message => {}
        }
    }

    /// RFC 6455 7.1.1: our part of the closing handshake.
    fn hang_up(&self, link: &Rc<Link>) {
        let ended = self.machine.borrow().ended();
        let (code, ending) = match ended {
            Some(CloseReason::PingTimeout) => (CloseCode::GOING_AWAY, Ending::Cut),
            Some(CloseReason::PayloadTooLarge) => (CloseCode::TOO_BIG, Ending::Flush),
            Some(CloseReason::ParseError | CloseReason::TransportError) => {
                (CloseCode::PROTOCOL_ERROR, Ending::Flush)
            }
            _ => (CloseCode::NORMAL, Ending::Flush),
        };
        let (pool, mask) = (&self.local.pool, Some(self.local.mask()));
        link.write(pool, |out| never_full(ws::encode_close(out, Some(code), "", mask)));
        link.end(ending);
    }

    /// The probing WebSocket is none of ours any more; its task ends it.
    fn drop_probe(&self) {
        let probe = self.link.borrow_mut().take();
        if let Some(link) = probe
            && link.ending() == Ending::Open
        {
            self.hang_up(&link);
            *self.leaving.borrow_mut() = Some(link);
        }
    }

    pub(super) fn tell(&self, notice: Notice) {
        self.inbox.borrow_mut().tell(notice);
        self.receivers.wake();
        self.watchers.wake();
    }

    pub(super) fn on_closed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
        self.timer.clear();
        self.outbox.borrow_mut().clear();
        self.idle.borrow_mut().clear();
        if reason == CloseReason::PingTimeout {
            // The peer is not there to hear of it.
            self.cut.set(true);
        }
        self.tell(Notice::Closed(reason));
        self.senders.wake();
    }

    pub(super) fn cut_off(&self) {
        self.cut.set(true);
        self.cut_polling();
        self.cut_socket(Lane::WebSocket);
        self.watchers.wake();
    }

    fn cut_polling(&self) {
        self.cut.set(true);
        self.cut_socket(Lane::Get);
        self.cut_socket(Lane::Post);
        self.watchers.wake();
    }

    fn cut_socket(&self, lane: Lane) {
        if let Some(fd) = self.sockets[index(lane)].get() {
            net::abort(fd);
        }
    }
}
