// `message` of a `Handler` is an `async fn`.
//~ error
//: return type captures more lifetimes than trait definition
//: for `async fn message`, implement `AsyncHandler`

use eio_monoio::{Handler, Message, Server, Socket};

struct Echo;

impl Handler for Echo {
    type Session = ();

    async fn message(&self, socket: &Socket<()>, message: Message<'_>) {
        socket.send(message).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
