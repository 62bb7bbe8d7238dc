//! The interface to the service manager: inherited sockets and the message that the server is ready.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use socket2::SockRef;

use super::server::{command, end};
use crate::support::connection::Connection;
use crate::support::polling::sid_of;
use crate::support::process::ServerProcess;
use crate::support::request::{POLLING, Request};
use crate::support::temp_dir::TempDir;
use crate::support::wait::TIMEOUT;

/// The command as systemd runs it, with `sockets` as descriptors from 3 on, which have these names.
fn activated(sockets: &[TcpListener], names: &str, arguments: &[&str]) -> Command {
    let server = command(arguments);
    let mut script = String::new();
    for (number, socket) in sockets.iter().enumerate() {
        SockRef::from(socket).set_cloexec(false).expect("a flag");
        // In two steps: a descriptor may have the number of another one's target.
        script.push_str(&format!("exec {}<&{}\n", 20 + number, socket.as_raw_fd()));
    }
    for number in 0..sockets.len() {
        script.push_str(&format!("exec {}<&{}\n", 3 + number, 20 + number));
    }
    // `$$` stays the process id across `exec`.
    script.push_str(&format!(
        "LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={names} exec \"$0\" \"$@\"",
        sockets.len()
    ));
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    shell
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a socket")
}

#[test]
fn inherited_sockets_are_divided_by_name() {
    let sockets = [listener(), listener()];
    let [web, admin] = sockets.each_ref().map(|socket| socket.local_addr().expect("an address"));
    let arguments = ["--listen", "inherited", "--admin", "inherited", "--workers", "2"];
    let server = ServerProcess::run(activated(&sockets, "web:admin", &arguments));
    assert_eq!(server.addr(), web);
    sid_of(Connection::open(web).request(&Request::get(POLLING)).text());
    Connection::open(admin).request(&Request::get("/readyz")).assert(200, "ready\n");
    end(server);
    // The sockets outlive the server: a client that connects now waits for the next one.
    let mut early = Connection::open(web);
    early.send(&Request::get(POLLING));
    let server = ServerProcess::run(activated(&sockets, "web:admin", &arguments));
    sid_of(early.response().text());
    drop(early);
    end(server);
}

#[test]
fn unused_inherited_socket_is_reported() {
    let socket = [listener()];
    let server = ServerProcess::run(activated(&socket, "web", &["--listen", "127.0.0.1:0"]));
    crate::support::wait::eventually("the warning", || {
        server.log().contains("listen is not inherited")
    });
    end(server);
    let output = command(&["--listen", "inherited"]).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("listen: nothing to listen on"), "{stderr}");
}

#[test]
fn service_manager_is_notified_when_the_server_is_ready() {
    let directory = TempDir::new();
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let mut command = command(&["--listen", "127.0.0.1:0"]);
    let server = ServerProcess::run({
        command.env("NOTIFY_SOCKET", &path);
        command
    });
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).expect("a message");
    assert_eq!(&buffer[..len], b"READY=1");
    end(server);
}
