//! The clients people use, against the `echo` example, on both drivers, with one worker and with
//! several.
//!
//! The scenarios are in `interop/`, next to `tests/`; each can be run by hand. Several workers
//! matter because engine.io-client opens a connection for each polling request, so that one
//! session's requests arrive on every worker.

use std::process::Command;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::support::foreign;
use crate::support::server::{Driver, Options, Server};

/// Ends a process whose own limits (a few seconds for each scenario) have failed.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// From the signal until every client has noticed and the server is gone.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Tests of short heartbeats do not share the machine with the others.
static QUIET: RwLock<()> = RwLock::new(());

macro_rules! matrix {
    ($($name:ident: $driver:ident, $workers:literal;)+) => { $(
        mod $name {
            use super::*;

            fn options() -> Options {
                Options { driver: Driver::$driver, workers: $workers, ..Options::default() }
            }

            #[test]
            fn the_javascript_client_gets_back_what_it_sends() {
                super::the_javascript_client_gets_back_what_it_sends(options());
            }

            #[test]
            fn the_python_clients_get_back_what_they_send() {
                super::the_python_clients_get_back_what_they_send(options());
            }

            #[test]
            fn clients_live_while_they_answer_pings_and_not_longer() {
                super::clients_live_while_they_answer_pings_and_not_longer(options());
            }

            #[test]
            fn clients_are_told_that_a_message_is_too_large() {
                super::clients_are_told_that_a_message_is_too_large(options());
            }

            #[test]
            fn what_the_javascript_client_compresses_comes_back_compressed() {
                super::what_the_javascript_client_compresses_comes_back_compressed(options());
            }

            #[test]
            fn a_stopping_server_tells_every_client() {
                super::a_stopping_server_tells_every_client(options());
            }
        }
    )+ };
}

matrix! {
    io_uring_with_one_worker: IoUring, 1;
    io_uring_with_three_workers: IoUring, 3;
    epoll_with_one_worker: Epoll, 1;
    epoll_with_three_workers: Epoll, 3;
}

fn the_javascript_client_gets_back_what_it_sends(options: Options) {
    let Some(client) = foreign::javascript("the_javascript_client_gets_back_what_it_sends") else {
        return;
    };
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(&options);
    succeed(&mut client.command(server.url(), &[]));
}

fn the_python_clients_get_back_what_they_send(options: Options) {
    let Some(client) = foreign::python("the_python_clients_get_back_what_they_send") else {
        return;
    };
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(&options);
    succeed(&mut client.command(server.url(), &[]));
}

fn clients_live_while_they_answer_pings_and_not_longer(options: Options) {
    let test = "clients_live_while_they_answer_pings_and_not_longer";
    let javascript =
        foreign::javascript(test).map(|client| (client, &["heartbeat", "silence"][..]));
    let python = foreign::python(test).map(|client| (client, &["heartbeat"][..]));
    let options = Options {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        ..options
    };
    let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    for (client, scenarios) in [javascript, python].into_iter().flatten() {
        let server = Server::start(&options);
        succeed(&mut client.command(server.url(), scenarios));
    }
}

fn clients_are_told_that_a_message_is_too_large(options: Options) {
    let test = "clients_are_told_that_a_message_is_too_large";
    let (javascript, python) = (foreign::javascript(test), foreign::python(test));
    let options = Options { max_payload: 10_000, ..options };
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    for client in [javascript, python].into_iter().flatten() {
        let server = Server::start(&options);
        succeed(&mut client.command(server.url(), &["over-limit"]));
    }
}

fn what_the_javascript_client_compresses_comes_back_compressed(options: Options) {
    let test = "what_the_javascript_client_compresses_comes_back_compressed";
    let Some(client) = foreign::javascript(test) else { return };
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    for deflate in ["--deflate", "--deflate-takeover"] {
        let server = Server::start(&Options { deflate: Some(deflate), ..options.clone() });
        succeed(&mut client.command(server.url(), &["deflate"]));
    }
}

fn a_stopping_server_tells_every_client(options: Options) {
    let test = "a_stopping_server_tells_every_client";
    let (javascript, python) = (foreign::javascript(test), foreign::python(test));
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    for client in [javascript, python].into_iter().flatten() {
        let mut server = Server::start(&options);
        let mut signalled = None;
        let command = &mut client.command(server.url(), &["shutdown"]);
        let output = foreign::run(command, CLIENT_LIMIT, |line| {
            if line == "waiting for the server to stop" {
                server.terminate();
                signalled = Some(Instant::now());
            }
        });
        let output = output.unwrap_or_else(|error| panic!("{error}"));
        let signalled = signalled.expect("the client says when it is connected");

        let status = server.wait(STOP_LIMIT).expect("SIGTERM ends the server");
        assert!(status.success(), "the server ended with {status}");
        assert!(signalled.elapsed() < STOP_LIMIT, "slow to tell its clients:\n{output}");
    }
}

fn succeed(command: &mut Command) {
    if let Err(error) = foreign::run(command, CLIENT_LIMIT, |_| {}) {
        panic!("{error}");
    }
}
