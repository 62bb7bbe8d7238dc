//! System calls: of sockets, timers, limits, signals and the allocator.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Shuts down both directions of the socket `fd`. An error is ignored: it means that the socket is closed already.
pub(crate) fn abort(fd: RawFd) {
    shutdown(fd, libc::SHUT_RDWR);
}

pub(super) fn shutdown(fd: RawFd, how: libc::c_int) {
    // SAFETY: takes no pointer; a descriptor that is not a connected socket makes it fail, nothing else.
    unsafe { libc::shutdown(fd, how) };
}

/// `recvfrom(2)`, without the address: the number of bytes, or -1 and `errno`.
///
/// The functions of the C library for this, [`send`] and [`accept`] are points at which a thread can be cancelled, which is
/// two atomic operations and 40 instructions of each call. No thread is cancelled here.
#[inline]
pub(super) fn recv(fd: RawFd, into: &mut [u8], flags: libc::c_int) -> libc::c_long {
    let (start, len, no_address) = (into.as_mut_ptr(), into.len(), std::ptr::null_mut::<()>());
    // SAFETY: the pointer and length are those of a live, exclusively borrowed slice.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, start, len, flags, no_address, no_address) }
}

/// `sendto(2)`, without an address; as [`recv`].
#[inline]
pub(super) fn send(fd: RawFd, bytes: &[u8], flags: libc::c_int) -> libc::c_long {
    let (start, len, no_address) = (bytes.as_ptr(), bytes.len(), std::ptr::null::<()>());
    // SAFETY: the pointer and length are those of a live slice.
    unsafe { libc::syscall(libc::SYS_sendto, fd, start, len, flags, no_address, 0) }
}

/// `accept4(2)`: the descriptor, or -1 and `errno`; as [`recv`].
///
/// # Safety
/// `address` has room for as many bytes as `len` states, until the call returns.
pub(super) unsafe fn accept(
    fd: RawFd,
    address: *mut libc::sockaddr,
    len: *mut libc::socklen_t,
    flags: libc::c_int,
) -> RawFd {
    // SAFETY: the caller lends the memory.
    let accepted = unsafe { libc::syscall(libc::SYS_accept4, fd, address, len, flags) };
    accepted as RawFd
}

/// Lets the timer `fd` expire once, `after` this time from now; with `None`, not at all.
pub(super) fn set_timer(fd: RawFd, after: Option<Duration>) {
    // Zero would mean that it does not expire.
    let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec {
        tv_sec: after.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: after.subsec_nanos().into(),
    };
    let times = libc::itimerspec { it_interval: never, it_value: value };
    // SAFETY: the pointer is that of a live itimerspec, and the null pointer asks for no old time.
    let set = unsafe { libc::timerfd_settime(fd, 0, &times, std::ptr::null_mut()) };
    debug_assert_eq!(set, 0, "a timer, and a time with less than a second of nanoseconds");
}

/// Whether the timer `fd`, which does not block, has expired since it was set or asked.
pub(super) fn take_expiration(fd: RawFd) -> bool {
    let mut count = 0u64;
    // SAFETY: the pointer and length are those of `count`, of which every value is valid.
    unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) > 0 }
}

/// Returns unused heap memory to the operating system, if the allocator is glibc's.
pub(super) fn trim_heap() {
    // SAFETY: takes no pointer, and moves no allocation that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// The most descriptors that this process may open, after raising the soft limit to the hard one.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a live rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            raised.rlim_cur
        } else {
            limit.rlim_cur
        }
    }
}

/// Fails if `io_uring_enter` is refused. A seccomp filter may allow the set-up of a ring and refuse this call, and the
/// runtime would repeat it without end.
pub(super) fn check_io_uring_enter() -> io::Result<()> {
    // SAFETY: no descriptor has this number, so the call fails before it does anything; no pointer is read.
    unsafe { libc::syscall(libc::SYS_io_uring_enter, -1, 0, 0, 0, std::ptr::null::<()>(), 0) };
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EBADF) { Ok(()) } else { Err(error) }
}

/// Whether a signal has its default disposition, `SIG_DFL`.
pub(crate) fn is_default(signal: libc::c_int) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action changes nothing, and the old one is written to memory that lives.
    if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the action.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_DFL)
}
