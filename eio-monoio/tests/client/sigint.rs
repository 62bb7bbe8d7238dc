//! SIGINT and `handle_sigint`, each case in a process of its own, because a signal is for a process.
#![allow(unsafe_code, reason = "the parent of the test may have set SIGINT to be ignored")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use eio_monoio::client::{self, Client};
use eio_monoio::{CloseReason, Driver};

use crate::support::configs::epoll_config;
use crate::support::own_process;
use crate::support::process::{signal, wait};
use crate::support::test_server::TestServer;

const CASE: &str = "SIGINT_CASE";

/// Starts a process that runs `case` against `url`, and waits until it is ready for the signal.
fn start(case: &str, url: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = own_process::command(module_path!(), "child_process_runs_one_case");
    command.env(CASE, format!("{case} {url}")).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut printed = String::new();
    while !printed.contains("ready") {
        assert!(stdout.read_line(&mut printed).expect("text") > 0, "{printed}");
    }
    (child, stdout)
}

fn interrupt(child: &mut Child) -> ExitStatus {
    signal("-INT", &child.id().to_string());
    let status = wait(child, Duration::from_secs(20));
    _ = child.kill();
    status.expect("SIGINT has an effect")
}

#[test]
fn child_process_runs_one_case() {
    let Ok(case) = std::env::var(CASE) else { return };
    let (case, url) = case.split_once(' ').expect("a case and a URL");
    // SAFETY: no handler is installed yet, and the default action uses no memory of this process.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    let ended = client::block_on(Driver::Epoll, async {
        let client = Client::connect(url).handle_sigint(true).await.expect("connects");
        client.disconnect().await;
        match case {
            "reconnected" => client.reconnect().await.expect("connects again"),
            "closed" => {}
            other => panic!("unknown case {other}"),
        }
        // On a line of its own, after the output of the harness.
        println!("\nready");
        let closed = client.ended().await;
        if case == "closed" {
            client::sleep(Duration::from_secs(60)).await;
        }
        closed
    });
    assert_eq!(ended.expect("a runtime").reason, CloseReason::ClientDisconnect);
    println!("disconnected");
}

#[test]
fn sigint_closes_a_reconnected_client() {
    let server = TestServer::start(epoll_config());
    let (mut child, stdout) = start("reconnected", &server.url());
    let status = interrupt(&mut child);
    assert!(status.success(), "{status}");
    let rest: Vec<_> = stdout.lines().map_while(Result::ok).collect();
    assert!(rest.iter().any(|line| line.contains("disconnected")), "{rest:?}");
}

#[test]
fn sigint_ends_a_process_without_open_clients() {
    let server = TestServer::start(epoll_config());
    let (mut child, _stdout) = start("closed", &server.url());
    let status = interrupt(&mut child);
    assert_eq!(status.signal(), Some(2), "{status}");
}
