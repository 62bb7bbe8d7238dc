// State of one thread is passed to all workers.
//~ error
//: `Rc<Cell<u32>>` cannot be sent between threads safely
//: called on each worker: it may create state that is not `Send`

use std::cell::Cell;
use std::rc::Rc;

use eio_monoio::{AsyncHandler, OwnedMessage, Server, Socket};

struct Echo(Rc<Cell<u32>>);

impl AsyncHandler for Echo {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        self.0.set(self.0.get() + 1);
        socket.send(&message).await.ok();
    }
}

fn main() {
    let count = Rc::new(Cell::new(0));
    let server = Server::new(move || Echo(count.clone()));
    server.bind("127.0.0.1:0").unwrap().join().unwrap();
}
