//! How sessions end, in every state, by either side: once, for one reason, and with nothing left over
//! (protocol 2.8).

use std::time::Duration;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, Refusal, SendError, Sid, Socket,
    Transport,
};

use crate::support::app::{Entry, Host, Log, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{Polling, WebSocket};

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
            eio_monoio::sleep(NAP).await;
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
            eio_monoio::sleep(NAP).await;
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

/// Opens a session over each transport, and one that has been upgraded.
fn three(host: &Host) -> (WebSocket, Polling, (Polling, WebSocket), [Sid; 3]) {
    let (socket, direct) = WebSocket::open(host.addr());
    let polling = Polling::open(host.addr());
    let before = Polling::open(host.addr());
    let mut after = WebSocket::attach(host.addr(), &before.sid);
    after.send("5");
    after.assert_alive();
    let sids = [&direct, &polling.sid, &before.sid].map(|sid| Sid::new(sid).expect("a sid"));
    (socket, polling, (before, after), sids)
}

/// A WebSocket that is told so ends with `1` and an orderly close.
#[track_caller]
fn leaves(socket: &mut WebSocket) {
    assert_eq!(socket.text(), "1");
    assert_eq!(socket.expect_close(), Some(1000));
}

#[test]
fn a_polling_client_is_told_of_a_close_at_its_next_poll_and_then_unknown() {
    everywhere(|config| {
        let host = Host::start(config);
        // Protocol 2.8: with a GET held, ...
        let mut held = Polling::open(host.addr());
        held.start_poll();
        held.get.expect_silence(Duration::from_millis(20));
        held.say("4!close");
        assert_eq!(held.polled(), "1");
        held.assert_unknown();
        // ... with none, ...
        let mut none = Polling::open(host.addr());
        none.say("4!close");
        // (messages that still come are nobody's)
        none.say("4late");
        assert_eq!(none.poll(), "1");
        none.assert_unknown();
        // ... behind messages, in as many responses as they need, ...
        let mut queued = Polling::open(host.addr());
        queued.say("4!burst 20\u{1e}4!close");
        let (first, second) = (queued.poll(), queued.poll());
        assert_eq!((first.split('\u{1e}').count(), second.split('\u{1e}').count()), (16, 5));
        assert!(second.ends_with("\u{1e}1"));
        queued.assert_unknown();
        // ... and at once.
        let mut aborted = Polling::open(host.addr());
        aborted.say("4!burst 20\u{1e}4!abort");
        aborted.assert_unknown();
        for polling in [&held, &none, &queued, &aborted] {
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        }
        assert!(!host.log.messages(&none.sid).contains(&Message::Text("late").into()));
    });
}

#[test]
fn a_polling_client_that_does_not_fetch_its_close_is_not_waited_for() {
    everywhere(|config| {
        let host = Host::start(config.close_timeout(Duration::from_millis(150)));
        let mut polling = Polling::open(host.addr());
        polling.say("4!burst 3\u{1e}4!close");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
    });
}

#[test]
fn an_abort_cuts_what_is_queued_and_not_the_closing_handshake() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4!abort");
        leaves(&mut socket);
        assert_eq!(host.log.close_reason(&sid), CloseReason::ServerDisconnect);
        let mut held = Polling::open(host.addr());
        held.start_poll();
        held.get.expect_silence(Duration::from_millis(20));
        held.say("4!abort");
        assert_eq!(held.polled(), "1");
    });
}

#[test]
fn a_panic_ends_its_session_and_no_other() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut bystander, _) = WebSocket::open(host.addr());
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4!panic");
        assert_eq!(socket.text(), "1");
        // RFC 6455 7.4.1: "an unexpected condition".
        assert_eq!(socket.expect_close(), Some(1011));
        let mut polling = Polling::open(host.addr());
        polling.start_poll();
        polling.push("4!panic");
        assert_eq!(polling.polled(), "1");
        for sid in [sid, polling.sid.clone()] {
            assert_eq!(host.log.close_reason(&sid), CloseReason::HandlerPanicked);
        }
        bystander.assert_alive();
    });
}

#[test]
fn other_threads_reach_every_session_wherever_it_lives() {
    everywhere(|config| {
        let host = Host::start(config);
        let remote = host.remote();
        let (mut socket, mut polling, (_, mut after), sids) = three(&host);
        assert_eq!(remote.sessions(), 3);
        let carried = [Transport::WebSocket, Transport::Polling, Transport::WebSocket];
        assert_eq!(sids.each_ref().map(|sid| remote.transport(sid)), carried.map(Some));

        let mut expect = |packet: &str| {
            assert_eq!((socket.text(), after.text()), (packet.into(), packet.into()));
            assert_eq!(polling.poll(), packet);
        };
        sids.iter().for_each(|sid| remote.send(sid, "to each").expect("room"));
        expect("4to each");
        remote.send_many(sids.clone(), "to many").expect("room");
        expect("4to many");
        remote.broadcast("to all").expect("room");
        expect("4to all");
        // Its order is kept, and binary is binary.
        remote.broadcast(Message::Binary(&[1, 2])).expect("room");
        (0..50).for_each(|n| remote.broadcast(n.to_string().as_str()).expect("room"));
        assert_eq!((socket.binary(), after.binary()), (vec![1, 2], vec![1, 2]));
        for n in 0..50 {
            assert_eq!((socket.text(), after.text()), (format!("4{n}"), format!("4{n}")));
        }
        let polled =
            [polling.poll(), polling.poll(), polling.poll(), polling.poll()].join("\u{1e}");
        let numbers = (0..50).map(|n| format!("4{n}"));
        let all: Vec<_> = ["bAQI=".to_owned()].into_iter().chain(numbers).collect();
        assert_eq!(polled, all.join("\u{1e}"));
    });
}

#[test]
fn other_threads_end_one_session_or_all() {
    everywhere(|config| {
        let host = Host::start(config);
        let remote = host.remote();
        let (mut socket, mut polling, (_before, mut after), sids) = three(&host);
        polling.start_poll();
        remote.disconnect(&sids[0]);
        leaves(&mut socket);
        after.assert_alive();
        eventually("one session less", || remote.sessions() == 2);
        remote.disconnect_all();
        leaves(&mut after);
        assert_eq!(polling.polled(), "1");
        for sid in &sids {
            assert_eq!(host.log.close_reason(sid.as_str()), CloseReason::ServerDisconnect);
            assert_eq!(remote.transport(sid), None);
            // Nobody is there any more: nothing happens.
            _ = remote.send(sid, "too late");
            remote.disconnect(sid);
        }
        // A sid that was never issued, and one that cannot be.
        for foreign in ["AAAAAAAAAAAAAAAAAAAAAAAA", "x"] {
            let sid = Sid::new(foreign).expect("a sid");
            let sent = remote.send(&sid, "nobody");
            assert!(foreign.len() > 1 || sent == Err(SendError::Closed));
            assert_eq!(remote.transport(&sid), None);
        }
        WebSocket::open(host.addr()).0.assert_alive();
    });
}
