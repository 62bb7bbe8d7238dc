// The server is never started.
//~ warning
//: unused `Server` that must be used
//: a server runs from `bind`, `bind_unix` or `listen` on

use eio_monoio::Server;

fn main() {
    Server::on_message(async |socket, message| {
        socket.send(&message).await.ok();
    });
}
