//! Links that are recorded, and replayed to the node that accepted them and to the one that dialled them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use eio_core::cluster::link::{CHALLENGE_LEN, GREETING_LEN};
use eio_monoio::OwnedMessage;

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
        let recorder = Self { addr, state: Arc::default() };
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
            thread::spawn(move || record(&recording, true, copy, None));
            return;
        }
        let target = self.with(|state| state.target);
        let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) else {
            return;
        };
        let (from, to) = (server.try_clone().expect("a copy"), server);
        let other = recording.clone();
        thread::spawn(move || record(&recording, true, copy, Some(to)));
        thread::spawn(move || record(&other, false, from, Some(client)));
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
) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
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
