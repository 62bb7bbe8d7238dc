//! Where clients come in, besides an address: the file system, and sockets made by others.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::app::eventually;
use crate::support::foreign;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::server;
use crate::support::wire::{PATIENCE, POLLING, Polling, Request, Wire, sid_of, target};
use eio_monoio::{
    Config, ConnectRequest, Endpoint, Handler, Listener, Message, Refusal, Running, ServeError,
    Server, Socket,
};

/// Echoes; says at first whom it takes the client for.
struct Echo;

impl Handler for Echo {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        Ok(format!("{:?}", request.peer_addr()))
    }

    async fn open(&self, socket: &Socket<String>) {
        socket.try_send(socket.data().as_str()).expect("room");
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}

fn echo(config: Config) -> Server<impl Fn() -> Echo + Send + Sync + 'static> {
    Server::new(|| Echo).config(config.shutdown_timeout(Duration::from_millis(100)))
}

/// A directory of one test's.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The path of a socket may have 107 bytes, which a build directory may exceed.
        let name = format!("eio-{test}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends requests on one connection and returns all that comes back.
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

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn every_core_serves_a_unix_socket_and_its_end_removes_it() {
    everywhere(|config| {
        let directory = Directory::new("unix");
        let path = directory.socket();
        let running = echo(config).bind_unix(&path).expect("a server");
        assert_eq!(running.endpoints(), [Endpoint::Unix(Some(path.clone()))]);
        assert_eq!(running.local_addr().port(), 0);
        let sids: Vec<_> = (0..8).map(|_| open(&path)).collect();
        // Each session belongs to whichever core took its first connection; the second is for all of them.
        let polls: Vec<_> = sids.iter().map(|sid| Request::get(&target(sid))).collect();
        assert_eq!(ask(&path, &polls).matches("4None").count(), sids.len());
        let posts = sids.iter().map(|sid| Request::post(&target(sid), "4hello"));
        let all: Vec<_> = posts.chain(polls.iter().cloned()).collect();
        let answers = ask(&path, &all);
        assert_eq!(answers.matches("\r\n\r\nok").count(), sids.len(), "{answers}");
        assert_eq!(answers.matches("\r\n\r\n4hello").count(), sids.len(), "{answers}");
        assert_eq!(running.remote().sessions(), sids.len());
        running.shutdown();
        running.join().expect("an orderly end");
        assert!(!is_there(&path), "it is left behind");
    });
}

#[test]
fn curl_speaks_to_a_unix_socket() {
    let version = foreign::run(Command::new("curl").arg("--version"), PATIENCE, |_| {});
    if let Err(why) = version {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no curl: {why}");
        // Not `eprintln!`: the harness would hide it, as the test passes.
        _ = writeln!(io::stderr(), "SKIPPED: curl_speaks_to_a_unix_socket: {why}");
        return;
    }
    let directory = Directory::new("curl");
    let path = directory.socket();
    let running = echo(somewhere()).bind_unix(&path).expect("a server");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--unix-socket"]);
    curl.arg(&path).arg(format!("http://localhost{POLLING}"));
    let open = foreign::run(&mut curl, PATIENCE * 2, |_| {}).expect("an answer");
    sid_of(open.trim());
    assert_eq!(running.remote().sessions(), 1);
}

#[test]
fn an_abandoned_socket_is_replaced_and_nothing_else_is() {
    let directory = Directory::new("stale");
    let path = directory.socket();
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(is_there(&path));
    // A process that another test starts holds it, too, until it runs its program.
    eventually("nobody to listen", || UnixStream::connect(&path).is_err());
    let running = echo(somewhere()).bind_unix(&path).expect("nobody listens there");
    let taken = |result: Result<Running, ServeError>| match result {
        Err(ServeError::Io(error)) => {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains("socket"), "{error}");
        }
        other => panic!("not refused: {other:?}"),
    };
    taken(echo(somewhere()).bind_unix(&path));
    open(&path);

    // Somebody else has moved in: that socket is not ours to remove.
    fs::remove_file(&path).expect("a file");
    let successor = UnixListener::bind(&path).expect("a socket");
    running.shutdown();
    running.join().expect("an orderly end");
    connect(&path);
    drop(successor);

    let file = directory.0.join("socket.txt");
    fs::write(&file, "precious").expect("a file");
    taken(echo(somewhere()).bind_unix(&file));
    assert_eq!(fs::read_to_string(&file).expect("as it was"), "precious");
}

#[test]
fn a_unix_socket_has_the_permissions_asked_for() {
    let directory = Directory::new("mode");
    let path = directory.socket();
    let config = somewhere().unix_socket_mode(0o640);
    let _running = echo(config).bind_unix(&path).expect("a server");
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "{mode:o}");
}

#[test]
fn a_socket_that_listens_already_is_served_by_every_core() {
    everywhere(|config| {
        let directory = Directory::new("given");
        let path = directory.socket();
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = tcp.local_addr().expect("an address");
        let unix = UnixListener::bind(&path).expect("a socket");
        let running = echo(config).listen([tcp.into(), unix.into()]).expect("a server");
        assert_eq!(running.local_addr(), address);
        assert_eq!(running.endpoints().len(), 2);

        let mut sessions: Vec<_> = (0..6).map(|_| Polling::open(address)).collect();
        for session in &mut sessions {
            assert!(session.poll().starts_with("4Some(127.0.0.1:"));
            session.assert_alive();
        }
        // Both lead to the same sessions.
        let sid = &sessions[0].sid;
        let answers =
            ask(&path, &[Request::post(&target(sid), "4hello"), Request::get(&target(sid))]);
        assert!(answers.ends_with("\r\n\r\n4hello"), "{answers}");
        running.shutdown();
        running.join().expect("an orderly end");
        assert!(is_there(&path), "who made it removes it");
    });
}

#[test]
fn a_proxy_on_a_unix_socket_is_believed_if_it_is_trusted() {
    for (trusted, greeting) in [(&["unix"][..], "4Some(192.0.2.7:0)"), (&[], "4None")] {
        let directory = Directory::new("proxy");
        let path = directory.socket();
        let config = somewhere().trusted_proxies(trusted);
        let _running = echo(config).bind_unix(&path).expect("a server");
        let forwarded = Request::get(POLLING).header("X-Forwarded-For", "192.0.2.7");
        let answer = ask(&path, &[forwarded]);
        let sid = sid_of(answer.split_once("\r\n\r\n").expect("a response").1);
        let answer = ask(&path, &[Request::get(&target(&sid))]);
        assert!(answer.ends_with(greeting), "{answer}");
    }
}

#[test]
fn what_does_not_listen_is_not_taken() {
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let file = fs::File::open("/dev/null").expect("a file");
    for fd in [OwnedFd::from(stream), datagrams.into(), file.into()] {
        Listener::try_from(fd).expect_err("it does not listen");
    }
    let listens = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a socket"));
    let listener = Listener::try_from(listens).expect("it listens");
    assert!(matches!(listener.endpoint(), Endpoint::Tcp(_)));
    assert!(Listener::inherited().expect("nothing to misread").is_empty());
    match echo(somewhere()).listen([]) {
        Err(ServeError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
        other => panic!("nothing to listen on: {other:?}"),
    }
}

/// The `echo` example as systemd starts it: with a socket as descriptor 3, and who it is for.
fn activated(socket: &TcpListener, pid: &str) -> Command {
    let mut command = Command::new("sh");
    // `$$` stays the process id across `exec`.
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_PID={pid} LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" \"$@\""
    );
    command.args(["-c", &script]).arg(server::path_of("echo"));
    command.args(["--listen", "inherited", "--workers", "2"]);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor"))));
    command
}

#[test]
fn a_socket_of_systemd_outlives_the_server_it_activates() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let mut first = server::Server::run_with_stdin(activated(&socket, "$$"));
    assert_eq!(first.addr(), address);
    let sid = sid_of(Wire::connect(address).request(&Request::get(POLLING)).text());
    first.terminate();
    let status = first.wait(PATIENCE).expect("SIGTERM ends it");
    assert!(status.success(), "{status}");

    // Nobody serves, but the socket is there: a client that comes now waits for the next server.
    let mut early = Wire::connect(address);
    early.send(&Request::get(POLLING));
    let _second = server::Server::run_with_stdin(activated(&socket, "$$"));
    assert_ne!(sid_of(early.response().text()), sid);
}

#[test]
fn a_socket_for_another_process_is_not_taken() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let mut command = activated(&socket, "1");
    let output = command.output().expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing to listen on"), "{said}");
}
