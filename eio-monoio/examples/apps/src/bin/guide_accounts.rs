//! The guide's server with accounts: a token of the query names the user, and every message is sent to every session.

use std::collections::HashMap;

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Server, Socket};

struct Chat {
    accounts: HashMap<&'static str, &'static str>,
}

impl Handler for Chat {
    type Session = &'static str;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<&'static str, Refusal> {
        let token = request.query("token").ok_or(Refusal::unauthorized())?;
        self.accounts.get(token).copied().ok_or(Refusal::unauthorized())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<&'static str>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        if let Message::Text(text) = message {
            let name = socket.data();
            socket.server().broadcast(format!("{name}: {text}").as_str());
        }
        async {}
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let new_handler = || Chat { accounts: HashMap::from([("t1", "ada"), ("t2", "grace")]) };
    let config = Config::new().handle_signals(true);
    let running = Server::new(new_handler).config(config).bind(address)?;
    println!("listening on http://{}/engine.io/", running.local_addr());
    running.join()?;
    Ok(())
}
