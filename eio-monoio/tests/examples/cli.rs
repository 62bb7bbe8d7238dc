//! The `eio` example as a process: what it prints and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::server::{Options, Server, path_of, signal, wait};

/// A running `eio`, and what it has printed.
struct Eio {
    child: Child,
    stdout: BufReader<ChildStdout>,
    printed: String,
}

impl Eio {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(path_of("eio"));
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

    /// Reads on until this was printed.
    fn wait_for(&mut self, text: &str) {
        while !self.printed.contains(text) {
            let read = self.stdout.read_line(&mut self.printed).expect("text");
            assert!(read > 0, "no {text:?} in:\n{}", self.printed);
        }
    }

    /// What it printed on either stream, and its exit status, after the end of its input.
    fn finish(mut self) -> (String, Option<i32>) {
        drop(self.child.stdin.take());
        let status = wait(&mut self.child, Duration::from_secs(30));
        _ = self.child.kill();
        self.stdout.read_to_string(&mut self.printed).expect("text");
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut self.printed).expect("text");
        (self.printed, status.expect("it ends by itself").code())
    }
}

fn run(arguments: &[&str]) -> (String, Option<i32>) {
    Eio::start(arguments).finish()
}

#[test]
fn lines_are_sent_and_what_comes_is_printed() {
    let server = Server::start(&Options::default());
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
fn the_exit_status_says_who_ended_it() {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let (output, status) = run(&[&format!("http://{free}")]);
    assert_eq!(status, Some(1), "{output}");
    assert_eq!(run(&["nonsense"]).1, Some(2));
    assert_eq!(run(&["http://a", "--header", "Host:x"]).1, Some(2));

    let mut server = Server::start(&Options { transports: "websocket", ..Options::default() });
    let (output, status) = run(&[server.url()]);
    assert_eq!(status, Some(3), "{output}");
    assert!(output.contains("status 400"), "{output}");

    let mut eio = Eio::start(&[server.url(), "--transport", "websocket", "--stay"]);
    eio.wait_for("connected");
    server.terminate();
    assert!(server.wait(Duration::from_secs(10)).is_some());
    let (output, status) = eio.finish();
    assert_eq!(status, Some(4), "{output}");

    let server = Server::start(&Options::default());
    let mut eio = Eio::start(&[server.url(), "--transport", "websocket", "--stay"]);
    eio.wait_for("connected");
    signal("-KILL", &server.pid().to_string());
    let (output, status) = eio.finish();
    assert_eq!(status, Some(5), "{output}");
}

#[test]
fn a_long_input_is_sent_to_its_end_and_what_cannot_be_sent_is_told() {
    const LINES: usize = 30_000;
    let server = Server::start(&Options { max_payload: 1000, ..Options::default() });
    let mut eio = Eio::start(&[server.url(), "--quiet", "--transport", "websocket"]);
    let mut input = eio.child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        let line = "x".repeat(99) + "\n";
        input.write_all(("y".repeat(1000) + "\n").as_bytes())?;
        input.write_all(line.repeat(LINES).as_bytes())
    });
    // To its end: a full pipe would hold it up.
    eio.stdout.read_to_string(&mut eio.printed).expect("text");
    let (output, status) = eio.finish();
    writer.join().expect("no panic").expect("all of it is read");
    assert_eq!(status, Some(0));
    let lines = output.lines().filter(|line| line.len() == 99).count();
    // The server's echoes of the last ones may be cut off by our end.
    assert!(lines > 0, "{lines}");
    assert!(output.contains("not sent: a packet of 1001 bytes, and the server takes 1000"));
}

#[test]
fn sigint_ends_a_session_in_good_order() {
    let server = Server::start(&Options::default());
    let mut eio = Eio::start(&[server.url(), "--stay"]);
    eio.wait_for("connected");
    signal("-INT", &eio.child.id().to_string());
    let (output, status) = eio.finish();
    assert_eq!(status, Some(0), "{output}");
    assert!(output.contains("* closed: client disconnect"), "{output}");
}
