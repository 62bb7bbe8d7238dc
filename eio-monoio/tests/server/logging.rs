//! A subscriber that panics, as `tracing_subscriber::fmt` does if standard error cannot be written: it ends no thread of
//! the server, at any level.

use std::fs::OpenOptions;
use std::process::Stdio;

use eio_monoio::{Config, Files, Server};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::support::app::App;
use crate::support::configs::drivers;
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::own_process;
use crate::support::process::signal;
use crate::support::request::{POLLING, Request};
use crate::support::websocket::WebSocket;

/// The name of the environment variable that has the level in the process of a case.
const LEVEL: &str = "EIO_TEST_LOG_LEVEL";

/// The level at which [`Panicking`] is the subscriber.
const PANICKING: &str = "panicking";

struct Panicking;

impl tracing::Subscriber for Panicking {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("expected: the subscriber of this test panics");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn log_that_panics_ends_no_thread() {
    if let Ok(level) = std::env::var(LEVEL) {
        return serve_with_a_broken_log(&level);
    }
    for level in ["trace", "debug", "info", "warn", "error", PANICKING] {
        for full_disk in [false, true] {
            let mut command =
                own_process::command(module_path!(), "log_that_panics_ends_no_thread");
            command.env(LEVEL, level).stdout(Stdio::piped());
            let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
            command.stderr(if full_disk { Stdio::from(full()) } else { Stdio::piped() });
            let mut child = command.spawn().expect("the test binary runs");
            // Closes the reading end, if there is one.
            child.stderr.take();
            let output = child.wait_with_output().expect("its output");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{level}, full disk: {full_disk}: {text}");
        }
    }
}

/// One case, in a process of its own, whose standard error cannot be written.
fn serve_with_a_broken_log(level: &str) {
    // Standard error loses the message of a failed assertion.
    std::panic::set_hook(Box::new(|panic| println!("{panic}")));
    if level == PANICKING {
        tracing::subscriber::set_global_default(Panicking).expect("the first subscriber");
    } else {
        let level: tracing::Level = level.parse().expect("a level");
        // The crate's own events: at TRACE mio has some, which no caller can guard.
        let filter = Targets::new().with_target("eio_monoio", level);
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    }
    for driver in drivers() {
        let config = Config::new().driver(driver).workers(2).handle_signals(true);
        let log = Log::default();
        let files = Files::new().route("/files", "/does/not/exist");
        let server = Server::new(move || App::new(&log)).config(config).files(files);
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let addr = running.local_addr();
        let mut others: Vec<_> = (0..100).map(|_| WebSocket::open(addr).0).collect();
        let (mut fatal, _) = WebSocket::open(addr);
        fatal.send("4!panic");
        assert_eq!(fatal.text(), "1");
        assert_eq!(fatal.expect_close(), Some(1011));
        // In the thread of a job, of blocking work and of files, and in refusals.
        running.remote().spawn(|| async { panic!("expected: this job panics") });
        running.remote().spawn(|| async {
            _ = eio_monoio::blocking(|| panic!("expected: this work panics")).await;
        });
        let ask = |target: &str| Connection::open(addr).request(&Request::get(target)).status;
        assert_eq!(ask("/files/missing"), 404);
        assert_eq!(ask("/engine.io/?EIO=3&transport=polling"), 400);
        assert_eq!(ask(&format!("{POLLING}&refuse=forbidden")), 403);
        others.iter_mut().for_each(WebSocket::assert_alive);
        signal("-HUP", &std::process::id().to_string());
        signal("-TERM", &std::process::id().to_string());
        for other in &mut others {
            assert_eq!(other.text(), "1");
            assert_eq!(other.expect_close(), Some(1001));
        }
        drop((others, fatal));
        running.join().expect("no worker ended by a panic");
    }
}
