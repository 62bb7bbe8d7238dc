//! The hello of a node of a cluster, and membership that is fed with it.

use eio_core::buffer::Overflow;
use eio_core::cluster::hello::{Hello, HelloError, Identity, State, VERSION};
use eio_core::cluster::members::{Members, Peer, Route, Timing};
use eio_core::sid::{Sid, Tag};
use eio_core::time::Instant;

use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    let hello = match Hello::parse(data) {
        Ok(hello) => hello,
        Err(HelloError::Version(version)) => {
            assert_eq!(data.first(), Some(&version));
            assert_ne!(version, VERSION);
            return;
        }
        Err(_) => return,
    };
    let mut out = Out::new();
    hello.encode(&mut out).expect("room without end");
    assert_eq!(out.bytes, data, "a hello has one form");
    assert_eq!(hello.encode(&mut Out::with_room(data.len() - 1)), Err(Overflow));
    for len in 0..data.len() {
        assert!(Hello::parse(&data[..len]).is_err(), "{len} of {} bytes", data.len());
    }
    assert!(Hello::parse(&[data, &[0]].concat()).is_err(), "a byte more");
    join(&hello);
}

/// A node receives the hello from the start of its life on.
fn join(hello: &Hello<'_>) {
    let tag = Tag::new("here").expect("legal");
    let here = Identity { tag, incarnation: 1, key: [1; 32], links: Default::default() };
    let mut now = Instant::from_millis(0);
    let mut members = Members::new(here, Timing::default(), [Peer::default()], now);
    members.handle_bus(true, now);
    for _ in 0..8 {
        members.handle_hello(hello, 99, now);
        for turn in 0.. {
            assert!(turn < 32, "the driver spins");
            if members.poll_action(now).is_none() && members.poll_event().is_none() {
                break;
            }
        }
        let other = hello.identity.tag.as_str() != "here";
        let known = members.nodes().next().is_some();
        assert_eq!(known, other && hello.state != State::Left);
        let sid = Sid::tagged(&hello.identity.tag, "session").expect("legal");
        match members.route(&sid) {
            Route::Here => assert!(!other),
            Route::Node(node) => {
                let node = members.node(node).expect("known");
                assert_eq!(node.identity(), &hello.identity);
            }
            Route::Unknown => assert!(!known),
            route => panic!("{route:?} of a node that says hello"),
        }
        let mut body = Out::new();
        members.write_hello(&mut body).expect("room without end");
        let own = Hello::parse(&body.bytes).expect("it says hello itself");
        assert_eq!(own.sent_to(hello.identity.incarnation), known.then_some(0));
        now = members.poll_timeout().expect("the next hello").max(now.after(1));
        members.handle_timeout(now);
    }
}
