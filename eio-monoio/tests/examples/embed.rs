//! The `embed` example: axum and Engine.IO in one process, and messages between them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::connection::Connection;
use crate::support::process::ServerProcess;
use crate::support::request::Request;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

#[test]
fn axum_and_engine_io_exchange_messages() {
    let mut command = ServerProcess::command("embed");
    command.args(["--http", "127.0.0.1:0"]);
    let mut server = ServerProcess::run(command);
    let log = server.log();
    let http: SocketAddr = log
        .lines()
        .find_map(|line| line.rsplit_once("http://")?.1.trim().parse().ok())
        .expect("the address of axum");
    let (mut first, _) = WebSocket::open(server.addr());
    let (mut second, _) = WebSocket::open(server.addr());
    let ask = |request: &Request| Connection::open(http).request(request);

    ask(&Request::post("/say", "from axum")).assert(204, "");
    assert_eq!([first.text(), second.text()], ["4from axum", "4from axum"]);
    first.send("4from a session");
    eventually("the message of the session", || {
        ask(&Request::get("/last")).text() == "from a session"
    });

    // The shutdown would wait for clients that do not close.
    drop((first, second));
    server.terminate();
    let status = server.wait(Duration::from_secs(20)).expect("SIGTERM ends both");
    assert!(status.success(), "{status}");
}
