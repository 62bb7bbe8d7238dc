//! A handler that awaits before it answers.

use std::time::Duration;

use eio_monoio::{AsyncHandler, Config, OwnedMessage, Server, Socket};

struct Greeter;

impl Greeter {
    // Stands for any async call: a database, an HTTP client, a channel, a timer.
    async fn greeting(&self, name: &str) -> String {
        eio_monoio::sleep(Duration::from_millis(100)).await;
        format!("hello, {name}")
    }
}

impl AsyncHandler for Greeter {
    type Session = (); // what the application keeps for a session; `connect` creates it, if it is not ()

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        if let OwnedMessage::Text(name) = message {
            let greeting = self.greeting(&name).await;
            socket.send(greeting).await.ok(); // an error means that the session has ended
        }
    }
}

fn main() -> Result<(), eio_monoio::ServeError> {
    let config = Config::new().handle_signals(true); // SIGINT and SIGTERM close every session first
    Server::new(|| Greeter).config(config).bind("127.0.0.1:3000")?.join()
}
