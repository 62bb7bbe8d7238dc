//! Backpressure of polling sessions: the queue of outgoing messages is bounded, and POSTs wait for room.

use std::time::Duration;

use eio_monoio::CloseReason;

use crate::support::configs::for_each_config;
use crate::support::polling::Polling;
use crate::support::request::{Request, target};
use crate::support::test_server::TestServer;

#[test]
fn posts_wait_while_the_client_does_not_poll() {
    for_each_config(|config| {
        let server = TestServer::start(config.outbound_high_water(1000));
        let mut bystander = Polling::open(server.addr());
        let mut polling = Polling::open(server.addr());
        let packets: Vec<_> = (0..20).map(|n| format!("4{n}{}", "x".repeat(300))).collect();
        polling.post.send(&Request::post(&target(&polling.sid), packets.join("\x1e")));
        polling.post.expect_silence(Duration::from_millis(50));
        // Three messages with their overhead are the mark, and one more may exceed it.
        assert!(server.log.messages(&polling.sid).len() <= 4);
        bystander.assert_alive();
        // No message is lost.
        let mut echoed = Vec::new();
        while echoed.len() < packets.len() {
            let body = polling.poll();
            assert!(body.len() < 1500, "{} bytes were queued", body.len());
            echoed.extend(body.split('\x1e').map(str::to_owned));
        }
        assert_eq!(echoed, packets);
        polling.post.response().assert(200, "ok");
        polling.assert_alive();
    });
}

#[test]
fn messages_of_the_application_are_bounded() {
    for_each_config(|config| {
        let server = TestServer::start(config.outbound_high_water(10_000));
        let mut polling = Polling::open(server.addr());
        // The overhead of the queue counts: at most ten, and one may exceed the mark.
        polling.post.send(&Request::post(&target(&polling.sid), "4!fill 1000000"));
        let packets = polling.poll().split('\x1e').count();
        assert!((9..=11).contains(&packets), "{packets} were queued");
        polling.post.response().assert(200, "ok");
        polling.assert_alive();
    });
}

#[test]
fn client_that_never_polls_times_out() {
    for_each_config(|config| {
        let beat = Duration::from_millis(50);
        let server = TestServer::start(
            config.outbound_high_water(100).ping_interval(beat).ping_timeout(beat),
        );
        let mut polling = Polling::open(server.addr());
        // The POST waits for room for its answers: the session is kept longer, but not without limit.
        let response = polling.try_post(format!("4{0}\x1e4{0}\x1e4{0}", "x".repeat(100)));
        assert!([200, 400].contains(&response.status), "{response:?}");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        polling.assert_unknown();
        drop(polling);
        server.wait_until_empty();
    });
}
