//! [`WsReader`]: decodes frames and inflates compressed messages.

use eio_core::ws::{CloseCode, Decoder, Error, Event, Kind, Ready, Role, Step};

use crate::deflate::Inward;
use crate::io::registered_stream::shrink_rx;
use crate::worker::budget::RecvBytes;
use crate::worker::context::WorkerContext;
use crate::worker::frame_input::FrameInput;

/// Received bytes and their [`Decoder`], with decompression if that was negotiated. It has the methods of [`Decoder`].
///
/// Between two messages it owns neither: an idle connection costs no memory for them, and busy ones share memory that
/// the processor has in its cache.
pub(crate) struct WsReader {
    input: Option<Box<FrameInput>>,
    deflate: Option<Box<Inward>>,
    /// The largest message in bytes, after decompression.
    max_message: u32,
    role: Role,
}

impl WsReader {
    /// `max`: the largest message in bytes, after decompression, at most `u32::MAX`. `rx`: the first bytes.
    pub(crate) fn new(role: Role, max: usize, deflate: Option<Box<Inward>>, rx: RecvBytes) -> Self {
        let max_message = u32::try_from(max).unwrap_or(u32::MAX);
        let mut this = Self { input: None, deflate, max_message, role };
        if !rx.is_empty() {
            this.input = Some(Box::new(FrameInput { rx, decoder: this.decoder() }));
        }
        this
    }

    fn decoder(&self) -> Decoder {
        let decoder = Decoder::new(self.role, self.max_message as usize);
        if self.deflate.is_some() { decoder.allow_compressed() } else { decoder }
    }

    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Step, Error> {
        let Some(FrameInput { rx, decoder }) = self.input.as_deref_mut() else {
            return Ok(Step::Need(1));
        };
        let Some(deflate) = &mut self.deflate else { return decoder.poll(rx) };
        deflate.release();
        let step = decoder.poll(rx)?;
        if let Step::Ready(ready) = step
            && ready.is_compressed()
        {
            deflate.inflate(decoder.payload_mut(rx, ready))?;
        }
        Ok(step)
    }

    #[inline]
    pub(crate) fn payload_mut(&mut self, ready: Ready) -> &mut [u8] {
        match (&mut self.deflate, self.input.as_deref_mut()) {
            (Some(deflate), _) if ready.is_compressed() => deflate.message_mut(),
            (_, Some(FrameInput { rx, decoder })) => decoder.payload_mut(rx, ready),
            (_, None) => &mut [],
        }
    }

    pub(crate) fn event(&self, ready: Ready) -> Result<Event<'_>, Error> {
        match (&self.deflate, self.input.as_deref()) {
            (Some(deflate), _) if ready.is_compressed() => match ready.kind() {
                // RFC 6455 8.1 applies to the inflated data: RFC 7692 6.2.
                Kind::Text => {
                    let text = std::str::from_utf8(deflate.message());
                    text.map(Event::Text).map_err(|_| Error::TextNotUtf8)
                }
                _ => Ok(Event::Binary(deflate.message())),
            },
            (_, Some(FrameInput { rx, decoder })) => decoder.event(rx, ready),
            (_, None) => Ok(Event::Binary(&[])),
        }
    }

    /// The code of a close frame, if it has one.
    pub(crate) fn close_code(&self, ready: Ready) -> Option<CloseCode> {
        match self.event(ready) {
            Ok(Event::Close(code, _)) => code,
            Ok(_) | Err(_) => None,
        }
    }
}

/// Memory.
impl WsReader {
    /// Whether no received byte is left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.input.as_ref().is_none_or(|input| input.rx.is_empty())
    }

    /// Received bytes, and memory for more of them.
    #[inline]
    pub(crate) fn rx_mut(&mut self, worker: &WorkerContext) -> &mut RecvBytes {
        if self.input.is_none() {
            self.input = Some(worker.pool.take_input(self.decoder()));
        }
        match &mut self.input {
            Some(input) => &mut input.rx,
            None => unreachable!("it was set"),
        }
    }

    /// Returns all memory to the pool between two messages, or shrinks it to the size of an incomplete message.
    #[inline]
    pub(crate) fn shrink(&mut self, worker: &WorkerContext) {
        match self.input.take() {
            Some(input) if input.is_unused() => worker.pool.give_input(input),
            Some(mut input) => {
                shrink_rx(worker, &mut input.rx);
                self.input = Some(input);
            }
            None => {}
        }
    }

    /// Discards received bytes and returns all memory to the pool. Nothing more may be received.
    pub(crate) fn discard(&mut self, worker: &WorkerContext) {
        if let Some(input) = self.input.take() {
            worker.pool.give_input(input);
        }
    }
}
