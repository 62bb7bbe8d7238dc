//! SIGINT and the clients that want it, each case in a process of its own: a signal is for all of a process.
#![allow(unsafe_code, reason = "SIGINT may be ignored by whoever runs the tests")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use eio_monoio::client::{self, Client};
use eio_monoio::{CloseReason, Driver};
use support::server::{Options, Server, signal, wait};

const CASE: &str = "SIGINT_CASE";

/// This test program again, doing only `case` against `url`; until it says that it is ready.
fn start(case: &str, url: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", "--nocapture", "a_case_in_a_process_of_its_own"]);
    command.env(CASE, format!("{case} {url}")).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut printed = String::new();
    while !printed.contains("ready") {
        assert!(stdout.read_line(&mut printed).expect("text") > 0, "{printed}");
    }
    (child, stdout)
}

fn interrupt(child: &mut Child) -> std::process::ExitStatus {
    signal("-INT", &child.id().to_string());
    let status = wait(child, Duration::from_secs(20));
    _ = child.kill();
    status.expect("SIGINT has an effect")
}

#[test]
fn a_case_in_a_process_of_its_own() {
    let Ok(case) = std::env::var(CASE) else { return };
    let (case, url) = case.split_once(' ').expect("a case and a URL");
    // SAFETY: nothing handles the signal yet, and the default needs no memory of ours.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    let ended = client::block_on(Driver::Epoll, async {
        let client = Client::connect(url).handle_sigint(true).await.expect("connects");
        client.disconnect().await;
        match case {
            "reconnected" => client.reconnect().await.expect("connects again"),
            "over" => {}
            other => panic!("no case {other}"),
        }
        // A line of its own, whatever the harness has printed before.
        println!("\nready");
        let closed = client.ended().await;
        if case == "over" {
            client::sleep(Duration::from_secs(60)).await;
        }
        closed
    });
    assert_eq!(ended.expect("a runtime").reason, CloseReason::ClientDisconnect);
    println!("disconnected");
}

#[test]
fn a_client_that_reconnected_does_not_ignore_sigint() {
    let server = Server::start(&Options::default());
    let (mut child, stdout) = start("reconnected", server.url());
    let status = interrupt(&mut child);
    assert!(status.success(), "{status}");
    let rest: Vec<_> = stdout.lines().map_while(Result::ok).collect();
    assert!(rest.iter().any(|line| line.contains("disconnected")), "{rest:?}");
}

#[test]
fn a_process_without_clients_does_not_ignore_sigint() {
    let server = Server::start(&Options::default());
    let (mut child, _stdout) = start("over", server.url());
    let status = interrupt(&mut child);
    assert_eq!(status.signal(), Some(2), "{status}");
}
