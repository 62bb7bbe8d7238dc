//! `eio-share` measures what one address at its limit costs the sessions of others: their echo latency without it, while
//! it connects to another server, and while it connects to this one.
//!
//! A latency is the time from a send to the arrival of the echo by the kernel's clock (`SO_TIMESTAMPNS`): the wait of
//! this program for its own core, which the connecting address shares, is not in it. `benches/README.md` has the commands.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use socket2::{Domain, SockAddr, Socket, Type};

/// Prints the p50 and p99 of echoes in microseconds, and the ratios of the p99
#[derive(Parser)]
#[command(name = "eio-share")]
struct Args {
    /// The server, whose `max_connections_per_address` is `--limit`
    #[arg(long, default_value = "127.0.0.1:3000")]
    server: SocketAddr,
    #[arg(long, default_value_t = 110)]
    limit: usize,
    /// The address at its limit connects N times a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Sessions, each of an address of its own
    #[arg(long, default_value_t = 100)]
    sessions: u8,
    /// Messages a second of all sessions together
    #[arg(long, default_value_t = 5000)]
    messages: u32,
    /// Seconds of a measurement
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Measurements of each kind, in turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// The address at its limit.
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn main() -> io::Result<()> {
    let args = Args::parse();
    let mut sessions = (1..=args.sessions)
        .map(|n| Session::open(Ipv4Addr::new(127, 0, 2, n), args.server))
        .collect::<io::Result<Vec<_>>>()?;
    let held = hold(args.server, args.limit)?;
    let elsewhere = refuse_all()?;
    // Caches, and buffers that grow.
    echo(&args, &mut sessions, &mut histogram())?;
    let kinds = [None, Some(elsewhere), Some(args.server)];
    let mut latencies = [histogram(), histogram(), histogram()];
    let mut refused = 0;
    for _ in 0..args.rounds {
        for (kind, latencies) in kinds.iter().zip(&mut latencies) {
            let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
            thread::scope(|scope| {
                if let Some(server) = *kind {
                    let (stop, count) = (&stop, &count);
                    scope.spawn(move || connect_repeatedly(server, args.rate, stop, count));
                }
                let echoed = echo(&args, &mut sessions, latencies);
                stop.store(true, Ordering::Relaxed);
                echoed
            })?;
            if *kind == Some(args.server) {
                refused += count.load(Ordering::Relaxed);
            }
        }
    }
    drop(held);
    let [alone, other, this] = &latencies;
    for (name, it) in [("alone", alone), ("connects elsewhere", other), ("connects here", this)] {
        let quantile = |q| it.value_at_quantile(q) / 1000;
        let (p50, p99, p999) = (quantile(0.5), quantile(0.99), quantile(0.999));
        println!("{name:20} p50 {p50:5} p99 {p99:5} p99.9 {p999:5} us, {} echoes", it.len());
    }
    let p99 = |it: &Histogram<u64>| it.value_at_quantile(0.99) as f64;
    println!("{refused} connections refused");
    println!(
        "p99: {:.2} of alone, {:.2} of elsewhere",
        p99(this) / p99(alone),
        p99(this) / p99(other)
    );
    Ok(())
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of nanoseconds")
}

fn connect(own: Ipv4Addr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(own, 0)))?;
    socket.connect(&SockAddr::from(server))?;
    Ok(socket.into())
}

/// A session over WebSocket, with at most one message in flight.
struct Session {
    stream: TcpStream,
    /// When the message in flight was sent, in nanoseconds of the wall clock.
    sent: Option<u64>,
}

/// A masked text frame `4hello`, with a mask of zeros, and its echo.
const MESSAGE: &[u8] = b"\x81\x86\0\0\0\x004hello";
const ECHO: &[u8] = b"\x81\x064hello";

impl Session {
    fn open(own: Ipv4Addr, server: SocketAddr) -> io::Result<Self> {
        let mut stream = connect(own, server)?;
        stream.write_all(
            b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )?;
        let mut open = Vec::new();
        // The open packet ends with a brace, and nothing follows it.
        while open.last() != Some(&b'}') {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            open.extend(byte);
        }
        receive_timestamps(&stream)?;
        Ok(Self { stream, sent: None })
    }

    fn send(&mut self) -> io::Result<()> {
        self.sent = Some(wall_clock());
        self.stream.write_all(MESSAGE)
    }

    /// The latency of the message in flight; `None` if a ping of the server, which is answered, arrived with its echo.
    fn receive(&mut self) -> io::Result<Option<u64>> {
        const PING: &[u8] = b"\x81\x012";
        let Some(sent) = self.sent.take() else { return Ok(None) };
        let (mut received, mut latency) = (Vec::new(), None);
        while !received.ends_with(ECHO) && !received.ends_with(&[ECHO, PING].concat()) {
            let mut buffer = [0; 64];
            let (n, arrived) = receive(&self.stream, &mut buffer)?;
            latency = (buffer[..n] == *ECHO).then(|| arrived.saturating_sub(sent));
            received.extend_from_slice(&buffer[..n]);
            if buffer[..n].windows(PING.len()).any(|part| part == PING) {
                self.stream.write_all(b"\x81\x81\0\0\0\x003")?;
            }
            if received.len() > PING.len() + ECHO.len() {
                return Err(io::Error::other(format!("not an echo: {received:?}")));
            }
        }
        Ok(latency)
    }
}

/// Sends messages evenly, one session after the other, and records the latencies of their echoes. An echo is collected
/// when the session's next message is due: the kernel has noted when it arrived.
fn echo(args: &Args, sessions: &mut [Session], latencies: &mut Histogram<u64>) -> io::Result<()> {
    let start = Instant::now();
    let count = args.messages * args.seconds;
    for (n, at) in (0..count).zip((0..sessions.len()).cycle()) {
        let due = Duration::from_secs(1) * n / args.messages;
        thread::sleep(due.saturating_sub(start.elapsed()));
        let session = &mut sessions[at];
        if let Some(latency) = session.receive()? {
            latencies.saturating_record(latency);
        }
        session.send()?;
    }
    for session in sessions {
        if let Some(latency) = session.receive()? {
            latencies.saturating_record(latency);
        }
    }
    Ok(())
}

/// Opens as many connections as the address may have, and has each serve a request, so that it is counted.
fn hold(server: SocketAddr, limit: usize) -> io::Result<Vec<TcpStream>> {
    (0..limit)
        .map(|_| {
            let mut stream = connect(GREEDY, server)?;
            stream.write_all(REQUEST)?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            if status != *b"HTTP/1.1 200" {
                return Err(io::Error::other("--limit is above the server's limit"));
            }
            Ok(stream)
        })
        .collect()
}

const REQUEST: &[u8] = b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: test\r\n\r\n";

/// Connects at a rate, sends a request, and reads to the end of the connection. Counts those that were refused.
fn connect_repeatedly(server: SocketAddr, rate: u32, stop: &AtomicBool, refused: &AtomicU64) {
    let start = Instant::now();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep((Duration::from_secs(1) * n / rate).saturating_sub(start.elapsed()));
        n += 1;
        let attempt = connect(GREEDY, server).and_then(|mut stream| {
            stream.write_all(REQUEST)?;
            stream.read_to_end(&mut Vec::new())
        });
        // A reset, because the request arrived after the response, is a refusal as well.
        _ = attempt;
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server that answers each connection as one above a limit.
fn refuse_all() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            _ = stream.write_all(
                b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\n\
                Connection: close\r\n\r\n",
            );
        }
    });
    Ok(addr)
}

/// Makes the kernel note when bytes arrive.
fn receive_timestamps(stream: &TcpStream) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the pointer is to a live value of the given length.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives bytes, and when the last of them arrived, in nanoseconds of the wall clock.
fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0_u64; 16];
    // SAFETY: all of its fields may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message refers to live memory of the lengths that it states.
    let n = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, 0) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    if n == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: the kernel has filled the control memory, which lives and is aligned as its headers are.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let header = header.filter(|header| header.cmsg_type == libc::SCM_TIMESTAMPNS);
    let header = header.ok_or_else(|| io::Error::other("the kernel notes no time of arrival"))?;
    // SAFETY: a header of this type is followed by a timespec.
    let time: libc::timespec =
        unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
    Ok((n, nanoseconds(time)))
}

fn wall_clock() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    nanoseconds(time)
}

fn nanoseconds(time: libc::timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
