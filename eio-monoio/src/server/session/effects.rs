//! Effects of a change of the state machine: packets for the transports, events, wakeups, the deadline.

use std::rc::Rc;
use std::task::Context;

use eio_core::open::{OPEN_MAX, OpenTail};
use eio_core::packet::Packet;
use eio_core::payload;
use eio_core::session::{CloseReason, Event, Lane, Transmit};
use eio_core::transport::Transport;
use eio_core::ws;

use crate::io::receipt::Confirm;
use crate::io::ws_sender::WsSender;
use crate::message::{OutBuf, never_full};
use crate::metrics::UPGRADES;
use crate::server::cause::Cause;
use crate::server::session::Session;
use crate::server::session::out_message::{OutMessage, write_plain};

/// The result of [`Session::poll_get`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GetBody {
    /// No packet is due: the task is woken when one is.
    Held,
    Ready,
    /// Ready, with a message that is not to be compressed.
    Uncompressed,
}

impl<T> Session<T> {
    /// Applies the effects of a change of the state machine: writes packets, handles events, wakes tasks, sets the
    /// deadline.
    pub(super) fn apply_effects(&self) {
        self.flush_ws();
        loop {
            let event = self.machine.borrow_mut().poll_event();
            match event {
                Some(Event::Closed(reason)) => self.on_closed(reason),
                Some(Event::Upgraded) => {
                    self.count_upgrade();
                    crate::log::trace!(sid = %self.sid, "upgraded");
                    self.wake_waiters();
                }
                Some(Event::UpgradeFailed(reason)) => {
                    self.env.counters.add(UPGRADES, 1, 1);
                    self.detach_probe();
                    self.log(Cause::UpgradeFailed, reason);
                }
                None => break,
            }
        }
        self.poller.wake();
        self.recount_queued();
        if self.closed.get().is_none()
            && let Some(due) = self.machine.borrow().poll_timeout()
        {
            self.env.timers.set(self.timer, due);
        }
    }

    /// Moves queued messages and due packets into the send buffer of the WebSocket, as the state machine allows.
    pub(super) fn flush_ws(&self) {
        if self.outgoing.ws().is_none() {
            return;
        }
        self.outgoing.flush(
            |queued| self.next_on_ws(queued),
            |ws, message, mark| {
                if mark.is_plain() {
                    write_plain(message, ws, &self.env.pool, self.base64);
                } else {
                    message.write(ws, &self.env.pool, self.base64);
                }
            },
            |ws, packet| {
                if let Some(ws) = ws {
                    self.transmit(ws, packet);
                }
            },
        );
    }

    /// Writes a packet that is not a message to the WebSocket.
    pub(super) fn transmit(&self, ws: &Rc<WsSender>, packet: Transmit) {
        let pool = &self.env.pool;
        match packet {
            Transmit::Open => {
                let mut memory = [0; OPEN_MAX];
                let json = self.open_tail().json_bytes(&self.sid, &mut memory);
                let encode = |out: &mut OutBuf| ws::encode(out, ws::Opcode::Text, b"0", json, None);
                ws.write(pool, |out| never_full(encode(out)));
                if let Some(message) = &self.env.config.initial_packet {
                    message.borrow().write(ws, pool, self.base64);
                }
            }
            Transmit::Control(packet) => ws.write(pool, |out| out.frame(packet.frame(), None)),
            Transmit::Hangup => self.close_ws(ws),
            Transmit::Message => {}
        }
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.1).
    fn close_ws(&self, ws: &Rc<WsSender>) {
        let (reason, code) = {
            let machine = self.machine.borrow();
            (machine.ended(), machine.hangup_code(self.env.is_leaving()))
        };
        let encode = |out: &mut OutBuf| ws::encode_close(out, Some(code), "", None);
        ws.write(&self.env.pool, |out| never_full(encode(out)));
        if reason == Some(CloseReason::PingTimeout) { ws.abort() } else { ws.close() }
    }

    /// Detaches a WebSocket after a failed upgrade. Its task closes it.
    fn detach_probe(&self) {
        if let Some(ws) = self.outgoing.take_ws()
            && ws.is_open()
        {
            self.close_ws(&ws);
        }
        // Its bytes are not part of the session's queue any more.
        self.wake_waiters();
    }

    fn on_closed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
        if reason == CloseReason::PingTimeout {
            self.log(Cause::PingTimeout, "");
        }
        self.count_closed(reason);
        self.env.timers.remove(self.timer);
        self.outgoing.stop();
        self.wake_waiters();
        if let Some(extras) = self.extras.get() {
            extras.handlers.wake_all();
        }
        if let Some(server) = self.env.server.upgrade() {
            server.session_closed(self.slot, self.busy.get());
        }
    }

    /// The WebSocket has sent bytes: queued messages may follow, and waiting tasks continue.
    pub(crate) fn on_sent(&self) {
        // The queue is mostly empty.
        if !self.outgoing.is_queue_empty() {
            self.flush_ws();
        }
        if self.counted_queued.get() > 0 {
            self.recount_queued();
        }
        if let Some(extras) = self.extras.get()
            && !extras.waiters.is_empty()
            && !self.is_slow()
        {
            extras.waiters.wake_all();
        }
    }

    /// Appends the packets for the held GET to `body`, after `begin` has written the bytes before them. It is not called
    /// while no packet is due.
    pub(crate) fn poll_get(
        &self,
        cx: &mut Context<'_>,
        body: &mut OutBuf,
        begin: impl FnOnce(&mut OutBuf),
    ) -> GetBody {
        let config = &self.env.config;
        let mut ready = GetBody::Ready;
        let mut begin = Some(begin);
        let mut encoder = payload::Encoder::new(config.max_payload, config.max_polling_packets);
        loop {
            let queue = self.outgoing.queue().borrow();
            let front = queue.front().map(Packet::Message);
            if !encoder.has_room(front.as_ref()) {
                break;
            }
            let next = self.machine.borrow_mut().poll_transmit(Lane::Get, front.is_some());
            let packet = match next {
                Some(Transmit::Message) => front,
                Some(Transmit::Control(packet)) => Some(packet),
                Some(Transmit::Open) => {
                    drop(queue);
                    if let Some(begin) = begin.take() {
                        begin(body);
                    }
                    body.0.push(b'0');
                    never_full(self.open_tail().encode(&self.sid, body));
                    if let Some(message) = &config.initial_packet {
                        body.0.push(payload::SEPARATOR);
                        never_full(Packet::Message(message.borrow()).encode_text(body));
                    }
                    self.apply_effects();
                    return ready;
                }
                Some(Transmit::Hangup) | None => None,
            };
            let Some(packet) = packet else { break };
            if let Some(begin) = begin.take() {
                begin(body);
            }
            let pushed = encoder.push(body, &packet);
            if next == Some(Transmit::Message) && queue.front_mark().is_plain() {
                ready = GetBody::Uncompressed;
            }
            drop(queue);
            // Text with U+001E is queued only over a WebSocket, and the transport never becomes polling again.
            debug_assert!(
                pushed == Ok(payload::PushOutcome::Written),
                "`has_room` was true, and messages are checked when they are queued"
            );
            if next == Some(Transmit::Message)
                && let Some(confirm) = self.outgoing.pop()
            {
                self.outgoing.confirm_with_response(confirm);
            }
        }
        if encoder.is_empty() {
            self.poller.register(cx);
            return GetBody::Held;
        }
        self.apply_effects();
        self.on_sent();
        ready
    }

    /// The receipts of messages in the response to the GET, which is sent now.
    pub(crate) fn take_response_confirms(&self) -> Vec<Confirm> {
        self.outgoing.take_response_confirms()
    }

    fn open_tail(&self) -> &OpenTail {
        match self.transport() {
            Transport::Polling => &self.env.open_tails.polling,
            Transport::WebSocket => &self.env.open_tails.websocket,
        }
    }
}
