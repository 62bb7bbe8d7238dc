// A closure that handles messages is passed where one that makes handlers is expected.
//~ error
//: closure is expected to take 0 arguments, but it takes 2 arguments
//~ explained by src/server/mod.rs
//= A closure that handles messages is for [`on_message`](Server::on_message) instead.

use eio_monoio::{OwnedMessage, Server, Socket};

fn main() {
    let server = Server::new(async |socket: Socket<()>, message: OwnedMessage| {
        socket.send(&message).await.ok();
    });
    server.bind("127.0.0.1:0").unwrap().join().unwrap();
}
