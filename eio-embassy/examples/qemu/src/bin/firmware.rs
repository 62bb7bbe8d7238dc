//! The firmware of the tests: each boot runs one scenario, which is named on QEMU's command line. The exit status is 0,
//! or the number of the step that failed.
//!
//! `-semihosting-config enable=on,target=native,arg=firmware,arg=<port>,arg=<scenario>,arg=<number>`

#![no_std]
#![no_main]

use core::fmt::Write as _;

use eio_embassy::tcp::TcpConnector;
use eio_embassy::{
    Backoff, Buffers, Client, Closed, Config, Connector, Error, Message, Timeout, connect,
};
use eio_embassy_qemu::{network, run, set_link, stack_used, toy};
use embassy_executor::Spawner;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Ticker, Timer};
use embedded_io_async::{Read, Write};
use semihosting::{println, process};
use static_cell::ConstStaticCell;

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static BUFFERS: ConstStaticCell<Buffers<1536, 512>> = ConstStaticCell::new(Buffers::new());
static PATTERN: ConstStaticCell<[u8; LONGEST]> = ConstStaticCell::new([0; LONGEST]);

/// Longer than each buffer.
const LONGEST: usize = 3_000;
/// The longest echoed message: it fits the receive buffer, but not the send buffer.
const LONGEST_ECHO: usize = 1_300;

#[cortex_m_rt::entry]
fn start() -> ! {
    run(|spawner| main(spawner).expect("spawned once"))
}

#[embassy_executor::task]
async fn main(spawner: Spawner) {
    let code = match scenario(spawner).await {
        Ok(()) => 0,
        Err(Failure(code, error)) => {
            match error {
                Some(error) => println!("failed, step {code}: {error}"),
                None => println!("failed, step {code}"),
            }
            code
        }
    };
    println!("exit {code} at {} ms, stack {} bytes", Instant::now().as_millis(), stack_used());
    process::exit(code)
}

/// A failed step: its exit status, and the error of the client.
struct Failure(i32, Option<Error>);

/// A function that makes a [`Failure`] of an error of step `code`.
fn failed(code: i32) -> impl Fn(Error) -> Failure {
    move |error| Failure(code, Some(error))
}

fn ensure(condition: bool, code: i32) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(Failure(code, None)) }
}

struct Board<G> {
    connector: TcpConnector<'static>,
    buffers: &'static mut Buffers<1536, 512>,
    pattern: &'static mut [u8; LONGEST],
    host: heapless::String<24>,
    random: G,
}

async fn scenario(spawner: Spawner) -> Result<(), Failure> {
    let arguments = semihosting::experimental::env::args::<96>().map_err(|_| Failure(1, None))?;
    let mut arguments = &arguments;
    let mut next = || arguments.next().and_then(Result::ok).ok_or(Failure(1, None));
    let _ = next()?;
    let port: u16 = next()?.parse().map_err(|_| Failure(1, None))?;
    let name = next()?;
    let number: u32 = next()?.parse().map_err(|_| Failure(1, None))?;

    let stack = network(spawner).await;
    let gateway = stack.config_v4().and_then(|config| config.gateway).ok_or(Failure(2, None))?;
    let mut host = heapless::String::new();
    write!(host, "{gateway}:{port}").map_err(|_| Failure(3, None))?;
    let pattern = PATTERN.take();
    for (i, byte) in pattern.iter_mut().enumerate() {
        *byte = (i ^ (i >> 8)) as u8;
    }
    // Text with U+001E cannot be sent.
    pattern[0x1e] = 0x1f;
    let connector = TcpConnector::new(stack, TCP_RX.take(), TCP_TX.take());
    let buffers = BUFFERS.take();
    let mut board = Board { connector, buffers, pattern, host, random: toy() };
    match name {
        "echo" => board.echo(number).await,
        "toobig" => board.too_big(number).await,
        "gone" => board.gone(number).await,
        "restart" => board.restart(number).await,
        "refused" => board.refused(number as u16).await,
        "no-server" => board.no_server().await,
        "sensor" => board.sensor(number).await,
        "publish" => board.publish(number).await,
        "soak" => board.soak(number).await,
        "radio" => {
            spawner.spawn(radio().map_err(|_| Failure(4, None))?);
            board.soak(number).await
        }
        _ => Err(Failure(1, None)),
    }
}

impl<G: FnMut() -> u32> Board<G> {
    /// Sends `count` messages of each kind, of all lengths, and compares their echoes byte by byte. Up to four messages
    /// are in flight.
    async fn echo(&mut self, count: u32) -> Result<(), Failure> {
        let config = Config::new(&self.host);
        let mut client = connect(&mut self.connector, &config, self.buffers, &mut self.random)
            .await
            .map_err(failed(10))?;
        println!("open {}", client.sid());
        let began = Instant::now();
        let (mut sent, mut back) = (0, 0);
        while back < 2 * count {
            if sent < 2 * count && sent - back < 4 {
                client.send(message(self.pattern, sent)).await.map_err(failed(11))?;
                sent += 1;
                continue;
            }
            let came = client.recv().await.map_err(failed(12))?;
            ensure(came == message(self.pattern, back), 13)?;
            back += 1;
        }
        println!("echoed {back} messages in {} ms", began.elapsed().as_millis());
        client.disconnect().await.map_err(failed(14))
    }

    /// Messages beyond the limit of either side are a clear error, and the client is usable afterwards. The server
    /// accepts `limit` bytes.
    async fn too_big(&mut self, limit: u32) -> Result<(), Failure> {
        let config = Config::new(&self.host);
        let mut client = connect(&mut self.connector, &config, self.buffers, &mut self.random)
            .await
            .map_err(failed(20))?;
        // More than the server accepts: refused by the client, before the server would close with 1009. The session
        // continues.
        let refused = client.send(&self.pattern[..limit as usize + 1]).await;
        ensure(refused == Err(Error::TooLarge { max: limit }), 21)?;
        client.send("still there").await.map_err(failed(22))?;
        ensure(client.recv().await == Ok(Message::Text("still there")), 23)?;
        // More than the receive buffer holds: the client closes with 1009, and the session ends.
        client.send(&self.pattern[..limit as usize]).await.map_err(failed(24))?;
        ensure(client.recv().await == Err(Error::ReceivedTooLarge), 25)?;
        drop(client);
        println!("refused both ways");
        self.connector.close().await;
        self.echo(10).await
    }

    /// The server becomes silent or ends. The client reports that within `limit` milliseconds.
    async fn gone(&mut self, limit: u32) -> Result<(), Failure> {
        let config = Config::new(&self.host);
        let mut client = connect(&mut self.connector, &config, self.buffers, &mut self.random)
            .await
            .map_err(failed(30))?;
        println!("open {}", client.sid());
        let mut last = Instant::now();
        let error = loop {
            match select(client.recv(), Timer::after(Duration::from_millis(100))).await {
                Either::First(Ok(_)) => last = Instant::now(),
                Either::First(Err(error)) => break error,
                // Echoes show that the server runs.
                Either::Second(()) => {
                    if client.send("x").await.is_err() {
                        continue;
                    }
                }
            }
        };
        let silence = last.elapsed().as_millis();
        println!("gone after {silence} ms: {error}");
        let expected = matches!(
            error,
            Error::TimedOut(Timeout::Ping | Timeout::FirstPing)
                | Error::Closed(Closed::TransportClose)
                | Error::Io(_)
        );
        ensure(expected, 31)?;
        ensure(silence <= u64::from(limit), 32)
    }

    /// Connects `times` times, after failed attempts too.
    async fn restart(&mut self, times: u32) -> Result<(), Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut connections = 0;
        while connections < times {
            let config = Config::new(&self.host);
            match connect(&mut self.connector, &config, self.buffers, &mut self.random).await {
                Ok(mut client) => {
                    backoff.opened();
                    connections += 1;
                    client.send("hello").await.map_err(failed(40))?;
                    ensure(client.recv().await == Ok(Message::Text("hello")), 41)?;
                    println!("connection {connections}");
                    if connections < times {
                        let error = client.recv().await.err();
                        println!("lost: {}", error.ok_or(Failure(42, None))?);
                    }
                }
                Err(error) => println!("no connection: {error}"),
            }
            self.connector.close().await;
            backoff.wait(&mut self.random).await;
        }
        Ok(())
    }

    /// The server refuses an unknown session with `status`.
    async fn refused(&mut self, status: u16) -> Result<(), Failure> {
        let config = Config::new(&self.host).query("sid=unknown");
        let refused =
            connect(&mut self.connector, &config, self.buffers, &mut self.random).await.err();
        println!("refused: {}", refused.ok_or(Failure(50, None))?);
        ensure(matches!(refused, Some(Error::Status { status: was, .. }) if was == status), 51)
    }

    /// No server listens on the port.
    async fn no_server(&mut self) -> Result<(), Failure> {
        let config = Config::new(&self.host);
        let error =
            connect(&mut self.connector, &config, self.buffers, &mut self.random).await.err();
        ensure(error == Some(Error::Connect), 60)
    }

    /// Sends ten readings a second for `seconds`, as a sensor does: whichever comes first, a message or the next tick.
    async fn sensor(&mut self, seconds: u32) -> Result<(), Failure> {
        let config = Config::new(&self.host);
        let mut client = connect(&mut self.connector, &config, self.buffers, &mut self.random)
            .await
            .map_err(failed(80))?;
        let mut ticker = Ticker::every(Duration::from_millis(100));
        let (mut sent, mut back) = (0_u32, 0_u32);
        while back < seconds * 10 {
            match select(client.recv(), ticker.next()).await {
                Either::First(echo) => {
                    ensure(echo.map_err(failed(81))? == Message::Binary(&back.to_be_bytes()), 82)?;
                    back += 1;
                }
                Either::Second(()) if sent < seconds * 10 => {
                    client.send(&sent.to_be_bytes()).await.map_err(failed(83))?;
                    sent += 1;
                }
                Either::Second(()) => ensure(client.is_open(), 84)?,
            }
        }
        println!("{back} readings and their echoes");
        client.disconnect().await.map_err(failed(85))
    }

    /// Sends a reading each 900 ms and never receives, for `seconds`. The server counts them. A reading each second would
    /// answer a ping just when a `pingTimeout` of 1 s expires.
    async fn publish(&mut self, seconds: u32) -> Result<(), Failure> {
        let config = Config::new(&self.host);
        let mut client = connect(&mut self.connector, &config, self.buffers, &mut self.random)
            .await
            .map_err(failed(90))?;
        let mut ticker = Ticker::every(Duration::from_millis(900));
        let readings = seconds * 1_000 / 900;
        for reading in 0..readings {
            client.send(&reading.to_be_bytes()).await.map_err(failed(91))?;
            ticker.next().await;
        }
        client.send("count").await.map_err(failed(92))?;
        let Message::Text(count) = client.recv().await.map_err(failed(93))? else {
            return Err(Failure(94, None));
        };
        println!("{count} of {readings} readings arrived");
        ensure(count.parse() == Ok(readings), 95)
    }

    /// Sends twenty messages a second for `seconds`, over each restart of the server. Within a connection each message
    /// is echoed in order, and the stack does not grow after the first minute.
    async fn soak(&mut self, seconds: u32) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(seconds.into());
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let mut stack = None;
        let (mut connections, mut total) = (0_u32, 0_u32);
        loop {
            let config = Config::new(&self.host);
            let lost =
                match connect(&mut self.connector, &config, self.buffers, &mut self.random).await {
                    Ok(client) => {
                        backoff.opened();
                        connections += 1;
                        talk(client, self.pattern, end, &mut total, &mut stack).await?
                    }
                    Err(error) => Some(error),
                };
            let Some(lost) = lost else { break };
            println!("lost at {} s: {lost}", Instant::now().as_secs());
            self.connector.close().await;
            backoff.wait(&mut self.random).await;
        }
        let (early, late) = (stack.ok_or(Failure(70, None))?, stack_used());
        println!("{connections} connections, {total} messages, stack {early} then {late} bytes");
        ensure(early == late, 71)
    }
}

/// Loses the access point for 1 s to 20 s, once a minute.
#[embassy_executor::task]
async fn radio() {
    let mut lost = 0;
    loop {
        Timer::after_secs(45).await;
        set_link(false);
        lost += 1;
        println!("access point lost, time {lost}");
        Timer::after_secs(1 + lost * 7 % 20).await;
        set_link(true);
    }
}

/// One session of a soak. `None`: the time is over.
async fn talk<R: Read, W: Write>(
    mut client: Client<'_, R, W, impl FnMut() -> u32>,
    pattern: &[u8; LONGEST],
    end: Instant,
    total: &mut u32,
    stack: &mut Option<usize>,
) -> Result<Option<Error>, Failure> {
    let mut ticker = Ticker::every(Duration::from_millis(50));
    let (mut sent, mut back) = (0, 0);
    loop {
        if stack.is_none() && Instant::now().as_secs() >= 60 {
            *stack = Some(stack_used());
        }
        match select(client.recv(), ticker.next()).await {
            Either::First(Ok(came)) => {
                ensure(came == message(pattern, back), 72)?;
                back += 1;
                *total += 1;
            }
            Either::First(Err(error)) => return Ok(Some(error)),
            Either::Second(()) if Instant::now() < end => {
                if let Err(error) = client.send(message(pattern, sent)).await {
                    return Ok(Some(error));
                }
                sent += 1;
            }
            // Messages in flight are still echoed. TCP may resend a lost frame after 1, 2, 4, 8 and 16 s.
            Either::Second(()) if back < sent => {
                ensure(Instant::now() < end + Duration::from_secs(40), 73)?;
            }
            Either::Second(()) => {
                return client.disconnect().await.map(|()| None).map_err(failed(74));
            }
        }
    }
}

/// The message with this number: text and binary in turn, with different lengths.
fn message(pattern: &[u8; LONGEST], number: u32) -> Message<'_> {
    let len = (number as usize * 37) % LONGEST_ECHO;
    let from = number as usize % 64;
    let bytes = pattern.get(from..from + len).unwrap_or_default();
    if number % 2 == 0 {
        return Message::Binary(bytes);
    }
    // The first 128 bytes of the pattern are ASCII.
    let ascii = pattern.get(from..from + len % 64).unwrap_or_default();
    Message::Text(core::str::from_utf8(ascii).unwrap_or_default())
}
