//! The application under test: an echo that logs its callbacks and executes commands sent as messages.

use eio_monoio::{CloseReason, ConnectRequest, Handler, Message, Refusal, Socket};

use super::log::{Entry, Log};

/// Echoes and logs every message except these commands:
///
/// - `!ack` sends `ack`,
/// - `!close` disconnects, `!abort` aborts,
/// - `!burst N` sends the texts `0` to N - 1,
/// - `!fill N` sends messages of 1000 bytes until N are queued or the queue is full,
/// - `!panic` panics.
///
/// A handshake with the query `refuse=KIND`, or with the header `X-Refuse: KIND`, is refused.
pub(crate) struct App {
    log: Log,
}

impl App {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone() }
    }

    fn execute(socket: &Socket<()>, command: &str) {
        let (verb, count) = command.split_once(' ').unwrap_or((command, "0"));
        let count: usize = count.parse().expect("a count");
        match verb {
            "ack" => socket.try_send("ack").expect("the queue has room"),
            "close" => socket.disconnect(),
            "abort" => socket.abort(),
            "burst" => (0..count).for_each(|n| {
                socket.try_send(n.to_string().as_str()).expect("the queue has room");
            }),
            "fill" => {
                let kilobyte = "x".repeat(1000);
                (0..count).find(|_| socket.try_send(kilobyte.as_str()).is_err());
            }
            "panic" => panic!("expected: a message asks for this panic"),
            other => panic!("unknown command {other:?}"),
        }
    }
}

impl Handler for App {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        let kind = request.query("refuse").or_else(|| request.header("x-refuse").map(Into::into));
        match kind.as_deref() {
            None => Ok(()),
            Some("unauthorized") => Err(Refusal::unauthorized()),
            Some("forbidden") => Err(Refusal::forbidden()),
            Some("json") => Err(Refusal::with_json(r#"{"why":"not today"}"#)),
            Some(_) => Err(Refusal::unavailable()),
        }
    }

    async fn open(&self, socket: &Socket<()>) {
        self.log.push(socket, Entry::Opened);
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text(text) if text.starts_with('!') => Self::execute(socket, &text[1..]),
            echo => {
                self.log.push(socket, Entry::Message(echo.into()));
                // Never full: the server stops reading from a client that does not read its echoes.
                _ = socket.try_send(echo);
            }
        }
        async {}
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}
