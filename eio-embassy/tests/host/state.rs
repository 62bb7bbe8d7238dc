//! For the telemetry of a product: the state of a session, and the delays between sessions.

use std::cell::Cell;
use std::rc::Rc;

use eio_core::ws::Opcode;
use eio_embassy::{Backoff, Buffers, Client, Closed, Config, Error};
use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{ErrorKind, ErrorType, Write};

use crate::clock::run;
use crate::peer::{Frame, Peer, QUIET};
use crate::pipe::{UNLIMITED, Writer, pair};
use crate::random;

#[test]
fn session_reports_when_it_saw_the_server_and_the_round_trip() {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let client = Client::connect(reader, writer, &config, &mut buffers, random(1)).await;
            let mut client = client.unwrap();
            assert_eq!((client.is_open(), client.round_trip()), (true, None));
            let opened = client.last_seen();
            assert_eq!(opened, Instant::now());
            client.ping().await.unwrap();
            assert_eq!(client.recv().await, Ok("hello".into()));
            assert_eq!(client.round_trip(), Some(Duration::from_millis(40)));
            assert_eq!(client.last_seen(), opened + Duration::from_millis(40));
            assert_eq!(client.recv().await.err(), Some(Error::Closed(Closed::ServerDisconnect)));
            assert_eq!((client.is_open(), client.round_trip().is_some()), (false, true));
            assert!(client.ping().await.is_err());
        },
        async {
            peer.open(QUIET, 1_000).await;
            assert_eq!(peer.next().await, Frame::Ping(vec![]));
            // An unsolicited pong would be taken for it: servers do not send any.
            Timer::after_millis(40).await;
            peer.frame(true, Opcode::Pong, &[]).await;
            peer.text("4hello").await;
            Timer::after_millis(500).await;
            peer.text("1").await;
            while peer.next().await != Frame::End {}
        },
    ));
}

/// Flushes like TCP: when the peer has confirmed all bytes, which it does while the flag is set.
struct Confirming(Writer, Rc<Cell<bool>>);

impl ErrorType for Confirming {
    type Error = ErrorKind;
}

impl Write for Confirming {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        if self.1.get() { Ok(()) } else { std::future::pending().await }
    }
}

#[test]
fn messages_that_the_connection_did_not_confirm_are_counted() {
    let ((reader, writer), far) = pair(UNLIMITED);
    let confirms = Rc::new(Cell::new(true));
    let writer = Confirming(writer, Rc::clone(&confirms));
    let mut peer = Peer::new(far);
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let client = Client::connect(reader, writer, &config, &mut buffers, random(1)).await;
            let mut client = client.unwrap();
            assert_eq!(client.unconfirmed(), 0);
            client.send(&[0; 200]).await.unwrap();
            client.flushed().await.unwrap();
            assert_eq!(client.unconfirmed(), 0, "the connection has flushed");
            confirms.set(false);
            for sent in 1..=3 {
                client.send(&[0; 200]).await.unwrap();
                assert_eq!(client.unconfirmed(), sent);
            }
            assert!(client.recv().await.is_err());
            assert_eq!(client.unconfirmed(), 3, "of which the server has received all");
        },
        async {
            peer.open(QUIET, 1_000).await;
            for _ in 0..4 {
                assert_eq!(peer.next().await, Frame::Binary(vec![0; 200]));
            }
            Timer::after_secs(5).await;
            drop(peer);
        },
    ));
}

#[test]
fn backoff_begins_again_only_after_a_session_that_lived() {
    run(async {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(first, longest).stable_after(Duration::from_secs(20));
        let mut most = || u32::MAX;
        assert_eq!(backoff.reconnections(), 0);
        // The server opens each session and closes it.
        for delay in [999, 1_999, 3_999, 7_999] {
            backoff.opened();
            Timer::after_secs(19).await;
            assert_eq!(backoff.next(&mut most).as_millis(), delay);
        }
        assert_eq!(backoff.reconnections(), 3);
        // A failed attempt is no session.
        Timer::after_secs(1_000).await;
        assert_eq!(backoff.next(&mut most).as_millis(), 15_999);
        backoff.opened();
        Timer::after_secs(20).await;
        assert_eq!(backoff.next(&mut most).as_millis(), 999);
        backoff.reset();
        assert_eq!(backoff.next(&mut most).as_millis(), 999);
        assert_eq!(backoff.reconnections(), 4);
    });
}
