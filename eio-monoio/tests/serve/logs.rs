//! The log: its form, and what happens if it cannot be written.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use super::server::{command, start};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::process::{ServerProcess, signal};
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
fn access_log_has_a_line_for_each_request() {
    for (format, status) in [("text", "status=404"), ("json", "\"status\":404")] {
        let options = ["--access-log", "--log-level", "warn", "--log-format", format];
        let server = start(&options);
        let mut conn = Connection::open(server.addr());
        assert_eq!(conn.request(&Request::get("/elsewhere?secret=1")).status, 404);
        Polling::open(server.addr()).assert_alive();
        let _socket = WebSocket::open(server.addr());
        // The polling session makes three requests; those of Engine.IO have the same path.
        let lines = |part: &str| {
            let log = server.log();
            log.lines().filter(|line| line.contains("access") && line.contains(part)).count()
        };
        eventually("a line for each", || lines("/engine.io/") >= 4 && lines("/elsewhere") == 1);
        assert_eq!(lines(status), 1, "{}", server.log());
        assert_eq!(lines("127.0.0.1:"), lines(""), "{}", server.log());
        let log = server.log();
        assert!(!log.contains("secret") && !log.contains("sid="), "{log}");
        // Besides them only warnings, and the line of standard output.
        let others = log.lines().filter(|line| !line.contains("access"));
        assert_eq!(others.count(), 1, "{log}");
        super::server::end(server);
    }
    let server = start(&["--log-level", "trace"]);
    assert_eq!(Connection::open(server.addr()).request(&Request::get("/elsewhere")).status, 404);
    let _polling = Polling::open(server.addr());
    eventually("the session", || server.log().contains("session opened"));
    assert!(!server.log().contains("/elsewhere"), "{}", server.log());
    super::server::end(server);
}

#[test]
fn too_few_descriptors_are_a_warning() {
    for (limit, connections, warns) in [(100, 1000, true), (100, 36, false), (30, 1, true)] {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_eio-server"), "--listen", "127.0.0.1:0"]);
        command.args(["--drain-time", "0", "--max-connections", &connections.to_string()]);
        let server = ServerProcess::run(command);
        // The line about the address follows.
        eventually("the log", || server.log().contains("address="));
        let log = server.log();
        assert_eq!(log.contains("WARN") && log.contains("LimitNOFILE"), warns, "{log}");
        super::server::end(server);
    }
}

#[test]
fn sighup_without_a_certificate_is_ignored() {
    let server = start(&[]);
    signal("-HUP", &server.pid().to_string());
    eventually("the line", || server.log().contains("SIGHUP ignored"));
    assert!(!server.log().contains("reloaded"), "{}", server.log());
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
