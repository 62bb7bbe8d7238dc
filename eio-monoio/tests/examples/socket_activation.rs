//! Socket activation of the `echo` example, as systemd does it.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::support::connection::Connection;
use crate::support::polling::sid_of;
use crate::support::process::{ServerProcess, example_path};
use crate::support::request::{POLLING, Request};
use crate::support::wait::TIMEOUT;

/// The `echo` example as systemd starts it: with a socket as descriptor 3, and the process id that it is for.
pub(super) fn activated(socket: &TcpListener, pid: &str) -> Command {
    let mut command = Command::new("sh");
    // `$$` stays the process id across `exec`.
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_PID={pid} LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" \"$@\""
    );
    command.args(["-c", &script]).arg(example_path("echo"));
    command.args(["--listen", "inherited", "--workers", "2"]);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor"))));
    command
}

#[test]
fn socket_of_systemd_outlives_the_server() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let mut first = ServerProcess::run_with_stdin(activated(&socket, "$$"));
    assert_eq!(first.addr(), address);
    let sid = sid_of(Connection::open(address).request(&Request::get(POLLING)).text());
    first.terminate();
    let status = first.wait(TIMEOUT).expect("SIGTERM ends the server");
    assert!(status.success(), "{status}");

    // The socket exists without a server: a client that connects now waits for the next server.
    let mut early = Connection::open(address);
    early.send(&Request::get(POLLING));
    let _second = ServerProcess::run_with_stdin(activated(&socket, "$$"));
    assert_ne!(sid_of(early.response().text()), sid);
}

#[test]
fn inherited_socket_for_another_process_is_ignored() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let mut command = activated(&socket, "1");
    let output = command.output().expect("the example runs");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("nothing to listen on"), "{stderr}");
}
