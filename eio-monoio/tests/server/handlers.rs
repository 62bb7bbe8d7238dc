//! What an application may do wrong: take its time, flood, never end.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::support::app::{Entry, Host, Log};
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{Polling, Request, WebSocket, target};
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Dispatch, Handler, Message, OwnedMessage, Refusal, Socket,
};

/// Waits at the text `wait` until a session of the same core says `go`; echoes the rest.
struct Waiting {
    log: Log,
    gate: Rc<Gate>,
}

#[derive(Default)]
struct Gate {
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    async fn opened(&self) {
        poll_fn(|cx| {
            if self.open.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Handler for Waiting {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        self.log.push(socket, Entry::Message(message.into()));
        let wait = message == Message::Text("wait");
        if message == Message::Text("go") {
            self.gate.open.set(true);
            self.gate.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
        let (socket, echo) = (socket.clone(), OwnedMessage::from(message));
        async move {
            if wait {
                self.gate.opened().await;
            }
            // Fails only if the client has left meanwhile.
            _ = socket.send(&echo).await;
        }
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// One core, so that one session can open the gate for another: whatever waits there belongs to its core.
fn waiting(config: Config) -> Host {
    Host::run(config.workers(1), |log| Waiting { log: log.clone(), gate: Rc::default() })
}

fn go(host: &Host) {
    Polling::open(host.addr()).say("4go");
}

#[test]
fn a_slow_handler_never_delays_a_heartbeat_nor_reorders_messages() {
    everywhere(|config| {
        let config = config.ping_interval(Duration::from_millis(50));
        let host = waiting(config.ping_timeout(Duration::from_millis(1000)));
        let begun = Instant::now();
        let mut polling = Polling::open(host.addr());
        polling.say("4wait\x1e41");
        polling.say("42\x1ebAw==");
        let (mut socket, _) = WebSocket::open(host.addr());
        ["4wait", "41", "42"].iter().for_each(|text| socket.send(text));
        // Longer than a silent peer would be suffered.
        while begun.elapsed() < Duration::from_millis(1300) {
            assert_eq!(polling.poll(), "2");
            polling.say("3");
            assert_eq!(socket.text(), "2");
            socket.send("3");
        }
        polling.say("43");
        socket.send("43");
        go(&host);
        let mut echoed = Vec::new();
        while echoed.len() < 5 {
            let body = polling.poll();
            echoed.extend(body.split('\x1e').filter(|packet| *packet != "2").map(str::to_owned));
        }
        assert_eq!(echoed, ["4wait", "41", "42", "bAw==", "43"]);
        let mut echoed = Vec::new();
        while echoed.len() < 4 {
            echoed.extend(Some(socket.text()).filter(|packet| packet != "2"));
        }
        assert_eq!(echoed, ["4wait", "41", "42", "43"]);
    });
}

#[test]
fn a_slow_handler_never_shortens_the_life_of_an_idle_connection() {
    everywhere(|config| {
        let host = waiting(config.head_timeout(Duration::from_millis(400)));
        let mut polling = Polling::open(host.addr());
        polling.say("4wait");
        // idle_timeout is a minute: the connection has had its request.
        polling.post.expect_silence(Duration::from_millis(600));
        polling.say("41");
        go(&host);
        assert_eq!(polling.poll(), "4wait\x1e41");
    });
}

#[test]
fn a_slow_handler_never_waits_for_the_end_of_a_connection() {
    everywhere(|config| {
        let host = waiting(config);
        let mut polling = Polling::open(host.addr());
        let request = Request::post(&target(&polling.sid), "4wait\x1e41");
        polling.post.request(&request.header("Connection", "close")).assert(200, "ok");
        polling.start_poll();
        go(&host);
        // The server hears a closing client out for two seconds. We keep our side open.
        let answer = polling.get.try_response(Duration::from_millis(1500)).expect("an answer");
        answer.assert(200, "4wait\x1e41");
    });
}

#[test]
fn a_session_never_says_goodbye_before_its_last_message_is_done() {
    everywhere(|config| {
        let host = waiting(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4wait\x1e4behind");
        polling.say("1");
        polling.assert_unknown();
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4wait");
        socket.send("4behind");
        socket.send("1");
        socket.wire.expect_gone();
        for sid in [&polling.sid, &sid] {
            assert!(!host.log.of(sid).iter().any(|entry| matches!(entry, Entry::Closed(_))));
        }
        go(&host);
        for sid in [&polling.sid, &sid] {
            assert_eq!(host.log.close_reason(sid), CloseReason::ClientDisconnect);
            let said = |text: &str| Entry::Message(OwnedMessage::Text(text.into()));
            let goodbye = Entry::Closed(CloseReason::ClientDisconnect);
            assert_eq!(host.log.of(sid), [said("wait"), said("behind"), goodbye]);
        }
        drop((polling, socket));
        host.settles_at(1, 0);
    });
}

#[test]
fn a_handler_that_lags_never_makes_the_server_take_more_than_its_mark() {
    everywhere(|config| {
        let host = waiting(config.inbound_high_water(1000));
        let mut polling = Polling::open(host.addr());
        let sid = polling.sid.clone();
        let packets: Vec<_> = (0..10).map(|n| format!("4{n}{}", "x".repeat(250))).collect();
        polling.say("4wait");
        let (three, rest) = packets.split_at(3);
        polling.say(three.join("\x1e"));
        // With these the mark is passed: they are taken, but not answered before there is room.
        polling.post.send(&Request::post(&target(&sid), rest.join("\x1e")));
        polling.post.expect_silence(Duration::from_millis(50));
        go(&host);
        polling.post.response().assert(200, "ok");
        let mut echoed = Vec::new();
        while echoed.len() < 11 {
            echoed.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(echoed[0], "4wait");
        assert_eq!(echoed[1..], packets);
    });
}

#[test]
fn a_handler_that_is_stuck_never_keeps_its_session() {
    everywhere(|config| {
        let beat = Duration::from_millis(50);
        let host = waiting(config.inbound_high_water(100).ping_interval(beat).ping_timeout(beat));
        let mut polling = Polling::open(host.addr());
        // Answered ok, unless this machine was away for as long as it takes to end the session.
        polling.push("4wait");
        // Held up by the application, and suffered for that, but not for ever.
        polling.push(format!("4{}", "x".repeat(200)));
        polling.assert_unknown();
        drop(polling);
        host.empties();
    });
}

#[test]
fn concurrent_messages_never_wait_for_each_other() {
    everywhere(|config| {
        let host = waiting(config.dispatch(Dispatch::Concurrent));
        let mut polling = Polling::open(host.addr());
        polling.say("4wait\x1e41\x1e42");
        assert_eq!(polling.poll(), "41\x1e42");
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.send("4wait");
        socket.assert_alive();
        go(&host);
        assert_eq!(polling.poll(), "4wait");
        assert_eq!(socket.text(), "4wait");
    });
}

#[test]
fn concurrent_messages_never_pile_up_without_end() {
    everywhere(|config| {
        let config = config.dispatch(Dispatch::Concurrent).inbound_high_water(10_000);
        let host = waiting(config);
        let packets = vec!["4wait"; 1000];
        let mut polling = Polling::open(host.addr());
        polling.post.send(&Request::post(&target(&polling.sid), packets.join("\x1e")));
        let (mut socket, sid) = WebSocket::open(host.addr());
        packets.iter().for_each(|packet| socket.send(packet));
        polling.post.expect_silence(Duration::from_millis(50));
        for sid in [&polling.sid, &sid] {
            let begun = host.log.messages(sid).len();
            // Each costs a task, however short it is.
            assert!((1..=100).contains(&begun), "{begun} handlers wait");
        }
        go(&host);
        let mut echoed = 0;
        while echoed < packets.len() {
            echoed += polling.poll().split('\x1e').count();
        }
        polling.post.response().assert(200, "ok");
        (0..packets.len()).for_each(|_| assert_eq!(socket.text(), "4wait"));
    });
}

#[test]
fn a_busy_handler_never_lets_an_upgraded_socket_fill_the_memory() {
    everywhere(|config| {
        let host = waiting(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4wait");
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        socket.send("5");
        let message = crate::support::wire::frame(crate::support::wire::BINARY, &vec![0; 500_000]);
        let stream = socket.wire.stream();
        stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a write timeout");
        // More than the sockets of both ends hold.
        let taken = (0..100).take_while(|_| socket.wire.try_write(&message).is_ok()).count();
        assert!(taken < 100, "all of it was taken");
    });
}

/// Floods whoever says anything, as fast as it is taken.
struct Flood;

impl Handler for Flood {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        _: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let socket = socket.clone();
        async move {
            for n in 0..300 {
                socket.drained().await;
                assert!(socket.queued() < 1000, "{} bytes wait", socket.queued());
                socket.send(format!("{n:0100}").as_str()).await.expect("a session");
            }
        }
    }
}

#[test]
fn a_handler_that_awaits_room_never_loses_or_reorders_anything() {
    everywhere(|config| {
        let host = Host::run(config.outbound_high_water(1000), |_| Flood);
        let mut polling = Polling::open(host.addr());
        polling.say("4go");
        let mut packets = Vec::new();
        while packets.len() < 300 {
            packets.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(packets, (0..300).map(|n| format!("4{n:0100}")).collect::<Vec<_>>());
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.send("4go");
        for n in 0..300 {
            assert_eq!(socket.text(), format!("4{n:0100}"));
        }
    });
}

#[test]
fn a_busy_sender_never_starves_the_upgrade() {
    everywhere(|config| {
        let host = Host::run(config.outbound_high_water(1000), |_| Flood);
        let mut polling = Polling::open(host.addr());
        // Its queue is full from here on, and refilled as soon as there is room.
        polling.say("4go");
        let mut packets: Vec<_> = polling.poll().split('\x1e').map(str::to_owned).collect();
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        socket.send("5");
        packets.resize_with(300, || socket.text());
        assert_eq!(packets, (0..300).map(|n| format!("4{n:0100}")).collect::<Vec<_>>());
    });
}

#[test]
fn a_handler_that_never_ends_never_keeps_the_server_from_ending() {
    let host = waiting(somewhere());
    let mut polling = Polling::open(host.addr());
    polling.say("4wait\x1e4behind");
    let begun = Instant::now();
    // Shuts down and waits for it: 100 ms, and what a busy machine adds.
    drop(host);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
