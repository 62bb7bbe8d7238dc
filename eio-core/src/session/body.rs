//! The body a session fills: of a GET's response on the server, of a POST on the client.
//!
//! An HTTP body is written once. It is `Empty` from the request on, `Begun` with the first ping, pong or
//! message, and `Sealed` when the session had nothing more for it; what comes later waits for the next
//! request.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// No request in flight.
    Absent,
    Empty,
    Begun,
    /// `precious`: it holds a ping, pong or message, so losing it loses something even after an upgrade.
    Sealed {
        precious: bool,
    },
}

impl Body {
    pub(super) const fn is_attached(self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Whether packets can still be put in.
    pub(super) const fn is_writable(self) -> bool {
        matches!(self, Self::Empty | Self::Begun)
    }

    pub(super) const fn is_precious(self) -> bool {
        matches!(self, Self::Begun | Self::Sealed { precious: true })
    }

    /// A ping, pong or message is put in.
    pub(super) fn put(&mut self) {
        *self = Self::Begun;
    }

    /// The last word is put in: an open, close or noop packet.
    pub(super) fn put_last(&mut self) {
        *self = Self::Sealed { precious: self.is_precious() };
    }

    /// There is nothing to put in now: a begun body is finished, an empty one waits.
    pub(super) fn pause(&mut self) {
        if *self == Self::Begun {
            *self = Self::Sealed { precious: true };
        }
    }
}
