//! Calls of the application: sending, receiving, closing.

use std::rc::Rc;
use std::task::{Context, Poll};

use eio_core::packet::{Message, Packet};
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;
use eio_core::ws::Role;

use super::Session;
use crate::client::error::{Closed, UpgradeFailed};
use crate::client::event;
use crate::client::inbox::{Item, Notice};
use crate::client::session::end::Stage;
use crate::error::SendError;
use crate::io::message_queue::MessageQueue;
use crate::io::unsent;
use crate::message::check_separator;

/// Sending.
impl Session {
    pub(crate) fn try_send(self: &Rc<Self>, message: Message<'_>) -> Result<(), SendError> {
        if !self.is_open() || self.is_closing() {
            return Err(SendError::Closed);
        }
        let packet = Packet::Message(message);
        self.check(&packet)?;
        if !self.permits_separator() {
            check_separator(message)?;
        }
        if self.is_outbox_full() {
            return Err(SendError::Full);
        }
        let sent = self.outgoing.is_queue_empty()
            && self.outgoing.send_now(
                || self.next_on_ws(true),
                |ws| self.write_frame(ws, &packet),
                |ws, packet| self.transmit(ws, packet),
            );
        if !sent {
            self.outgoing.queue().borrow_mut().push(message);
            self.apply_effects();
        }
        Ok(())
    }

    /// Checks that the server accepts a message, over any transport that may carry it.
    fn check(&self, packet: &Packet<'_>) -> Result<(), SendError> {
        let max = self.max_payload().min(u32::MAX as usize);
        let frame = packet.frame();
        let len = match self.transport() {
            // An upgrade may precede the message: the longer of its two forms must fit.
            Transport::Polling => packet.text_len(),
            Transport::WebSocket => frame.prefix.len() + frame.data.len(),
        };
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        Ok(())
    }

    fn permits_separator(&self) -> bool {
        let permitted = self.settings.options.separator_over_websocket;
        permitted && self.transport() == Transport::WebSocket
    }

    /// Reports a message of a [`RemoteClient`](crate::client::RemoteClient) that [`try_send`](Self::try_send) refused.
    pub(crate) fn notify_unsent(&self, error: SendError) {
        /// Bounds the memory for an application that takes no events.
        const MAX: usize = 16;
        crate::log::warn!(%error, "message dropped");
        if self.closed.get().is_none() && self.inbox.borrow().notices() < MAX {
            self.notify(Notice::Unsent(error));
        }
    }

    /// Ready when [`try_send`](Self::try_send) does not return [`SendError::Full`].
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_outbox_full() {
            return Poll::Ready(());
        }
        self.senders.add(cx);
        Poll::Pending
    }

    /// Ready when all bytes are sent, or the session has ended.
    pub(crate) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let is_posting = self.machine.borrow().attached(Lane::Post);
        if self.closed.get().is_some() || (self.queued() == 0 && !is_posting) {
            return Poll::Ready(());
        }
        self.senders.add(cx);
        Poll::Pending
    }
}

/// Messages that were not sent.
impl Session {
    /// Keeps the messages of a POST that failed, if the session has ended.
    pub(crate) fn keep_post(&self, body: &mut [u8]) {
        if self.closed.get().is_some() {
            let mut messages = MessageQueue::default();
            unsent::push_body(body, &mut messages);
            let mut undelivered = self.undelivered.borrow_mut();
            messages.append(std::mem::take(&mut *undelivered));
            *undelivered = messages;
        }
    }

    /// Takes the messages that were not sent, after [`poll_finished`](Self::poll_finished).
    pub(crate) fn take_undelivered(&self) -> MessageQueue {
        let mut unsent = self.outgoing.take_unsent(Role::Client, &self.worker);
        unsent.append(self.undelivered.take());
        unsent
    }
}

/// Receiving.
impl Session {
    /// Ready when the open packet has arrived (true), or the session has ended without one. A session that ends directly
    /// after its open packet was open: the application receives the messages in between.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<bool> {
        let opened = self.machine.borrow().is_open();
        if opened || self.closed.get().is_some() {
            return Poll::Ready(opened);
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// The next event; `None` after [`Event::Closed`](event::Event::Closed).
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<event::Event>> {
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.bytes() >= self.settings.options.inbound_high_water;
        let event = match inbox.front() {
            None if inbox.has_ended() => return Poll::Ready(None),
            None => {
                self.receivers.add(cx);
                return Poll::Pending;
            }
            Some(Item::Message(message)) => {
                event::Event::Message(event::Received::new(message, &self.worker.pool))
            }
            Some(Item::Notice(Notice::Upgraded)) => event::Event::Upgraded,
            Some(Item::Notice(Notice::UpgradeFailed(reason))) => {
                let detail = self.upgrade_fault();
                event::Event::UpgradeFailed(UpgradeFailed { reason, detail })
            }
            Some(Item::Notice(Notice::Unsent(error))) => event::Event::Unsent(error),
            Some(Item::Notice(Notice::Closed(reason))) => {
                event::Event::Closed(Closed { reason, detail: self.fault() })
            }
        };
        inbox.pop();
        drop(inbox);
        if was_full && !self.is_inbox_full() {
            self.watchers.wake_all();
        }
        Poll::Ready(Some(event))
    }

    /// Ready when the session has ended and all its tasks have ended.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() && self.tasks.get() == 0 {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }
}

/// Closing.
impl Session {
    /// Ends the session after queued messages are sent.
    pub(crate) fn close(self: &Rc<Self>) {
        if self.end.has_reached(Stage::WorkerEnded) {
            return;
        }
        let now = self.worker.now();
        self.machine.borrow_mut().close(now);
        self.apply_effects();
    }

    /// Ends the session now, without sending queued messages. A close packet is still sent, with a short timeout.
    pub(crate) fn abort(self: &Rc<Self>) {
        if self.end.has_reached(Stage::WorkerEnded) {
            return;
        }
        self.end.advance(Stage::Aborted);
        self.machine.borrow_mut().abort(CloseReason::ClientDisconnect);
        self.apply_effects();
        let probe = self.closing_probe.borrow().clone();
        self.outgoing.ws().into_iter().chain(probe).for_each(|ws| ws.abort());
    }

    /// Ends the session and its tasks when they are polled next.
    pub(crate) fn terminate(self: &Rc<Self>) {
        if !self.end.has_reached(Stage::WorkerEnded) {
            self.abort();
            self.stop_tasks();
        }
    }
}
