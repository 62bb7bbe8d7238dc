//! An echo test over HTTP long-polling (`polling`), or over a WebSocket after an upgrade on one connection (`upgrade`)
//! or on two (`any`). With the prefix `sensor-` it sends readings and receives their echoes, as a sensor does.
//!
//! `-semihosting-config enable=on,target=native,arg=polling,arg=<port>,arg=<scenario>,arg=<messages>`

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::pin::pin;

use eio_embassy::tcp::TcpConnector;
use eio_embassy::{
    Buffers, Config, Error, Message, PollingClient, Transport, connect_and_upgrade, connect_any,
};
use eio_embassy_qemu::{apart, network, run, stack_used, toy};
use embassy_executor::Spawner;
use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_time::{Duration, Instant, Ticker};
use semihosting::{println, process};
use static_cell::ConstStaticCell;

static DOWN_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static DOWN_TX: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static UP_RX: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static UP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static RECEIVE: ConstStaticCell<Buffers<1536, 384>> = ConstStaticCell::new(Buffers::new());
static SEND: ConstStaticCell<Buffers<1536, 1536>> = ConstStaticCell::new(Buffers::new());

/// Fits the send buffer in base64, with the head of a request.
const LONGEST: usize = 900;

#[cortex_m_rt::entry]
fn start() -> ! {
    run(|spawner| main(spawner).expect("spawned once"))
}

/// The parameters of a scenario. Each client has a task of its own, so a scenario uses the stack of its client.
struct Scenario {
    stack: Stack<'static>,
    host: heapless::String<24>,
    senses: bool,
    count: u32,
}

#[embassy_executor::task]
async fn main(spawner: Spawner) {
    let arguments = semihosting::experimental::env::args::<96>().expect("a command line");
    let mut arguments = (&arguments).into_iter().skip(1);
    let mut next = || arguments.next().and_then(Result::ok).expect("an argument");
    let (port, name, count) = (next(), next(), next().parse::<u32>().expect("a number"));
    let stack = network(spawner).await;
    let gateway = stack.config_v4().and_then(|config| config.gateway).expect("a gateway");
    let mut host = heapless::String::new();
    write!(host, "{gateway}:{port}").expect("it is short enough");
    let (senses, transport) = match name.strip_prefix("sensor-") {
        Some(transport) => (true, transport),
        None => (false, name),
    };
    let scenario = Scenario { stack, host, senses, count };
    match transport {
        "upgrade" => spawner.spawn(upgrade(scenario).expect("spawned once")),
        "any" => spawner.spawn(any(scenario).expect("spawned once")),
        _ => spawner.spawn(polling(scenario).expect("spawned once")),
    }
}

/// Ends the emulator.
fn exit(result: Result<Option<u32>, Error>) -> ! {
    let code = match result {
        Ok(None) => 0,
        Ok(Some(number)) => {
            println!("message {number} differs from its echo");
            1
        }
        Err(error) => {
            println!("failed: {error}");
            2
        }
    };
    println!("exit {code} at {} ms, stack {} bytes", Instant::now().as_millis(), stack_used());
    process::exit(code)
}

/// Sends `$count` messages, each after the echo of the one before. Both clients have the same methods.
macro_rules! talk {
    ($client:ident, $count:ident) => {{
        println!("open {}", $client.sid());
        let began = Instant::now();
        let mut bytes = [0; LONGEST];
        for number in 0..$count {
            let message = message(&mut bytes, number);
            $client.send(message).await?;
            if $client.recv().await? != message {
                return Ok(Some(number));
            }
        }
        println!("echoed {} messages in {} ms", $count, began.elapsed().as_millis());
        $client.disconnect().await?;
        Ok(None)
    }};
}

/// Sends ten readings a second for `$seconds`, as a sensor does: whichever comes first, a message or the next tick.
macro_rules! sense {
    ($client:ident, $seconds:ident) => {{
        let mut ticker = Ticker::every(Duration::from_millis(100));
        let (mut sent, mut back) = (0_u32, 0_u32);
        while back < $seconds * 10 {
            match select($client.recv(), ticker.next()).await {
                Either::First(echo) => {
                    if echo? != Message::Binary(&back.to_be_bytes()) {
                        return Ok(Some(back));
                    }
                    back += 1;
                }
                Either::Second(()) if sent < $seconds * 10 => {
                    $client.send(&sent.to_be_bytes()).await?;
                    sent += 1;
                }
                Either::Second(()) => {}
            }
        }
        println!("{back} readings and their echoes");
        $client.disconnect().await?;
        Ok(None)
    }};
}

/// Runs `talk!`, or `sense!` for a scenario whose name begins with `sensor`.
macro_rules! run_with {
    ($client:ident, $senses:ident, $count:ident) => {
        apart(pin!(async {
            if $senses { sense!($client, $count) } else { talk!($client, $count) }
        }))
        .await
    };
}

/// The message with this number: text and binary in turn, with different lengths.
fn message(bytes: &mut [u8; LONGEST], number: u32) -> Message<'_> {
    let len = number as usize * 37 % LONGEST;
    let printable = bytes.iter_mut().take(len).enumerate();
    printable.for_each(|(at, byte)| *byte = b' ' + ((at as u32 + number) % 90) as u8);
    let bytes = bytes.get(..len).unwrap_or_default();
    match core::str::from_utf8(bytes) {
        Ok(text) if number % 2 == 0 => Message::Text(text),
        _ => Message::Binary(bytes),
    }
}

#[embassy_executor::task]
async fn upgrade(scenario: Scenario) {
    let talk = async {
        let Scenario { stack, host, senses, count } = scenario;
        let config = Config::new(&host);
        let mut connector = TcpConnector::new(stack, DOWN_RX.take(), DOWN_TX.take());
        let client = connect_and_upgrade(&mut connector, &config, RECEIVE.take(), toy());
        let mut client = client.await?;
        run_with!(client, senses, count)
    };
    exit(talk.await)
}

#[embassy_executor::task]
async fn any(scenario: Scenario) {
    let talk = async {
        let Scenario { stack, host, senses, count } = scenario;
        let config = Config::new(&host);
        let mut down = TcpConnector::new(stack, DOWN_RX.take(), DOWN_TX.take());
        let mut up = TcpConnector::new(stack, UP_RX.take(), UP_TX.take());
        let (down, up) = ((&mut down, RECEIVE.take()), (&mut up, SEND.take()));
        let mut client = connect_any(down, up, &config, toy()).await?;
        if client.transport() != Transport::WebSocket {
            return Err(Error::UpgradeFailed);
        }
        run_with!(client, senses, count)
    };
    exit(talk.await)
}

#[embassy_executor::task]
async fn polling(scenario: Scenario) {
    let talk = async {
        let Scenario { stack, host, senses, count } = scenario;
        let config = Config::new(&host);
        let mut down = TcpConnector::new(stack, DOWN_RX.take(), DOWN_TX.take());
        let mut up = TcpConnector::new(stack, UP_RX.take(), UP_TX.take());
        let (down, up) = ((&mut down, RECEIVE.take()), (&mut up, SEND.take()));
        let mut client = PollingClient::connect(down, up, &config).await?;
        run_with!(client, senses, count)
    };
    exit(talk.await)
}
