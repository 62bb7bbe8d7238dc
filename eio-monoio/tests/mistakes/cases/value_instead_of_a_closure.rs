// Each worker needs a handler of its own.
//~ error
//: expected a `Fn()` closure, found `Echo`
//: wrap the `Echo` in a closure with no arguments

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        socket.send(&message).await.ok();
    }
}

fn main() {
    Server::new(Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
