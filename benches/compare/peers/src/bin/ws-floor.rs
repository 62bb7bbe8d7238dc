//! Floors of a WebSocket echo: its framing and its system calls, and nothing else. They complete the handshake of the
//! load generator only.
//!
//! usage: ws-floor PORT epoll|ring
//!
//! `epoll`: level-triggered readiness, recv(2) and send(2). `ring`: an io_uring with multishot receives into a ring of
//! buffers, and a send operation for each batch.
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use eio_compare_peers::Echo;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

#[derive(Default)]
struct Conn {
    fd: i32,
    echo: Echo,
    /// Echoes that a send operation holds.
    sending: Vec<u8>,
    sent: usize,
    receiving: bool,
}

fn adopt(conns: &mut Vec<Option<Box<Conn>>>, free: &mut Vec<usize>, fd: i32) -> usize {
    let one = 1i32;
    // SAFETY: the pointer and the length are those of a live integer.
    unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const one).cast(), 4);
    }
    let conn = Some(Box::new(Conn { fd, ..Conn::default() }));
    let id = free.pop().unwrap_or_else(|| {
        conns.push(None);
        conns.len() - 1
    });
    conns[id] = conn;
    id
}

fn epoll(listener: i32) {
    const LISTENER: u64 = u64::MAX;
    let (mut conns, mut free) = (Vec::new(), Vec::new());
    let mut scratch = vec![0; 256 * 1024];
    // SAFETY: plain system calls on descriptors that this function owns, with pointers to live memory.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let watch = |fd, id| {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: id };
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event);
        };
        watch(listener, LISTENER);
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
        loop {
            let n = libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, -1).max(0);
            for event in &events[..n as usize] {
                if event.u64 == LISTENER {
                    let fd = libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), 0);
                    if fd >= 0 {
                        watch(fd, adopt(&mut conns, &mut free, fd) as u64);
                    }
                    continue;
                }
                let id = event.u64 as usize;
                let Some(conn) = conns[id].as_mut() else { continue };
                let n = libc::recv(conn.fd, scratch.as_mut_ptr().cast(), scratch.len(), 0);
                if n > 0 {
                    conn.echo.received(&mut scratch[..n as usize]);
                    let mut out = conn.echo.out.as_slice();
                    while !out.is_empty() {
                        let n = libc::send(conn.fd, out.as_ptr().cast(), out.len(), libc::MSG_NOSIGNAL);
                        conn.echo.ended |= n <= 0;
                        out = if n > 0 { &out[n as usize..] } else { &[] };
                    }
                    conn.echo.out.clear();
                }
                if n <= 0 || conn.echo.ended {
                    libc::close(conn.fd);
                    conns[id] = None;
                    free.push(id);
                }
            }
        }
    }
}

const GROUP: u16 = 1;
const SIZE: usize = 4096;
const BUFFERS: u16 = 1024;
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

struct Ring {
    ring: IoUring,
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<usize>,
    memory: *mut u8,
    entries: *mut types::BufRingEntry,
    tail: u16,
}

impl Ring {
    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: an entry refers to memory that lives as long as its operation: the ring of buffers, or `sending`.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().expect("io_uring_enter");
        }
    }

    fn give_back(&mut self, id: u16) {
        // SAFETY: `entries` and `memory` have room for BUFFERS entries, and `id` is below that.
        unsafe {
            let entry = &mut *self.entries.add((self.tail & (BUFFERS - 1)).into());
            entry.set_addr(self.memory.add(usize::from(id) * SIZE) as u64);
            entry.set_len(SIZE as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn receive(&mut self, id: usize) {
        let Some(conn) = &mut self.conns[id] else { return };
        conn.receiving = true;
        let entry = opcode::RecvMulti::new(types::Fd(conn.fd), GROUP).build();
        self.push(entry.user_data(RECEIVE | (id as u64) << 8));
    }

    fn send(&mut self, id: usize) {
        let Some(conn) = &mut self.conns[id] else { return };
        if conn.sent == conn.sending.len() {
            conn.sending.clear();
            conn.sent = 0;
            std::mem::swap(&mut conn.echo.out, &mut conn.sending);
        }
        let rest = &conn.sending[conn.sent..];
        if rest.is_empty() {
            return;
        }
        let entry = opcode::Send::new(types::Fd(conn.fd), rest.as_ptr(), rest.len() as u32);
        self.push(entry.flags(libc::MSG_NOSIGNAL).build().user_data(SEND | (id as u64) << 8));
    }

    fn completed(&mut self, data: u64, result: i32, flags: u32) {
        let id = (data >> 8) as usize;
        match data & 255 {
            ACCEPT => {
                if result >= 0 {
                    let id = adopt(&mut self.conns, &mut self.free, result);
                    self.receive(id);
                }
            }
            RECEIVE => self.received(id, result, flags),
            _ => {
                let Some(conn) = &mut self.conns[id] else { return };
                if result > 0 {
                    conn.sent += result as usize;
                } else {
                    conn.echo.ended = true;
                    conn.echo.out.clear();
                    conn.sent = conn.sending.len();
                }
                self.send(id);
            }
        }
        self.free(id, data & 255 == ACCEPT);
    }

    fn received(&mut self, id: usize, result: i32, flags: u32) {
        let buffer = cqueue::buffer_select(flags);
        let Some(conn) = &mut self.conns[id] else { return };
        conn.receiving = cqueue::more(flags);
        if let (Some(buffer), 1..) = (buffer, result) {
            let idle = conn.sent == conn.sending.len();
            // SAFETY: the kernel filled `result` bytes of this buffer, which is given back below.
            let data = unsafe {
                let start = self.memory.add(usize::from(buffer) * SIZE);
                std::slice::from_raw_parts_mut(start, result as usize)
            };
            conn.echo.received(data);
            if idle {
                self.send(id);
            }
        } else if result != -libc::ENOBUFS {
            conn.echo.ended = true;
        }
        if let Some(buffer) = buffer {
            self.give_back(buffer);
        }
        let again = self.conns[id].as_ref().is_some_and(|conn| !conn.receiving && !conn.echo.ended);
        if again {
            self.receive(id);
        }
    }

    fn free(&mut self, id: usize, accepted: bool) {
        let Some(Some(conn)) = self.conns.get(id) else { return };
        if accepted || !conn.echo.ended || conn.sent < conn.sending.len() {
            return;
        }
        if conn.receiving {
            // SAFETY: a descriptor that this connection owns.
            unsafe { libc::shutdown(conn.fd, libc::SHUT_RD) };
            return;
        }
        // SAFETY: no operation is in flight.
        unsafe { libc::close(conn.fd) };
        self.conns[id] = None;
        self.free.push(id);
    }
}

fn ring(listener: i32) {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(16384).setup_single_issuer().setup_defer_taskrun();
    let ring = builder.build(4096).expect("io_uring_setup");
    // SAFETY: anonymous mappings of this size, which are never unmapped.
    let map = |len| unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0).cast::<u8>()
    };
    let entries = map(usize::from(BUFFERS) * 16).cast();
    let memory = map(usize::from(BUFFERS) * SIZE);
    // SAFETY: the mapping has room for the entries, and lives as long as the ring.
    unsafe { ring.submitter().register_buf_ring(entries as u64, BUFFERS, GROUP) }.expect("buffers");
    let mut ring = Ring { ring, conns: Vec::new(), free: Vec::new(), memory, entries, tail: 0 };
    (0..BUFFERS).for_each(|id| ring.give_back(id));
    ring.push(opcode::AcceptMulti::new(types::Fd(listener)).build().user_data(ACCEPT));
    let mut done: Vec<(u64, i32, u32)> = Vec::with_capacity(16384);
    loop {
        match ring.ring.submit_and_wait(1) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {
                panic!("io_uring_enter: {error}")
            }
            _ => {}
        }
        let completions = ring.ring.completion();
        done.extend(completions.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        done.drain(..).for_each(|(data, result, flags)| ring.completed(data, result, flags));
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // SAFETY: a descriptor that is open.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    match args.next().as_deref() {
        Some("ring") => ring(listener.into_raw_fd()),
        _ => epoll(listener.into_raw_fd()),
    }
}
