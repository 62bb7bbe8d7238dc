//! An echo test over HTTP long-polling (`polling`), or over a WebSocket after an upgrade on one connection (`upgrade`)
//! or on two (`any`).
//!
//! `-semihosting-config enable=on,target=native,arg=polling,arg=<port>,arg=<scenario>,arg=<messages>`

#![no_std]
#![no_main]

use core::fmt::Write as _;

use eio_embassy::tcp::TcpConnector;
use eio_embassy::{
    AnyClient, Buffers, Config, Error, Message, PollingClient, connect_and_upgrade, connect_any,
};
use eio_embassy_qemu::{network, run, stack_used, toy};
use embassy_executor::Spawner;
use embassy_time::Instant;
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

#[embassy_executor::task]
async fn main(spawner: Spawner) {
    let code = match echo(spawner).await {
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

/// Runs the scenario. Returns the number of a message that differs from its echo.
async fn echo(spawner: Spawner) -> Result<Option<u32>, Error> {
    let arguments = semihosting::experimental::env::args::<96>().expect("a command line");
    let mut arguments = (&arguments).into_iter().skip(1);
    let mut next = || arguments.next().and_then(Result::ok).expect("an argument");
    let (port, scenario, count) = (next(), next(), next().parse::<u32>().expect("a number"));

    let stack = network(spawner).await;
    let gateway = stack.config_v4().and_then(|config| config.gateway).ok_or(Error::Connect)?;
    let mut host = heapless::String::<24>::new();
    write!(host, "{gateway}:{port}").map_err(|_| Error::Resolve)?;

    let config = Config::new(&host);
    let mut down = TcpConnector::new(stack, DOWN_RX.take(), DOWN_TX.take());
    if scenario == "upgrade" {
        let client = connect_and_upgrade(&mut down, &config, RECEIVE.take(), toy());
        let mut client = client.await?;
        talk!(client, count)
    } else {
        let mut up = TcpConnector::new(stack, UP_RX.take(), UP_TX.take());
        let (down, up) = ((&mut down, RECEIVE.take()), (&mut up, SEND.take()));
        if scenario == "any" {
            let client = connect_any(down, up, &config, toy()).await?;
            let AnyClient::WebSocket(mut client) = client else {
                return Err(Error::UpgradeFailed);
            };
            return talk!(client, count);
        }
        let mut client = PollingClient::connect(down, up, &config).await?;
        talk!(client, count)
    }
}
