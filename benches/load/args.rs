//! What a run is asked to do.

use std::net::SocketAddrV4;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// Puts load on an Engine.IO server and prints one JSON line
#[derive(Clone, Debug, Parser)]
#[command(name = "eio-load")]
#[command(
    after_help = "Exit status: 0 it ran; 2 an echo differed, the protocol was violated, or there is no server"
)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    /// The server; an IPv4 address
    #[arg(long, default_value = "http://127.0.0.1:3000/engine.io/")]
    pub(crate) url: Url,
    /// Connections, sessions, or sessions at a time
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Messages under way on each connection
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) in_flight: usize,
    /// Bytes of data in a message
    #[arg(long, default_value_t = 32)]
    pub(crate) size: usize,
    /// Binary messages instead of text
    #[arg(long)]
    pub(crate) binary: bool,
    /// Messages in a POST
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// Echoes in each session of `upgrade`
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) messages: usize,
    /// Sessions of `mixed` that only answer pings
    #[arg(long, default_value_t = 1000)]
    pub(crate) idle: usize,
    /// `idle`: echo one message of so many bytes on every session before memory is read
    #[arg(long)]
    pub(crate) touch: Option<usize>,
    /// For `connect` and `idle`
    #[arg(long, value_enum, default_value_t = Transport::Websocket)]
    pub(crate) transport: Transport,
    /// Open loop: so many operations a second over all connections, begun on schedule whether or not earlier
    /// ones are done, and timed from the schedule. Without it the loop is closed.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Measured time; for `idle` how long the sessions are held
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Process of the server, for its CPU time and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Messages over WebSocket, each echoed
    WsEcho,
    /// The same on a plain WebSocket echo server
    RawWsEcho,
    /// The same bytes on a TCP echo server
    TcpEcho,
    /// ws-echo beside many idle sessions
    Mixed,
    /// A POST of some messages, and GETs until all are back
    PollingEcho,
    /// Bare GETs on kept connections
    HttpHello,
    /// Open and close whole sessions
    Connect,
    /// Polling handshake, probe, upgrade, some echoes, close
    Upgrade,
    /// Memory of idle sessions
    Idle,
    /// Memory of idle connections of a plain WebSocket server
    IdleRaw,
    /// One session's message comes back to all of them
    Broadcast,
}

impl Mode {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Polling,
    Websocket,
}

#[derive(Clone, Debug)]
pub(crate) struct Url {
    pub(crate) host: String,
    pub(crate) address: SocketAddrV4,
    pub(crate) path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("http:// is all there is")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = host.parse().map_err(|error| format!("{host}: {error}"))?;
        Ok(Self { host: host.to_owned(), address, path: format!("/{path}") })
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}")),
    }
}
