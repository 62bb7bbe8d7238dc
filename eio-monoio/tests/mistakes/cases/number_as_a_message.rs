// A number is sent.
//~ error
//: `i32` cannot be sent as a message
//: neither text nor bytes
//: a message is text (`&str`, `String`), bytes (`&[u8]`, `Vec<u8>`), a `Message` or an `OwnedMessage`
//: `value.to_string()`

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Count;

impl AsyncHandler for Count {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        let length = message.borrow().len() as i32;
        socket.send(length).await.ok();
    }
}

fn main() {
    Server::new(|| Count).bind("127.0.0.1:0").unwrap().join().unwrap();
}
