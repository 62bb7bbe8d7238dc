// The server ends at the end of the statement.
//~ warning
//: unused `Running` that must be used
//: dropping it ends the server: call `join`, or keep it

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        socket.send(&message).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap();
}
