//! The WebSocket server of the conformance suites: echoes on any path, without Engine.IO. See `--help`.

#[path = "log/mod.rs"]
mod log;

use clap::Parser;
use eio_monoio::{
    Config, ConnectRequest, Cors, Driver, Handler, Message, PerMessageDeflate, Refusal, Server,
    Socket,
};

#[derive(Parser)]
#[command(about = "A WebSocket echo on any path, without Engine.IO")]
struct Options {
    /// Address and port to listen on; port 0 lets the kernel choose
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: String,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
    /// Threads [default: the machine's cores]
    #[arg(long)]
    workers: Option<usize>,
    /// The largest message, in bytes
    #[arg(long, default_value_t = 64 << 20)]
    max_message: usize,
    /// Compress by permessage-deflate, messages of any length
    #[arg(long)]
    deflate: bool,
    /// The same, with messages that may refer to earlier ones
    #[arg(long)]
    deflate_takeover: bool,
}

/// Refuses every Engine.IO session.
struct Refusing;

impl Handler for Refusing {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Err(Refusal::forbidden())
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(tracing::Level::WARN);
    let mut config = Config::new()
        .driver(options.driver)
        .max_payload(options.max_message)
        .path("/no-engine.io-here/")
        .cors(Cors::Off)
        .handle_signals(true);
    if let Some(workers) = options.workers {
        config = config.workers(workers);
    }
    if options.deflate || options.deflate_takeover {
        let alone = !options.deflate_takeover;
        let deflate = PerMessageDeflate::new()
            .threshold(0)
            .server_no_context_takeover(alone)
            .client_no_context_takeover(alone);
        config = config.per_message_deflate(deflate);
    }
    let running = Server::new(|| Refusing)
        .config(config)
        .plain_websockets(|socket, message| socket.send(message))
        .bind(options.listen)?;
    println!("listening on ws://{}/ driver={}", running.local_addr(), running.driver());
    running.join()?;
    Ok(())
}
