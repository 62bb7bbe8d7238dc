//! The client of the conformance suites: runs the cases of an Autobahn fuzzing server. See `--help`.

use std::cell::Cell;

use clap::Parser;
use eio_monoio::client::{self, Client, Connect, ConnectError};
use eio_monoio::{Driver, Message, PerMessageDeflate};

/// Echo the messages of an Autobahn fuzzing server, case after case
///
/// Prints the number of cases; the results are in the server's report.
#[derive(Parser)]
struct Options {
    /// The fuzzing server
    #[arg(long, env = "AUTOBAHN_URL", default_value = "ws://127.0.0.1:9001")]
    url: String,
    /// Name of the client in the report
    #[arg(long, env = "AUTOBAHN_AGENT", default_value = "eio")]
    agent: String,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
    /// The largest message, in bytes
    #[arg(long, default_value_t = 64 << 20)]
    max_message: usize,
    /// Offer to compress by permessage-deflate, messages of any length
    #[arg(long)]
    deflate: bool,
    /// The same, with messages that may refer to earlier ones
    #[arg(long)]
    deflate_takeover: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    client::block_on(options.driver, run(&options))??;
    Ok(())
}

async fn run(options: &Options) -> Result<(), ConnectError> {
    let Options { url, agent, .. } = options;
    let connect = |target: String| -> Connect {
        let connect = Client::connect(&format!("{url}/{target}")).max_payload(options.max_message);
        if !options.deflate && !options.deflate_takeover {
            return connect;
        }
        let alone = !options.deflate_takeover;
        let deflate = PerMessageDeflate::new()
            .threshold(0)
            .server_no_context_takeover(alone)
            .client_no_context_takeover(alone);
        connect.per_message_deflate(deflate)
    };
    let cases = Cell::new(0);
    let count = |_: &_, message: Message<'_>| {
        if let Message::Text(text) = message {
            cases.set(text.parse().unwrap_or(0));
        }
    };
    connect("getCaseCount".into()).plain_websocket(|_| (), count).await?;
    println!("{} cases", cases.get());
    for case in 1..=cases.get() {
        let connect = connect(format!("runCase?case={case}&agent={agent}"));
        connect.plain_websocket(|_| (), |socket, message| socket.send(message)).await?;
    }
    let report = connect(format!("updateReports?agent={agent}"));
    report.plain_websocket(|_| (), |_, _| ()).await?;
    Ok(())
}
