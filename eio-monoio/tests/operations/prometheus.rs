//! The metrics by the judgement of Prometheus' own tool.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::crowd;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, target};
use crate::support::skip::skip;
use crate::support::websocket::WebSocket;

#[test]
fn promtool_has_no_complaint() {
    let test = "promtool_has_no_complaint";
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let promtool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => return skip(test, format_args!("promtool (package prometheus): {error}")),
    };
    let arguments = ["--admin", "127.0.0.1:0", "--max-handshakes-per-second", "1000"];
    let server = crowd::start("auto", &arguments);
    let (mut socket, _) = WebSocket::open(server.addr());
    socket.assert_alive();
    let _polling = Polling::open(server.addr());
    let ask = |target: &str| Connection::open(server.addr()).request(&Request::get(target));
    ask(&target("unknown"));
    ask(&format!("{POLLING}&EIO=3"));
    let scrape = Connection::open(crowd::admin(&server)).request(&Request::get("/metrics"));
    let text = scrape.text();
    assert!(text.contains("eio_worker_lag_seconds_bucket"), "{text}");
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let complaints = [output.stdout, output.stderr].concat();
    let complaints = String::from_utf8_lossy(&complaints);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}
