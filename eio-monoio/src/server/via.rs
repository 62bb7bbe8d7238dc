//! [`Via`]: how the requests of a connection arrive, from a client or from another node of the cluster over a link.

use crate::io::stream::Stream;

/// How the requests of a connection arrive.
#[derive(Default)]
pub(crate) struct Via {
    /// `Some` for a link.
    #[cfg(feature = "nats")]
    pub(crate) link: Option<Box<Link>>,
}

/// The state of a link that another node opened.
#[cfg(feature = "nats")]
pub(crate) struct Link {
    /// The node that has opened it.
    pub(crate) from: eio_core::cluster::members::NodeId,
    pub(crate) stage: Stage,
    /// Whether the client of the current request uses TLS.
    pub(crate) secure: bool,
    /// The client's verified certificate, in DER.
    pub(crate) certificate: Option<Vec<u8>>,
}

/// The next bytes on a link.
#[cfg(feature = "nats")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A preamble.
    Idle,
    /// The request, and then its response.
    Request {
        /// Whether the other node confirms the response.
        is_confirmed: bool,
    },
}

impl Via {
    /// Whether the requests are those that another node forwards.
    #[cfg(feature = "nats")]
    pub(crate) fn is_link(&self) -> bool {
        self.link.is_some()
    }

    /// Whether the next bytes are a preamble. `first`: no request was received yet, but one may have arrived with the
    /// connection from another worker.
    #[cfg(feature = "nats")]
    #[inline]
    pub(crate) fn is_between_requests(&self, first: bool) -> bool {
        self.link.as_ref().is_some_and(|link| !first || link.stage == Stage::Idle)
    }

    /// Notes the method of the current request, by which the other node confirms the response or does not.
    #[inline]
    pub(crate) fn set_method(&mut self, method: &str) {
        #[cfg(feature = "nats")]
        if let Some(link) = &mut self.link {
            let is_confirmed = eio_core::cluster::link::is_confirmed(method);
            link.stage = Stage::Request { is_confirmed };
        }
        #[cfg(not(feature = "nats"))]
        let _ = method;
    }

    /// Whether the client's connection is encrypted.
    pub(crate) fn is_secure(&self, stream: &Stream) -> bool {
        #[cfg(feature = "nats")]
        if let Some(link) = &self.link {
            return link.secure;
        }
        stream.is_secure()
    }

    /// The verified certificate of the client, in DER.
    pub(crate) fn peer_certificate<'s>(&'s self, stream: &'s Stream) -> Option<&'s [u8]> {
        #[cfg(feature = "nats")]
        if let Some(link) = &self.link {
            return link.certificate.as_deref();
        }
        stream.peer_certificate()
    }
}
