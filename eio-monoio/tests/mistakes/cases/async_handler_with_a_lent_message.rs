// `message` of an `AsyncHandler` owns its message.
//~ error
//: expected `OwnedMessage`, found `eio_monoio::Message<'_>`
//: change the parameter type to match the trait

use eio_monoio::{AsyncHandler, Message, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: Message<'_>) {
        socket.send(message).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
