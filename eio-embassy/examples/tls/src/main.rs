//! Sends messages over TLS and compares their echoes. The certificate of the server is checked.

use std::process::ExitCode;
use std::time::SystemTime;

use eio_embassy::edge::EdgeConnector;
use eio_embassy::tls::{TlsConfig, TlsConnector, TlsMemory};
use eio_embassy::{
    Backoff, Buffers, Config, Connector, Message, PollingClient, connect, connect_and_upgrade,
    connect_any,
};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer};

const USAGE: &str = "usage: tls [OPTION]... ADDRESS:PORT NAME AUTHORITY.der...

Connects to ADDRESS:PORT, whose certificate must contain NAME and lead to one of the authorities.

  --polling      use HTTP long-polling
  --upgrade      begin with polling, and upgrade on one connection
  --any          begin with polling, and upgrade on a second connection if the server allows it
  --times N      connect N times
  --reconnect N  the same, each time after the server has ended the connection
  --timeout MS   time for the connection and the handshake
  --time SECONDS the time of the clock, in seconds since 1970";

/// Records of up to 4,096 bytes.
type Memory = TlsMemory<4352>;

struct Options {
    transport: String,
    times: u32,
    /// Wait for the end of each session but the last.
    reconnect: bool,
    timeout: Option<u64>,
    operands: Vec<String>,
}

/// The time that `--time` sets, for a device whose clock is wrong.
static TIME: std::sync::OnceLock<u64> = std::sync::OnceLock::new();

fn unix_time() -> Option<u64> {
    let now = || SystemTime::UNIX_EPOCH.elapsed().map(|since| since.as_secs());
    TIME.get().copied().or_else(|| now().ok())
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    match async_io::block_on(run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Option<Options> {
    let mut options = Options {
        transport: String::new(),
        times: 1,
        reconnect: false,
        timeout: None,
        operands: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--polling" | "--upgrade" | "--any" => options.transport = argument,
            "--times" | "--reconnect" => {
                options.times = arguments.next()?.parse().ok()?;
                options.reconnect = argument == "--reconnect";
            }
            "--timeout" => options.timeout = Some(arguments.next()?.parse().ok()?),
            "--time" => TIME.set(arguments.next()?.parse().ok()?).ok()?,
            _ => options.operands.push(argument),
        }
    }
    (options.operands.len() >= 3).then_some(options)
}

async fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let [host, name, files @ ..] = options.operands.as_slice() else { return Err(USAGE.into()) };
    let files: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let authorities: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let mut tls = TlsConfig::new(&authorities, unix_time).server_name(name);
    if let Some(millis) = options.timeout {
        tls = tls.timeout(Duration::from_millis(millis));
    }

    let stack = edge_nal_std::Stack::new();
    // Polling has two connections.
    let (mut memory, mut more) = (Memory::new(), Memory::new());
    let (mut down, mut down_runner) =
        TlsConnector::new(EdgeConnector::new(&stack), &mut memory, tls, rand::random);
    let (mut up, mut up_runner) =
        TlsConnector::new(EdgeConnector::new(&stack), &mut more, tls, rand::random);
    let config = Config::new(host);
    let sessions = async {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut left = options.times;
        while left > 0 {
            let stay = options.reconnect && left > 1;
            match session(&mut down, &mut up, &config, &options.transport, stay).await {
                Ok(()) => left -= 1,
                // The server is not back yet.
                Err(error) if options.reconnect => eprintln!("{error}"),
                Err(error) => return Err(error),
            }
            down.close().await;
            up.close().await;
            if options.reconnect {
                backoff.wait(&mut rand::random).await;
            }
        }
        Ok(())
    };
    let runners = join(down_runner.run(), up_runner.run());
    match select(sessions, runners).await {
        Either::First(result) => result,
        Either::Second(_) => Ok(()),
    }
}

/// Whether the next message is this text. Its future is dropped each millisecond, as a program drops it that waits for other
/// events, too.
macro_rules! echoes {
    ($client:ident, $text:expr) => {
        loop {
            match select($client.recv(), Timer::after_millis(1)).await {
                Either::First(message) => {
                    break matches!(message?, Message::Text(echo) if echo == $text);
                }
                Either::Second(()) => {}
            }
        }
    };
}

/// Sends messages, and compares their echoes. All clients have the same methods.
macro_rules! echo {
    ($client:expr, $stay:expr) => {{
        let mut client = $client;
        eprintln!("open {} {}", client.transport().name(), client.sid());
        // The last one needs several records in each direction.
        for length in [0, 1, 100, 3_000] {
            let text = "x".repeat(length);
            client.send(text.as_str()).await?;
            if !echoes!(client, text) {
                return Err(format!("the echo of {length} bytes differs").into());
            }
        }
        client.send("hello over TLS").await?;
        if echoes!(client, "hello over TLS") {
            println!("hello over TLS");
        }
        if $stay {
            while let Ok(_message) = client.recv().await {}
            println!("lost");
        } else {
            client.disconnect().await?;
        }
    }};
}

/// Opens one session, and echoes messages.
async fn session(
    down: &mut impl Connector,
    up: &mut impl Connector,
    config: &Config<'_>,
    transport: &str,
    stay: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut receive, mut send) = (Buffers::<4096, 1024>::new(), Buffers::<4096, 8192>::new());
    match transport {
        "--polling" => {
            let (down, up) = ((down, &mut receive), (up, &mut send));
            echo!(PollingClient::connect(down, up, config).await?, stay);
        }
        "--any" => {
            let (down, up) = ((down, &mut receive), (up, &mut send));
            echo!(connect_any(down, up, config, rand::random).await?, stay);
        }
        "--upgrade" => {
            echo!(connect_and_upgrade(down, config, &mut receive, rand::random).await?, stay);
        }
        _ => echo!(connect(down, config, &mut receive, rand::random).await?, stay),
    }
    Ok(())
}
