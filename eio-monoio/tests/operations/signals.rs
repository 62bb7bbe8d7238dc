//! Signals as programs send them: two at once by `timeout(1)`, and one to the first process of a container.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::crowd;
use crate::support::configs::drivers;
use crate::support::parallel;
use crate::support::polling::Polling;
use crate::support::process::{ServerProcess, signal};
use crate::support::skip::skip;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// Opens sessions over both transports, and expects that each is closed in order.
struct Clients {
    sockets: Vec<WebSocket>,
    polling: Vec<Polling>,
}

impl Clients {
    fn open(addr: SocketAddr) -> Self {
        let sockets = (0..40).map(|_| WebSocket::open(addr).0).collect();
        let mut polling: Vec<_> = (0..10).map(|_| Polling::open(addr)).collect();
        polling.iter_mut().for_each(Polling::start_poll);
        Self { sockets, polling }
    }

    fn expect_close(mut self) {
        for socket in &mut self.sockets {
            assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        }
        for polling in &mut self.polling {
            assert_eq!(polling.poll_response(), "1");
        }
    }
}

/// The command with `server` after `program` and its arguments.
fn under(program: &[&str], server: &Command) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(server.get_program()).args(server.get_args());
    command
}

#[test]
fn every_client_is_notified_when_timeout_sends_two_signals() {
    const ROUNDS: usize = 20;
    let drivers: Vec<_> = drivers().map(|driver| driver.to_string()).collect();
    // Four at a time.
    for rounds in (0..ROUNDS).collect::<Vec<_>>().chunks(4) {
        let cases = rounds.iter().map(|round| (format!("round {round}"), *round));
        parallel::for_each(cases, |round| {
            let mut server = crowd::command(&drivers[round % drivers.len()]);
            server.args(["--drain-time", "0"]);
            // To the process, and then to its group.
            let command = under(&["timeout", "-s", "TERM", "2"], &server);
            let mut server = ServerProcess::run(command);
            Clients::open(server.addr()).expect_close();
            // timeout(1): "If the command times out, then exit with status 124".
            assert_eq!(
                server.wait(TIMEOUT).expect("it ends").code(),
                Some(124),
                "{}",
                server.log()
            );
        });
    }
}

/// The only child of a process.
fn child_of(pid: u32) -> String {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let mut child = String::new();
    eventually("the child", || {
        child = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        !child.is_empty()
    });
    child
}

#[test]
fn first_process_of_a_container_ends_in_order() {
    // The kernel ignores signals without a handler for the first process of a namespace (pid_namespaces(7)).
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    let allowed = under(&unshare, &Command::new("true")).stderr(Stdio::piped()).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skip("a container", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => return skip("a container", format_args!("unshare: {error}")),
    }
    for driver in drivers() {
        let mut server = crowd::command(&driver.to_string());
        server.args(["--drain-time", "0"]);
        let mut server = ServerProcess::run(under(&unshare, &server));
        let clients = Clients::open(server.addr());
        signal("-TERM", &child_of(server.pid()));
        clients.expect_close();
        let status = server.wait(Duration::from_secs(20)).expect("it ends");
        assert!(status.success(), "{status}: {}", server.log());
    }
}
