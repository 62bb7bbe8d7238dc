//! The order of a session's messages, its events, and the sessions that a handler reaches.

use std::time::Duration;

use eio_monoio::{Dispatch, Sid, Transport};

use crate::commands::{Commands, results};
use crate::support::configs::{default_config, for_each_config};
use crate::support::polling::Polling;
use crate::support::request::WEBSOCKET;
use crate::support::websocket::WebSocket;

#[test]
fn handler_reaches_sessions_of_every_worker() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let target = format!("{WEBSOCKET}&name=ann");
        let mut sockets: Vec<_> = (0..9)
            .map(|_| {
                let mut socket = WebSocket::connect(server.addr(), &target);
                let sid = crate::support::polling::sid_of(&socket.text());
                (socket, sid)
            })
            .collect();
        let mut polling = Polling::open(server.addr());
        sockets[0].0.send("4describe");
        let sid = sockets[0].1.clone();
        assert_eq!(results(&server, &sid, 1), ["ann 10"]);
        sockets[0].0.send("4broadcast to all");
        for (socket, _) in &mut sockets {
            assert_eq!(socket.text(), "4to all");
        }
        assert_eq!(polling.poll(), "4to all");
        let target = sockets[8].1.clone();
        let commands = [format!("4send {target} you"), format!("4disconnect {target}")];
        commands.iter().for_each(|command| sockets[0].0.send(command));
        assert_eq!((sockets[8].0.text(), sockets[8].0.text()), ("4you".into(), "1".into()));
        sockets[8].0.expect_close();
        let (_, first) = &sockets[0];
        let first = Sid::new(first).expect("a valid sid");
        assert_eq!(server.remote().transport(&first), Some(Transport::WebSocket));
    });
}

#[test]
fn messages_are_handled_in_sequence_unless_concurrent() {
    for_each_config(|config| {
        let server = Commands::start(config.clone());
        let naps = ["4nap 150", "4nap 50", "4nap 0"];
        let (mut socket, sid) = WebSocket::open(server.addr());
        naps.iter().for_each(|nap| socket.send(nap));
        assert_eq!(results(&server, &sid, 3), ["napped 150", "napped 50", "napped 0"]);
        let mut polling = Polling::open(server.addr());
        polling.post_ok(naps.join("\u{1e}"));
        assert_eq!(results(&server, &polling.sid, 3), ["napped 150", "napped 50", "napped 0"]);

        let server = Commands::start(config.dispatch(Dispatch::Concurrent));
        let (mut socket, sid) = WebSocket::open(server.addr());
        naps.iter().for_each(|nap| socket.send(nap));
        assert_eq!(results(&server, &sid, 3), ["napped 0", "napped 50", "napped 150"]);
    });
}

#[test]
fn heartbeat_does_not_wait_for_a_busy_handler() {
    for_each_config(|config| {
        let short = Duration::from_millis(100);
        let server = Commands::start(config.ping_interval(short).ping_timeout(3 * short));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4nap 800");
        while server.log.messages(&sid).is_empty() {
            if let Ok(frame) = socket.try_frame(short / 2) {
                assert_eq!(frame.payload, b"2");
                socket.send("3");
            }
        }
        // Polling: the POST is answered, and its connection carries the pongs.
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4nap 800");
        while server.log.messages(&polling.sid).is_empty() {
            assert_eq!(polling.poll(), "2");
            polling.post_ok("3");
        }
    });
}

#[test]
fn upgraded_and_ended_complete_at_the_event() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4watch");
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        assert_eq!(results(&server, &polling.sid, 1), ["upgrading: true"]);
        socket.probe();
        assert_eq!(server.log.messages(&polling.sid).len(), 1);
        socket.send("5");
        assert_eq!(results(&server, &polling.sid, 2)[1], "upgraded to websocket");
        socket.send("1");
        assert_eq!(results(&server, &polling.sid, 3)[2], "ended: ClientDisconnect");
        // The end of a session that never upgrades is reported, too.
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4watch\x1e1");
        let ended = ["upgrading: false", "upgraded to polling", "ended: ClientDisconnect"];
        assert_eq!(results(&server, &polling.sid, 3), ended);
    });
}

#[test]
fn session_of_another_worker_is_not_accessible() {
    let server = Commands::start(default_config());
    // Until one worker has two sessions and the other has one.
    let (mut polling, mut found) = (Vec::new(), None);
    for n in 0..200 {
        polling.push(Polling::open_with(server.addr(), &format!("&name={n}")));
        let (first, last) = (&polling[0].sid.clone(), polling[n].sid.clone());
        polling[0].post_ok(format!("4find {first} {last}"));
        let note = results(&server, first, n + 1).pop().expect("a note");
        assert!(
            note == format!("Some(\"0\") Some(\"{n}\")") || note == "Some(\"0\") None",
            "{note}"
        );
        found = found.or(note.ends_with("None").then_some(n));
        if found.is_some() && n > 0 {
            return;
        }
    }
    panic!("every session is on one worker");
}
