//! Sends messages over TLS and compares their echoes. The certificate of the server is checked.

use std::process::ExitCode;
use std::time::SystemTime;

use eio_embassy::edge::EdgeConnector;
use eio_embassy::tls::{TlsConfig, TlsConnector, TlsMemory};
use eio_embassy::{
    Buffers, Config, Connector, Message, PollingClient, connect, connect_and_upgrade, connect_any,
};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};

const USAGE: &str = "usage: tls [OPTION]... ADDRESS:PORT NAME AUTHORITY.der...

Connects to ADDRESS:PORT, whose certificate must contain NAME and lead to one of the authorities.

  --polling      use HTTP long-polling
  --upgrade      begin with polling, and upgrade on one connection
  --any          begin with polling, and upgrade on a second connection if the server allows it
  --times N      connect N times
  --timeout MS   time for the connection and the handshake
  --time SECONDS the time of the clock, in seconds since 1970";

/// Records of up to 4,096 bytes.
type Memory = TlsMemory<4352>;

struct Options {
    transport: String,
    times: u32,
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
    let mut options =
        Options { transport: String::new(), times: 1, timeout: None, operands: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--polling" | "--upgrade" | "--any" => options.transport = argument,
            "--times" => options.times = arguments.next()?.parse().ok()?,
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
        tls = tls.timeout(embassy_time::Duration::from_millis(millis));
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
        for _ in 0..options.times {
            session(&mut down, &mut up, &config, &options.transport).await?;
            down.close().await;
            up.close().await;
        }
        Ok(())
    };
    let runners = join(down_runner.run(), up_runner.run());
    match select(sessions, runners).await {
        Either::First(result) => result,
        Either::Second(_) => Ok(()),
    }
}

/// Sends messages, and compares their echoes. All clients have the same methods.
macro_rules! echo {
    ($client:expr) => {{
        let mut client = $client;
        eprintln!("open {} {}", client.transport().name(), client.sid());
        // The last one needs several records in each direction.
        for length in [0, 1, 100, 3_000] {
            let text = "x".repeat(length);
            client.send(text.as_str()).await?;
            match client.recv().await? {
                Message::Text(echo) if echo == text => {}
                other => return Err(format!("another message came: {other:?}").into()),
            }
        }
        client.send("hello over TLS").await?;
        if let Message::Text(text) = client.recv().await? {
            println!("{text}");
        }
        client.disconnect().await?;
    }};
}

/// Opens one session, and echoes messages.
async fn session(
    down: &mut impl Connector,
    up: &mut impl Connector,
    config: &Config<'_>,
    transport: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut receive, mut send) = (Buffers::<4096, 1024>::new(), Buffers::<4096, 8192>::new());
    match transport {
        "--polling" => {
            let (down, up) = ((down, &mut receive), (up, &mut send));
            echo!(PollingClient::connect(down, up, config).await?);
        }
        "--any" => {
            let (down, up) = ((down, &mut receive), (up, &mut send));
            echo!(connect_any(down, up, config, rand::random).await?);
        }
        "--upgrade" => {
            echo!(connect_and_upgrade(down, config, &mut receive, rand::random).await?);
        }
        _ => echo!(connect(down, config, &mut receive, rand::random).await?),
    }
    Ok(())
}
