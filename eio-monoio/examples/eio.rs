//! Talks to an Engine.IO server from a terminal. See `--help`, which is the manual.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use eio_monoio::client::{self, Client, Connect, ConnectError, Event, Fault, RemoteClient};
use eio_monoio::{CloseReason, Driver, OwnedMessage, PerMessageDeflate, Transport};

/// Talk to an Engine.IO server
///
/// Connects, prints events with the seconds since the start, and sends each line of standard input as a message. At
/// its end, or on SIGINT, queued messages are sent and the session is closed; a second SIGINT ends the process at once.
///
/// `<` marks received messages, `>` sent messages, `*` other events. Binary messages are shown in hexadecimal.
#[derive(Parser)]
#[command(name = "eio", version, after_help = EXIT)]
struct Options {
    /// http, https, ws or wss; a path of / means /engine.io/, the query is sent along
    url: String,
    /// Transports of the session
    #[arg(long, value_enum, default_value_t = Way::Upgrade)]
    transport: Way,
    /// Send lines as binary messages
    #[arg(long)]
    binary: bool,
    /// A header for every request, as NAME:VALUE; may be repeated
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The path, instead of the URL's
    #[arg(long)]
    path: Option<String>,
    /// An HTTP proxy to go through
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Accept any certificate: anyone between client and server can then read and change everything
    #[arg(long)]
    insecure: bool,
    /// A file of certificates (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// A file with the client's certificate (PEM), for servers that request one; needs --key
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<std::path::PathBuf>,
    /// A file with the key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<std::path::PathBuf>,
    /// Offer to compress WebSocket messages by permessage-deflate
    #[arg(long)]
    deflate: bool,
    /// Seconds until there must be a session
    #[arg(long, default_value_t = 20)]
    timeout: u64,
    /// Stay after the end of standard input, until the server ends the session or on SIGINT
    #[arg(long)]
    stay: bool,
    /// Print received messages only, one per line
    #[arg(long)]
    quiet: bool,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
}

const EXIT: &str = "Exit status:
  0  the client ended the session
  1  there was no connection, or TLS or HTTP failed before there was a session
  2  the command line is not valid
  3  the server refused the session (its status is printed)
  4  the server ended the session
  5  the session was lost: ping timeout, transport error, parse error";

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// Polling, then an upgrade to WebSocket
    Upgrade,
    /// Polling only
    Polling,
    /// WebSocket only
    Websocket,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match client::block_on(options.driver, run(&options)) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("eio: {error}");
            ExitCode::from(1)
        }
    }
}

async fn run(options: &Options) -> u8 {
    let log = Log { start: Instant::now(), quiet: options.quiet };
    let connect = match connect(options) {
        Ok(connect) => connect,
        Err(error) => {
            eprintln!("eio: {error}");
            return 2;
        }
    };
    let client = match connect.await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("eio: {error}");
            return match error {
                ConnectError::Failed(Fault::Status { .. }) => 3,
                ConnectError::Url(_) | ConnectError::Option(..) => 2,
                _ => 1,
            };
        }
    };
    log.note(&format!("connected, sid {}, {}", client.sid(), client.transport()));
    match client.remote() {
        Ok(remote) => send_lines(remote, options, log),
        Err(error) => log.note(&format!("nothing can be sent: {error}")),
    }
    while let Some(event) = client.next().await {
        match event {
            Event::Message(message) => log.message('<', &message),
            Event::Upgraded => log.note("upgraded to websocket"),
            Event::UpgradeFailed(why) => log.note(&format!("not upgraded: {why}")),
            Event::Unsent(why) => eprintln!("eio: not sent: {why}"),
            Event::Closed(closed) => {
                log.note(&format!("closed: {closed}"));
                // The closing handshake, or the last POST, is still in progress.
                client.ended().await;
                return match closed.reason {
                    CloseReason::ClientDisconnect => 0,
                    CloseReason::ServerDisconnect => 4,
                    CloseReason::TransportClose
                        if matches!(closed.detail, Some(Fault::CloseFrame { .. })) =>
                    {
                        4
                    }
                    _ => 5,
                };
            }
            _ => {}
        }
    }
    0
}

fn connect(options: &Options) -> std::io::Result<Connect> {
    let mut connect = Client::connect(&options.url)
        .open_timeout(Duration::from_secs(options.timeout))
        .danger_accept_any_certificate(options.insecure)
        .handle_sigint(true);
    connect = match options.transport {
        Way::Upgrade => connect,
        Way::Polling => connect.transports([Transport::Polling]),
        Way::Websocket => connect.transports([Transport::WebSocket]),
    };
    if options.deflate {
        connect = connect.per_message_deflate(PerMessageDeflate::new());
    }
    for (name, value) in &options.header {
        connect = connect.header(name, value);
    }
    if let Some(path) = &options.path {
        connect = connect.path(path);
    }
    if let Some(proxy) = &options.proxy {
        connect = connect.proxy(proxy);
    }
    if let Some(file) = &options.ca {
        connect = connect.certificate_authority(std::fs::read(file)?);
    }
    if let (Some(chain), Some(key)) = (&options.cert, &options.key) {
        connect = connect.identity(std::fs::read(chain)?, std::fs::read(key)?);
    }
    Ok(connect)
}

/// Standard input blocks: it is read on a thread of its own.
fn send_lines(remote: RemoteClient, options: &Options, log: Log) {
    let (binary, stay) = (options.binary, options.stay);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n').map_while(Result::ok) {
            let message = match String::from_utf8(line) {
                Ok(text) if !binary => OwnedMessage::Text(text),
                Ok(text) => OwnedMessage::Binary(text.into_bytes()),
                Err(error) if binary => OwnedMessage::Binary(error.into_bytes()),
                Err(_) => {
                    log.note("a line that is not UTF-8 was not sent; see --binary");
                    continue;
                }
            };
            log.message('>', &message);
            // As fast as the server receives them: standard input is read no faster.
            while let Err(error) = remote.send(message.clone()) {
                if error != client::SendError::Full {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if !stay {
            remote.disconnect();
        }
    });
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    Ok((name.trim().into(), value.trim().into()))
}

#[derive(Clone, Copy)]
struct Log {
    start: Instant,
    quiet: bool,
}

impl Log {
    fn message(self, mark: char, message: &OwnedMessage) {
        let text = match message {
            OwnedMessage::Text(text) if self.quiet => text.clone(),
            // A terminal would interpret control characters from the server.
            OwnedMessage::Text(text) => text.escape_debug().to_string(),
            OwnedMessage::Binary(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        match (self.quiet, mark) {
            (true, '<') => say(format_args!("{text}")),
            (true, _) => {}
            (false, _) => self.line(mark, &text),
        }
    }

    fn note(self, what: &str) {
        if !self.quiet {
            self.line('*', what);
        }
    }

    fn line(self, mark: char, what: &str) {
        say(format_args!("{:9.3} {mark} {what}", self.start.elapsed().as_secs_f64()));
    }
}

/// Ignores errors: the reader of a pipe may have closed it.
fn say(line: std::fmt::Arguments<'_>) {
    _ = writeln!(std::io::stdout(), "{line}");
}
