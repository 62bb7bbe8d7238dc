//! [`Config`]: limits on messages, connections and sessions, and backpressure.

use super::Config;

/// # Limits and backpressure
///
/// How much a client may send, how much may be queued, and how many clients there may be. At a high-water mark one more
/// message, or one more polling body, may exceed the mark. The bytes of a queue include its own overhead.
impl Config {
    /// The largest WebSocket message or request body that is received, in bytes; the open packet announces it as
    /// `maxPayload`. A text message over WebSocket counts with its packet type, which is one byte.
    ///
    /// **Default:** 1,000,000 bytes. **Range:** 1 byte to 2 GiB. A larger POST is answered 413 and its session
    /// continues; a larger WebSocket message is answered with close code 1009 and its session ends with
    /// [`CloseReason::PayloadTooLarge`](crate::CloseReason::PayloadTooLarge). A polling response ends before the packet
    /// that would exceed the limit, unless it is the first one.
    ///
    /// Engine.IO: `maxHttpBufferSize`. python-engineio: `max_http_buffer_size`.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The largest number of packets in one polling response.
    ///
    /// **Default:** 16, because python-engineio's clients refuse more. **Range:** 1 to 100,000. Further packets wait
    /// for the next response.
    #[must_use]
    pub fn max_polling_packets(mut self, packets: usize) -> Self {
        self.max_polling_packets = packets;
        self
    }

    /// The largest number of connections of all workers together.
    ///
    /// **Default:** the limit on open descriptors, which the server raises as far as it may, less 64, or with more than four
    /// workers less 32 and 8 for each worker. **Range:** 1 to 2^31. One more connection is answered 503 with
    /// `Retry-After: 5` and closed; over TLS it is closed without an answer. If it exceeds the default, the start is logged
    /// with a warning, and accepting pauses while no descriptor is left.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// The largest number of handshakes in each second since the start of the server, of all workers together.
    /// Handshakes that are refused later count too.
    ///
    /// **Default:** no limit. **Range:** 1 to 2^31. One more is answered 503 with `Retry-After: 1`;
    /// [`Handler::connect`](crate::Handler::connect) is not called.
    #[must_use]
    pub fn max_handshakes_per_second(mut self, handshakes: usize) -> Self {
        self.max_handshakes_per_second = Some(handshakes);
        self
    }

    /// The number of bytes queued for one session from which it is slow.
    ///
    /// **Default:** 1 MiB. **Range:** 1 byte to 2 GiB. From there on [`Socket::try_send`](crate::Socket::try_send)
    /// returns [`SendError::Full`](crate::SendError::Full), [`Socket::send`](crate::Socket::send) waits, a broadcast
    /// omits the session, and no messages are read from it.
    #[must_use]
    pub fn outbound_high_water(mut self, bytes: usize) -> Self {
        self.outbound_high_water = bytes;
        self
    }

    /// The number of bytes of messages of one session that wait for a busy handler, from which no more are read. With
    /// [`Dispatch::Concurrent`](crate::Dispatch::Concurrent) it limits the messages that handlers work on, and each
    /// counts 512 bytes more.
    ///
    /// **Default:** 1 MiB. **Range:** 1 byte to 2 GiB. From there on the session is not read from, and a POST is
    /// answered later.
    #[must_use]
    pub fn inbound_high_water(mut self, bytes: usize) -> Self {
        self.inbound_high_water = bytes;
        self
    }

    /// The number of bytes of messages from other threads and workers that wait for one worker. Each message counts 64
    /// bytes more. As many bytes again may be taken from the mailbox and not yet be delivered.
    ///
    /// **Default:** 16 MiB. **Range:** 1 byte to 2 GiB. From there on a [`Remote`](crate::Remote) returns
    /// [`SendError::Full`](crate::SendError::Full); a handler's message to a session of another worker is dropped and
    /// logged.
    #[must_use]
    pub fn mailbox_high_water(mut self, bytes: usize) -> Self {
        self.mailbox_high_water = bytes;
        self
    }

    /// The number of bytes that the kernel holds for a client that does not receive (`SO_SNDBUF`), of each accepted
    /// connection. They come before [`outbound_high_water`](Self::outbound_high_water): the queue begins when the kernel
    /// accepts no more. A client far away is sent at most this number of bytes in each round trip.
    ///
    /// **Default:** the kernel decides by the speed of the client, up to the third number of `net.ipv4.tcp_wmem`, which is
    /// often 4 MiB. **Range:** 4 KiB to 1 GiB; the kernel applies `net.core.wmem_max` as well, and reserves as many bytes
    /// again for itself.
    #[must_use]
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.send_buffer_size = Some(bytes);
        self
    }
}
