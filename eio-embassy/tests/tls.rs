//! [`TlsConnector`] over a connector in memory, on a virtual clock: timeouts, dropped futures, and the end of connections.
//! `ci/firmware.py tls` runs it against real servers.

#[path = "host/clock.rs"]
#[allow(dead_code, reason = "the other tests use all of it")]
mod clock;

use std::cell::RefCell;
use std::future::pending;
use std::pin::pin;

use eio_embassy::tls::{TlsConfig, TlsConnector, TlsError, TlsMemory};
use eio_embassy::{Connector, Error, Timeout};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

const TIMEOUT: Duration = Duration::from_secs(15);

/// The events below TLS, and the bytes that the peer sends.
#[derive(Debug, Default)]
struct Network {
    connects: Vec<String>,
    closes: u32,
    written: usize,
    /// Establishing a connection does not end.
    unreachable: bool,
    answer: &'static [u8],
}

/// A connector whose peer answers after the first bytes, and then says nothing.
#[derive(Debug)]
struct Below<'n>(&'n RefCell<Network>);

#[derive(Debug)]
struct Half<'n>(&'n RefCell<Network>);

impl ErrorType for Half<'_> {
    type Error = ErrorKind;
}

impl Read for Half<'_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        let answer = {
            let network = &mut *self.0.borrow_mut();
            let n = network.answer.len().min(into.len());
            let (now, later) = network.answer.split_at(n);
            network.answer = later;
            into[..n].copy_from_slice(now);
            n
        };
        if answer == 0 { pending().await } else { Ok(answer) }
    }
}

impl Write for Half<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.borrow_mut().written += bytes.len();
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Connector for Below<'_> {
    type Reader<'a>
        = Half<'a>
    where
        Self: 'a;
    type Writer<'a>
        = Half<'a>
    where
        Self: 'a;

    async fn connect(&mut self, host: &str, port: u16) -> Result<(), Error> {
        self.0.borrow_mut().connects.push(format!("{host}:{port}"));
        if self.0.borrow().unreachable { pending().await } else { Ok(()) }
    }

    fn split(&mut self) -> (Half<'_>, Half<'_>) {
        (Half(self.0), Half(self.0))
    }

    async fn close(&mut self) {
        self.0.borrow_mut().closes += 1;
    }
}

/// Runs `test` with a connector whose runner is another task.
fn with_runner(network: Network, test: impl AsyncFnOnce(&mut TlsConnector<'_>)) -> Network {
    let network = RefCell::new(network);
    {
        let mut memory = TlsMemory::<1280>::new();
        let config = TlsConfig::new(&[], || Some(1_800_000_000)).timeout(TIMEOUT);
        let below = Below(&network);
        let (mut connector, mut runner) = TlsConnector::new(below, &mut memory, config, || 4);
        clock::run_with(&mut [pin!(async { runner.run().await })], test(&mut connector));
    }
    network.into_inner()
}

/// The end of an attempt, and how long it took.
async fn attempt(connector: &mut TlsConnector<'_>, host: &str) -> (Option<Error>, Duration) {
    let began = Instant::now();
    (connector.connect(host, 443).await.err(), began.elapsed())
}

#[test]
fn silent_server_ends_within_the_timeout() {
    let network = with_runner(Network::default(), async |connector| {
        let end = attempt(connector, "a.example").await;
        assert_eq!(end, (Some(Error::TimedOut(Timeout::Tls)), TIMEOUT));
    });
    assert!(network.written > 100, "the first message of the handshake");
    assert_eq!((network.connects.len(), network.closes), (1, 1));
}

#[test]
fn unreachable_server_ends_within_the_timeout() {
    let network = Network { unreachable: true, ..Network::default() };
    with_runner(network, async |connector| {
        let end = attempt(connector, "a.example").await;
        assert_eq!(end, (Some(Error::TimedOut(Timeout::Connect)), TIMEOUT));
    });
}

#[test]
fn connector_without_a_runner_ends_too() {
    let network = RefCell::default();
    let mut memory = TlsMemory::<1280>::new();
    let config = TlsConfig::new(&[], || None).timeout(TIMEOUT);
    let (mut connector, _) = TlsConnector::new(Below(&network), &mut memory, config, || 4);
    clock::run(async {
        let (error, time) = attempt(&mut connector, "a.example").await;
        assert_eq!(error, Some(Error::TimedOut(Timeout::Tls)));
        assert!(time <= TIMEOUT + Duration::from_secs(1), "{time}");
        let began = Instant::now();
        connector.close().await;
        assert!(began.elapsed() <= Duration::from_secs(1));
    });
    assert_eq!(network.into_inner().connects, [""; 0]);
}

#[test]
fn dropped_attempt_continues_with_the_next_call() {
    let network = with_runner(Network::default(), async |connector| {
        for _ in 0..10 {
            let attempt = connector.connect("a.example", 443);
            let dropped = select(attempt, Timer::after_secs(1)).await;
            assert!(matches!(dropped, Either::Second(())));
        }
        let end = attempt(connector, "a.example").await;
        assert_eq!(end, (Some(Error::TimedOut(Timeout::Tls)), Duration::from_secs(5)));
    });
    assert_eq!(network.connects, ["a.example:443"]);
}

#[test]
fn attempt_to_another_host_aborts_the_first() {
    let network = with_runner(Network::default(), async |connector| {
        let first = connector.connect("a.example", 443);
        assert!(matches!(select(first, Timer::after_secs(1)).await, Either::Second(())));
        connector.close().await;
        let end = attempt(connector, "b.example").await;
        assert_eq!(end, (Some(Error::TimedOut(Timeout::Tls)), TIMEOUT));
    });
    assert_eq!(network.connects, ["a.example:443", "b.example:443"]);
    assert_eq!(network.closes, 2);
}

#[test]
fn peer_without_tls_is_named() {
    let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    with_runner(Network { answer, ..Network::default() }, async |connector| {
        let end = attempt(connector, "a.example").await;
        assert_eq!(end.0, Some(Error::Tls(TlsError::NotTls)));
    });
}

#[test]
fn refusal_by_an_alert_is_named() {
    // A record of type 21 with a fatal alert (RFC 8446 section 6): handshake_failure.
    let answer = b"\x15\x03\x03\x00\x02\x02\x28";
    with_runner(Network { answer, ..Network::default() }, async |connector| {
        let end = attempt(connector, "a.example").await;
        assert_eq!(end.0, Some(Error::Tls(TlsError::Alert(40))));
    });
}

#[test]
fn record_larger_than_the_buffer_is_named() {
    let answer = b"\x16\x03\x03\x40\x00";
    with_runner(Network { answer, ..Network::default() }, async |connector| {
        let end = attempt(connector, "a.example").await;
        assert_eq!(end.0, Some(Error::Tls(TlsError::TooLarge)));
    });
}

#[test]
fn host_name_beyond_its_limit_is_refused() {
    let longest = "a".repeat(253);
    with_runner(Network::default(), async |connector| {
        let end = attempt(connector, &format!("{longest}a")).await;
        assert_eq!(end, (Some(Error::Tls(TlsError::Name)), Duration::from_ticks(0)));
        let end = attempt(connector, &longest).await;
        assert_eq!(end.0, Some(Error::TimedOut(Timeout::Tls)));
    });
}

#[test]
fn halves_without_a_connection_return_errors() {
    with_runner(Network::default(), async |connector| {
        for _ in 0..2 {
            let (mut reader, mut writer) = connector.split();
            assert_eq!(reader.read(&mut [0; 4]).await, Err(ErrorKind::NotConnected));
            assert_eq!(writer.write(b"x").await, Err(ErrorKind::NotConnected));
            assert_eq!(writer.flush().await, Ok(()));
            attempt(connector, "a.example").await.0.expect("a silent server");
            connector.close().await;
        }
    });
}
