//! Engine.IO next to axum in one process: axum answers HTTP on one port, eio serves sessions on another, and each
//! reaches the other from its own threads.
//!
//! `POST /say` is broadcast to every session; `GET /last` returns the last message of any session.
//!
//! A page that axum serves has another origin than the sessions, because the port differs: `Cors` allows it.

#[path = "log/mod.rs"]
mod log;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use clap::Parser;
use eio_monoio::{Config, ConnectRequest, Cors, Handler, Message, Refusal, Remote, Server, Socket};
use tokio::net::TcpListener;
use tokio::sync::watch;

#[derive(Parser)]
#[command(about = "Engine.IO next to axum, in one process")]
struct Options {
    /// Address and port of the sessions
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
    /// Address and port of axum
    #[arg(long, default_value = "127.0.0.1:8000")]
    http: String,
}

/// The handler of the sessions: one value per worker.
struct Sessions {
    // A tokio channel may be sent to from any thread. It is awaited on tokio's threads only.
    last: Arc<watch::Sender<String>>,
}

impl Handler for Sessions {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        _: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        if let Message::Text(text) = message {
            self.last.send_replace(text.to_owned());
        }
        async {}
    }
}

/// The state of axum's routes.
#[derive(Clone)]
struct Web {
    sessions: Remote,
    last: watch::Receiver<String>,
}

async fn say(State(web): State<Web>, text: String) -> StatusCode {
    match web.sessions.broadcast(text) {
        Ok(()) => StatusCode::NO_CONTENT,
        // A mailbox is full, or the server has ended.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn last(State(web): State<Web>) -> String {
    web.last.borrow().clone()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(tracing::Level::INFO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listener = runtime.block_on(TcpListener::bind(&options.http));
    let listener = listener.map_err(|error| format!("{}: {error}", options.http))?;
    let http = listener.local_addr()?;

    let (sender, receiver) = watch::channel(String::new());
    let sender = Arc::new(sender);
    let config = Config::new().cors(Cors::origins([format!("http://{http}")])).handle_signals(true);
    let running = Server::new(move || Sessions { last: sender.clone() })
        .config(config)
        .bind(&options.listen)?;
    println!("listening on http://{}/engine.io/ and http://{http}", running.local_addr());

    let web = Web { sessions: running.remote(), last: receiver };
    let app = Router::new().route("/say", post(say)).route("/last", get(last)).with_state(web);
    runtime.block_on(async {
        // A signal ends the server; axum then shuts down as well.
        let ended = tokio::task::spawn_blocking(|| running.join());
        axum::serve(listener, app).with_graceful_shutdown(async { drop(ended.await) }).await
    })?;
    Ok(())
}
