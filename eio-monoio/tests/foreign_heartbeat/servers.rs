//! The client against foreign servers with short heartbeats.

use std::time::{Duration, Instant};

use eio_monoio::client;
use eio_monoio::{CloseReason, Driver, OwnedMessage, Transport};

use crate::support::client::{TRANSPORTS, block_on, closed, connect_over, next_message};
use crate::support::foreign::{ForeignServer, JAVASCRIPT, PYTHON};
use crate::support::parallel;
use crate::support::process::signal;

macro_rules! for_each_server {
    ($($test:ident)+) => {
        mod javascript {
            $( #[test] fn $test() { super::$test(super::JAVASCRIPT, stringify!($test)) } )+
        }
        mod python {
            $( #[test] fn $test() { super::$test(super::PYTHON, stringify!($test)) } )+
        }
    };
}

for_each_server! {
    silent_server_times_out
    heartbeat_keeps_an_idle_session_open
}

/// Runs `test` with each of [`TRANSPORTS`] at the same time, on one driver.
#[track_caller]
fn on_every_transport(test: impl AsyncFn(Option<Transport>) + Sync) {
    parallel::for_each(TRANSPORTS.map(|case| (format!("{case:?}"), case)), |transport| {
        block_on(Driver::Epoll, test(transport));
    });
}

fn silent_server_times_out(kind: ForeignServer, test: &str) {
    on_every_transport(async |transport| {
        let Some(server) = kind.start(test, kind.brief, "1000000") else { return };
        let client = connect_over(server.url(), transport).await.expect("connects");
        client.send("first").await.expect("queued");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("first".into()));
        // Like a half-open connection: the kernel of the server accepts data, and no data arrives.
        signal("-STOP", &server.pid().to_string());
        let begun = Instant::now();
        let closed = closed(&client).await;
        assert_eq!(closed.reason, CloseReason::PingTimeout, "{closed}");
        assert!(begun.elapsed() < kind.brief_sum + Duration::from_secs(20));
    });
}

fn heartbeat_keeps_an_idle_session_open(kind: ForeignServer, test: &str) {
    let Some(server) = kind.start(test, kind.brief, "1000000") else { return };
    on_every_transport(async |transport| {
        let client = connect_over(server.url(), transport).await.expect("connects");
        client::sleep(kind.brief_sum * 3 / 2).await;
        client.send("still here").await.expect("queued");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("still here".into()));
    });
}
