//! A handler that awaits: it copies the message, then awaits, then answers.

use std::time::Duration;

use eio_monoio::{ConnectRequest, Handler, Message, OwnedMessage, Refusal, Server, Socket};

struct Greeter;

impl Greeter {
    // Stands for any async call on this worker: a client, a channel, a timer.
    async fn greeting(&self, name: &str) -> String {
        eio_monoio::sleep(Duration::from_millis(100)).await;
        format!("hello, {name}")
    }
}

impl Handler for Greeter {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        // `socket` and `message` are lent for this call. The future may borrow `self` only: it owns copies.
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            if let OwnedMessage::Text(name) = message {
                let greeting = self.greeting(&name).await;
                socket.send(greeting.as_str()).await.ok(); // an error means that the session has ended
            }
        }
    }
}

fn main() -> Result<(), eio_monoio::ServeError> {
    Server::new(|| Greeter).bind("127.0.0.1:3000")?.join()
}
