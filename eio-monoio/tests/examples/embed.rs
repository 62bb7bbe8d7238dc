//! The `embed` example: axum and Engine.IO in one process, and the way from each to the other.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::app::eventually;
use crate::support::server::Server;
use crate::support::wire::{Request, WebSocket, Wire};

#[test]
fn what_one_side_says_never_misses_the_other() {
    let mut command = Server::command("embed");
    command.args(["--http", "127.0.0.1:0"]);
    let mut server = Server::run(command);
    let log = server.log();
    let http: SocketAddr = log
        .lines()
        .find_map(|line| line.rsplit_once("http://")?.1.trim().parse().ok())
        .expect("the address of axum");
    let (mut first, _) = WebSocket::open(server.addr());
    let (mut second, _) = WebSocket::open(server.addr());
    let ask = |request: &Request| Wire::connect(http).request(request);

    ask(&Request::post("/say", "from axum")).assert(204, "");
    assert_eq!([first.text(), second.text()], ["4from axum", "4from axum"]);
    first.send("4from a session");
    eventually("the session's word", || ask(&Request::get("/last")).text() == "from a session");

    // Clients that do not say goodbye are waited for.
    drop((first, second));
    server.terminate();
    let status = server.wait(Duration::from_secs(20)).expect("SIGTERM ends both");
    assert!(status.success(), "{status}");
}
