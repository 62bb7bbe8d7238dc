// The message is never sent.
//~ warning
//: futures do nothing unless you `.await` or poll them

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        socket.send(&message);
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
