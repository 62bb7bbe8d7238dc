//! The guide's server with accounts: a token of the query names the user, and every message is sent to every session.

use std::collections::HashMap;

use eio_monoio::{AsyncHandler, Config, ConnectRequest, OwnedMessage, Refusal, Server, Socket};

struct Chat {
    accounts: HashMap<&'static str, &'static str>,
}

impl AsyncHandler for Chat {
    type Session = &'static str;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<&'static str, Refusal> {
        let token = request.query("token").ok_or(Refusal::unauthorized())?;
        self.accounts.get(&*token).copied().ok_or(Refusal::unauthorized())
    }

    async fn message(&self, socket: Socket<&'static str>, message: OwnedMessage) {
        if let OwnedMessage::Text(text) = message {
            let name = socket.data();
            socket.server().broadcast(format!("{name}: {text}"));
        }
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
