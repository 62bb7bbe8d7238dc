//! A sensor: publishes readings as binary messages and executes commands received as text. The code is the same on
//! every board; a board provides the network, the thermometer and the light.
//!
//! | the server sends | the sensor answers |
//! |---|---|
//! | `every <ms>`, 10 to 3600000 | `ok`, and from now on a reading at this interval in milliseconds |
//! | `led on`, `led off` | `ok` |
//! | other text | `no such command` |
//! | binary | `<n> bytes, sum <s>`, as the receiver of a firmware update or a calibration table would answer |
//!
//! A reading is 12 bytes, big-endian: its number in this session, milliseconds since the start of the device,
//! thousandths of a degree Celsius (signed).

#![no_std]
#![forbid(unsafe_code)]

use core::fmt;
use core::fmt::Write as _;
use core::future::Future;

use eio_embassy::{Backoff, Buffers, Client, Config, Connector, Error, Message, connect};
use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, Instant, Ticker, Timer};
use embedded_io_async::{Read, Write};

use health::Health;

pub mod health;
pub mod radio;
#[cfg(feature = "board")]
pub mod settings;
#[cfg(feature = "sntp")]
pub mod sntp;

/// The memory of the client. Messages of up to 1,399 bytes can be received.
pub type Memory = Buffers<1536, 512>;

/// The functions that a board provides.
pub trait Board {
    /// The temperature in thousandths of a degree Celsius.
    fn temperature(&mut self) -> impl Future<Output = i32>;
    /// Switches the light.
    fn led(&mut self, on: bool) -> impl Future<Output = ()>;
    /// Writes a line to the log, such as a serial line.
    fn log(&mut self, what: fmt::Arguments<'_>);
}

/// Publishes forever, and reconnects after each loss of the connection. `health` is for the supervisor of a radio and for
/// a watchdog.
pub async fn run(
    mut network: impl Connector,
    config: &Config<'_>,
    memory: &mut Memory,
    mut board: impl Board,
    mut random: impl FnMut() -> u32,
    health: &Health,
) -> ! {
    let mut backoff = Backoff::default();
    loop {
        match connect(&mut network, config, memory, &mut random).await {
            Ok(client) => {
                backoff.opened();
                health.usable();
                if let Err(error) = session(client, &mut board, health).await {
                    board.log(format_args!("lost: {error}"));
                }
            }
            Err(error) => {
                health.failed();
                board.log(format_args!("no session: {error}"));
            }
        }
        network.close().await;
        backoff.wait(&mut random).await;
    }
}

/// Runs one session until it ends.
async fn session<R: Read, W: Write, G: FnMut() -> u32>(
    mut client: Client<'_, R, W, G>,
    board: &mut impl Board,
    health: &Health,
) -> Result<(), Error> {
    board.log(format_args!("open {}", client.sid()));
    let mut ticker = Ticker::every(Duration::from_secs(1));
    let mut number = 0_u32;
    loop {
        // The other futures are dropped, which loses nothing. The last one is for the watchdog, because a server may send
        // nothing for an hour.
        let event = select3(client.recv(), ticker.next(), Timer::after_secs(30)).await;
        health.progress();
        match event {
            Either3::First(message) => {
                // The message is in the receive buffer until the next call of the client.
                let mut answer = heapless::String::<32>::new();
                match message? {
                    Message::Text(text) => match Command::parse(text) {
                        Some(command) => {
                            match command {
                                Command::Every(interval) => ticker = Ticker::every(interval),
                                Command::Led(on) => board.led(on).await,
                            }
                            let _ = answer.push_str("ok");
                        }
                        None => {
                            let _ = answer.push_str("no such command");
                        }
                    },
                    Message::Binary(bytes) => {
                        let sum = bytes.iter().fold(0_u32, |sum, &byte| sum + u32::from(byte));
                        let _ = write!(answer, "{} bytes, sum {sum}", bytes.len());
                    }
                }
                client.send(answer.as_str()).await?;
            }
            Either3::Second(()) => {
                let reading = reading(number, Instant::now(), board.temperature().await);
                client.send(&reading).await?;
                number = number.wrapping_add(1);
            }
            Either3::Third(()) => {}
        }
    }
}

/// A command of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Every(Duration),
    Led(bool),
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "led on" => Some(Self::Led(true)),
            "led off" => Some(Self::Led(false)),
            _ => {
                let millis = text.strip_prefix("every ")?.parse::<u32>().ok()?;
                (10..=3_600_000)
                    .contains(&millis)
                    .then(|| Self::Every(Duration::from_millis(millis.into())))
            }
        }
    }
}

fn reading(number: u32, now: Instant, temperature: i32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..8].copy_from_slice(&(now.as_millis() as u32).to_be_bytes());
    bytes[8..].copy_from_slice(&temperature.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_commands_are_parsed() {
        assert_eq!(Command::parse("led on"), Some(Command::Led(true)));
        assert_eq!(Command::parse("led off"), Some(Command::Led(false)));
        let every = |millis| Some(Command::Every(Duration::from_millis(millis)));
        assert_eq!(Command::parse("every 10"), every(10));
        assert_eq!(Command::parse("every 3600000"), every(3_600_000));
        for bad in ["", "led", "led  on", "every", "every 9", "every 3600001", "every -10"] {
            assert_eq!(Command::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn reading_is_big_endian() {
        let bytes = reading(1, Instant::from_millis(0x0203), -2);
        assert_eq!(bytes, [0, 0, 0, 1, 0, 0, 2, 3, 0xff, 0xff, 0xff, 0xfe]);
    }
}
