//! Closing and detaching a [`Socket`] with and without an operation in flight, on both drivers.

use std::fs;
use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::timer::sleep;
use super::{Driver, Runtime, Socket, Write};

/// How many sockets a test closes.
const SOCKETS: usize = 200;

/// More bytes than a socket's buffers hold.
const LARGE: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlight {
    Nothing,
    Wait,
    Receive,
    Write,
}

const EACH: [InFlight; 4] = [InFlight::Nothing, InFlight::Wait, InFlight::Receive, InFlight::Write];

/// A socket with an operation in flight, its peer, and the write, if that is the operation.
struct Pair {
    socket: Socket,
    peer: UnixStream,
    write: Option<Write>,
}

impl Pair {
    async fn new(in_flight: InFlight) -> io::Result<Self> {
        let (ours, peer) = UnixStream::pair()?;
        peer.set_nonblocking(true)?;
        let socket = Socket::from_fd(ours.into())?;
        let mut this = Self { socket, peer, write: None };
        let is_pending = poll_fn(|cx| {
            Poll::Ready(match in_flight {
                InFlight::Nothing => true,
                InFlight::Wait => this.socket.poll_readable(cx).is_pending(),
                InFlight::Receive => this.socket.poll_recv_op(cx, || vec![0; 64]).is_pending(),
                InFlight::Write => {
                    let write = this.write.insert(this.socket.write_all(vec![7; LARGE], 0));
                    Pin::new(write).poll(cx).is_pending()
                }
            })
        })
        .await;
        assert!(is_pending, "{in_flight:?}");
        Ok(this)
    }

    /// Names the socket in `/proc/self/fd`.
    fn name(&self) -> PathBuf {
        name(self.socket.raw()).unwrap()
    }
}

fn name(fd: impl std::fmt::Display) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{fd}"))
}

/// How many open descriptors of this process refer to these sockets. Other tests open and close descriptors meanwhile.
fn open(names: &[PathBuf]) -> usize {
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    let fds = fds.filter_map(|fd| fd.ok()?.file_name().into_string().ok());
    fds.filter(|fd| name(fd).is_ok_and(|name| names.contains(&name))).count()
}

/// Reads all that has arrived; true at the end of the stream.
fn is_at_end(peer: &UnixStream) -> bool {
    let mut buf = [0; 65536];
    loop {
        match { peer }.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn reach_end(peer: &UnixStream) {
    for _ in 0..5_000 {
        if is_at_end(peer) {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("the socket is not closed");
}

/// Runs `test` on both drivers, or on epoll only where there is no io_uring.
fn on_both_drivers(test: impl AsyncFn()) {
    Runtime::build(Driver::Epoll).unwrap().0.block_on(test());
    match Runtime::build(Driver::IoUring) {
        Ok((mut runtime, _)) => runtime.block_on(test()),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "io_uring is needed: {error}"
            );
            eprintln!("SKIPPED: closing on io_uring: {error}");
        }
    }
}

#[test]
fn a_socket_without_an_operation_is_closed_at_once() {
    on_both_drivers(async || {
        // It has had an operation of each kind.
        let Pair { socket, mut peer, .. } = Pair::new(InFlight::Wait).await.unwrap();
        peer.write_all(b"one").unwrap();
        poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
        assert_eq!(socket.try_recv(&mut [0; 64]).unwrap(), Some(3));
        peer.write_all(b"two").unwrap();
        let (received, _) = poll_fn(|cx| socket.poll_recv_op(cx, || vec![0; 64])).await;
        assert_eq!(received.unwrap(), 3);
        let written = socket.write_all(b"three".to_vec(), 0).await;
        assert_eq!((written.result.ok(), written.sent), (Some(()), 5));
        assert!(!is_at_end(&peer));
        drop(socket);
        assert!(is_at_end(&peer));

        let Pair { socket, peer, .. } = Pair::new(InFlight::Nothing).await.unwrap();
        drop(socket);
        assert!(is_at_end(&peer));
    });
}

#[test]
fn a_socket_with_an_operation_is_closed_soon() {
    on_both_drivers(async || {
        for in_flight in EACH {
            let mut names = Vec::new();
            let mut peers = Vec::new();
            for n in 0..SOCKETS {
                let pair = Pair::new(in_flight).await.unwrap();
                names.push(pair.name());
                // Some operations have reached the kernel, and others have not.
                if n % 20 == 0 {
                    sleep(Duration::ZERO).await;
                }
                let Pair { socket, peer, write } = pair;
                if n % 2 == 0 {
                    drop((socket, write));
                } else {
                    drop((write, socket));
                }
                peers.push(peer);
            }
            for peer in &peers {
                reach_end(peer).await;
            }
            assert_eq!(open(&names), 0, "{in_flight:?}");
        }
    });
}

#[test]
fn a_write_that_outlives_its_socket_is_completed() {
    on_both_drivers(async || {
        let Pair { socket, peer, write } = Pair::new(InFlight::Write).await.unwrap();
        drop(socket);
        let mut write = write.unwrap();
        let mut received = 0;
        let mut buf = vec![0; LARGE];
        while received < LARGE {
            match { &peer }.read(&mut buf) {
                Ok(n) => received += n,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            let written = poll_fn(|cx| Poll::Ready(Pin::new(&mut write).poll(cx))).await;
            if let Poll::Ready(written) = written {
                assert_eq!((written.result.ok(), written.sent), (Some(()), LARGE));
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        assert!(is_at_end(&peer), "closed with its last operation");
    });
}

#[test]
fn a_socket_can_be_detached_with_an_operation_in_flight() {
    on_both_drivers(async || {
        for in_flight in EACH {
            let Pair { socket, mut peer, write } = Pair::new(in_flight).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            drop(write);
            let detached = UnixStream::from(socket.into_fd().unwrap());
            // A cancelled receive takes no bytes.
            sleep(Duration::from_millis(1)).await;
            peer.write_all(b"question").unwrap();
            detached.set_nonblocking(false).unwrap();
            let mut question = [0; 8];
            { &detached }.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"question");
            assert!(!is_at_end(&peer), "{in_flight:?}");
            { &detached }.write_all(b"answer").unwrap();
            let mut answer = [0; 6];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"answer", "{in_flight:?}");
            drop(detached);
            reach_end(&peer).await;
        }
    });
}
