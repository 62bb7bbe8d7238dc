//! A running `eio-server`, and its sessions.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::support::process::ServerProcess;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// The command `eio-server`, without the variables of this process that name options. It does not drain slowly, unless
/// `arguments` say so.
pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eio-server"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EIO_") {
            command.env_remove(name);
        }
    }
    command.env("EIO_DRAIN_TIME", "0");
    command
}

/// Starts it on a free port, with an admin address.
pub(super) fn start(arguments: &[&str]) -> ServerProcess {
    let addresses = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    ServerProcess::run(command(&[&addresses[..], arguments].concat()))
}

/// Starts it with a file.
pub(super) fn start_with_file(file: &Path) -> ServerProcess {
    ServerProcess::run(command(&["--config", file.to_str().expect("text")]))
}

/// The admin address, which the log names.
pub(super) fn admin(server: &ServerProcess) -> SocketAddr {
    let mut found = None;
    eventually("the admin address", || {
        let log = server.log();
        let line = log.lines().find(|line| line.contains("admin address"));
        let value = line.and_then(|line| line.split("endpoint=").nth(1));
        found = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        found.is_some()
    });
    found.expect("an address")
}

/// Ends it in order.
pub(super) fn end(mut server: ServerProcess) {
    server.terminate();
    let status = server.wait(TIMEOUT).expect("SIGTERM ends the server");
    assert!(status.success(), "{status}\n{}", server.log());
}

#[test]
fn broadcast_reaches_every_session() {
    let server = start(&["--mode", "broadcast", "--workers", "3"]);
    let mut clients: Vec<_> = (0..6).map(|_| WebSocket::open(server.addr()).0).collect();
    clients[0].send("4hello");
    for client in &mut clients {
        assert_eq!(client.text(), "4hello");
    }
    drop(clients);
    end(server);
}

#[test]
fn file_of_the_options_is_used() {
    let directory = crate::support::temp_dir::TempDir::new();
    let file = directory.write("eio.toml", "listen = '127.0.0.1:0'\npath = '/socket.io/'\n");
    let server = start_with_file(&file);
    assert!(server.url().ends_with("/socket.io/"), "{}", server.url());
    WebSocket::open_at(server.addr(), "/socket.io/?EIO=4&transport=websocket").0.assert_alive();
    end(server);
}
