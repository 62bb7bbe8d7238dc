//! The server of the README, word for word: `tests/readme.rs` sees to that.

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Server, Socket};

struct Chat; // one on each core; nothing needs to be Send

impl Handler for Chat {
    type Session = String; // what a session is to the application: here a name

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        request.header("x-user").map(str::to_owned).ok_or(Refusal::unauthorized())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.server().broadcast(message); // encoded once, for every session of every core
        async {}
    }
}

fn main() -> Result<(), eio_monoio::ServeError> {
    Server::new(|| Chat).bind("127.0.0.1:3000")?.join()
}
