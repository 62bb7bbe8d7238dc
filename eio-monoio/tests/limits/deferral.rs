//! Connections that the kernel defers until their first bytes arrive: only while many clients connect.
#![allow(unsafe_code, reason = "the standard library does not read TCP_DEFER_ACCEPT")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use eio_monoio::{Config, RefusedConnection, Server};
use socket2::{Domain, Socket, Type};

use crate::support::app::App;
use crate::support::configs::{default_config, drivers};
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::parallel;
use crate::support::request::Request;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;

/// Connections that wait in the backlog at the same time: more than two batches of the server.
const CROWD: usize = 600;

/// A server with one worker, and the listener that it was given.
struct Observed {
    server: TestServer,
    listener: TcpListener,
}

impl Observed {
    fn start(config: Config) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("a free port");
        socket.listen(2 * CROWD as i32).expect("a listener");
        Self::of(socket.into(), config)
    }

    fn of(listener: TcpListener, config: Config) -> Self {
        let log = Log::default();
        let shared = log.clone();
        let server = Server::new(move || App::new(&shared)).config(config.workers(1));
        let given = listener.try_clone().expect("a descriptor");
        let running = server.listen([given.into()]).expect("the server starts");
        Self { server: TestServer::of(running, log), listener }
    }

    /// The value of TCP_DEFER_ACCEPT.
    fn deferred(&self) -> i32 {
        deferred(&self.listener)
    }

    /// Connections that arrive together, each with a request.
    fn serve_crowd(&self) {
        let mut crowd = self.silent_crowd();
        let request = Request::get("/").header("Connection", "close").bytes();
        crowd.iter_mut().for_each(|conn| conn.write(&request));
        crowd.iter_mut().for_each(|conn| assert_eq!(conn.response().status, 404));
    }

    fn silent_crowd(&self) -> Vec<Connection> {
        (0..CROWD).map(|_| Connection::open(self.server.addr())).collect()
    }

    /// Serves clients until their connections are deferred.
    fn defer(&self) {
        eventually("TCP_DEFER_ACCEPT", || {
            self.serve_crowd();
            self.deferred() == 1
        });
    }
}

fn deferred(listener: &TcpListener) -> i32 {
    let (mut seconds, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
    let value = (&raw mut seconds).cast();
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
    // SAFETY: the kernel writes at most `len` bytes, which is the size of the live integer.
    let result = unsafe { libc::getsockopt(listener.as_raw_fd(), level, option, value, &mut len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    seconds
}

fn defer(listener: &TcpListener, seconds: i32) {
    let (value, len) = ((&raw const seconds).cast(), size_of::<i32>() as libc::socklen_t);
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
    // SAFETY: the kernel reads `len` bytes, which is the size of the live integer.
    let result = unsafe { libc::setsockopt(listener.as_raw_fd(), level, option, value, len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn for_each_driver(body: impl Fn(Config) + Sync) {
    let cases = drivers().map(|driver| (driver.to_string(), default_config().driver(driver)));
    parallel::for_each(cases, body);
}

#[test]
fn connections_are_deferred_while_many_clients_connect() {
    for_each_driver(|config| {
        let observed = Observed::start(config);
        assert_eq!(observed.deferred(), 0);
        observed.defer();
        // Seen when the kernel repeats its SYN-ACK, also if no client arrives any more.
        let silent = Connection::open(observed.server.addr());
        eventually("the silent connection", || observed.server.remote().connections() == 1);
        eventually("the end of the deferral", || observed.deferred() == 0);
        drop(silent);
        observed.server.wait_until_empty();
        // A calm server sees it without another event.
        let _silent = Connection::open(observed.server.addr());
        observed.server.wait_for_counts(0, 1);
        assert_eq!(observed.deferred(), 0);
    });
}

#[test]
fn a_flood_of_silent_connections_is_not_deferred() {
    for_each_driver(|config| {
        let observed = Observed::start(config.max_connections(CROWD));
        let first = observed.silent_crowd();
        observed.server.wait_for_counts(0, CROWD);
        let second = observed.silent_crowd();
        let total = || observed.server.remote().metrics().total();
        let refused = || total().connections_refused(RefusedConnection::TooMany);
        eventually("the refusals", || refused() == CROWD as u64);
        assert_eq!(observed.deferred(), 0);
        drop((first, second));
    });
}

#[test]
fn a_listener_is_left_without_deferral() {
    for_each_driver(|config| {
        let observed = Observed::start(config);
        observed.defer();
        let Observed { server, listener } = observed;
        drop(server);
        assert_eq!(deferred(&listener), 0);
    });
}

#[test]
fn the_option_is_not_touched_if_it_is_off_or_set_already() {
    for_each_driver(|config| {
        let observed = Observed::start(config.clone().defer_accept(false));
        (0..2).for_each(|_| observed.serve_crowd());
        assert_eq!(observed.deferred(), 0);

        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        defer(&listener, 3);
        let observed = Observed::of(listener, config.clone());
        assert_eq!(observed.deferred(), 3);
        let Observed { server, listener } = observed;
        drop(server);
        assert_eq!(deferred(&listener), 3);

        // A process that was killed may have left this value.
        defer(&listener, 1);
        let observed = Observed::of(listener, config);
        assert_eq!(observed.deferred(), 0);
    });
}
