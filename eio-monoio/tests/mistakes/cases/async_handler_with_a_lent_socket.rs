// `message` of an `AsyncHandler` owns its socket.
//~ error
//: expected `Socket<()>`, found `&Socket<()>`
//: change the parameter type to match the trait

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: &Socket<()>, message: OwnedMessage) {
        socket.send(&message).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
