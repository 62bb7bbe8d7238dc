// `message` is not an `async fn`.
//~ error
//: `()` is not a future
//: required by a bound in `AsyncHandler::message
//~ explained by src/server/async_handler.rs
//= every method may be an `async fn`

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        socket.try_send(&message).ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
