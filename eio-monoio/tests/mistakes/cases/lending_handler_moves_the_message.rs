// The future of a `Handler` uses the lent message.
//~ error
//: captures lifetime that does not appear in bounds
//~ explained by src/server/handler.rs
//= It owns a clone of the one, which

use eio_monoio::{Handler, Message, Server, Socket};

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let socket = socket.clone();
        async move {
            socket.send(message).await.ok();
        }
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
