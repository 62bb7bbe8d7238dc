//! Foreign clients with short heartbeats against the `echo` example.

use std::time::Duration;

use crate::support::process::{Driver, ServerOptions, ServerProcess};
use crate::support::{foreign, parallel};

/// Ends a client whose own limits (a few seconds for each scenario) have failed.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

macro_rules! matrix {
    ($($name:ident: $driver:ident, $workers:literal;)+) => { $(
        mod $name {
            use super::*;

            #[test]
            fn heartbeat_keeps_only_clients_that_answer_pings() {
                super::heartbeat_keeps_only_clients_that_answer_pings(ServerOptions {
                    driver: Driver::$driver,
                    workers: $workers,
                    ..ServerOptions::default()
                });
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

fn heartbeat_keeps_only_clients_that_answer_pings(options: ServerOptions) {
    let test = "heartbeat_keeps_only_clients_that_answer_pings";
    let javascript =
        foreign::javascript(test).map(|client| (client, &["heartbeat", "silence"][..]));
    let python = foreign::python(test).map(|client| (client, &["heartbeat"][..]));
    let options = ServerOptions {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        ..options
    };
    let clients = [("JavaScript", javascript), ("Python", python)];
    let clients = clients.into_iter().filter_map(|(name, client)| Some((name.to_owned(), client?)));
    parallel::for_each(clients, |(client, scenarios)| {
        let server = ServerProcess::start(&options);
        let mut command = client.client_command(server.url(), scenarios);
        if let Err(error) = foreign::run(&mut command, CLIENT_LIMIT, |_| {}) {
            panic!("{error}");
        }
    });
}
