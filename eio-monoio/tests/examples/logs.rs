//! A log that cannot be written: the server serves, and ends on the first SIGTERM, at every level.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::support::connection::Connection;
use crate::support::parallel;
use crate::support::polling::Polling;
use crate::support::process::ServerProcess;
use crate::support::request::{Request, WEBSOCKET};
use crate::support::wait::TIMEOUT;
use crate::support::websocket::WebSocket;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    ClosedPipe,
    FullDisk,
    /// The reader exists and does not read.
    StalledReader,
}

fn start(broken: Broken, driver: &str, level: &str) -> ServerProcess {
    let mut command = ServerProcess::command("echo");
    command.args(["--driver", driver, "--workers", "2", "--log-level", level]);
    let stderr = match broken {
        Broken::ClosedPipe | Broken::StalledReader => Stdio::piped(),
        Broken::FullDisk => {
            OpenOptions::new().write(true).open("/dev/full").expect("Linux has it").into()
        }
    };
    command.stdin(Stdio::null());
    let mut server = ServerProcess::run_with_stderr(command, stderr);
    if broken == Broken::ClosedPipe {
        server.close_stderr();
    }
    server
}

#[test]
fn server_outlives_its_log() {
    let logs = [Broken::ClosedPipe, Broken::FullDisk, Broken::StalledReader];
    let servers = [("auto", "trace"), ("epoll", "debug"), ("auto", "info"), ("epoll", "warn")];
    let cases = logs.iter().flat_map(|log| servers.map(|(driver, level)| (*log, driver, level)));
    let cases = cases.map(|case| (format!("{case:?}"), case));
    parallel::for_each(cases, |(broken, driver, level)| {
        serve_with_a_broken_log(broken, driver, level);
    });
}

fn serve_with_a_broken_log(broken: Broken, driver: &str, level: &str) {
    let mut server = start(broken, driver, level);
    let mut sessions: Vec<_> = (0..20).map(|_| WebSocket::open(server.addr()).0).collect();
    let mut polling = Polling::open(server.addr());
    // At DEBUG each is a line: together more than a pipe holds.
    let mut conn = Connection::open(server.addr());
    for _ in 0..1500 {
        let refused = conn.request(&Request::get("/engine.io/?EIO=3&transport=polling"));
        assert_eq!(refused.status, 400);
    }
    WebSocket::open_at(server.addr(), WEBSOCKET).0.assert_alive();
    sessions.iter_mut().for_each(WebSocket::assert_alive);
    polling.assert_alive();
    server.terminate();
    for session in &mut sessions {
        assert_eq!(session.text(), "1", "{broken:?} {level}");
    }
    drop((sessions, polling, conn));
    let status = server.wait(TIMEOUT);
    assert!(status.is_some_and(|status| status.success()), "{broken:?} {level} {status:?}");
}
