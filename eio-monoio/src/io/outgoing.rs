//! [`Outgoing`]: the outbox of a session, and the WebSocket that takes its messages.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use eio_core::packet::Message;
use eio_core::ws::Role;

use crate::io::message_queue::{Mark, MessageQueue};
use crate::io::receipt::Confirm;
use crate::io::unsent;
use crate::io::ws_sender::WsSender;
use crate::worker::context::WorkerContext;

/// The sending half of a session, of a server or of a client. The state machine, an argument, decides which packet is
/// next.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Messages that no transport has taken yet.
    queue: RefCell<MessageQueue>,
    /// The WebSocket, from its 101 on, also while it is only probed.
    ws: Cell<Option<Rc<WsSender>>>,
    /// The receipts, if one was ever asked for.
    confirms: OnceCell<Box<RefCell<QueueConfirms>>>,
}

/// The receipts of messages that no transport has sent.
#[derive(Default)]
struct QueueConfirms {
    /// Of the messages in the queue that are marked so, in their order.
    queued: VecDeque<Confirm>,
    /// Of the messages in the response to the held GET.
    response: Vec<Confirm>,
}

/// The packet that the state machine allows next.
pub(crate) enum Next<C> {
    /// The first message of the queue.
    Message,
    /// Any other packet, or the end of the WebSocket.
    Control(C),
}

impl Outgoing {
    /// Bytes that are not sent yet.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().bytes() + self.with_ws(|ws| ws.map_or(0, |ws| ws.queued()))
    }

    /// Messages that no transport has taken yet.
    #[inline]
    pub(crate) fn queue(&self) -> &RefCell<MessageQueue> {
        &self.queue
    }

    #[inline]
    pub(crate) fn is_queue_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Queues a message, with its receipt if there is one.
    pub(crate) fn push(&self, message: Message<'_>, plain: bool, confirm: Option<Confirm>) {
        self.queue.borrow_mut().push_marked(message, Mark::new(confirm.is_some(), plain));
        if let Some(confirm) = confirm {
            self.confirms.get_or_init(Box::default).borrow_mut().queued.push_back(confirm);
        }
    }

    /// Drops the oldest message of the queue and returns its receipt.
    pub(crate) fn pop(&self) -> Option<Confirm> {
        let mut queue = self.queue.borrow_mut();
        let mark = queue.front_mark();
        queue.pop();
        if mark.is_confirmed() { self.next_confirm() } else { None }
    }

    fn next_confirm(&self) -> Option<Confirm> {
        self.confirms.get()?.borrow_mut().queued.pop_front()
    }

    /// No message of the queue is sent any more. They stay until [`take_queue`](Self::take_queue).
    pub(crate) fn stop(&self) {
        let queued =
            self.confirms.get().map(|confirms| std::mem::take(&mut confirms.borrow_mut().queued));
        // Without a borrow: it wakes tasks of the application.
        drop(queued);
    }

    /// Takes all messages of the queue.
    pub(crate) fn take_queue(&self) -> MessageQueue {
        std::mem::take(&mut *self.queue.borrow_mut())
    }

    /// Whether the WebSocket sends no more bytes.
    pub(crate) fn has_stopped(&self) -> bool {
        self.with_ws(|ws| ws.is_none_or(|ws| ws.has_stopped()))
    }

    /// Takes the messages that `role` has not sent: those of the WebSocket, then those of the queue.
    pub(crate) fn take_unsent(&self, role: Role, worker: &Rc<WorkerContext>) -> MessageQueue {
        let mut unsent = MessageQueue::default();
        if let Some(ws) = self.ws() {
            let (frames, inflater) = ws.take_unsent(worker);
            unsent::push_frames(frames, role, inflater, &mut unsent);
        }
        unsent.append(self.take_queue());
        unsent
    }

    /// Drops the messages that were not sent, now and later.
    pub(crate) fn discard_unsent(&self, worker: &WorkerContext) {
        drop(self.take_queue());
        if let Some(ws) = self.ws() {
            ws.discard_unsent(&worker.pool);
        }
    }

    /// Puts messages before all others.
    pub(crate) fn put_back(&self, mut messages: MessageQueue) {
        let mut queue = self.queue.borrow_mut();
        messages.append(std::mem::take(&mut *queue));
        *queue = messages;
    }

    /// The message of this receipt is in the response to the held GET.
    pub(crate) fn confirm_with_response(&self, confirm: Confirm) {
        self.confirms.get_or_init(Box::default).borrow_mut().response.push(confirm);
    }

    /// The receipts of messages in the response, which is sent now.
    pub(crate) fn take_response_confirms(&self) -> Vec<Confirm> {
        let take =
            |confirms: &RefCell<QueueConfirms>| std::mem::take(&mut confirms.borrow_mut().response);
        self.confirms.get().map(|confirms| take(confirms)).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn ws(&self) -> Option<Rc<WsSender>> {
        let ws = self.ws.take();
        self.ws.set(ws.clone());
        ws
    }

    /// Looks at the WebSocket, by a function that does not use this outbox.
    #[inline]
    fn with_ws<R>(&self, look: impl FnOnce(Option<&Rc<WsSender>>) -> R) -> R {
        let ws = self.ws.take();
        let result = look(ws.as_ref());
        self.ws.set(ws);
        result
    }

    pub(crate) fn set_ws(&self, ws: Rc<WsSender>) {
        ws.keep_unsent();
        self.ws.set(Some(ws));
    }

    pub(crate) fn take_ws(&self) -> Option<Rc<WsSender>> {
        self.ws.take()
    }

    /// Whether `ws` is still the WebSocket of this session: one whose probe failed is not.
    pub(crate) fn is_current(&self, ws: &Rc<WsSender>) -> bool {
        self.with_ws(|current| current.is_some_and(|current| Rc::ptr_eq(current, ws)))
    }

    /// Sends one message past the empty queue, if the state machine allows a message `next`. Control packets that are
    /// due precede it. Returns false if the message is to be queued.
    #[inline]
    pub(crate) fn send_now<C>(
        &self,
        mut next: impl FnMut() -> Option<Next<C>>,
        message: impl FnOnce(&WsSender),
        control: impl Fn(&Rc<WsSender>, C),
    ) -> bool {
        let Some(ws) = self.ws() else { return false };
        loop {
            match next() {
                Some(Next::Message) => {
                    message(&ws);
                    return true;
                }
                Some(Next::Control(packet)) => control(&ws, packet),
                None => return false,
            }
        }
    }

    /// Moves messages from the queue to the WebSocket as far as the state machine allows. The argument of
    /// `next` says whether a message is queued.
    pub(crate) fn flush<C>(
        &self,
        mut next: impl FnMut(bool) -> Option<Next<C>>,
        message: impl Fn(&WsSender, Message<'_>, Mark),
        control: impl Fn(Option<&Rc<WsSender>>, C),
    ) {
        let ws = self.ws();
        loop {
            let mut queue = self.queue.borrow_mut();
            match next(!queue.is_empty()) {
                Some(Next::Message) => {
                    let (Some(ws), Some(front)) = (&ws, queue.front()) else { return };
                    let mark = queue.front_mark();
                    message(ws, front, mark);
                    queue.pop();
                    // A receipt may wake tasks of the application.
                    drop(queue);
                    if mark.is_confirmed()
                        && let Some(confirm) = self.next_confirm()
                    {
                        ws.confirm(confirm);
                    }
                }
                Some(Next::Control(packet)) => {
                    drop(queue);
                    control(ws.as_ref(), packet);
                }
                None => return,
            }
        }
    }
}
