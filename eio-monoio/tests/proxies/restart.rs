//! A start right after the end of a process by SIGKILL, whose sockets the kernel still closes.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{Config, ServeError, Server};

use crate::support::configs::{default_config, has_io_uring};
use crate::support::echo::Echo;
use crate::support::process::{ServerProcess, example_path, signal};
use crate::support::temp_dir::TempDir;

fn echo(listen: &str) -> Command {
    let mut command = Command::new(example_path("echo"));
    let driver = if has_io_uring() { "io-uring" } else { "epoll" };
    command.args(["--listen", listen, "--workers", "2", "--driver", driver]);
    command
}

/// The kernel takes the rings of a killed process down in the background, and with them its listeners.
#[test]
fn the_port_of_a_killed_server_is_bound_at_the_first_start() {
    const CONNECTIONS: usize = 400;
    let mut server = ServerProcess::run(echo("127.0.0.1:0"));
    let addr: SocketAddr = server.addr();
    let held: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(addr).expect("accepted")).collect();
    for _ in 0..3 {
        signal("-KILL", &server.pid().to_string());
        server = ServerProcess::run(echo(&addr.to_string()));
        assert_eq!(server.addr(), addr);
    }
    drop(held);
}

fn in_use(result: Result<eio_monoio::Running, ServeError>) -> String {
    match result {
        Err(ServeError::Io(error)) if error.kind() == io::ErrorKind::AddrInUse => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn config(timeout: Duration) -> Config {
    default_config().bind_timeout(timeout)
}

#[test]
fn bind_waits_until_the_port_is_free_and_no_longer_than_its_timeout() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address");
    let server = |timeout| Server::new(Echo::<()>::new).config(config(timeout));
    let error = in_use(server(Duration::ZERO).bind(addr));
    assert!(error.contains(&addr.to_string()), "{error}");
    let timeout = Duration::from_millis(200);
    let started = Instant::now();
    in_use(server(timeout).bind(addr));
    assert!(started.elapsed() >= timeout);

    let release = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(taken);
    });
    let running = server(Duration::from_secs(20)).bind(addr).expect("the port becomes free");
    assert_eq!(running.local_addr(), addr);
    release.join().expect("it is released");
}

#[test]
fn bind_unix_waits_until_the_socket_is_abandoned() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let server = |timeout| Server::new(Echo::<()>::new).config(config(timeout));
    let first = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let error = in_use(server(Duration::ZERO).bind_unix(&path));
    assert!(error.contains("socket"), "{error}");
    let release = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(first);
    });
    let running = server(Duration::from_secs(20)).bind_unix(&path).expect("the socket is replaced");
    UnixStream::connect(&path).expect("it listens");
    release.join().expect("it is released");
    drop(running);

    // A file that is not a socket does not become free: the error comes at once.
    let file = directory.write("file", "precious");
    let started = Instant::now();
    in_use(server(Duration::from_secs(60)).bind_unix(&file));
    assert!(started.elapsed() < Duration::from_secs(30));
}
