//! What the application asks of a session, and waits for.

use std::rc::Rc;
use std::task::{Context, Poll};

use eio_core::packet::{Message, Packet};
use eio_core::payload;
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;

use super::Session;
use crate::client::error::Closed;
use crate::client::event;
use crate::client::inbox::{Item, Notice};
use crate::client::session::end::Stage;
use crate::error::SendError;

impl Session {
    pub(crate) fn try_send(self: &Rc<Self>, message: Message<'_>) -> Result<(), SendError> {
        if !self.is_open() || self.is_closing() {
            return Err(SendError::Closed);
        }
        let packet = Packet::Message(message);
        self.admit(&packet)?;
        if self.is_slow() {
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

    /// Whether the server takes this at all.
    fn admit(&self, packet: &Packet<'_>) -> Result<(), SendError> {
        let max = self.max_payload().min(u32::MAX as usize);
        let frame = packet.frame();
        let len = match self.transport() {
            // Nobody knows yet which of the two will carry it: the larger one must fit.
            Transport::Polling => packet.text_len(),
            Transport::WebSocket => frame.prefix.len() + frame.data.len(),
        };
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        // Protocol, "Payload encoding": packets are separated by U+001E, and there is no escape.
        let separates = self.transport() == Transport::Polling && !frame.binary;
        if separates && frame.data.contains(&payload::SEPARATOR) {
            return Err(SendError::Separator);
        }
        Ok(())
    }

    /// Tells the application of a message that [`try_send`](Self::try_send) refused to somebody who cannot tell it.
    pub(crate) fn notify_unsent(&self, why: SendError) {
        /// An application that takes no events is not told without bound.
        const MAX: usize = 16;
        tracing::warn!(error = %why, "message dropped");
        if self.closed.get().is_none() && self.inbox.borrow().notices() < MAX {
            self.notify(Notice::Unsent(why));
        }
    }

    /// Ready when [`try_send`](Self::try_send) would not answer Full.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_slow() {
            return Poll::Ready(());
        }
        self.senders.add(cx);
        Poll::Pending
    }

    /// Ready when nothing waits to be sent any more, or never will be.
    pub(crate) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let sending = self.machine.borrow().attached(Lane::Post);
        if self.closed.get().is_some() || (self.queued() == 0 && !sending) {
            return Poll::Ready(());
        }
        self.senders.add(cx);
        Poll::Pending
    }

    /// Ready when the open packet came, or the session ended without one: one that ended right behind it was
    /// open, and what came in between is the application's.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<bool> {
        let opened = self.machine.borrow().is_open();
        if opened || self.closed.get().is_some() {
            return Poll::Ready(opened);
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// Ready when the session has ended and nothing of it is left on this core.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() && self.tasks.get() == 0 {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// The next event; `None` once the end was told.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<event::Event>> {
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.bytes() >= self.settings.options.inbound_high_water;
        let event = match inbox.front() {
            None if inbox.is_over() => return Poll::Ready(None),
            None => {
                self.receivers.add(cx);
                return Poll::Pending;
            }
            Some(Item::Message(message)) => {
                event::Event::Message(event::Received::new(message, &self.worker.pool))
            }
            Some(Item::Notice(Notice::Upgraded)) => event::Event::Upgraded,
            Some(Item::Notice(Notice::UpgradeFailed(why))) => event::Event::UpgradeFailed(why),
            Some(Item::Notice(Notice::Unsent(why))) => event::Event::Unsent(why),
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

    /// Ends the session after what is queued.
    pub(crate) fn close(self: &Rc<Self>) {
        if self.end.is_at(Stage::WorkerEnded) {
            return;
        }
        let now = self.worker.now();
        self.machine.borrow_mut().close(now);
        self.apply_effects();
    }

    /// Ends the session now; the server is told as far as that takes no time.
    pub(crate) fn abort(self: &Rc<Self>) {
        if self.end.is_at(Stage::WorkerEnded) {
            return;
        }
        self.end.advance(Stage::Aborted);
        self.machine.borrow_mut().abort(CloseReason::ClientDisconnect);
        self.apply_effects();
        for ws in [self.outgoing.ws(), self.closing_probe.borrow()] {
            if let Some(ws) = &*ws {
                ws.abort();
            }
        }
    }

    /// Ends the session and everything of it at the next turn of its tasks.
    pub(crate) fn cut(self: &Rc<Self>) {
        if !self.end.is_at(Stage::WorkerEnded) {
            self.abort();
            self.cut_off();
        }
    }
}
