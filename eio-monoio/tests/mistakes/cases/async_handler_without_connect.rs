// The session has data, and nothing creates it.
//~ error
//: implement `connect`, which creates the session's data

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

struct User {
    name: String,
}

impl AsyncHandler for Echo {
    type Session = User;

    async fn message(&self, socket: Socket<User>, message: OwnedMessage) {
        println!("{}", socket.data().name);
        socket.send(&message).await.ok();
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
