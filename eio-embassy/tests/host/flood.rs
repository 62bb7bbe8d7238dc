//! A server that sends without end: a read is always ready.

use std::cell::Cell;
use std::rc::Rc;

use eio_embassy::{Buffers, Client, Config, Error, Message, Timeout};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embassy_time::{Duration, Ticker};
use embedded_io_async::{ErrorKind, ErrorType, Read};

use crate::clock::{pass, run};
use crate::peer::{Peer, QUIET};
use crate::pipe::{Reader, UNLIMITED, Writer, pair};
use crate::{Random, random};

/// Reads from a peer, or, when the flag is set, frames of a flood. A read takes 100 ms.
struct Flooded {
    reader: Reader,
    floods: Rc<Cell<bool>>,
    frame: &'static [u8],
    bytes: usize,
    reads: u32,
}

impl ErrorType for Flooded {
    type Error = ErrorKind;
}

impl Read for Flooded {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if !self.floods.get() {
            return self.reader.read(buffer).await;
        }
        self.reads += 1;
        assert!(self.reads < 10_000, "the flood keeps everything else waiting");
        pass(Duration::from_millis(100));
        for byte in &mut *buffer {
            *byte = self.frame[self.bytes % self.frame.len()];
            self.bytes += 1;
        }
        Ok(buffer.len())
    }
}

/// Runs `near` with a client whose server sends `frame` without end.
fn flood<T>(
    frame: &'static [u8],
    near: impl AsyncFnOnce(&mut Client<'_, Flooded, Writer, Random>) -> T,
) -> T {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    let floods = Rc::new(Cell::new(false));
    let reader = Flooded { reader, floods: floods.clone(), frame, bytes: 0, reads: 0 };
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let client = Client::connect(reader, writer, &config, &mut buffers, random(1)).await;
            let mut client = client.unwrap();
            floods.set(true);
            near(&mut client).await
        },
        peer.open(QUIET, 1_000),
    ))
    .0
}

/// A noop, and a pong of the WebSocket: neither is the ping that a session needs.
const FRAMES: [&[u8]; 2] = [b"\x81\x016", b"\x8a\x01x"];

#[test]
fn flood_does_not_keep_the_deadline_waiting() {
    for frame in FRAMES {
        let ended = flood(frame, async |client| client.recv().await.err());
        assert_eq!(ended, Some(Error::TimedOut(Timeout::FirstPing)), "{frame:?}");
    }
}

#[test]
fn flood_does_not_keep_other_futures_waiting() {
    for frame in FRAMES {
        flood(frame, async |client| {
            for _ in 0..3 {
                let turn = select(client.recv(), yield_now()).await;
                assert!(matches!(turn, Either::Second(())), "{frame:?}");
            }
        });
    }
    flood(b"\x81\x034hi", async |client| {
        let mut received = 0;
        let mut ticker = Ticker::every(Duration::from_secs(1));
        while let Either::First(message) = select(client.recv(), ticker.next()).await {
            assert_eq!(message, Ok(Message::Text("hi")));
            received += 1;
        }
        assert!(received > 0);
    });
}

#[test]
fn flood_does_not_keep_the_end_of_a_session_waiting() {
    let ended = flood(b"\x81\x034hi", async |client| client.disconnect().await);
    assert_eq!(ended, Err(Error::TimedOut(Timeout::Close)));
}
