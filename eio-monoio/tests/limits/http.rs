//! Every limit that HTTP meets: where it is reached, its one outcome, everything freed, nobody else harmed.

use std::future::pending;
use std::time::{Duration, Instant};

use crate::support::app::Host;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{
    PATIENCE, POLLING, Polling, Request, WEBSOCKET, Wire, opening, sid_of, target,
};
use eio_monoio::{CloseReason, Config, ConnectRequest, Handler, Message, Refusal, Socket};

/// Short enough to wait for, long enough for a busy machine to do the little that must happen before.
const SHORT: Duration = Duration::from_millis(500);

#[test]
fn the_largest_payload_is_never_refused_and_one_byte_more_always() {
    everywhere(|config| {
        let host = Host::start(config.max_payload(1000));
        let mut bystander = Polling::open(host.addr());
        let mut polling = Polling::open(host.addr());
        let largest = format!("4{}", "x".repeat(999));
        let larger = format!("{largest}x");
        polling.say(&largest);
        assert_eq!(polling.poll(), largest);
        let target = target(&polling.sid);
        let in_chunks = |body: &str| Request::chunked(&target, body.as_bytes().chunks(100));
        polling.post.request(&in_chunks(&largest)).assert(200, "ok");
        assert_eq!(polling.poll(), largest);

        polling.hold_poll();
        for request in [
            Request::post(&target, &larger),
            in_chunks(&larger),
            // Announced is enough, none of it has to come.
            Request::new("POST", &target).header("Content-Length", "1001"),
            Request::new("POST", &target).header("Content-Length", "18446744073709551615"),
            Request::new("POST", &target).header("Transfer-Encoding", "chunked").body("3e9\r\n"),
            Request::new("POST", &target)
                .header("Transfer-Encoding", "chunked")
                .body("ffffffffffffffff\r\n"),
        ] {
            let mut wire = Wire::connect(host.addr());
            let response = wire.request(&request);
            response.assert(413, "");
            assert_eq!(response.header("Connection"), Some("close"));
            wire.expect_eof();
        }
        // 2.3.10: the session is kept, and so is its held GET.
        polling.say("4still here");
        assert_eq!(polling.polled(), "4still here");
        bystander.assert_alive();
        drop(polling);
        host.settles_at(2, 2);
    });
}

#[test]
fn the_default_payload_is_never_less_than_announced() {
    let host = Host::start(somewhere());
    let mut polling = Polling::open(host.addr());
    let largest = format!("4{}", "x".repeat(999_999));
    polling.say(&largest);
    assert_eq!(polling.poll(), largest);
    polling.push(format!("{largest}x")).assert(413, "");
}

#[test]
fn endless_chunk_framing_is_never_read_to_its_end() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let polling = Polling::open(host.addr());
        let request = Request::new("POST", &target(&polling.sid));
        let mut wire = Wire::connect(host.addr());
        wire.send(&request.header("Transfer-Encoding", "chunked"));
        let chunk = format!("1;{}\r\n4\r\n", "e".repeat(1000));
        while wire.try_write(&chunk).is_ok() {
            if let Ok(response) = wire.try_response(Duration::from_millis(1)) {
                response.assert(413, "");
                break;
            }
        }
        wire.expect_gone();
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
        bystander.assert_alive();
        drop(polling);
        host.settles_at(1, 2);
    });
}

#[test]
fn the_largest_head_is_never_refused_and_one_byte_more_always() {
    everywhere(|config| {
        let host = Host::start(config.max_head_size(512));
        let mut bystander = Polling::open(host.addr());
        let bare = Request::get(POLLING).header("X", "").bytes().len();
        let of = |size: usize| Request::get(POLLING).header("X", &"x".repeat(size - bare));
        assert_eq!(of(512).bytes().len(), 512);
        assert_eq!(Wire::connect(host.addr()).request(&of(512)).status, 200);
        for (bytes, status) in [
            (of(513).bytes(), 431),
            // The end never comes, but the limit does.
            (of(2000).bytes()[..600].to_vec(), 431),
            (Request::get(&format!("{POLLING}&x={}", "x".repeat(600))).bytes(), 414),
            (b"x".repeat(600), 414),
        ] {
            let mut wire = Wire::connect(host.addr());
            wire.write(bytes);
            let response = wire.response();
            response.assert(status, "");
            assert_eq!(response.header("Connection"), Some("close"));
            wire.expect_eof();
        }
        bystander.assert_alive();
        host.settles_at(2, 2);
    });
}

#[test]
fn a_header_too_many_is_never_cut_off() {
    let host = Host::start(somewhere().max_headers(10));
    // Host is one.
    let of = |count: usize| {
        (1..count).fold(Request::get(POLLING), |request, n| request.header(&format!("X{n}"), "x"))
    };
    assert_eq!(Wire::connect(host.addr()).request(&of(10)).status, 200);
    let mut wire = Wire::connect(host.addr());
    wire.request(&of(11)).assert(431, "");
    wire.expect_eof();
    // The same for a request that opens nothing.
    let post = (0..10).fold(Request::post("/other", ""), |request, _| request.header("X", "x"));
    Wire::connect(host.addr()).request(&post).assert(431, "");
    drop(wire);
    host.settles_at(1, 0);
}

#[test]
fn a_connection_that_sends_nothing_is_never_kept() {
    everywhere(|config| {
        let host = Host::start(config.head_timeout(SHORT));
        let mut bystander = Polling::open(host.addr());
        // Both its connections have had a request: they may be idle for a minute.
        bystander.assert_alive();
        let begun = Instant::now();
        let mut silent: Vec<_> = (0..5).map(|_| Wire::connect(host.addr())).collect();
        // Without a word: nobody asked.
        silent.iter_mut().for_each(Wire::expect_eof);
        assert!(begun.elapsed() >= SHORT, "too soon: {:?}", begun.elapsed());
        host.settles_at(1, 2);
        bystander.assert_alive();
    });
}

#[test]
fn half_a_head_is_never_waited_for_without_end() {
    everywhere(|config| {
        let host = Host::start(config.head_timeout(SHORT));
        let mut bystander = Polling::open(host.addr());
        // Both its connections have had a request: they may be idle for a minute.
        bystander.assert_alive();
        let whole = Request::get(POLLING).bytes();
        let mut first = Wire::connect(host.addr());
        first.write(&whole[..whole.len() - 1]);
        // The same behind a request that was answered; idle_timeout would be a minute.
        let mut second = Wire::connect(host.addr());
        second.write([&*whole, &whole[..10]].concat());
        assert_eq!(second.response().status, 200);
        // A byte now and then does not count as progress.
        let mut trickling = Wire::connect(host.addr());
        let deadline = Instant::now() + PATIENCE;
        // Of a header that has no end.
        trickling.write(&whole[..whole.len() - 4]);
        let refused = loop {
            _ = trickling.try_write("x");
            if let Ok(response) = trickling.try_response(Duration::from_millis(20)) {
                break response;
            }
            assert!(Instant::now() < deadline, "kept by a trickle");
        };
        for (wire, response) in
            [(&mut first, None), (&mut second, None), (&mut trickling, Some(refused))]
        {
            let response = response.unwrap_or_else(|| wire.response());
            response.assert(408, "");
            assert_eq!(response.header("Connection"), Some("close"));
        }
        drop((first, second, trickling));
        host.settles_at(2, 2);
        bystander.assert_alive();
    });
}

#[test]
fn half_a_body_is_never_waited_for_without_end() {
    everywhere(|config| {
        let host = Host::start(config.body_timeout(SHORT));
        let mut bystander = Polling::open(host.addr());
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        polling.begin_push("4never whole");
        polling.post.response().assert(408, "");
        polling.post.expect_eof();
        assert_eq!(polling.polled(), "1");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
        assert_eq!(host.log.messages(&polling.sid), []);
        drop(polling);

        // Also when the client was asked for it first.
        let polling = Polling::open(host.addr());
        let request = Request::new("POST", &target(&polling.sid)).header("Expect", "100-continue");
        let mut wire = Wire::connect(host.addr());
        wire.send(&request.header("Content-Length", "2"));
        assert_eq!(wire.response().status, 100);
        wire.response().assert(408, "");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);

        // And for a request that is not Engine.IO's.
        let mut other = Wire::connect(host.addr());
        let request = Request::new("POST", "/other").header("Expect", "100-continue");
        other.send(&request.header("Content-Length", "2"));
        assert_eq!(other.response().status, 100);
        other.response().assert(408, "");

        drop((polling, wire, other));
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn an_idle_connection_is_never_kept_and_a_held_get_is_never_idle() {
    everywhere(|config| {
        let host = Host::start(config.idle_timeout(SHORT).head_timeout(SHORT));
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        let mut idle = Wire::connect(host.addr());
        assert_eq!(idle.request(&Request::get("/engine.io/")).status, 400);
        idle.expect_eof();
        polling.post.expect_eof();
        // Longer than either, all in all.
        std::thread::sleep(SHORT / 2);
        polling.post = Wire::connect(host.addr());
        polling.say("4still held");
        assert_eq!(polling.polled(), "4still held");
        drop(idle);
        host.settles_at(1, 2);
    });
}

#[test]
fn a_peer_that_does_not_read_its_response_is_never_kept() {
    // Beyond what the sockets of both ends hold.
    const LARGE: usize = 24 << 20;
    everywhere(|config| {
        let config = config.write_timeout(SHORT).max_payload(LARGE).outbound_high_water(LARGE);
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let sid = eio_monoio::Sid::new(&polling.sid).expect("a sid of the server's");
        polling.start_poll();
        host.remote().send(&sid, "x".repeat(LARGE).as_str()).expect("room");
        // What it was sent is lost with it: the session cannot go on.
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
        polling.assert_unknown();
        host.settles_at(0, 1);
        let mut bystander = Polling::open(host.addr());
        bystander.assert_alive();
        polling.get.expect_gone();
    });
}

#[test]
fn a_connection_too_many_is_never_accepted_nor_the_next_refused() {
    everywhere(|config| {
        let host = Host::start(config.max_connections(5));
        let mut polling = Polling::open(host.addr());
        let others: Vec<_> = (0..3).map(|_| Wire::connect(host.addr())).collect();
        host.settles_at(1, 5);
        for _ in 0..3 {
            let mut refused = Wire::connect(host.addr());
            let response = refused.response();
            response.assert(503, "");
            assert_eq!(response.header("Connection"), Some("close"));
            let seconds = response.header("Retry-After").expect("when to come again");
            assert!(seconds.parse::<u32>().is_ok(), "{response:?}");
            refused.expect_eof();
        }
        polling.assert_alive();
        drop(others);
        host.settles_at(1, 2);
        Polling::open(host.addr()).assert_alive();
        polling.assert_alive();
    });
}

#[test]
fn a_client_that_does_not_poll_is_never_read_from_without_end() {
    everywhere(|config| {
        let host = Host::start(config.outbound_high_water(1000));
        let mut bystander = Polling::open(host.addr());
        let mut polling = Polling::open(host.addr());
        let packets: Vec<_> = (0..20).map(|n| format!("4{n}{}", "x".repeat(300))).collect();
        polling.post.send(&Request::post(&target(&polling.sid), packets.join("\x1e")));
        polling.post.expect_silence(Duration::from_millis(50));
        // Three of them and their heads are the mark, and one more may overshoot.
        assert!(host.log.messages(&polling.sid).len() <= 4);
        bystander.assert_alive();
        // Nothing is lost by it.
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
fn an_application_that_sends_too_much_never_fills_the_memory() {
    everywhere(|config| {
        let host = Host::start(config.outbound_high_water(10_000));
        let mut polling = Polling::open(host.addr());
        // The queue's own overhead counts, so ten at most, and one may overshoot.
        polling.post.send(&Request::post(&target(&polling.sid), "4!fill 1000000"));
        let packets = polling.poll().split('\x1e').count();
        assert!((9..=11).contains(&packets), "{packets} were queued");
        polling.post.response().assert(200, "ok");
        polling.assert_alive();
    });
}

#[test]
fn a_client_that_never_polls_is_never_waited_for_without_end() {
    everywhere(|config| {
        let beat = Duration::from_millis(50);
        let host =
            Host::start(config.outbound_high_water(100).ping_interval(beat).ping_timeout(beat));
        let mut polling = Polling::open(host.addr());
        // Held up by its own answers: that is not silence, but no excuse for ever either.
        let response = polling.push(format!("4{0}\x1e4{0}\x1e4{0}", "x".repeat(100)));
        assert!([200, 400].contains(&response.status), "{response:?}");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        polling.assert_unknown();
        drop(polling);
        host.empties();
    });
}

/// Decides about nobody.
struct Undecided;

impl Handler for Undecided {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        pending().await
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(
        &self,
        _: http::Request<Vec<u8>>,
    ) -> http::Response<std::borrow::Cow<'static, [u8]>> {
        pending().await
    }
}

#[test]
fn an_application_that_does_not_decide_never_keeps_a_client_waiting() {
    everywhere(|config: Config| {
        let host = Host::run(config.connect_timeout(SHORT), |_| Undecided);
        let mut wires: Vec<_> = [
            Request::get(POLLING),
            opening(WEBSOCKET),
            Request::get("/other"),
            Request::post("/other", "x"),
        ]
        .iter()
        .map(|request| {
            let mut wire = Wire::connect(host.addr());
            wire.send(request);
            wire
        })
        .collect();
        for wire in &mut wires {
            let response = wire.response();
            assert_eq!(response.status, 503, "{response:?}");
            // The connection is none the worse for it.
            assert_eq!(wire.request(&Request::get("/engine.io/")).status, 400);
        }
        drop(wires);
        host.empties();
    });
}

#[test]
fn sessions_beyond_any_one_connection_never_cost_a_descriptor() {
    let host = Host::start(somewhere().max_connections(3));
    let mut wire = Wire::connect(host.addr());
    let sids: Vec<_> =
        (0..100).map(|_| sid_of(wire.request(&Request::get(POLLING)).text())).collect();
    for sid in &sids {
        wire.request(&Request::post(&target(sid), "4x")).assert(200, "ok");
        wire.request(&Request::get(&target(sid))).assert(200, "4x");
    }
    host.settles_at(100, 1);
}
