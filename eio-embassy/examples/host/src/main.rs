//! A terminal over the microcontroller's client: sends lines of standard input as messages and writes received messages
//! to standard output. It tries the client on a computer, without a board.

use std::process::ExitCode;
use std::thread;

use eio_embassy::edge::EdgeConnector;
use eio_embassy::{Buffers, Config, Error, Message, PollingClient, connect, connect_and_upgrade};
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, with_timeout};

/// Lines to send; `None` is the end of the input.
static LINES: Channel<CriticalSectionRawMutex, Option<String>, 4> = Channel::new();

/// Time to wait for messages after the last line.
const LINGER: Duration = Duration::from_secs(1);

/// The transport of the session.
enum How {
    WebSocket,
    Polling,
    /// Polling first, then a WebSocket.
    Upgrade,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (host, how) = match arguments.as_slice() {
        [host] => (host, How::WebSocket),
        [polling, host] if polling == "--polling" => (host, How::Polling),
        [upgrade, host] if upgrade == "--upgrade" => (host, How::Upgrade),
        _ => {
            eprintln!("usage: eio-embassy-host [--polling|--upgrade] HOST[:PORT]");
            return ExitCode::from(64);
        }
    };
    // Reading a terminal blocks, so it has a thread of its own.
    thread::spawn(|| {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            async_io::block_on(LINES.send(Some(line)));
        }
        async_io::block_on(LINES.send(None));
    });
    match async_io::block_on(run(host, how)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends lines and prints messages until the input ends. Both clients have the same methods.
macro_rules! talk {
    ($client:ident) => {{
        eprintln!("open {}", $client.sid());
        loop {
            match select($client.recv(), LINES.receive()).await {
                Either::First(message) => print(message?),
                Either::Second(Some(line)) => $client.send(line.as_str()).await?,
                Either::Second(None) => break,
            }
        }
        while let Ok(message) = with_timeout(LINGER, $client.recv()).await {
            print(message?);
        }
        $client.disconnect().await
    }};
}

async fn run(host: &str, how: How) -> Result<(), Error> {
    let stack = edge_nal_std::Stack::new();
    let config = Config::new(host);
    let mut network = EdgeConnector::new(&stack);
    let mut buffers = Buffers::<4096, 1024>::new();
    match how {
        How::WebSocket => {
            let mut client = connect(&mut network, &config, &mut buffers, rand::random).await?;
            talk!(client)
        }
        How::Polling => {
            let (mut up, mut send) = (EdgeConnector::new(&stack), Buffers::<512, 4096>::new());
            let (down, up) = ((&mut network, &mut buffers), (&mut up, &mut send));
            let mut client = PollingClient::connect(down, up, &config).await?;
            talk!(client)
        }
        How::Upgrade => {
            let client = connect_and_upgrade(&mut network, &config, &mut buffers, rand::random);
            let mut client = client.await?;
            talk!(client)
        }
    }
}

fn print(message: Message<'_>) {
    match message {
        Message::Text(text) => println!("{text}"),
        Message::Binary(bytes) => println!("{} bytes: {}", bytes.len(), bytes.escape_ascii()),
    }
}
