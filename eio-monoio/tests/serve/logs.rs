//! The log: its form, and what happens if it cannot be written.

use std::fs::OpenOptions;
use std::process::Stdio;

use super::server::{command, start};
use crate::support::connection::Connection;
use crate::support::process::ServerProcess;
use crate::support::request::Request;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

#[test]
fn lines_are_text_or_json() {
    let server = start(&["--log-format", "json", "--log-level", "debug"]);
    let _socket = WebSocket::open(server.addr());
    eventually("the session", || server.log().contains("session opened"));
    let log = server.log();
    let lines: Vec<_> =
        log.lines().map(str::trim).filter(|line| !line.starts_with("listening on")).collect();
    assert!(lines.len() >= 3, "{log}");
    for line in lines {
        assert!(line.starts_with(r#"{"timestamp":""#) && line.ends_with('}'), "{line}");
        assert!(line.contains(r#""level":""#) && line.contains(r#""message":""#), "{line}");
    }
    super::server::end(server);

    let server = start(&["--log-format", "text", "--log-level", "warn"]);
    let log = server.log();
    assert!(!log.contains("INFO") && log.lines().count() == 1, "{log}");
    super::server::end(server);
}

#[test]
fn server_outlives_its_log() {
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it").into();
    for (case, level, stderr) in [
        ("closed", "trace", Stdio::piped()),
        ("full", "debug", full()),
        ("stalled", "debug", Stdio::piped()),
        ("closed", "info", Stdio::piped()),
    ] {
        let mut command =
            command(&["--listen", "127.0.0.1:0", "--log-level", level, "--workers", "2"]);
        command.stdin(Stdio::null());
        let mut server = ServerProcess::run_with_stderr(command, stderr);
        if case == "closed" {
            server.close_stderr();
        }
        let (mut socket, _) = WebSocket::open(server.addr());
        let mut conn = Connection::open(server.addr());
        // At DEBUG each is a line: together more than a pipe holds.
        for _ in 0..1500 {
            let refused = conn.request(&Request::get("/engine.io/?EIO=3&transport=polling"));
            assert_eq!(refused.status, 400);
        }
        socket.assert_alive();
        server.terminate();
        assert_eq!(socket.text(), "1", "{case} {level}");
        drop((socket, conn));
        let status = server.wait(TIMEOUT);
        assert!(status.is_some_and(|status| status.success()), "{case} {level} {status:?}");
    }
}
