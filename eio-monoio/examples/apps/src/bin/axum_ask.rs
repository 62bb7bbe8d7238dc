//! Handlers of an axum application that send to sessions, and one that gets an answer from a session.
//!
//! A session connects with `?name=NAME`. `POST /say` sends the body to every session. `POST /ask/NAME` sends
//! `{"id":1,"question":"BODY"}` to that session, waits for its message `{"id":1,"answer":"..."}` and responds with it.

#[path = "../../../log/mod.rs"]
mod log;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use eio_monoio::{
    AsyncHandler, CloseReason, Config, ConnectRequest, OwnedMessage, Refusal, Remote, Server, Sid,
    Socket,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[derive(Serialize)]
struct Question<'q> {
    id: u64,
    question: &'q str,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    answer: String,
}

/// State of both sides: sessions by name, and the questions that have no answer yet.
#[derive(Default)]
struct Shared {
    sessions: Mutex<HashMap<String, Sid>>,
    pending: Mutex<HashMap<u64, (Sid, oneshot::Sender<String>)>>,
    last_id: AtomicU64,
}

/// Locks for a call that does not await. The values are valid even if a thread panicked with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handler of the sessions.
struct Sessions(Arc<Shared>);

impl AsyncHandler for Sessions {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        request.query("name").map(Cow::into_owned).ok_or(Refusal::bad_request())
    }

    async fn open(&self, socket: Socket<String>) {
        lock(&self.0.sessions).insert(socket.data().clone(), socket.sid().clone());
        socket.try_send("ready").ok();
    }

    async fn message(&self, socket: Socket<String>, message: OwnedMessage) {
        if let Ok(Answer { id, answer }) = eio_monoio::json::from_message(&message) {
            let mut pending = lock(&self.0.pending);
            // A session can answer its own questions only.
            if pending.get(&id).is_some_and(|(sid, _)| sid == socket.sid())
                && let Some((_, asker)) = pending.remove(&id)
            {
                asker.send(answer).ok(); // an error means that the request was given up
            }
        }
    }

    async fn disconnect(&self, socket: Socket<String>, _: CloseReason) {
        let mut sessions = lock(&self.0.sessions);
        if sessions.get(socket.data()) == Some(socket.sid()) {
            sessions.remove(socket.data());
        }
        // The dropped senders end the requests that wait for this session.
        lock(&self.0.pending).retain(|_, (sid, _)| sid != socket.sid());
    }
}

/// The state of axum's handlers.
#[derive(Clone)]
struct Web {
    shared: Arc<Shared>,
    server: Remote,
}

async fn say(State(web): State<Web>, text: String) -> StatusCode {
    match web.server.broadcast(text) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE, // a mailbox is full, or the server has ended
    }
}

async fn ask(
    State(Web { shared, server }): State<Web>,
    Path(name): Path<String>,
    text: String,
) -> Result<String, StatusCode> {
    let sid = lock(&shared.sessions).get(&name).cloned().ok_or(StatusCode::NOT_FOUND)?;
    let id = shared.last_id.fetch_add(1, Ordering::Relaxed) + 1;
    let question = eio_monoio::json::to_message(&Question { id, question: &text })
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let (asker, answer) = oneshot::channel();
    lock(&shared.pending).insert(id, (sid.clone(), asker));
    let _pending = Pending { shared: &shared, id };
    server.send(&sid, &question).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    match tokio::time::timeout(Duration::from_secs(5), answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(StatusCode::BAD_GATEWAY), // the session has ended
        Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
    }
}

/// Removes a question when the request ends, also if its client has disconnected.
struct Pending<'s> {
    shared: &'s Shared,
    id: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        lock(&self.shared.pending).remove(&self.id);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    log::start(tracing::Level::INFO);
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:3000".into());
    let http = arguments.next().unwrap_or("127.0.0.1:8000".into());

    let shared = Arc::new(Shared::default());
    let sessions = shared.clone();
    let config = Config::new().handle_signals(true);
    let running = Server::new(move || Sessions(sessions.clone())).config(config).bind(address)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let web = Web { shared, server: running.remote() };
    let app =
        Router::new().route("/say", post(say)).route("/ask/{name}", post(ask)).with_state(web);
    runtime.block_on(async {
        let listener = TcpListener::bind(http).await?;
        println!(
            "listening on http://{}/engine.io/ and http://{}",
            running.local_addr(),
            listener.local_addr()?
        );
        // A signal ends the server of the sessions; then axum ends, too.
        let ended = tokio::task::spawn_blocking(|| running.join());
        axum::serve(listener, app).with_graceful_shutdown(async { drop(ended.await) }).await
    })?;
    Ok(())
}
