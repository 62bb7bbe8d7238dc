// The type implements no handler.
//~ error
//: `Echo` is not a handler
//: implements neither `AsyncHandler` nor `Handler`
//: implement `AsyncHandler` for `Echo`: `async fn message(&self, socket: Socket<..>, message: OwnedMessage)`

use eio_monoio::Server;

struct Echo;

fn main() {
    Server::new(|| Echo).bind("127.0.0.1:0").unwrap().join().unwrap();
}
