// A session belongs to its worker.
//~ error
//: required because it appears within the type `Socket<()>`
//~ explained by src/server/socket.rs
//= other threads use a [`Remote`]

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, _: OwnedMessage) {
        std::thread::spawn(move || socket.try_send("from a thread").ok());
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
