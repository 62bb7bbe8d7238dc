//! Signals, and restarts during which clients open sessions without a pause: none is refused or reset.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::socket_activation::activated;
use crate::support::configs::has_io_uring;
use crate::support::polling::Polling;
use crate::support::process::{ServerProcess, example_path, signal};
use crate::support::restarts::{end, open_sessions_during, wait_for_sessions};
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

fn drivers() -> impl Iterator<Item = &'static str> {
    ["io-uring", "epoll"].into_iter().filter(|driver| *driver == "epoll" || has_io_uring())
}

#[test]
fn overlapping_processes_on_one_port_refuse_and_reset_nothing() {
    for driver in drivers() {
        let start = |listen: &str| {
            let mut command = Command::new(example_path("echo"));
            command.args(["--listen", listen, "--driver", driver, "--workers", "2"]);
            command.args(["--share-port"]);
            ServerProcess::run(command)
        };
        let mut current = Some(start("127.0.0.1:0"));
        let addr = current.as_ref().expect("a server").addr();
        open_sessions_during(addr, |opened| {
            for _ in 0..3 {
                wait_for_sessions(opened, 50);
                let next = start(&addr.to_string());
                wait_for_sessions(opened, 50);
                current.replace(next).into_iter().for_each(end);
            }
            wait_for_sessions(opened, 50);
        });
    }
}

#[test]
fn processes_with_an_inherited_socket_refuse_and_reset_nothing() {
    for driver in drivers() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let addr = socket.local_addr().expect("an address");
        let start = || {
            let mut command = activated(&socket, "$$");
            command.args(["--driver", driver]);
            ServerProcess::run_with_stdin(command)
        };
        let mut current = Some(start());
        open_sessions_during(addr, |opened| {
            // The new process starts before the end of the old one.
            for _ in 0..3 {
                wait_for_sessions(opened, 50);
                let next = start();
                wait_for_sessions(opened, 50);
                current.replace(next).into_iter().for_each(end);
            }
            // It starts after the end of the old one: in between, clients wait.
            for _ in 0..3 {
                wait_for_sessions(opened, 50);
                current.take().into_iter().for_each(end);
                current = Some(start());
            }
            wait_for_sessions(opened, 50);
        });
    }
}

#[test]
fn two_signals_at_once_are_one_shutdown() {
    for round in 0..5 {
        let mut server = ServerProcess::run(ServerProcess::command("echo"));
        let mut sockets: Vec<_> = (0..50).map(|_| WebSocket::open(server.addr()).0).collect();
        let pid = server.pid().to_string();
        // One call of kill(1) sends both, as timeout(1) does: to the process and to its group.
        assert!(Command::new("kill").args(["-TERM", &pid, &pid]).status().is_ok());
        for socket in &mut sockets {
            assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        }
        drop(sockets);
        let status = server.wait(TIMEOUT).expect("it ends");
        assert!(status.success(), "round {round}: {status}");
    }
}

#[test]
fn second_signal_after_the_window_ends_the_process() {
    let mut command = ServerProcess::command("echo");
    command.args(["--shutdown-grace-ms", "60000"]);
    let mut server = ServerProcess::run(command);
    let _absent = Polling::open(server.addr());
    server.terminate();
    // The window is one second.
    thread::sleep(Duration::from_millis(1100));
    server.terminate();
    assert_eq!(server.wait(TIMEOUT).expect("it ends").code(), Some(128 + 15));
}

#[test]
fn sighup_does_not_end_the_server() {
    let server = ServerProcess::run(ServerProcess::command("echo"));
    let (mut socket, _) = WebSocket::open(server.addr());
    signal("-HUP", &server.pid().to_string());
    socket.assert_alive();
    end(server);
}

#[test]
fn signal_drains_the_server() {
    for driver in drivers() {
        let mut command = ServerProcess::command("echo");
        command.args(["--driver", driver, "--drain-ms", "300"]);
        let mut server = ServerProcess::run(command);
        let mut sockets: Vec<_> = (0..20).map(|_| WebSocket::open(server.addr()).0).collect();
        server.terminate();
        for socket in &mut sockets {
            assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        }
        drop(sockets);
        assert!(server.wait(TIMEOUT).expect("it ends").success());
    }
}

#[test]
fn address_in_use_is_named_in_words() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("an address").to_string();
    // Together: each waits for the port as long as `bind_timeout` says.
    let started = ["echo", "site", "chat", "latency", "ws_echo", "embed"].map(|example| {
        let mut command = Command::new(example_path(example));
        command.args(["--listen", &address]).stdout(Stdio::piped()).stderr(Stdio::piped());
        if example == "embed" {
            command.args(["--http", "127.0.0.1:0"]);
        }
        (example, command.spawn().expect("the example starts"))
    });
    for (example, process) in started {
        let output = process.wait_with_output().expect("the example runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{example}");
        let expected = format!("Error: {address}: Address already in use");
        assert!(stderr.contains(&expected), "{example}: {stderr}");
    }
}

#[test]
fn missing_directory_is_reported_at_the_start() {
    let mut command = ServerProcess::command("site");
    command.args(["--root", "/does/not/exist"]);
    let server = ServerProcess::run(command);
    eventually("the warning", || {
        let log = server.log();
        log.contains("WARN") && log.contains("path=/does/not/exist")
    });
}
