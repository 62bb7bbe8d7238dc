//! Foreign clients against the `echo` example, on both drivers, with one worker and with several.
//!
//! Several workers matter because engine.io-client opens a connection for each polling request, so the requests of one
//! session arrive at every worker.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::process::{Driver, ServerOptions, ServerProcess};
use crate::support::{foreign, parallel};

/// Ends a client whose own limits (a few seconds for each scenario) have failed.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// From the signal until every client is notified and the server has ended: less than the server's shutdown timeout.
const STOP_LIMIT: Duration = Duration::from_secs(8);

macro_rules! matrix {
    ($($name:ident: $driver:ident, $workers:literal;)+) => { $(
        mod $name {
            use super::*;

            fn options() -> ServerOptions {
                ServerOptions {
                    driver: Driver::$driver,
                    workers: $workers,
                    ..ServerOptions::default()
                }
            }

            #[test]
            fn javascript_client_gets_every_echo() {
                super::javascript_client_gets_every_echo(options());
            }

            #[test]
            fn python_clients_get_every_echo() {
                super::python_clients_get_every_echo(options());
            }

            #[test]
            fn oversized_message_is_reported_to_clients() {
                super::oversized_message_is_reported_to_clients(options());
            }

            #[test]
            fn javascript_client_gets_compressed_echoes() {
                super::javascript_client_gets_compressed_echoes(options());
            }

            #[test]
            fn shutdown_notifies_every_client() {
                super::shutdown_notifies_every_client(options());
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

fn javascript_client_gets_every_echo(options: ServerOptions) {
    let test = "javascript_client_gets_every_echo";
    let Some(client) = foreign::javascript(test) else { return };
    let server = ServerProcess::start(&options);
    run(&mut client.client_command(server.url(), &[]));
}

fn python_clients_get_every_echo(options: ServerOptions) {
    let Some(client) = foreign::python("python_clients_get_every_echo") else { return };
    let server = ServerProcess::start(&options);
    run(&mut client.client_command(server.url(), &[]));
}

fn oversized_message_is_reported_to_clients(options: ServerOptions) {
    let test = "oversized_message_is_reported_to_clients";
    let options = ServerOptions { max_payload: 10_000, ..options };
    for_each_client(test, |client| {
        let server = ServerProcess::start(&options);
        run(&mut client.client_command(server.url(), &["over-limit"]));
    });
}

fn javascript_client_gets_compressed_echoes(options: ServerOptions) {
    let test = "javascript_client_gets_compressed_echoes";
    let Some(client) = foreign::javascript(test) else { return };
    let cases = ["--deflate", "--deflate-takeover"].map(|case| (case.to_owned(), case));
    parallel::for_each(cases, |deflate| {
        let options = ServerOptions { deflate: Some(deflate), ..options.clone() };
        let server = ServerProcess::start(&options);
        run(&mut client.client_command(server.url(), &["deflate"]));
    });
}

fn shutdown_notifies_every_client(options: ServerOptions) {
    let test = "shutdown_notifies_every_client";
    for_each_client(test, |client| {
        let mut server = ServerProcess::start(&options);
        let mut signalled = None;
        let command = &mut client.client_command(server.url(), &["shutdown"]);
        let output = foreign::run(command, CLIENT_LIMIT, |line| {
            if line == "waiting for the server to stop" {
                server.terminate();
                signalled = Some(Instant::now());
            }
        });
        let output = output.unwrap_or_else(|error| panic!("{error}"));
        let signalled = signalled.expect("the client reports that it is connected");

        let status = server.wait(STOP_LIMIT).expect("SIGTERM ends the server");
        assert!(status.success(), "the server ended with {status}");
        assert!(signalled.elapsed() < STOP_LIMIT, "clients were notified late:\n{output}");
    });
}

/// Runs `body` with the JavaScript and the Python clients at the same time.
#[track_caller]
fn for_each_client(test: &str, body: impl Fn(&foreign::Program) + Sync) {
    let clients = [("JavaScript", foreign::javascript(test)), ("Python", foreign::python(test))];
    let clients = clients.into_iter().filter_map(|(name, client)| Some((name.to_owned(), client?)));
    parallel::for_each(clients, body);
}

fn run(command: &mut Command) {
    if let Err(error) = foreign::run(command, CLIENT_LIMIT, |_| {}) {
        panic!("{error}");
    }
}
