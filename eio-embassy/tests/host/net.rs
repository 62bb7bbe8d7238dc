//! Two stacks of embassy-net in one process, joined by a wire that drops, duplicates, delays and reorders frames. A
//! seed makes it deterministic. TCP repairs the stream; the client has to handle bytes at any time, in portions of any
//! size.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use eio_core::session::{CloseReason, Timing};
use eio_embassy::tcp::TcpConnector;
use eio_embassy::{Backoff, Buffers, Config, Connector, Error, Message, Timeout, connect};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_net::tcp::TcpSocket;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{
    Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr, Stack, StackResources, StaticConfigV4,
    StaticConfigV6,
};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::{Duration, Instant, Ticker, Timer};

use crate::clock::run_with;
use crate::peer::{Peer, QUIET};
use crate::{Random, random};

/// Faults of a wire, in percent of its frames, and its delay.
#[derive(Clone, Copy, Debug)]
struct Faults {
    dropped: u32,
    duplicated: u32,
    /// The longest delay of a frame in milliseconds. A later frame may arrive first.
    delay_ms: u32,
}

/// One direction: frames by time of arrival and sequence number.
struct Wire {
    frames: BTreeMap<(u64, u64), Vec<u8>>,
    sent: u64,
    reader: Option<Waker>,
    faults: Faults,
    random: Random,
}

impl Wire {
    fn new(faults: Faults, seed: u64) -> Rc<RefCell<Self>> {
        let (frames, random) = (BTreeMap::new(), random(seed));
        Rc::new(RefCell::new(Self { frames, sent: 0, reader: None, faults, random }))
    }

    fn percent(&mut self, percent: u32) -> bool {
        (self.random)() % 100 < percent
    }

    fn send(&mut self, frame: Vec<u8>) {
        if self.percent(self.faults.dropped) {
            return;
        }
        for _ in 0..1 + u8::from(self.percent(self.faults.duplicated)) {
            let delay = u64::from((self.random)() % (self.faults.delay_ms * 1_000 + 1));
            let at = Instant::now().as_ticks() + delay;
            self.sent += 1;
            self.frames.insert((at, self.sent), frame.clone());
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn receive(&mut self, context: &Context<'_>) -> Option<Vec<u8>> {
        match self.frames.first_entry() {
            Some(first) if first.key().0 <= Instant::now().as_ticks() => Some(first.remove()),
            next => {
                if let Some(next) = next {
                    embassy_time_driver::schedule_wake(next.key().0, context.waker());
                }
                self.reader = Some(context.waker().clone());
                None
            }
        }
    }
}

struct Nic {
    from: Rc<RefCell<Wire>>,
    to: Rc<RefCell<Wire>>,
    address: u8,
    link: Rc<Link>,
}

/// Whether the link of a network card is up, as with a radio that has lost its access point.
#[derive(Default)]
struct Link {
    down: Cell<bool>,
    /// The task of the stack, which learns of a change.
    waker: RefCell<Option<Waker>>,
}

impl Link {
    fn set_up(&self, up: bool) {
        self.down.set(!up);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Rx(Vec<u8>);

struct Tx(Rc<RefCell<Wire>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, take: F) -> R {
        take(&mut self.0)
    }
}

impl TxToken for Tx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.borrow_mut().send(frame);
        result
    }
}

impl Driver for Nic {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Rx, Tx)> {
        let frame = self.from.borrow_mut().receive(context)?;
        if self.link.down.get() {
            return None;
        }
        Some((Rx(frame), Tx(Rc::clone(&self.to))))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Tx> {
        (!self.link.down.get()).then(|| Tx(Rc::clone(&self.to)))
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        self.link.waker.replace(Some(context.waker().clone()));
        if self.link.down.get() { LinkState::Down } else { LinkState::Up }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet([2, 0, 0, 0, 0, self.address])
    }
}

/// The addresses 192.0.2.`host` and fd00::`host`, with a name server at 192.0.2.2.
fn address(host: u8) -> embassy_net::Config {
    let mut config = embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(Ipv4Address::new(192, 0, 2, host), 24),
        gateway: None,
        dns_servers: [Ipv4Address::new(192, 0, 2, 2)].into_iter().collect(),
    });
    config.ipv6 = embassy_net::ConfigV6::Static(StaticConfigV6 {
        address: Ipv6Cidr::new(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()), 64),
        gateway: None,
        dns_servers: Default::default(),
    });
    config
}

/// Runs `near` on a stack at 192.0.2.1 and `far` on one at 192.0.2.2 until `near` is done.
fn over_network<T>(
    faults: Faults,
    seed: u64,
    near: impl AsyncFnOnce(Stack<'_>) -> T,
    far: impl AsyncFnOnce(Stack<'_>),
) -> T {
    let (up, down) = (Wire::new(faults, seed), Wire::new(faults, !seed));
    let (mut here, mut there) = (StackResources::<5>::new(), StackResources::<5>::new());
    let nic = Nic { from: Rc::clone(&down), to: Rc::clone(&up), address: 1, link: Rc::default() };
    let (near_stack, mut near_runner) = embassy_net::new(nic, address(1), &mut here, seed);
    let nic = Nic { from: up, to: down, address: 2, link: Rc::default() };
    let (far_stack, mut far_runner) = embassy_net::new(nic, address(2), &mut there, !seed);
    let near_runner = pin!(async { near_runner.run().await });
    let far_runner = pin!(async { far_runner.run().await });
    run_with(&mut [near_runner, far_runner, pin!(far(far_stack))], near(near_stack))
}

/// Serves one connection after another, with one session each.
async fn serve(stack: Stack<'_>, timing: Timing, mut ended: impl FnMut(CloseReason)) {
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    loop {
        if socket.accept(3000).await.is_ok() {
            ended(Peer::new(socket.split()).echo(timing).await);
        }
        socket.abort();
        let _ = socket.flush().await;
    }
}

/// Frequent pings with a long timeout. TCP doubles its timeout after each loss of the same segment, and with a thousand
/// seeds some segments are lost six times: no timeout of the session may expire before.
const LONG_TIMEOUT: Timing =
    Timing { ping_interval_ms: 3_000, ping_timeout_ms: 3_600_000, ..QUIET };

fn message(number: usize, pattern: &[u8]) -> Message<'_> {
    let len = [0, 1, 40, 126, 374, 900, 1_200][number % 7];
    match number % 2 {
        0 => Message::Binary(&pattern[number..number + len]),
        _ => Message::Text(core::str::from_utf8(&pattern[number..number + len]).unwrap()),
    }
}

#[test]
fn messages_survive_lost_duplicated_and_reordered_frames() {
    const MESSAGES: usize = 21;
    let pattern: Vec<u8> = (0..2_000).map(|i| b'a' + (i % 26) as u8).collect();
    let mut draw = random(4);
    for seed in 0..1_000 {
        let faults =
            Faults { dropped: draw() % 15, duplicated: draw() % 15, delay_ms: 1 + draw() % 80 };
        let near = async |stack: Stack<'_>| {
            let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
            let timeout = Duration::from_millis(LONG_TIMEOUT.ping_timeout_ms.into());
            let mut connector = TcpConnector::new(stack, &mut rx, &mut tx).connect_timeout(timeout);
            let config = Config::new("192.0.2.2:3000").open_timeout(timeout);
            let mut buffers = Buffers::<1536, 512>::new();
            let mut client = connect(&mut connector, &config, &mut buffers, random(seed))
                .await
                .expect("a connection");
            let (mut sent, mut back) = (0, 0);
            while back < MESSAGES {
                if sent < MESSAGES && sent - back < 3 {
                    client.send(message(sent, &pattern)).await.expect("an open session");
                    sent += 1;
                } else {
                    let came = client.recv().await.expect("an open session");
                    assert_eq!(came, message(back, &pattern), "seed {seed}, {faults:?}");
                    back += 1;
                }
            }
            // The server may have closed the connection before its last frame arrived.
            let _ = client.disconnect().await;
        };
        over_network(faults, seed, near, async |stack| serve(stack, LONG_TIMEOUT, |_| ()).await);
    }
}

#[test]
fn unplugged_cable_ends_the_session_and_plugged_in_it_reconnects() {
    let timing = Timing { ping_interval_ms: 2_000, ping_timeout_ms: 1_000, ..QUIET };
    let faults = Faults { dropped: 0, duplicated: 0, delay_ms: 1 };
    let (up, down) = (Wire::new(faults, 1), Wire::new(faults, 2));
    let (mut here, mut there) = (StackResources::<5>::new(), StackResources::<5>::new());
    let nic = Nic { from: Rc::clone(&down), to: Rc::clone(&up), address: 1, link: Rc::default() };
    let (stack, mut near_runner) = embassy_net::new(nic, address(1), &mut here, 1);
    let nic = Nic { from: Rc::clone(&up), to: Rc::clone(&down), address: 2, link: Rc::default() };
    let (far_stack, mut far_runner) = embassy_net::new(nic, address(2), &mut there, 2);
    let plug = |dropped| {
        up.borrow_mut().faults.dropped = dropped;
        down.borrow_mut().faults.dropped = dropped;
    };
    let reasons = RefCell::new(Vec::new());
    let near = async {
        let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
        let mut connector = TcpConnector::new(stack, &mut rx, &mut tx);
        let config = Config::new("192.0.2.2:3000");
        let mut buffers = Buffers::<1536, 512>::new();
        let mut backoff = Backoff::default();
        for round in 0..3 {
            let mut draw = random(round);
            let mut attempts = 0;
            let mut client = loop {
                match connect(&mut connector, &config, &mut buffers, &mut draw).await {
                    Ok(client) => break client,
                    Err(error) => assert_eq!(error, Error::TimedOut(Timeout::Connect)),
                }
                attempts += 1;
                connector.close().await;
                backoff.wait(&mut random(round)).await;
                if attempts == 2 {
                    plug(0);
                }
            };
            client.send("hello").await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text("hello")));
            plug(100);
            let began = Instant::now();
            assert_eq!(client.recv().await, Err(Error::TimedOut(Timeout::FirstPing)));
            let silence = began.elapsed();
            let limit = Duration::from_millis(3_010);
            assert!(silence <= limit, "{silence}");
            drop(client);
            connector.close().await;
        }
    };
    {
        let far = pin!(serve(far_stack, timing, |reason| reasons.borrow_mut().push(reason)));
        let near_runner = pin!(async { near_runner.run().await });
        let far_runner = pin!(async { far_runner.run().await });
        run_with(&mut [near_runner, far_runner, far], near);
    }
    assert_eq!(reasons.into_inner()[..2], [CloseReason::PingTimeout; 2]);
}

/// A name server on 192.0.2.2: `four.test` has an A record, `six.test` an AAAA record; other names have none.
async fn name_server(stack: Stack<'_>) {
    let (mut rx_meta, mut rx) = ([PacketMetadata::EMPTY; 4], [0; 1024]);
    let (mut tx_meta, mut tx) = ([PacketMetadata::EMPTY; 4], [0; 1024]);
    let mut socket = UdpSocket::new(stack, &mut rx_meta, &mut rx, &mut tx_meta, &mut tx);
    socket.bind(53).unwrap();
    loop {
        let mut query = [0; 512];
        let (len, from) = socket.recv_from(&mut query).await.unwrap();
        let query = &query[..len];
        // A question is the name, which ends in a byte 0, the type and the class.
        let name = &query[12..12 + query[12..].iter().position(|&byte| byte == 0).unwrap()];
        let kind = query[12 + name.len() + 2];
        let address: &[u8] = match (name, kind) {
            (b"\x04four\x04test", 1) => &[192, 0, 2, 2],
            (b"\x03six\x04test", 28) => &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            _ => &[],
        };
        let mut answer = query.to_vec();
        // A response without an error, with at most one answer: the name of the question, type, class, lifetime.
        answer[2] |= 0x80;
        if !address.is_empty() {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, address.len() as u8]);
            answer.extend(address);
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}

#[test]
fn connector_reaches_addresses_and_names_of_both_families() {
    let faults = Faults { dropped: 0, duplicated: 0, delay_ms: 1 };
    let dial = |host: &str| {
        over_network(
            faults,
            1,
            async |stack| {
                let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
                let mut connector = TcpConnector::new(stack, &mut rx, &mut tx);
                let config = Config::new(host);
                let mut buffers = Buffers::<1536, 512>::new();
                connect(&mut connector, &config, &mut buffers, random(1)).await.map(drop)
            },
            async |stack| {
                join(name_server(stack), serve(stack, QUIET, |_| ())).await;
            },
        )
    };
    for host in ["192.0.2.2:3000", "[fd00::2]:3000", "four.test:3000", "six.test:3000"] {
        assert_eq!(dial(host), Ok(()), "{host}");
    }
    for host in ["other.test:3000", "[fd00::zz]:3000"] {
        assert_eq!(dial(host), Err(Error::Resolve), "{host}");
    }
}

/// Half an hour in which the access point is lost once a minute, for 1 s to 20 s. A reading each second is sent in a
/// session, or is known to be lost; none arrives twice within a session.
#[test]
fn sessions_continue_after_each_loss_of_the_access_point() {
    let timing = Timing { ping_interval_ms: 5_000, ping_timeout_ms: 3_000, ..QUIET };
    let faults = Faults { dropped: 1, duplicated: 1, delay_ms: 40 };
    let (up, down) = (Wire::new(faults, 1), Wire::new(faults, 2));
    let (mut here, mut there) = (StackResources::<5>::new(), StackResources::<5>::new());
    let link = Rc::new(Link::default());
    let nic =
        Nic { from: Rc::clone(&down), to: Rc::clone(&up), address: 1, link: Rc::clone(&link) };
    let (stack, mut near_runner) = embassy_net::new(nic, address(1), &mut here, 1);
    let nic = Nic { from: up, to: down, address: 2, link: Rc::default() };
    let (far_stack, mut far_runner) = embassy_net::new(nic, address(2), &mut there, 2);
    let near = async {
        let end = Instant::now() + Duration::from_secs(1_800);
        let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
        let mut connector = TcpConnector::new(stack, &mut rx, &mut tx);
        let config = Config::new("192.0.2.2:3000");
        let mut buffers = Buffers::<1536, 512>::new();
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(4));
        let mut draw = random(3);
        let (mut sent, mut echoed, mut lost) = (0_u32, 0_u32, 0);
        while Instant::now() < end {
            let connected = connect(&mut connector, &config, &mut buffers, &mut draw).await;
            if let Ok(mut client) = connected {
                backoff.opened();
                let (mut expected, mut pending) = (sent, 0);
                let mut ticker = Ticker::every(Duration::from_secs(1));
                while client.is_open() && Instant::now() < end {
                    match select(client.recv(), ticker.next()).await {
                        Either::First(Ok(message)) => {
                            assert_eq!(message, Message::Binary(&expected.to_be_bytes()));
                            (expected, echoed, pending) = (expected + 1, echoed + 1, pending - 1);
                        }
                        Either::First(Err(_)) => {}
                        Either::Second(()) => {
                            if client.send(&sent.to_be_bytes()).await.is_ok() {
                                (sent, pending) = (sent + 1, pending + 1);
                            }
                        }
                    }
                }
                lost += pending;
            }
            connector.close().await;
            backoff.wait(&mut draw).await;
        }
        assert_eq!(echoed + lost, sent);
        assert!(sent > 1_000 && lost < 300, "{sent} sent, {lost} lost");
        assert!((20..60).contains(&backoff.reconnections()), "{}", backoff.reconnections());
    };
    let radio = pin!(async {
        for minute in 0_u64.. {
            Timer::after_secs(45).await;
            link.set_up(false);
            Timer::after_secs(1 + minute * 7 % 20).await;
            link.set_up(true);
        }
    });
    let far = pin!(serve(far_stack, timing, |_| ()));
    let near_runner = pin!(async { near_runner.run().await });
    let far_runner = pin!(async { far_runner.run().await });
    run_with(&mut [near_runner, far_runner, far, radio], near);
}
