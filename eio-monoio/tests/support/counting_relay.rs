//! A TCP relay that counts bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Forwards bytes in both directions and counts them.
pub(crate) struct CountingRelay {
    url: String,
    counts: Arc<[AtomicUsize; 2]>,
}

impl CountingRelay {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let counts = Arc::<[AtomicUsize; 2]>::default();
        let counting = counts.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { return };
                let pairs = [(&client, &server), (&server, &client)];
                for (n, (from, to)) in pairs.into_iter().enumerate() {
                    let from = from.try_clone().expect("a descriptor");
                    let to = to.try_clone().expect("a descriptor");
                    let counts = counting.clone();
                    thread::spawn(move || forward(from, to, &counts[n]));
                }
            }
        });
        Self { url, counts }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The numbers of bytes to the server and from it.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let [to_server, from_server] = &*self.counts;
        (to_server.load(Ordering::SeqCst), from_server.load(Ordering::SeqCst))
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, count: &AtomicUsize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count.fetch_add(n, Ordering::SeqCst);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    _ = to.shutdown(Shutdown::Write);
}
