//! [`WsReader`]: decodes frames and inflates compressed messages.

use eio_core::ws::{CloseCode, Decoder, Error, Event, Kind, Ready, Role, Step};

use crate::deflate::Inward;
use crate::worker::budget::RecvBytes;

/// A [`Decoder`] with decompression, if that was negotiated. It has the methods of [`Decoder`].
pub(crate) struct WsReader {
    decoder: Decoder,
    deflate: Option<Box<Inward>>,
}

impl WsReader {
    /// `max`: the largest message in bytes, after decompression.
    pub(crate) fn new(role: Role, max: usize, deflate: Option<Box<Inward>>) -> Self {
        let decoder = Decoder::new(role, max);
        let decoder = if deflate.is_some() { decoder.allow_compressed() } else { decoder };
        Self { decoder, deflate }
    }

    #[inline]
    pub(crate) fn poll(&mut self, rx: &mut RecvBytes) -> Result<Step, Error> {
        let Some(deflate) = &mut self.deflate else { return self.decoder.poll(rx) };
        deflate.release();
        let step = self.decoder.poll(rx)?;
        if let Step::Ready(ready) = step
            && ready.is_compressed()
        {
            deflate.inflate(self.decoder.payload_mut(rx, ready))?;
        }
        Ok(step)
    }

    #[inline]
    pub(crate) fn payload_mut<'b>(
        &'b mut self,
        rx: &'b mut RecvBytes,
        ready: Ready,
    ) -> &'b mut [u8] {
        match &mut self.deflate {
            Some(deflate) if ready.is_compressed() => deflate.message_mut(),
            _ => self.decoder.payload_mut(rx, ready),
        }
    }

    pub(crate) fn event<'b>(&'b self, rx: &'b RecvBytes, ready: Ready) -> Result<Event<'b>, Error> {
        match &self.deflate {
            Some(deflate) if ready.is_compressed() => match ready.kind() {
                // RFC 6455 8.1 applies to the inflated data: RFC 7692 6.2.
                Kind::Text => {
                    let text = std::str::from_utf8(deflate.message());
                    text.map(Event::Text).map_err(|_| Error::TextNotUtf8)
                }
                _ => Ok(Event::Binary(deflate.message())),
            },
            _ => self.decoder.event(rx, ready),
        }
    }

    /// The code of a close frame, if it has one.
    pub(crate) fn close_code(&self, rx: &RecvBytes, ready: Ready) -> Option<CloseCode> {
        match self.event(rx, ready) {
            Ok(Event::Close(code, _)) => code,
            Ok(_) | Err(_) => None,
        }
    }
}
