//! [`Outgoing`]: the outbox of a session, and the WebSocket that takes its messages.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use eio_core::packet::Message;

use crate::io::message_queue::MessageQueue;
use crate::io::ws_sender::WsSender;

/// The sending half of a session, of a server or of a client. The state machine, an argument, decides which packet is
/// next.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Messages that no transport has taken yet.
    queue: RefCell<MessageQueue>,
    /// The WebSocket, from its 101 on, also while it is only probed.
    ws: RefCell<Option<Rc<WsSender>>>,
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
        self.queue.borrow().bytes() + self.ws.borrow().as_ref().map_or(0, |ws| ws.queued())
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

    pub(crate) fn ws(&self) -> Ref<'_, Option<Rc<WsSender>>> {
        self.ws.borrow()
    }

    pub(crate) fn set_ws(&self, ws: Rc<WsSender>) {
        *self.ws.borrow_mut() = Some(ws);
    }

    pub(crate) fn take_ws(&self) -> Option<Rc<WsSender>> {
        self.ws.borrow_mut().take()
    }

    /// Whether `ws` is still the WebSocket of this session: one whose probe failed is not.
    pub(crate) fn is_current(&self, ws: &Rc<WsSender>) -> bool {
        self.ws.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, ws))
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
        let ws = self.ws.borrow();
        let Some(ws) = &*ws else { return false };
        loop {
            match next() {
                Some(Next::Message) => {
                    message(ws);
                    return true;
                }
                Some(Next::Control(packet)) => control(ws, packet),
                None => return false,
            }
        }
    }

    /// Moves messages from the queue to the WebSocket as far as the state machine allows. The argument of
    /// `next` says whether a message is queued.
    pub(crate) fn flush<C>(
        &self,
        mut next: impl FnMut(bool) -> Option<Next<C>>,
        message: impl Fn(&WsSender, Message<'_>),
        control: impl Fn(Option<&Rc<WsSender>>, C),
    ) {
        let ws = self.ws.borrow();
        loop {
            let mut queue = self.queue.borrow_mut();
            match next(!queue.is_empty()) {
                Some(Next::Message) => {
                    let (Some(ws), Some(front)) = (&*ws, queue.front()) else { return };
                    message(ws, front);
                    queue.pop();
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
