// The associated type of the session is missing.
//~ error
//: missing: `Session`
//: implement the missing item: `type Session = /* Type */;`

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        socket.send(&message).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
