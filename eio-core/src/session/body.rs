//! The body a session fills: of a GET's response on the server, of a POST on the client.
//!
//! An HTTP body is written once. It is `Empty` from the request on, `Begun` with the first packet, and
//! `Sealed` when the session had nothing more for it; what comes later waits for the next request.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// No request in flight.
    Absent,
    Empty,
    /// `precious`: it holds more than a noop, so losing it loses something.
    Begun {
        precious: bool,
    },
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
        matches!(self, Self::Empty | Self::Begun { .. })
    }

    pub(super) const fn is_precious(self) -> bool {
        matches!(self, Self::Begun { precious: true } | Self::Sealed { precious: true })
    }

    /// A packet was put in whose loss matters.
    pub(super) fn put(&mut self) {
        *self = Self::Begun { precious: true };
    }

    /// A packet was put in that is the last.
    pub(super) fn put_last(&mut self) {
        *self = Self::Sealed { precious: true };
    }

    /// A noop was put in, and nothing else will be.
    pub(super) fn put_noop(&mut self) {
        *self = Self::Sealed { precious: self.is_precious() };
    }

    /// There is nothing to put in now: a begun body is finished, an empty one waits.
    pub(super) fn seal_if_begun(&mut self) {
        if let Self::Begun { precious } = *self {
            *self = Self::Sealed { precious };
        }
    }
}
