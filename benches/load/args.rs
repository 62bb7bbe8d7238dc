//! The command line.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// Puts load on an Engine.IO server, and prints one JSON line
#[derive(Clone, Debug, Parser)]
#[command(name = "eio-load")]
#[command(
    after_help = "Exit status: 0 the run completed; 2 an echo differed, or the server broke the protocol or is down"
)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    /// The server; an IPv4 address
    #[arg(long, default_value = "http://127.0.0.1:3000/engine.io/")]
    pub(crate) url: Url,
    /// `ws-echo`, `polling-echo` and `idle`: open the sessions at this server over polling, and use them at --url. A
    /// WebSocket begins with an upgrade then
    #[arg(long)]
    pub(crate) open: Option<Url>,
    /// Number of connections, of sessions, or of sessions at a time
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Messages in flight on each connection
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) in_flight: usize,
    /// Size of a message in bytes
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
    /// `mixed`: sessions that only answer pings
    #[arg(long, default_value_t = 1000)]
    pub(crate) idle: usize,
    /// `idle`: echo one message of N bytes on every session before memory is read
    #[arg(long)]
    pub(crate) touch: Option<usize>,
    /// The transport of `connect` and `idle`
    #[arg(long, value_enum, default_value_t = Transport::Websocket)]
    pub(crate) transport: Transport,
    /// Open loop: N operations a second over all connections, begun on schedule whether or not earlier ones are
    /// done, and timed from the schedule. Without it the loop is closed
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Measured time in seconds; for `idle`, how long the sessions are held
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Time in seconds before the measured time
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// The certificate of an https server (PEM)
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// Resume TLS sessions: without it every connection makes a full handshake
    #[arg(long)]
    pub(crate) resume: bool,
    /// Process id of the server, to read its CPU time and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Process ids of others, whose CPU time is reported, too
    #[arg(long)]
    pub(crate) other_pid: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Messages over WebSocket, each echoed by the server
    WsEcho,
    /// The same on a plain WebSocket echo server
    RawWsEcho,
    /// The same bytes on a TCP echo server
    TcpEcho,
    /// ws-echo next to many idle sessions
    Mixed,
    /// A POST of some messages, and GETs until all echoes are received
    PollingEcho,
    /// GETs without a session on persistent connections
    HttpHello,
    /// Open and close whole sessions
    Connect,
    /// Polling handshake, probe, upgrade, some echoes, close
    Upgrade,
    /// Memory of idle sessions
    Idle,
    /// Memory of idle connections of a plain WebSocket server
    IdleRaw,
    /// One session's message is sent back to every session
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
    /// https
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) address: SocketAddrV4,
    pub(crate) path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("neither http:// nor https://".into()),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = host.parse().map_err(|error| format!("{host}: {error}"))?;
        Ok(Self { secure, host: host.to_owned(), address, path: format!("/{path}") })
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}")),
    }
}
