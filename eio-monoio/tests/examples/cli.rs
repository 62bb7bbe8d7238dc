//! The `eio` example: its output and its exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::process::{ServerOptions, ServerProcess, example_path, signal, wait};

/// A running `eio` and its output.
struct Eio {
    child: Child,
    stdout: BufReader<ChildStdout>,
    printed: String,
}

impl Eio {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(example_path("eio"));
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout, printed: String::new() }
    }

    fn send(&mut self, input: &[u8]) {
        // It may have ended already.
        _ = self.child.stdin.as_mut().expect("piped").write_all(input);
    }

    /// Reads output until it contains `text`.
    fn wait_for(&mut self, text: &str) {
        while !self.printed.contains(text) {
            let read = self.stdout.read_line(&mut self.printed).expect("text");
            assert!(read > 0, "no {text:?} in:\n{}", self.printed);
        }
    }

    /// Ends the input; returns the output on both streams and the exit status.
    fn finish(mut self) -> (String, Option<i32>) {
        drop(self.child.stdin.take());
        let status = wait(&mut self.child, Duration::from_secs(30));
        _ = self.child.kill();
        self.stdout.read_to_string(&mut self.printed).expect("text");
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut self.printed).expect("text");
        (self.printed, status.expect("it ends").code())
    }
}

fn run(arguments: &[&str]) -> (String, Option<i32>) {
    Eio::start(arguments).finish()
}

#[test]
fn lines_are_sent_and_messages_are_printed() {
    let server = ServerProcess::start(&ServerOptions::default());
    for transport in ["upgrade", "polling", "websocket"] {
        let mut eio = Eio::start(&[server.url(), "--transport", transport]);
        eio.send(b"hello\n\xff\ngr\xc3\xbc\xc3\x9f\n");
        eio.wait_for("< gr\u{fc}\u{df}");
        if transport == "upgrade" {
            eio.wait_for("upgraded");
        }
        let (output, status) = eio.finish();
        assert_eq!(status, Some(0), "{output}");
        for part in ["* connected, sid ", "> hello", "< hello", "< gr\u{fc}\u{df}", "not UTF-8"] {
            assert!(output.contains(part), "no {part:?} in:\n{output}");
        }
        assert!(output.contains("* closed: client disconnect"), "{output}");
        assert_eq!(output.contains("* upgraded to websocket"), transport == "upgrade", "{output}");
    }
    let mut eio = Eio::start(&[server.url(), "--binary", "--quiet"]);
    eio.send(b"\x00\xff\n");
    eio.wait_for("00ff");
    assert_eq!(eio.finish(), ("00ff\n".into(), Some(0)));
}

#[test]
fn exit_status_names_the_kind_of_failure() {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let (output, status) = run(&[&format!("http://{free}")]);
    assert_eq!(status, Some(1), "{output}");
    assert_eq!(run(&["nonsense"]).1, Some(2));
    assert_eq!(run(&["http://a", "--header", "Connection:x"]).1, Some(2));

    let mut server = ServerProcess::start(&ServerOptions {
        transports: "websocket",
        ..ServerOptions::default()
    });
    let (output, status) = run(&[server.url()]);
    assert_eq!(status, Some(3), "{output}");
    assert!(output.contains("status 400"), "{output}");

    let mut eio = Eio::start(&[server.url(), "--transport", "websocket", "--stay"]);
    eio.wait_for("connected");
    server.terminate();
    assert!(server.wait(Duration::from_secs(10)).is_some());
    let (output, status) = eio.finish();
    assert_eq!(status, Some(4), "{output}");

    let server = ServerProcess::start(&ServerOptions::default());
    let mut eio = Eio::start(&[server.url(), "--transport", "websocket", "--stay"]);
    eio.wait_for("connected");
    signal("-KILL", &server.pid().to_string());
    let (output, status) = eio.finish();
    assert_eq!(status, Some(5), "{output}");
}

#[test]
fn long_input_is_sent_completely_and_oversized_lines_are_reported() {
    const LINES: usize = 30_000;
    let server =
        ServerProcess::start(&ServerOptions { max_payload: 1000, ..ServerOptions::default() });
    let mut eio = Eio::start(&[server.url(), "--quiet", "--transport", "websocket"]);
    let mut input = eio.child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        let line = "x".repeat(99) + "\n";
        input.write_all(("y".repeat(1000) + "\n").as_bytes())?;
        input.write_all(line.repeat(LINES).as_bytes())
    });
    // To the end: a full pipe would block the process.
    eio.stdout.read_to_string(&mut eio.printed).expect("text");
    let (output, status) = eio.finish();
    writer.join().expect("no panic").expect("all of it is read");
    assert_eq!(status, Some(0));
    let lines = output.lines().filter(|line| line.len() == 99).count();
    // The client may disconnect before the last echoes.
    assert!(lines > 0, "{lines}");
    assert!(output.contains("not sent: a packet of 1001 bytes; the limit is 1000"));
}

#[test]
fn sigint_closes_the_session() {
    let server = ServerProcess::start(&ServerOptions::default());
    let mut eio = Eio::start(&[server.url(), "--stay"]);
    eio.wait_for("connected");
    signal("-INT", &eio.child.id().to_string());
    let (output, status) = eio.finish();
    assert_eq!(status, Some(0), "{output}");
    assert!(output.contains("* closed: client disconnect"), "{output}");
}
