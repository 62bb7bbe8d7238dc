//! Restarts of `eio-server` during which clients open sessions without a pause: none is refused or reset. A service
//! manager holds the socket, or the processes share the port.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::configs::drivers;
use crate::support::process::ServerProcess;
use crate::support::restarts::{end, open_sessions_during, wait_for_sessions};
use crate::support::skip::skip;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// The restarts of each kind.
const RESTARTS: usize = 4;

/// A drain as in production, and shorter.
const DRAIN: [&str; 4] = ["--drain-time", "300ms", "--drain-wait", "100ms"];

/// The server as systemd starts it: with the socket as descriptor 3, and the process id that it is for.
fn activated(socket: &TcpListener, driver: &str) -> ServerProcess {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_eio-server"), "--listen", "inherited"]);
    command.args(["--workers", "2", "--driver", driver]).args(DRAIN);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor"))));
    ServerProcess::run_with_stdin(command)
}

#[test]
fn socket_of_a_service_manager_loses_no_client() {
    for driver in drivers() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let addr = socket.local_addr().expect("an address");
        let start = || activated(&socket, &driver.to_string());
        let mut current = Some(start());
        open_sessions_during(addr, |opened| {
            for _ in 0..RESTARTS {
                // systemd: the new process starts after the end of the old one.
                wait_for_sessions(opened, 100);
                current.take().into_iter().for_each(end);
                current = Some(start());
                // An operator: both run at the same time.
                wait_for_sessions(opened, 100);
                current.replace(start()).into_iter().for_each(end);
            }
            wait_for_sessions(opened, 100);
        });
    }
}

#[test]
fn overlapping_processes_lose_no_client() {
    for driver in drivers() {
        let start = |listen: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_eio-server"));
            command.args(["--listen", listen, "--workers", "2", "--share-port"]);
            command.args(["--driver", &driver.to_string()]).args(DRAIN);
            ServerProcess::run(command)
        };
        let first = start("127.0.0.1:0");
        let addr = first.addr();
        let mut current = Some(first);
        open_sessions_during(addr, |opened| {
            for _ in 0..RESTARTS {
                wait_for_sessions(opened, 100);
                current.replace(start(&addr.to_string())).into_iter().for_each(end);
            }
            wait_for_sessions(opened, 100);
        });
    }
}

#[test]
fn systemd_activates_the_server_with_the_first_client() {
    let program = "systemd-socket-activate";
    if let Err(error) = Command::new(program).arg("--version").output() {
        return skip("systemd", format_args!("{program} (package systemd): {error}"));
    }
    for driver in drivers() {
        // The port is free when this returns, and mostly when systemd binds it.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let addr = free.expect("an address");
        let mut command = Command::new(program);
        command.args(["-l", &addr.to_string(), env!("CARGO_BIN_EXE_eio-server")]);
        command.args(["--listen", "inherited", "--driver", &driver.to_string()]).args(DRAIN);
        // The client whose connection starts the server waits for it.
        let client = thread::spawn(move || {
            let mut early = None;
            eventually("the socket of systemd", || {
                early = TcpStream::connect(addr).ok();
                early.is_some()
            });
            WebSocket::open(addr).0
        });
        let server = ServerProcess::run(command);
        assert_eq!(server.addr(), addr);
        let mut socket = client.join().expect("it is served");
        socket.assert_alive();
        server.terminate();
        assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        end(server);
    }
}
