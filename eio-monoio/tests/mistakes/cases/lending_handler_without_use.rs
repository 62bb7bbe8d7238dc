// The future of a `Handler` captures the lent values.
//~ error
//: return type captures more lifetimes than trait definition
//: + use<'s, Self>; // for `async fn message`, implement `AsyncHandler`

use eio_monoio::{Handler, Message, Server, Socket};

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn message(&self, socket: &Socket<()>, message: Message<'_>) -> impl Future<Output = ()> {
        socket.try_send(message).ok();
        async {}
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
