// A message borrows its text.
//~ error
//: the trait `From<String>` is not implemented for `eio_monoio::Message<'_>`
//: `eio_monoio::Message<'_>` implements `From<&str>`

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        socket.send(format!("{message:?}")).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
