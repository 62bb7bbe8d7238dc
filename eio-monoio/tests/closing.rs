//! How sessions end, in every state, by either side: once, for one reason, and with nothing left over
//! (protocol 2.8).

mod support;

use std::time::Duration;

use eio_monoio::{CloseReason, Config, ConnectRequest, Handler, Message, Refusal, Socket};

use support::app::{Entry, Host, Log, eventually};
use support::matrix::everywhere;
use support::wire::{Polling, WebSocket};

/// Longer than any other task of a core needs to have its turn.
const NAP: Duration = Duration::from_millis(50);

/// Ends its session by itself, and has something to do after that.
struct Quitter {
    log: Log,
    at_open: bool,
}

impl Quitter {
    fn start(config: Config, at_open: bool) -> Host {
        Host::run(config, move |log| Self { log: log.clone(), at_open })
    }
}

impl Handler for Quitter {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    async fn open(&self, socket: &Socket<()>) {
        if self.at_open {
            socket.abort();
            monoio::time::sleep(NAP).await;
        }
        self.log.push(socket, Entry::Opened);
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.disconnect();
        let (socket, message) = (socket.clone(), message.into());
        async move {
            monoio::time::sleep(NAP).await;
            self.log.push(&socket, Entry::Message(message));
        }
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// Everything about the only session, once that has ended and there was time to say so twice.
fn whole_story(host: &Host, sid: &str) -> Vec<Entry> {
    eventually("the disconnect", || {
        host.log.of(sid).iter().any(|entry| matches!(entry, Entry::Closed(_)))
    });
    std::thread::sleep(3 * NAP);
    host.log.of(sid)
}

#[test]
fn a_handler_that_ends_its_session_does_not_hear_of_that_twice_or_before_it_is_done() {
    everywhere(|config| {
        let host = Quitter::start(config, false);
        let bye = Entry::Message(Message::Text("bye").into());
        let story = [Entry::Opened, bye, Entry::Closed(CloseReason::ServerDisconnect)];

        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4bye");
        assert_eq!(whole_story(&host, &sid), story, "WebSocket");

        let mut polling = Polling::open(host.addr());
        polling.start_poll();
        polling.push("4bye");
        assert_eq!(whole_story(&host, &polling.sid), story, "polling");
    });
}

#[test]
fn a_session_ended_at_its_opening_is_not_told_of_its_end_before_its_opening() {
    everywhere(|config| {
        let host = Quitter::start(config, true);
        let story = [Entry::Opened, Entry::Closed(CloseReason::ServerDisconnect)];
        let (_socket, sid) = WebSocket::open(host.addr());
        assert_eq!(whole_story(&host, &sid), story, "WebSocket");
        let polling = Polling::open(host.addr());
        assert_eq!(whole_story(&host, &polling.sid), story, "polling");
    });
}
