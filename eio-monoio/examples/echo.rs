//! The server of the tests and of the conformance suites: echoes every message. See `--help`.

#[path = "log/mod.rs"]
mod log;

use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

use clap::Parser;
use eio_monoio::{
    Config, ConnectRequest, Cors, Driver, Handler, Listener, Message, PerMessageDeflate, Refusal,
    Server, Socket, Transport,
};
use http::{Request, Response};

#[derive(Parser)]
#[command(about = "An Engine.IO server that echoes every message")]
struct Options {
    /// Address and port to listen on (port 0 lets the kernel choose), unix:PATH, or `inherited` from systemd
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
    /// Threads, each with its share of the sessions [default: the machine's cores]
    #[arg(long)]
    workers: Option<usize>,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
    #[arg(long, default_value_t = 25_000)]
    ping_interval_ms: u64,
    #[arg(long, default_value_t = 20_000)]
    ping_timeout_ms: u64,
    /// The largest message or polling body, in bytes
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: usize,
    #[arg(long, default_value = "/engine.io/")]
    path: String,
    /// The name of this server in its sids, for a balancer that routes by it
    #[arg(long)]
    tag: Option<String>,
    /// polling, websocket or both
    #[arg(long, value_delimiter = ',', default_value = "polling,websocket", value_parser = transport)]
    transports: Vec<Transport>,
    /// same-origin, * or an origin such as https://example.org
    #[arg(long, default_value = "same-origin", value_parser = cors)]
    cors: Cors,
    /// error, warn, info, debug or trace; the log is standard error
    #[arg(long, default_value = "warn")]
    log_level: tracing::Level,
    /// Listen on a port on which another process listens, too (SO_REUSEPORT)
    #[arg(long)]
    share_port: bool,
    /// The first SIGTERM closes sessions evenly over this time, before the shutdown
    #[arg(long)]
    drain_ms: Option<u64>,
    /// How long a drain or shutdown accepts polls of closing sessions, in milliseconds
    #[arg(long, default_value_t = 1000)]
    shutdown_grace_ms: u64,
    /// Compress WebSocket messages by permessage-deflate
    #[arg(long)]
    deflate: bool,
    /// The same, with messages that may refer to earlier ones
    #[arg(long)]
    deflate_takeover: bool,
    /// Echo the body of requests for other paths, which are answered 404 otherwise
    #[arg(long)]
    echo_http: bool,
    /// Count the messages of each session instead of echoing them, and answer the text `count` with their number
    #[arg(long)]
    sink: bool,
    /// A file with the certificate and its chain (PEM): require TLS
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<std::path::PathBuf>,
    /// A file with the key of that certificate (PEM)
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<std::path::PathBuf>,
    /// The most bytes of plain text in a TLS record
    #[cfg(feature = "tls")]
    #[arg(long, default_value_t = 16_384)]
    tls_record_size: usize,
}

struct Echo {
    echo_http: bool,
    sink: bool,
}

impl Handler for Echo {
    /// The messages that a sink received.
    type Session = Cell<u32>;

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<Cell<u32>, Refusal> {
        Ok(Cell::new(0))
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<Cell<u32>>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        // Never full: the server does not read from a client that does not read its echoes.
        if !self.sink {
            socket.try_send(message).ok();
        } else if message == Message::Text("count") {
            socket.try_send(socket.data().get().to_string().as_str()).ok();
        } else {
            socket.data().set(socket.data().get() + 1);
        }
        async {}
    }

    async fn request(&self, request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        if self.echo_http {
            return Response::new(Cow::Owned(request.into_body()));
        }
        let mut response = Response::new(Cow::Borrowed(&b"Not Found"[..]));
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(options.log_level);
    let mut config = Config::new()
        .driver(options.driver)
        .ping_interval(Duration::from_millis(options.ping_interval_ms))
        .ping_timeout(Duration::from_millis(options.ping_timeout_ms))
        .max_payload(options.max_payload)
        .path(options.path.as_str())
        .transports(options.transports)
        .cors(options.cors)
        .share_port(options.share_port)
        // An echo of any text, as engine.io sends it.
        .separator_over_websocket(true)
        .shutdown_grace(Duration::from_millis(options.shutdown_grace_ms))
        .drain_on_signal(options.drain_ms.is_some())
        .handle_signals(true);
    if let Some(time) = options.drain_ms {
        config = config.drain_time(Duration::from_millis(time));
    }
    if let Some(tag) = options.tag {
        config = config.tag(tag);
    }
    if let Some(workers) = options.workers {
        config = config.workers(workers);
    }
    if options.deflate || options.deflate_takeover {
        let alone = !options.deflate_takeover;
        let deflate = PerMessageDeflate::new()
            .server_no_context_takeover(alone)
            .client_no_context_takeover(alone);
        config = config.per_message_deflate(deflate);
    }
    let server = Server::new(move || Echo { echo_http: options.echo_http, sink: options.sink })
        .config(config);
    #[cfg(feature = "tls")]
    let server = match (options.tls_certificate, options.tls_key) {
        (Some(certificate), Some(key)) => {
            server.tls(eio_monoio::Tls::new(certificate, key).record_size(options.tls_record_size))
        }
        _ => server,
    };
    let running = match (options.listen.strip_prefix("unix:"), options.listen.as_str()) {
        (Some(path), _) => server.bind_unix(path)?,
        (None, "inherited") => server.listen(Listener::inherited()?)?,
        (None, address) => server.bind(address)?,
    };
    for endpoint in running.endpoints() {
        println!(
            "listening on http://{endpoint}{} driver={} workers={}",
            options.path,
            running.driver(),
            running.workers(),
        );
    }
    running.join()?;
    Ok(())
}

fn transport(name: &str) -> Result<Transport, &'static str> {
    Transport::from_name(name).ok_or("expected polling or websocket")
}

fn cors(rule: &str) -> Result<Cors, std::convert::Infallible> {
    Ok(match rule {
        "same-origin" => Cors::SameOrigin,
        "*" => Cors::Any,
        origin => Cors::origins([origin]),
    })
}
