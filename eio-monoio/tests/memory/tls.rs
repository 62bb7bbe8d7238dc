//! Allocations of the server for each message over TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use eio_monoio::{Driver, Server};
use rustls::ClientConnection;

use crate::allocations::allocations;
use crate::support::configs::default_config;
use crate::support::echo::Echo;
use crate::support::own_process;
use crate::support::request::{Request, WEBSOCKET};
use crate::support::tls::Identity;
use crate::support::websocket::{TEXT, frame};

const WARM_UP: usize = 500;
const ROUNDS: usize = 1000;

/// Requests that are encrypted before the server is measured, and memory for the records of one response.
struct RoundTrips {
    stream: TcpStream,
    requests: std::vec::IntoIter<Vec<u8>>,
    response: Vec<u8>,
}

impl RoundTrips {
    /// Each message is a record of its own.
    fn new(address: std::net::SocketAddr, identity: &Identity, message: &[u8]) -> Self {
        let name = "127.0.0.1".try_into().expect("a name");
        let config = Arc::new(identity.pki.client(None));
        let mut tls = ClientConnection::new(config, name).expect("a client");
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let upgrade = Request::upgrade(WEBSOCKET).bytes();
        let mut client = rustls::Stream::new(&mut tls, &mut stream);
        client.write_all(&upgrade).expect("the server reads");
        let mut open = Vec::new();
        // The open packet ends with a brace, and nothing follows it.
        while open.last() != Some(&b'}') {
            let mut some = [0; 4096];
            let n = client.read(&mut some).expect("the server answers");
            open.extend_from_slice(&some[..n]);
        }
        let request = frame(TEXT, message);
        let requests = (0..WARM_UP + 3 * ROUNDS).map(|_| {
            let mut records = Vec::new();
            tls.writer().write_all(&request).expect("room");
            while tls.wants_write() {
                tls.write_tls(&mut records).expect("memory");
            }
            records
        });
        let requests: Vec<_> = requests.collect();
        // An answer lacks the mask of four bytes.
        let response = vec![0; requests[0].len() - 4];
        Self { stream, requests: requests.into_iter(), response }
    }

    fn run(&mut self, rounds: usize) {
        for request in self.requests.by_ref().take(rounds) {
            self.stream.write_all(&request).expect("the server reads");
            self.stream.read_exact(&mut self.response).expect("the server answers");
        }
    }
}

/// Rustls allocates the plain text of each record that it decrypts, and each record that it encrypts. There are no other
/// allocations.
fn echoes_allocate_in_rustls_only(driver: Driver) {
    let identity = Identity::new();
    let config = default_config().driver(driver).workers(1);
    let server = Server::new(Echo::<()>::new).config(config).tls(identity.tls());
    let running = server.bind("127.0.0.1:0").expect("the server starts");
    for len in [32, 4000] {
        let mut trips = RoundTrips::new(running.local_addr(), &identity, &vec![b'4'; len]);
        trips.run(WARM_UP);
        let count = allocations(|| trips.run(ROUNDS));
        println!("{driver}: {count} allocations for {ROUNDS} echoes of {len} bytes over TLS");
        assert!(count <= 2 * ROUNDS, "{count} allocations for {ROUNDS} echoes of {len} bytes");
    }
}

#[test]
fn echo_over_tls_allocates_in_rustls_only() {
    let test = "echo_over_tls_allocates_in_rustls_only";
    own_process::for_each_driver(module_path!(), test, echoes_allocate_in_rustls_only);
}
