// The handler borrows from `main`.
//~ error
//: type must satisfy the static lifetime
//~ explained by src/server/async_handler.rs
//= a handler owns its state, or shares it by an `Arc`

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo<'a>(&'a str);

impl<'a> AsyncHandler for Echo<'a> {
    type Session = ();

    async fn message(&self, socket: Socket<()>, _: OwnedMessage) {
        socket.send(self.0).await.ok();
    }
}

fn main() {
    let name = String::from("echo");
    Server::new(|| Echo(&name)).bind("127.0.0.1:0").unwrap().join().unwrap();
}
