//! [`Body`]: the HTTP body that a session fills: of the response to a GET on the server, of a POST on the client.
//!
//! | state | input | next state |
//! |---|---|---|
//! | Absent | the lane is attached | Empty |
//! | Empty, Started | ping, pong or message | Started |
//! | Empty | open, close or noop packet | Complete, loss is harmless after an upgrade |
//! | Started | close packet | Complete, must arrive |
//! | Started | nothing more to write | Complete, must arrive |
//! | Empty | nothing to write | Empty |
//! | any | answered or lost | Absent |
//!
//! An HTTP body is written once: packets that become due after Complete wait for the next request.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// No request in flight.
    Absent,
    Empty,
    Started,
    /// `must_arrive`: it holds a ping, pong or message, so its loss matters even after an upgrade.
    Complete {
        must_arrive: bool,
    },
}

impl Body {
    pub(super) const fn is_attached(self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Whether packets can be added.
    pub(super) const fn is_writable(self) -> bool {
        matches!(self, Self::Empty | Self::Started)
    }

    pub(super) const fn must_arrive(self) -> bool {
        matches!(self, Self::Started | Self::Complete { must_arrive: true })
    }

    /// A ping, pong or message is added.
    pub(super) fn push(&mut self) {
        *self = Self::Started;
    }

    /// An open, close or noop packet is added, which is the last of its body.
    pub(super) fn push_last(&mut self) {
        *self = Self::Complete { must_arrive: self.must_arrive() };
    }

    /// There is nothing to add now: a started body is complete, an empty one waits.
    pub(super) fn finish_started(&mut self) {
        if *self == Self::Started {
            *self = Self::Complete { must_arrive: true };
        }
    }
}
