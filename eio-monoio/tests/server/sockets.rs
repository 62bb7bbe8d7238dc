//! What a handler can do with its session and with the others: it is told when there is no room, and nothing is
//! reordered, doubled or dropped without a word.

use std::time::Duration;

use eio_monoio::{
    Config, ConnectRequest, Dispatch, Handler, Message, OwnedMessage, Packet, Refusal, SendError,
    Sid, Socket, Transport, spawn,
};

use crate::support::app::{Entry, Host, Log, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{Polling, WEBSOCKET, WebSocket};

const MARK: usize = 10_000;

/// Does what messages tell it, and notes what came of it.
struct Actor {
    log: Log,
}

impl Actor {
    fn start(config: Config) -> Host {
        Host::run(config, |log| Self { log: log.clone() })
    }

    async fn act(&self, socket: &Socket<String>, order: &str) {
        let kilobyte = "x".repeat(1000);
        let note = |text: String| {
            self.log.push(socket, Entry::Message(OwnedMessage::Text(text)));
        };
        let (verb, argument) = order.split_once(' ').unwrap_or((order, ""));
        match verb {
            "fill" => {
                let sent =
                    (0..100).take_while(|_| socket.try_send(kilobyte.as_str()).is_ok()).count();
                note(format!("{sent} {:?}", socket.try_send("one more")));
                socket.send_volatile("outdated");
                if argument == "drain" {
                    socket.drained().await;
                    note(format!("room: {}", socket.queued() < MARK));
                }
            }
            "stream" => {
                for n in 0..100 {
                    let text = format!("{n} {kilobyte}");
                    socket.send(text.as_str()).await.expect("it is open");
                    assert!(socket.queued() < MARK + 2 * text.len(), "{} queued", socket.queued());
                }
                note("streamed".into());
            }
            "blocked" => {
                let mut sent = 0;
                let error = loop {
                    match socket.send(kilobyte.as_str()).await {
                        Ok(()) => sent += 1,
                        Err(error) => break error,
                    }
                };
                note(format!("{} {error:?}", sent > 5));
            }
            "separator" => note(format!("{:?}", socket.try_send("a\u{1e}4b"))),
            "abort" => {
                socket.abort();
                note(format!("{:?} {:?}", socket.try_send("late"), socket.send("late").await));
                socket.send_volatile("late");
                socket.drained().await;
                note(format!("{:?}", socket.closed()));
            }
            "broadcast" => socket.server().broadcast(argument),
            "send" => {
                let (sid, text) = argument.split_once(' ').expect("a sid and a text");
                socket.server().send(&Sid::new(sid).expect("a sid"), text);
            }
            "disconnect" => socket.server().disconnect(&Sid::new(argument).expect("a sid")),
            "who" => note(format!("{} {}", socket.data(), socket.server().sessions())),
            "nap" => {
                eio_monoio::sleep(Duration::from_millis(argument.parse().expect("ms"))).await;
                note(format!("napped {argument}"));
            }
            "watch" => {
                let (log, socket) = (self.log.clone(), socket.clone());
                spawn(async move {
                    let note = |text: String| {
                        log.push(&socket, Entry::Message(OwnedMessage::Text(text)));
                    };
                    socket.upgraded().await;
                    note(format!("upgraded to {}", socket.transport()));
                    note(format!("ended: {:?}", socket.ended().await));
                });
            }
            "flush" => {
                socket.send("going").await.expect("it is open");
                note(format!("waits: {}", socket.queued() > 0));
                socket.flushed().await;
                note(format!("queued: {}", socket.queued()));
            }
            "packets" => {
                let packets = [
                    Packet::Ping(""),
                    Packet::Pong(""),
                    Packet::Open(""),
                    Packet::Noop,
                    Packet::Upgrade,
                ];
                let reserved = Err(SendError::Reserved);
                assert!(packets.iter().all(|packet| socket.try_send_packet(*packet) == reserved));
                let message = Packet::Message(Message::Text("a packet"));
                socket.try_send_packet(message).expect("room");
                socket.try_send_packet(Packet::Close).expect("open");
                note(format!("{:?}", socket.try_send_packet(message)));
            }
            "find" => {
                let (here, there) = argument.split_once(' ').expect("two sids");
                let find = |sid: &str| {
                    let sid = Sid::new(sid).expect("a sid");
                    socket.server().socket(&sid).map(|socket| socket.data().clone())
                };
                note(format!("{:?} {:?}", find(here), find(there)));
            }
            other => panic!("unknown order {other:?}"),
        }
    }
}

impl Handler for Actor {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        Ok(request.query("name").unwrap_or("nobody").to_owned())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            match message.borrow() {
                Message::Text(order) => self.act(&socket, order).await,
                Message::Binary(_) => panic!("no order"),
            }
        }
    }
}

/// What the application noted about a session, when it has noted so much.
#[track_caller]
fn notes(host: &Host, sid: &str, count: usize) -> Vec<String> {
    eventually("a note", || host.log.messages(sid).len() >= count);
    let texts = host.log.messages(sid).into_iter().map(|note| match note {
        OwnedMessage::Text(text) => text,
        OwnedMessage::Binary(_) => unreachable!("notes are text"),
    });
    texts.collect()
}

#[test]
fn a_full_queue_is_reported_and_takes_nothing_more() {
    everywhere(|config| {
        let host = Actor::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(host.addr());
        polling.say("4fill");
        assert_eq!(notes(&host, &polling.sid, 1), ["10 Err(Full)"]);
        // Nothing of what was refused or volatile comes.
        assert_eq!(polling.poll().split('\u{1e}').count(), 10);
        polling.say("4who");
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(50));
    });
}

#[test]
fn send_waits_for_room_and_goes_on_in_order() {
    everywhere(|config| {
        let host = Actor::start(config.outbound_high_water(MARK));
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4stream");
        let number = |packet: &str| packet[1..].split(' ').next().expect("a number").to_owned();
        for n in 0..100 {
            assert_eq!(number(&socket.text()), n.to_string());
        }
        assert_eq!(notes(&host, &sid, 1), ["streamed"]);

        let mut polling = Polling::open(host.addr());
        polling.say("4stream");
        let mut n = 0;
        while n < 100 {
            for packet in polling.poll().split('\u{1e}') {
                assert_eq!(number(packet), n.to_string());
                n += 1;
            }
        }
        assert_eq!(notes(&host, &polling.sid, 1), ["streamed"]);
    });
}

#[test]
fn who_waits_for_room_is_told_of_the_end_instead() {
    everywhere(|config| {
        let host = Actor::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(host.addr());
        polling.say("4blocked");
        polling.say("1");
        assert_eq!(notes(&host, &polling.sid, 1), ["true Closed"]);
        drop(polling);
        host.empties();
    });
}

#[test]
fn drained_does_not_complete_before_there_is_room() {
    everywhere(|config| {
        let host = Actor::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(host.addr());
        polling.say("4fill drain");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(notes(&host, &polling.sid, 1), ["10 Err(Full)"]);
        assert_eq!(polling.poll().split('\u{1e}').count(), 10);
        assert_eq!(notes(&host, &polling.sid, 2)[1], "room: true");
    });
}

#[test]
fn an_ended_session_takes_nothing_and_says_why() {
    everywhere(|config| {
        let host = Actor::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4abort");
        let expected = ["Err(Closed) Err(Closed)", "Some(ServerDisconnect)"];
        assert_eq!(notes(&host, &sid, 2), expected);
    });
}

#[test]
fn text_that_polling_would_tear_apart_is_refused_there_and_only_there() {
    everywhere(|config| {
        let host = Actor::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4separator");
        let refused = format!("{:?}", Err::<(), _>(SendError::Separator));
        assert_eq!(notes(&host, &polling.sid, 1), [refused]);
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.send("4separator");
        assert_eq!(socket.text(), "4a\u{1e}4b");
    });
}

#[test]
fn a_handler_reaches_the_sessions_of_every_core() {
    everywhere(|config| {
        let host = Actor::start(config);
        let target = format!("{WEBSOCKET}&name=ann");
        let mut sockets: Vec<_> = (0..9)
            .map(|_| {
                let mut socket = WebSocket::connect(host.addr(), &target);
                let sid = crate::support::wire::sid_of(&socket.text());
                (socket, sid)
            })
            .collect();
        let mut polling = Polling::open(host.addr());
        sockets[0].0.send("4who");
        let sid = sockets[0].1.clone();
        assert_eq!(notes(&host, &sid, 1), ["ann 10"]);
        sockets[0].0.send("4broadcast to all");
        for (socket, _) in &mut sockets {
            assert_eq!(socket.text(), "4to all");
        }
        assert_eq!(polling.poll(), "4to all");
        let target = sockets[8].1.clone();
        let orders = [format!("4send {target} you"), format!("4disconnect {target}")];
        orders.iter().for_each(|order| sockets[0].0.send(order));
        assert_eq!((sockets[8].0.text(), sockets[8].0.text()), ("4you".into(), "1".into()));
        sockets[8].0.expect_close();
        let (_, first) = &sockets[0];
        let first = Sid::new(first).expect("a sid");
        assert_eq!(host.remote().transport(&first), Some(Transport::WebSocket));
    });
}

#[test]
fn messages_wait_for_each_other_unless_told_otherwise() {
    everywhere(|config| {
        let host = Actor::start(config.clone());
        let naps = ["4nap 150", "4nap 50", "4nap 0"];
        let (mut socket, sid) = WebSocket::open(host.addr());
        naps.iter().for_each(|nap| socket.send(nap));
        assert_eq!(notes(&host, &sid, 3), ["napped 150", "napped 50", "napped 0"]);
        let mut polling = Polling::open(host.addr());
        polling.say(naps.join("\u{1e}"));
        assert_eq!(notes(&host, &polling.sid, 3), ["napped 150", "napped 50", "napped 0"]);

        let host = Actor::start(config.dispatch(Dispatch::Concurrent));
        let (mut socket, sid) = WebSocket::open(host.addr());
        naps.iter().for_each(|nap| socket.send(nap));
        assert_eq!(notes(&host, &sid, 3), ["napped 0", "napped 50", "napped 150"]);
    });
}

#[test]
fn a_heartbeat_does_not_wait_for_a_busy_handler() {
    everywhere(|config| {
        let short = Duration::from_millis(100);
        let host = Actor::start(config.ping_interval(short).ping_timeout(3 * short));
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4nap 800");
        while host.log.messages(&sid).is_empty() {
            if let Ok(frame) = socket.try_frame(short / 2) {
                assert_eq!(frame.payload, b"2");
                socket.send("3");
            }
        }
        // Polling: the POST is answered and its connection serves the pongs.
        let mut polling = Polling::open(host.addr());
        polling.say("4nap 800");
        while host.log.messages(&polling.sid).is_empty() {
            assert_eq!(polling.poll(), "2");
            polling.say("3");
        }
    });
}

#[test]
fn who_waits_for_an_upgrade_or_an_end_is_never_told_too_early_nor_forgotten() {
    everywhere(|config| {
        let host = Actor::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4watch");
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        assert_eq!(host.log.messages(&polling.sid), []);
        socket.send("5");
        assert_eq!(notes(&host, &polling.sid, 1), ["upgraded to websocket"]);
        socket.send("1");
        assert_eq!(notes(&host, &polling.sid, 2)[1], "ended: ClientDisconnect");
        // One that never upgrades hears of its end.
        let mut polling = Polling::open(host.addr());
        polling.say("4watch\x1e1");
        let ended = ["upgraded to polling", "ended: ClientDisconnect"];
        assert_eq!(notes(&host, &polling.sid, 2), ended);
    });
}

#[test]
fn flushed_never_completes_before_the_transport_took_everything() {
    everywhere(|config| {
        let host = Actor::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4flush");
        assert_eq!(notes(&host, &polling.sid, 1), ["waits: true"]);
        assert_eq!(polling.poll(), "4going");
        assert_eq!(notes(&host, &polling.sid, 2)[1], "queued: 0");
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4flush");
        assert_eq!(socket.text(), "4going");
        assert_eq!(notes(&host, &sid, 2)[1], "queued: 0");
    });
}

#[test]
fn a_packet_that_would_break_the_session_is_never_sent() {
    everywhere(|config| {
        let host = Actor::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4packets");
        assert_eq!(socket.text(), "4a packet");
        assert_eq!(notes(&host, &sid, 1), ["Err(Closed)"]);
        assert_eq!(socket.text(), "1");
        socket.expect_close();
    });
}

#[test]
fn a_session_of_another_core_is_never_lent() {
    let host = Actor::start(Config::new().workers(2));
    // Until there are two sessions on one core, and one on the other.
    let (mut polling, mut found) = (Vec::new(), None);
    for n in 0..200 {
        polling.push(Polling::open_with(host.addr(), &format!("&name={n}")));
        let (first, last) = (&polling[0].sid.clone(), polling[n].sid.clone());
        polling[0].say(format!("4find {first} {last}"));
        let note = notes(&host, first, n + 1).pop().expect("a note");
        assert!(
            note == format!("Some(\"0\") Some(\"{n}\")") || note == "Some(\"0\") None",
            "{note}"
        );
        found = found.or(note.ends_with("None").then_some(n));
        if found.is_some() && n > 0 {
            return;
        }
    }
    panic!("every session is on one core");
}
