//! Links that are recorded, and replayed to the node that accepted them and to the one that dialled them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use eio_core::cluster::link::{CHALLENGE_LEN, DELIVERED, GREETING_LEN};
use eio_monoio::{Handler, Message, OwnedMessage, Server, Socket, sleep};

use crate::nats_server::NatsServer;
use crate::nodes::{Node, options, start};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{Request, target};
use crate::support::wait::{TIMEOUT, eventually};

/// The bytes of one connection: those of the node that dials, and those of the one that accepts.
#[derive(Clone, Default)]
struct Recording {
    dialled: Vec<u8>,
    accepted: Vec<u8>,
}

/// Stands between two nodes, and records their links.
#[derive(Clone)]
struct Recorder {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    /// The link over which the next bytes of a dialling node arrive ends, and they are lost.
    ends_next: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    recordings: Vec<Arc<Mutex<Recording>>>,
    streams: Vec<TcpStream>,
    /// What each dialling node receives in place of the bytes of `target`.
    replay: Option<Vec<u8>>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let addr = listener.local_addr().expect("an address");
        let recorder = Self { addr, state: Arc::default(), ends_next: Arc::default() };
        let accepting = recorder.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accepting.serve(client);
            }
        });
        recorder
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().expect("no panic"))
    }

    fn serve(&self, client: TcpStream) {
        let recording = Arc::<Mutex<Recording>>::default();
        self.with(|state| {
            state.recordings.push(recording.clone());
            state.streams.extend(client.try_clone());
        });
        let copy = client.try_clone().expect("a copy");
        if let Some(bytes) = self.with(|state| state.replay.clone()) {
            _ = (&client).write_all(&bytes);
            thread::spawn(move || record(&recording, true, copy, None, None));
            return;
        }
        let target = self.with(|state| state.target);
        let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) else {
            return;
        };
        let (from, to) = (server.try_clone().expect("a copy"), server);
        let other = recording.clone();
        let ends = self.ends_next.clone();
        thread::spawn(move || record(&other, false, from, Some(client), None));
        thread::spawn(move || record(&recording, true, copy, Some(to), Some(&ends)));
    }

    /// Ends all links. The next ones receive `replay`, if there is one.
    fn cut(&self, replay: Option<Vec<u8>>) {
        self.with(|state| {
            (state.replay, state.recordings) = (replay, Vec::new());
            for stream in state.streams.drain(..) {
                stream.shutdown(Shutdown::Both).ok();
            }
        });
    }

    /// The link over which `text` was sent.
    fn recording_with(&self, text: &str) -> Recording {
        let has = |recording: &Recording| {
            recording.dialled.windows(text.len()).any(|part| part == text.as_bytes())
        };
        self.recordings().into_iter().find(has).expect("a link with the request")
    }

    fn recordings(&self) -> Vec<Recording> {
        let copies = |state: &mut State| {
            let recordings = state.recordings.iter();
            recordings.map(|of| of.lock().expect("no panic").clone()).collect()
        };
        self.with(copies)
    }
}

/// Copies bytes in one direction, and notes them.
fn record(
    recording: &Mutex<Recording>,
    dialled: bool,
    mut from: TcpStream,
    mut to: Option<TcpStream>,
    ends_next: Option<&AtomicBool>,
) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if ends_next.is_some_and(|ends| ends.swap(false, Ordering::SeqCst)) {
            break;
        }
        let mut recording = recording.lock().expect("no panic");
        let side = if dialled { &mut recording.dialled } else { &mut recording.accepted };
        side.extend_from_slice(&buffer[..n]);
        drop(recording);
        if to.as_mut().is_some_and(|to| to.write_all(&buffer[..n]).is_err()) {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    if let Some(to) = to {
        to.shutdown(Shutdown::Both).ok();
    }
}

/// An owner, a node whose links to it are recorded, and a session of the owner with a message that was forwarded once.
fn recorded(server: &NatsServer) -> ([Node; 2], Recorder, Polling, Recording) {
    let recorder = Recorder::start();
    let owner = start(1, default_config(), options(server).announced_address(recorder.addr));
    recorder.with(|state| state.target = Some(owner.cluster().accepting_links()[0]));
    let nodes = [owner, start(2, default_config(), options(server))];
    eventually("the nodes know each other", || {
        nodes.iter().all(|node| node.states().len() == 1 && node.remote().is_ready())
    });
    let mut polling = Polling::open(nodes[0].addr());
    polling.post = Connection::open(nodes[1].addr());
    polling.post_ok("4once");
    let recording = recorder.recording_with("4once");
    (nodes, recorder, polling, recording)
}

/// Sends bytes to a node and nothing after them, and returns its answer.
fn answer_to(link: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(link).expect("the node listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    // The node may have ended it before the last byte.
    _ = stream.write_all(bytes);
    _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                return answer;
            }
        }
    }
}

/// Every accepted connection is a link of the other node.
fn expect_only_links(nodes: &[Node; 2]) {
    let [owner, other] = nodes.each_ref().map(Node::cluster);
    eventually("the connections have ended", || {
        owner.metrics().links_accepted() <= other.metrics().links_opened()
    });
}

#[test]
fn a_replayed_link_opens_nothing_at_any_length() {
    let test = "a_replayed_link_opens_nothing_at_any_length";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, _recorder, mut polling, recording) = recorded(&server);
    let link = nodes[0].cluster().accepting_links()[0];
    let mut challenges = HashSet::from([recording.accepted[..CHALLENGE_LEN].to_vec()]);
    for len in 1..=recording.dialled.len() {
        let answer = answer_to(link, &recording.dialled[..len]);
        if len < GREETING_LEN {
            assert!(answer.is_empty(), "after {len}: {answer:?}");
        } else {
            // A challenge that was never sent before, and nothing after it. A reset may discard it.
            assert!(answer.is_empty() || answer.len() == CHALLENGE_LEN, "after {len}: {answer:?}");
            assert!(answer.is_empty() || challenges.insert(answer), "the same challenge twice");
        }
    }
    println!("{} bytes replayed, {} challenges", recording.dialled.len(), challenges.len());
    assert!(challenges.len() > 32);
    assert_eq!(polling.poll(), "4once");
    assert_eq!(nodes[0].log.messages(&polling.sid), [OwnedMessage::Text("once".into())]);
    polling.assert_alive();
    expect_only_links(&nodes);
}

#[test]
fn a_replayed_challenge_receives_no_request() {
    let test = "a_replayed_challenge_receives_no_request";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, recorder, mut polling, recording) = recorded(&server);
    for accepted in [&recording.accepted[..], &recording.accepted[..CHALLENGE_LEN], &[]] {
        recorder.cut(Some(accepted.to_vec()));
        let post = Request::post(&target(&polling.sid), "4secret");
        assert_eq!(Connection::open(nodes[1].addr()).request(&post).status, 503);
        let lengths =
            || -> Vec<_> { recorder.recordings().iter().map(|of| of.dialled.len()).collect() };
        eventually("a greeting", || lengths().contains(&GREETING_LEN));
        assert!(lengths().iter().all(|len| *len <= GREETING_LEN), "{:?}", lengths());
    }
    recorder.cut(None);
    eventually("the owner is up again", || nodes[1].state_of("n1") == Some("up"));
    polling.get = Connection::open(nodes[1].addr());
    polling.post = Connection::open(nodes[1].addr());
    assert_eq!(polling.poll(), "4once");
    polling.assert_alive();
}

#[test]
fn the_response_to_a_get_is_confirmed_and_that_to_a_post_is_not() {
    const PREAMBLE_OF_A_REQUEST: u8 = 1;
    let test = "the_response_to_a_get_is_confirmed_and_that_to_a_post_is_not";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, recorder, mut polling, _) = recorded(&server);
    polling.post_ok("4again");
    let dialled = recorder.recording_with("4again").dialled;
    let first = dialled.windows(5).position(|part| part == b"4once").expect("over the same link");
    assert_eq!(dialled[first + 5], PREAMBLE_OF_A_REQUEST);
    assert!(dialled.ends_with(b"4again"));
    // The worker that has the link has this connection, too.
    let response = polling.post.request(&Request::get(&target(&polling.sid)));
    assert_eq!((response.status, response.text()), (200, "4once\u{1e}4again"));
    let dialled = || recorder.recording_with("4again").dialled;
    eventually("the confirmation", || dialled().ends_with(&[DELIVERED]));
    let get = Request::get(&target(&polling.sid));
    polling.post_ok("4last");
    assert_eq!(polling.post.request(&get).text(), "4last");
    let dialled = || recorder.recording_with("4last").dialled;
    eventually("one confirmation", || dialled().ends_with(&[DELIVERED]));
    let confirmations = dialled()[first..].windows(2).filter(|two| *two == [DELIVERED, 1]).count();
    assert_eq!(confirmations, 1, "before the POST between both GETs");
    drop(nodes);
}

#[test]
fn responses_that_are_sent_at_once_are_all_confirmed() {
    const POLLS: usize = 32;
    let test = "responses_that_are_sent_at_once_are_all_confirmed";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, recorder, _polling, _) = recorded(&server);
    let mut sessions: Vec<Polling> = (0..POLLS).map(|_| Polling::open(nodes[0].addr())).collect();
    for polling in &mut sessions {
        polling.get = Connection::open(nodes[1].addr());
        polling.start_poll();
    }
    let links = || {
        let mut links = recorder.recordings();
        links.retain(|of| of.dialled.windows(4).any(|part| part == b"GET "));
        links
    };
    eventually("a link for each poll", || links().len() == POLLS);
    nodes[0].remote().broadcast("all").expect("the queues have room");
    for polling in &mut sessions {
        assert_eq!(polling.poll_response(), "4all");
    }
    let confirmed = |of: &Recording| of.dialled.ends_with(&[DELIVERED]);
    eventually("the confirmations", || links().iter().all(confirmed));
}

#[test]
fn a_get_whose_link_ends_unanswered_is_sent_again_and_a_post_is_not() {
    let test = "a_get_whose_link_ends_unanswered_is_sent_again_and_a_post_is_not";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, recorder, mut polling, _) = recorded(&server);
    recorder.ends_next.store(true, Ordering::SeqCst);
    // The worker that has the link has this connection, too.
    let response = polling.post.request(&Request::get(&target(&polling.sid)));
    assert_eq!((response.status, response.text()), (200, "4once"));
    assert!(!recorder.ends_next.load(Ordering::SeqCst), "the link has ended");
    let confirmed = |of: &Recording| of.dialled.ends_with(&[DELIVERED]);
    eventually("the confirmation", || recorder.recordings().iter().any(confirmed));
    recorder.ends_next.store(true, Ordering::SeqCst);
    let response = polling.post.request(&Request::post(&target(&polling.sid), "4twice"));
    assert_eq!(response.status, 503);
    assert!(!recorder.ends_next.load(Ordering::SeqCst), "the link has ended");
    polling.post = Connection::open(nodes[0].addr());
    polling.post_ok("4next");
    let handled = ["once", "next"].map(|text| OwnedMessage::Text(text.into()));
    assert_eq!(nodes[0].log.messages(&polling.sid), handled);
}

/// A handler that handles a message after its POST was answered.
struct Slow;

impl Handler for Slow {
    type Session = ();

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        sleep(Duration::from_millis(20))
    }
}

#[test]
fn a_link_continues_after_a_post_that_is_answered_before_it_is_handled() {
    let test = "a_link_continues_after_a_post_that_is_answered_before_it_is_handled";
    let Some(server) = NatsServer::start(test) else { return };
    let recorder = Recorder::start();
    let address = "127.0.0.1:0".parse().expect("an address");
    let cluster = options(&server).link_address(address).announced_address(recorder.addr);
    let owner = Server::new(|| Slow).config(default_config().tag("n1")).cluster(cluster);
    let owner = owner.bind("127.0.0.1:0").expect("the node starts");
    let cluster = owner.remote().cluster().expect("a node of a cluster");
    recorder.with(|state| state.target = Some(cluster.accepting_links()[0]));
    let other = start(2, default_config(), options(&server));
    eventually("the nodes know each other", || {
        other.state_of("n1") == Some("up") && owner.remote().is_ready()
    });
    let mut polling = Polling::open(owner.local_addr());
    polling.post = Connection::open(other.addr());
    for message in ["4first", "4second", "4third"] {
        polling.post_ok(message);
    }
    let dialled = recorder.recording_with("4first").dialled;
    assert!(dialled.ends_with(b"4third"), "all over one link");
}

#[test]
fn half_a_handshake_ends_after_link_timeout() {
    let test = "half_a_handshake_ends_after_link_timeout";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, _recorder, _polling, recording) = recorded(&server);
    let link = nodes[0].cluster().accepting_links()[0];
    for len in [0, 1, GREETING_LEN - 1, GREETING_LEN, GREETING_LEN + 31] {
        let mut stream = TcpStream::connect(link).expect("the node listens");
        stream.write_all(&recording.dialled[..len]).expect("sent");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        // The writing direction stays open: the node ends it.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an orderly end");
        assert_eq!(answer.len(), if len < GREETING_LEN { 0 } else { CHALLENGE_LEN });
    }
    expect_only_links(&nodes);
}
