//! A machine without io_uring: `auto` falls back to epoll, and `io-uring` fails with a reason.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::polling::Polling;
use crate::support::process::ServerProcess;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// How the kernel refuses io_uring to a process.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// By a seccomp filter, as container runtimes do it, with this error.
    Filter(i32),
    /// By a seccomp filter that allows `io_uring_setup` and refuses `io_uring_enter`, with this error.
    EnterFilter(i32),
    /// By a limit on locked memory, in bytes.
    Memory(u64),
}

const REFUSALS: [Refused; 5] = [
    Refused::Filter(libc::EPERM),
    Refused::Filter(libc::ENOSYS),
    Refused::EnterFilter(libc::EPERM),
    Refused::EnterFilter(libc::ENOSYS),
    Refused::Memory(0),
];

fn echo(driver: &str, refused: Refused) -> Command {
    let mut command = ServerProcess::command("echo");
    command.args(["--driver", driver, "--workers", "2"]);
    // SAFETY: between fork and exec only system calls are made, with memory of their own stack.
    unsafe { command.pre_exec(move || refuse(refused)) };
    command
}

fn refuse(refused: Refused) -> io::Result<()> {
    match refused {
        Refused::Filter(error) => filter(libc::SYS_io_uring_setup, error),
        Refused::EnterFilter(error) => filter(libc::SYS_io_uring_enter, error),
        Refused::Memory(limit) => {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            const CAP_IPC_LOCK: libc::c_ulong = 14;
            // SAFETY: the limit is a live value, and the other call takes no pointer. It fails for all users but root,
            // and only root needs it, because the limit does not apply to a process with this capability.
            let set = unsafe {
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit)
            };
            if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
    }
}

/// Makes a system call fail with `error` in this process and in the programs that it executes.
fn filter(call: libc::c_long, error: i32) -> io::Result<()> {
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    // `struct seccomp_data` begins with the number of the system call.
    let load = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let is_call = libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: call as u32 };
    let answer = |k| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let mut program = [load, is_call, answer(ERRNO | error as u32), answer(ALLOW)];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives both calls, which read it.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) == 0
    };
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn epoll_replaces_a_refused_io_uring() {
    for refused in REFUSALS {
        let mut server = ServerProcess::run(echo("auto", refused));
        // The log may receive the ready line a moment later.
        eventually("the ready line", || server.log().contains("listening on"));
        let log = server.log();
        assert!(log.contains(" driver=epoll workers=2"), "{refused:?}: {log}");
        eventually("the warning", || {
            let log = server.log();
            log.contains("WARN") && log.contains("io_uring refused") && log.contains("epoll=2")
        });
        WebSocket::open(server.addr()).0.assert_alive();
        let mut polling = Polling::open(server.addr());
        polling.assert_alive();
        polling.post_ok("1");
        server.terminate();
        let status = server.wait(TIMEOUT).expect("it ends");
        assert!(status.success(), "{refused:?}: {status}");
    }
}

#[test]
fn required_io_uring_fails_with_a_reason() {
    for refused in REFUSALS {
        let mut command = echo("io-uring", refused);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the example");
        let status = crate::support::process::wait(&mut child, Duration::from_secs(10));
        _ = child.kill();
        let output = child.wait_with_output().expect("its output");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(status.is_some_and(|status| !status.success()), "{refused:?}: {status:?} {stderr}");
        assert!(stderr.contains("no io_uring"), "{refused:?}: {stderr}");
        assert_eq!(output.stdout, b"", "the server listens");
    }
}
