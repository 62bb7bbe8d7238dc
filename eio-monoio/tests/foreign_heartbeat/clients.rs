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
    let options = ServerOptions {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        ..options
    };
    let (javascript, python) = (foreign::javascript(test), foreign::python(test));
    let cases = [(javascript, "heartbeat"), (javascript, "silence"), (python, "heartbeat")];
    let cases = cases.into_iter().enumerate().filter_map(|(n, (client, scenario))| {
        Some((format!("{scenario} {n}"), (client?, scenario)))
    });
    parallel::for_each(cases, |(client, scenario)| {
        let server = ServerProcess::start(&options);
        let mut command = client.client_command(server.url(), &[scenario]);
        if let Err(error) = foreign::run(&mut command, CLIENT_LIMIT, |_| {}) {
            panic!("{error}");
        }
    });
}
