// A value of the application is sent to all sessions, and by a client.
//~ error
//: `Position` cannot be sent as a message
//: as JSON: `eio_monoio::json::to_message(&value)` (feature `json`)

use eio_monoio::{Remote, client::Client};

struct Position {
    _x: u32,
}

fn announce(remote: &Remote, x: u32) {
    remote.broadcast(&Position { _x: x }).ok();
}

async fn send(client: &Client, x: u32) {
    client.send(Position { _x: x }).await.ok();
}

fn main() {
    _ = (announce, send);
}
