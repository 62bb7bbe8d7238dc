// The branches return two `async` blocks.
//~ error
//: no two async blocks, even if identical, have the same type
//~ explained by src/server/async_handler.rs
//= one `async` block with both branches in it

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
        if message.is_empty() {
            return async {};
        }
        async move {
            socket.send("not empty").await.ok();
        }
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
