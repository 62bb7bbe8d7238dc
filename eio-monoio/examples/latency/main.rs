//! Plots round-trip times in a browser: open the address that it prints.
//!
//! The page uses the official Engine.IO client. It starts over HTTP long-polling and upgrades to a WebSocket.

#[path = "../log/mod.rs"]
mod log;

use std::borrow::Cow;

use clap::Parser;
use eio_monoio::{Config, Driver, Handler, Message, Server, Socket};
use http::{Request, Response, header};

#[derive(Parser)]
#[command(about = "A page that plots Engine.IO round-trip times, live")]
struct Options {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
}

struct Latency;

impl Handler for Latency {
    type Session = ();

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }

    async fn request(&self, request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        let (status, kind, body) = match request.uri().path() {
            "/" => (200, "text/html", include_str!("index.html")),
            "/latency.css" => (200, "text/css", include_str!("latency.css")),
            "/latency.js" => (200, "text/javascript", include_str!("latency.js")),
            "/plot.js" => (200, "text/javascript", include_str!("plot.js")),
            "/engine.io.min.js" => (200, "text/javascript", include_str!("engine.io.min.js")),
            _ => (404, "text/plain", "Not Found"),
        };
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, format!("{kind}; charset=utf-8"))
            .header(header::CACHE_CONTROL, "no-cache")
            // Browsers give isolated pages a clock of higher resolution.
            .header("Cross-Origin-Opener-Policy", "same-origin")
            .header("Cross-Origin-Embedder-Policy", "require-corp")
            .body(Cow::Borrowed(body.as_bytes()))
            .expect("the parts are constants")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(tracing::Level::INFO);
    let config = Config::new().driver(options.driver).handle_signals(true);
    let running = Server::new(|| Latency).config(config).bind(&options.listen)?;
    println!(
        "listening on http://{}/ driver={} workers={}: open it in a browser; Ctrl-C ends it",
        running.local_addr(),
        running.driver(),
        running.workers(),
    );
    running.join()?;
    Ok(())
}
