//! A server that broadcasts each message to every session, for `eio-load broadcast`.
//!
//! usage: broadcast ADDRESS DRIVER WORKERS

use std::future::{Ready, ready};

use eio_monoio::{Config, ConnectRequest, Driver, Handler, Message, Refusal, Server, Socket};

struct Room;

impl Handler for Room {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.server().broadcast(message);
        done()
    }
}

fn done() -> Ready<()> {
    ready(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name: &str| arguments.next().ok_or_else(|| format!("no {name}"));
    let address = argument("address")?;
    let config = Config::new()
        .driver(argument("driver")?.parse::<Driver>()?)
        .workers(argument("number of workers")?.parse()?)
        .handle_signals(true);
    let running = Server::new(|| Room).config(config).bind(&address)?;
    println!("listening on http://{}/engine.io/", running.local_addr());
    Ok(running.join()?)
}
