//! A terminal over the microcontroller's client: lines of standard input go to the server, messages of the
//! server to standard output. For trying things on a desk before there is a board.

use std::process::ExitCode;
use std::thread;

use eio_embassy::edge::EdgeConnector;
use eio_embassy::{Buffers, Config, Error, Message, dial};
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, with_timeout};

/// Lines on their way to the server; `None` is the end of the input.
static LINES: Channel<CriticalSectionRawMutex, Option<String>, 4> = Channel::new();

/// How long messages are awaited after the last line.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let Some(host) = std::env::args().nth(1) else {
        eprintln!("usage: eio-embassy-host HOST[:PORT]");
        return ExitCode::from(64);
    };
    // Reading a terminal blocks: a thread of its own.
    thread::spawn(|| {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            async_io::block_on(LINES.send(Some(line)));
        }
        async_io::block_on(LINES.send(None));
    });
    match async_io::block_on(run(&host)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(host: &str) -> Result<(), Error> {
    let stack = edge_nal_std::Stack::new();
    let mut network = EdgeConnector::new(&stack);
    let mut buffers = Buffers::<4096, 1024>::new();
    let mut client = dial(&mut network, &Config::new(host), &mut buffers, rand::rng()).await?;
    eprintln!("open {}", client.handshake().sid);
    loop {
        match select(client.recv(), LINES.receive()).await {
            Either::First(message) => print(message?),
            Either::Second(Some(line)) => client.send(line.as_str()).await?,
            Either::Second(None) => break,
        }
    }
    while let Ok(message) = with_timeout(LINGER, client.recv()).await {
        print(message?);
    }
    client.close().await
}

fn print(message: Message<'_>) {
    match message {
        Message::Text(text) => println!("{text}"),
        Message::Binary(bytes) => println!("{} bytes: {}", bytes.len(), bytes.escape_ascii()),
    }
}
