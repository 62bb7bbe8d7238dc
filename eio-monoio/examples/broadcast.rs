//! A server that authenticates and sends each message to every session.

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Server, Socket};

struct Chat; // one value per worker; nothing needs to be Send

impl Handler for Chat {
    type Session = String; // what the application keeps for a session: here a name

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        request.header("x-user").map(str::to_owned).ok_or(Refusal::unauthorized())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.server().broadcast(message); // encoded once, for the sessions of all workers
        async {}
    }
}

fn main() -> Result<(), eio_monoio::ServeError> {
    let config = Config::new().handle_signals(true); // SIGINT and SIGTERM close every session first
    Server::new(|| Chat).config(config).bind("127.0.0.1:3000")?.join()
}
