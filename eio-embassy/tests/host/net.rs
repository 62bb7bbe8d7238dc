//! Two stacks of embassy-net in one process, joined by a wire that drops, doubles, delays and overtakes
//! frames, as a seed says. TCP has to make up for all of it; what we have to make up for is that bytes come
//! at any time, in any portion.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use eio_core::session::{CloseReason, Timing};
use eio_embassy::tcp::TcpConnector;
use eio_embassy::{Backoff, Buffers, Config, Connector, Error, Message, Timeout, connect};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::{Duration, Instant};
use rand_core::RngCore;

use crate::Random;
use crate::clock::run_beside;
use crate::peer::{Peer, QUIET};

/// Percent of the frames, and milliseconds.
#[derive(Clone, Copy, Debug)]
struct Weather {
    dropped: u32,
    doubled: u32,
    /// Each frame takes up to so long: a later one may overtake it.
    delay: u32,
}

/// One direction: frames by when they arrive, and in which order they were sent.
#[derive(Debug)]
struct Wire {
    frames: BTreeMap<(u64, u64), Vec<u8>>,
    sent: u64,
    reader: Option<Waker>,
    weather: Weather,
    random: Random,
}

impl Wire {
    fn new(weather: Weather, seed: u64) -> Rc<RefCell<Self>> {
        let (frames, random) = (BTreeMap::new(), Random(seed));
        Rc::new(RefCell::new(Self { frames, sent: 0, reader: None, weather, random }))
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.random.next_u32() % 100 < percent
    }

    fn send(&mut self, frame: Vec<u8>) {
        if self.percent(self.weather.dropped) {
            return;
        }
        for _ in 0..1 + u8::from(self.percent(self.weather.doubled)) {
            let delay = u64::from(self.random.next_u32() % (self.weather.delay * 1_000 + 1));
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

#[derive(Debug)]
struct Nic {
    from: Rc<RefCell<Wire>>,
    to: Rc<RefCell<Wire>>,
    address: u8,
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
        Some((Rx(frame), Tx(Rc::clone(&self.to))))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Tx> {
        Some(Tx(Rc::clone(&self.to)))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
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

fn address(host: u8) -> embassy_net::Config {
    embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(Ipv4Address::new(192, 0, 2, host), 24),
        gateway: None,
        dns_servers: Default::default(),
    })
}

/// Runs `near` on a stack at 192.0.2.1 and `far` on one at 192.0.2.2 until `near` is done.
fn over_network<T>(
    weather: Weather,
    seed: u64,
    near: impl AsyncFnOnce(Stack<'_>) -> T,
    far: impl AsyncFnOnce(Stack<'_>),
) -> T {
    let (up, down) = (Wire::new(weather, seed), Wire::new(weather, !seed));
    let (mut here, mut there) = (StackResources::<3>::new(), StackResources::<3>::new());
    let nic = Nic { from: Rc::clone(&down), to: Rc::clone(&up), address: 1 };
    let (near_stack, mut near_runner) = embassy_net::new(nic, address(1), &mut here, seed);
    let nic = Nic { from: up, to: down, address: 2 };
    let (far_stack, mut far_runner) = embassy_net::new(nic, address(2), &mut there, !seed);
    let near_runner = pin!(async { near_runner.run().await });
    let far_runner = pin!(async { far_runner.run().await });
    run_beside(&mut [near_runner, far_runner, pin!(far(far_stack))], near(near_stack))
}

/// Serves one connection after another, each for one session.
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

/// Pings often. TCP waits twice as long after each loss of the same segment, and of a thousand seeds some
/// lose one six times: nobody may give up before that.
const PATIENT: Timing = Timing { ping_interval: 3_000, ping_timeout: 3_600_000, ..QUIET };

fn message(number: usize, pattern: &[u8]) -> Message<'_> {
    let len = [0, 1, 40, 126, 374, 900, 1_200][number % 7];
    match number % 2 {
        0 => Message::Binary(&pattern[number..number + len]),
        _ => Message::Text(core::str::from_utf8(&pattern[number..number + len]).unwrap()),
    }
}

#[test]
fn no_message_is_lost_doubled_or_torn_whatever_happens_to_frames() {
    const MESSAGES: usize = 21;
    let pattern: Vec<u8> = (0..2_000).map(|i| b'a' + (i % 26) as u8).collect();
    let mut random = Random(4);
    for seed in 0..1_000 {
        let weather = Weather {
            dropped: random.next_u32() % 15,
            doubled: random.next_u32() % 15,
            delay: 1 + random.next_u32() % 80,
        };
        let near = async |stack: Stack<'_>| {
            let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
            let timeout = Duration::from_millis(PATIENT.ping_timeout.into());
            let mut connector = TcpConnector::new(stack, &mut rx, &mut tx).connect_timeout(timeout);
            let config = Config::new("192.0.2.2:3000").open_timeout(timeout);
            let mut buffers = Buffers::<1536, 512>::new();
            let mut client = connect(&mut connector, &config, &mut buffers, Random(seed))
                .await
                .expect("a connection");
            let (mut sent, mut back) = (0, 0);
            while back < MESSAGES {
                if sent < MESSAGES && sent - back < 3 {
                    client.send(message(sent, &pattern)).await.expect("a session that lasts");
                    sent += 1;
                } else {
                    let came = client.recv().await.expect("a session that lasts");
                    assert_eq!(came, message(back, &pattern), "seed {seed}, {weather:?}");
                    back += 1;
                }
            }
            // The server may have gone by then, without the last frame having come here.
            let _ = client.disconnect().await;
        };
        over_network(weather, seed, near, async |stack| serve(stack, PATIENT, |_| ()).await);
    }
}

#[test]
fn a_cable_that_is_pulled_is_noticed_and_the_session_comes_back_with_it() {
    let timing = Timing { ping_interval: 2_000, ping_timeout: 1_000, ..QUIET };
    let weather = Weather { dropped: 0, doubled: 0, delay: 1 };
    let (up, down) = (Wire::new(weather, 1), Wire::new(weather, 2));
    let (mut here, mut there) = (StackResources::<3>::new(), StackResources::<3>::new());
    let nic = Nic { from: Rc::clone(&down), to: Rc::clone(&up), address: 1 };
    let (stack, mut near_runner) = embassy_net::new(nic, address(1), &mut here, 1);
    let nic = Nic { from: Rc::clone(&up), to: Rc::clone(&down), address: 2 };
    let (far_stack, mut far_runner) = embassy_net::new(nic, address(2), &mut there, 2);
    let plug = |dropped| {
        up.borrow_mut().weather.dropped = dropped;
        down.borrow_mut().weather.dropped = dropped;
    };
    let reasons = RefCell::new(Vec::new());
    let near = async {
        let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
        let mut connector = TcpConnector::new(stack, &mut rx, &mut tx);
        let config = Config::new("192.0.2.2:3000");
        let mut buffers = Buffers::<1536, 512>::new();
        let mut backoff = Backoff::default();
        for round in 0..3 {
            let mut random = Random(round);
            let mut attempts = 0;
            let mut client = loop {
                match connect(&mut connector, &config, &mut buffers, &mut random).await {
                    Ok(client) => break client,
                    Err(error) => assert_eq!(error, Error::TimedOut(Timeout::Connect)),
                }
                attempts += 1;
                connector.close().await;
                backoff.wait(&mut Random(round)).await;
                if attempts == 2 {
                    plug(0);
                }
                // The borrow of a connection that did not come about has ended.
            };
            client.send("hello").await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text("hello")));
            plug(100);
            let began = Instant::now();
            assert_eq!(client.recv().await, Err(Error::TimedOut(Timeout::Ping)));
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
        run_beside(&mut [near_runner, far_runner, far], near);
    }
    assert_eq!(reasons.into_inner()[..2], [CloseReason::PingTimeout; 2]);
}
