//! A client that does not read is not read from, is let go in the end, and costs nobody else anything.

mod support;

use std::time::Duration;

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};

use support::app::Host;
use support::matrix::everywhere;
use support::wire::{WEBSOCKET, WebSocket};

/// Greets with more than any socket buffer holds.
struct Verbose;

impl Handler for Verbose {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    async fn open(&self, socket: &Socket<()>) {
        socket.try_send(Message::Binary(&vec![7; 32 << 20])).expect("one message may overshoot");
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }
}

#[test]
fn a_client_that_never_reads_its_very_first_frame_does_not_keep_its_connection() {
    everywhere(|config| {
        let short = Duration::from_millis(50);
        // A mark this high: the connection does not count as slow, and nothing but its end wakes it.
        let config = config.ping_interval(short).ping_timeout(short).outbound_high_water(1 << 30);
        let host = Host::run(config, |_| Verbose);
        let _deaf = WebSocket::connect(host.addr(), WEBSOCKET);
        host.empties();
    });
}
