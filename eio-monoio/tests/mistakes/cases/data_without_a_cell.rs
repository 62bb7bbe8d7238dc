// The data of a session is shared.
//~ error
//: cannot assign to data in a `&` reference
//~ explained by src/server/socket.rs
//= a value that changes is a `Cell` or `RefCell`

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo;

impl AsyncHandler for Echo {
    type Session = u32;

    async fn connect(
        &self,
        _: &eio_monoio::ConnectRequest<'_>,
    ) -> Result<u32, eio_monoio::Refusal> {
        Ok(0)
    }

    async fn message(&self, socket: Socket<u32>, _: OwnedMessage) {
        *socket.data() += 1;
    }
}

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
