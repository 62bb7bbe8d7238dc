//! A web site with authentication: static files for everyone, sessions for clients that send a token.
//!
//! Open the address that it prints; the token is `sesame`. Other pages are the files in `--root`; `/metrics` is for
//! Prometheus.

#[path = "../log/mod.rs"]
mod log;

use std::borrow::Cow;
use std::path::PathBuf;

use clap::Parser;
use eio_monoio::{
    Config, ConnectRequest, Cookie, Driver, Files, Handler, Message, Metrics, Refusal, Remote,
    Server, Socket,
};
use http::{HeaderValue, Request, Response, StatusCode, header};

#[derive(Parser)]
#[command(about = "Static files, and sessions for clients that send a token")]
struct Options {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
    /// Directory that is served under /
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/site/public"))]
    root: PathBuf,
    /// Token that a client must send
    #[arg(long, default_value = "sesame")]
    token: String,
}

struct Site {
    token: String,
}

impl Handler for Site {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        match request.query("token").as_deref() {
            Some(token) if token == self.token => Ok(()),
            Some(_) => Err(Refusal::with_json(r#"{"reason":"wrong token"}"#)),
            None => Err(Refusal::unauthorized()),
        }
    }

    async fn open(&self, socket: &Socket<()>) {
        socket.send("Come in.").await.ok();
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }

    async fn request(&self, request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        let mut response = Response::new(Cow::Borrowed(&b""[..]));
        match (request.uri().path(), Remote::current()) {
            ("/metrics", Some(server)) => {
                let kind = HeaderValue::from_static(Metrics::CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                *response.body_mut() = server.metrics().to_string().into_bytes().into();
            }
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        response
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(tracing::Level::INFO);
    let config =
        Config::new().driver(options.driver).cookie(Cookie::new("io")).handle_signals(true);
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/latency/engine.io.min.js");
    let files = Files::new()
        .route("/", options.root)
        .route("/engine.io.min.js", client)
        .header("Content-Security-Policy", "default-src 'self'");
    let token = options.token;
    let server = Server::new(move || Site { token: token.clone() }).config(config).files(files);
    let running = server.bind(&options.listen)?;
    println!(
        "listening on http://{}/ driver={} workers={}: open it in a browser; Ctrl-C ends it",
        running.local_addr(),
        running.driver(),
        running.workers(),
    );
    running.join()?;
    Ok(())
}
