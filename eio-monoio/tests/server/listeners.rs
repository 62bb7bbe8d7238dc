//! Listeners besides TCP addresses: Unix sockets, and sockets that other code has created.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use eio_monoio::{Config, Endpoint, Listener, Running, ServeError, Server};

use crate::support::configs::{default_config, for_each_config};
use crate::support::describing::Describing;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, target};
use crate::support::temp_dir::TempDir;
use crate::support::wait::{TIMEOUT, eventually};

fn server(config: Config) -> Server<impl Fn() -> Describing + Send + Sync + 'static> {
    Server::new(|| Describing(|request| format!("{:?}", request.peer_addr()))).config(config)
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("a listener");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream
}

/// Sends requests on one connection and returns all responses.
fn ask(path: &Path, requests: &[Request]) -> String {
    let mut stream = connect(path);
    let (last, first) = requests.split_last().expect("a request");
    let mut bytes: Vec<u8> = first.iter().flat_map(Request::bytes).collect();
    bytes.extend(last.clone().header("Connection", "close").bytes());
    stream.write_all(&bytes).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text, and an end");
    answer
}

fn open(path: &Path) -> String {
    let answer = ask(path, &[Request::get(POLLING)]);
    sid_of(answer.split_once("\r\n\r\n").expect("a response").1)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn every_worker_serves_a_unix_socket_and_shutdown_removes_it() {
    for_each_config(|config| {
        let directory = TempDir::new();
        let path = directory.join("socket");
        let running = server(config).bind_unix(&path).expect("the server starts");
        assert_eq!(running.endpoints(), [Endpoint::Unix(Some(path.clone()))]);
        assert_eq!(running.local_addr().port(), 0);
        let sids: Vec<_> = (0..8).map(|_| open(&path)).collect();
        // A session belongs to the worker that accepted its first connection; the second connection serves them all.
        let polls: Vec<_> = sids.iter().map(|sid| Request::get(&target(sid))).collect();
        assert_eq!(ask(&path, &polls).matches("4None").count(), sids.len());
        let posts = sids.iter().map(|sid| Request::post(&target(sid), "4hello"));
        let all: Vec<_> = posts.chain(polls.iter().cloned()).collect();
        let answers = ask(&path, &all);
        assert_eq!(answers.matches("\r\n\r\nok").count(), sids.len(), "{answers}");
        assert_eq!(answers.matches("\r\n\r\n4hello").count(), sids.len(), "{answers}");
        assert_eq!(running.remote().sessions(), sids.len());
        running.shutdown();
        running.join().expect("a clean shutdown");
        assert!(!exists(&path), "the socket still exists");
    });
}

#[test]
fn only_an_abandoned_socket_is_replaced() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(exists(&path));
    // A process that another test forks holds it, too, until it executes its program.
    eventually("a socket without a listener", || UnixStream::connect(&path).is_err());
    let running =
        server(default_config()).bind_unix(&path).expect("the abandoned socket is replaced");
    let taken = |result: Result<Running, ServeError>| match result {
        Err(ServeError::Io(error)) => {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains("socket"), "{error}");
        }
        other => panic!("not refused: {other:?}"),
    };
    taken(server(default_config().bind_timeout(Duration::ZERO)).bind_unix(&path));
    open(&path);

    // The path now belongs to another socket, which the server must not remove.
    fs::remove_file(&path).expect("a file");
    let successor = UnixListener::bind(&path).expect("a socket");
    running.shutdown();
    running.join().expect("a clean shutdown");
    connect(&path);
    drop(successor);

    let file = directory.join("socket.txt");
    fs::write(&file, "precious").expect("a file");
    taken(server(default_config()).bind_unix(&file));
    assert_eq!(fs::read_to_string(&file).expect("the file"), "precious");
}

#[test]
fn unix_socket_has_the_configured_permissions() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let config = default_config().unix_socket_mode(0o640);
    let _running = server(config).bind_unix(&path).expect("the server starts");
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "{mode:o}");
}

#[test]
fn every_worker_serves_a_given_listener() {
    for_each_config(|config| {
        let directory = TempDir::new();
        let path = directory.join("socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = tcp.local_addr().expect("an address");
        let unix = UnixListener::bind(&path).expect("a socket");
        let running = server(config).listen([tcp.into(), unix.into()]).expect("the server starts");
        assert_eq!(running.local_addr(), address);
        assert_eq!(running.endpoints().len(), 2);

        let mut sessions: Vec<_> = (0..6).map(|_| Polling::open(address)).collect();
        for session in &mut sessions {
            assert!(session.poll().starts_with("4Some(127.0.0.1:"));
            session.assert_alive();
        }
        // Both listeners serve the same sessions.
        let sid = &sessions[0].sid;
        let answers =
            ask(&path, &[Request::post(&target(sid), "4hello"), Request::get(&target(sid))]);
        assert!(answers.ends_with("\r\n\r\n4hello"), "{answers}");
        running.shutdown();
        running.join().expect("a clean shutdown");
        assert!(exists(&path), "the socket belongs to its creator");
    });
}

#[test]
fn trusted_proxy_on_a_unix_socket_sets_the_peer_address() {
    for (trusted, greeting) in [(&["unix"][..], "4Some(192.0.2.7:0)"), (&[], "4None")] {
        let directory = TempDir::new();
        let path = directory.join("socket");
        let config = default_config().trusted_proxies(trusted);
        let _running = server(config).bind_unix(&path).expect("the server starts");
        let forwarded = Request::get(POLLING).header("X-Forwarded-For", "192.0.2.7");
        let answer = ask(&path, &[forwarded]);
        let sid = sid_of(answer.split_once("\r\n\r\n").expect("a response").1);
        let answer = ask(&path, &[Request::get(&target(&sid))]);
        assert!(answer.ends_with(greeting), "{answer}");
    }
}

#[test]
fn descriptor_that_does_not_listen_is_refused() {
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let file = fs::File::open("/dev/null").expect("a file");
    for fd in [OwnedFd::from(stream), datagrams.into(), file.into()] {
        Listener::try_from(fd).expect_err("no listener");
    }
    let listens = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a socket"));
    let listener = Listener::try_from(listens).expect("a listener");
    assert!(matches!(listener.endpoint(), Endpoint::Tcp(_)));
    assert!(Listener::inherited().expect("no inherited sockets").is_empty());
    match server(default_config()).listen([]) {
        Err(ServeError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
        other => panic!("no listener: {other:?}"),
    }
}
