//! A chat room for browsers: every participant receives every message, on any worker.
//!
//! The first message of a session is a name, further messages are text. The server sends a line with the name (empty for
//! announcements of the room), followed by the text.

#[path = "../log/mod.rs"]
mod log;

use std::cell::OnceCell;
use std::future::{Ready, ready};
use std::path::PathBuf;

use clap::Parser;
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Driver, Files, Handler, Message, Refusal, Server, Socket,
};

#[derive(Parser)]
#[command(about = "A chat room for browsers")]
struct Options {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
    /// Directory that is served under /
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chat/public"))]
    root: PathBuf,
}

/// The most characters of a name.
const NAME: usize = 30;

struct Room;

impl Handler for Room {
    /// The name, after the first message.
    type Session = OnceCell<String>;

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<OnceCell<String>, Refusal> {
        Ok(OnceCell::new())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<OnceCell<String>>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        if let Message::Text(text) = message {
            match socket.data().get() {
                Some(name) => socket.server().broadcast(format!("{name}\n{text}")),
                None => join(socket, text),
            }
        }
        done()
    }

    async fn disconnect(&self, socket: &Socket<OnceCell<String>>, _: CloseReason) {
        if let Some(name) = socket.data().get() {
            socket.server().broadcast(format!("\n{name} left"));
        }
    }
}

fn join(socket: &Socket<OnceCell<String>>, text: &str) {
    let name: String = text.trim().chars().filter(|c| !c.is_control()).take(NAME).collect();
    if name.is_empty() {
        return socket.disconnect();
    }
    let name = socket.data().get_or_init(|| name);
    socket.server().broadcast(format!("\n{name} joined"));
}

/// There is nothing to await: the next message may be delivered.
fn done() -> Ready<()> {
    ready(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(tracing::Level::INFO);
    let config = Config::new().driver(options.driver).max_payload(4_000).handle_signals(true);
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/latency/engine.io.min.js");
    let files = Files::new()
        .route("/", options.root)
        .route("/engine.io.min.js", client)
        .header("Content-Security-Policy", "default-src 'self'");
    let running = Server::new(|| Room).config(config).files(files).bind(&options.listen)?;
    println!(
        "listening on http://{}/ driver={} workers={}: open it in two windows; Ctrl-C ends it",
        running.local_addr(),
        running.driver(),
        running.workers(),
    );
    running.join()?;
    Ok(())
}
