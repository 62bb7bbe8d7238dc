//! Where io_uring is refused, epoll takes over without being asked; who insists on io_uring is told why not.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::app::eventually;
use crate::support::server::Server;
use crate::support::wire::{PATIENCE, Polling, WebSocket};

/// How io_uring is refused to a process.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// By a seccomp filter, as container runtimes do it, with this error.
    Filter(i32),
    /// By a limit of locked memory of so many bytes.
    Memory(u64),
}

const REFUSALS: [Refused; 3] =
    [Refused::Filter(libc::EPERM), Refused::Filter(libc::ENOSYS), Refused::Memory(0)];

fn echo(driver: &str, refused: Refused) -> Command {
    let mut command = Server::command("echo");
    command.args(["--driver", driver, "--workers", "2"]);
    // SAFETY: between fork and exec only system calls are made, with memory of their own stack.
    unsafe { command.pre_exec(move || refuse(refused)) };
    command
}

fn refuse(refused: Refused) -> io::Result<()> {
    match refused {
        Refused::Filter(error) => filter(error),
        Refused::Memory(limit) => {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            const CAP_IPC_LOCK: libc::c_ulong = 14;
            // SAFETY: the limit is a live value, and the other call takes no pointer. It fails for all but root,
            // who is the only one that needs it: for who may lock any memory there is no limit.
            let set = unsafe {
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit)
            };
            if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
    }
}

/// From here on this process and those it becomes get `error` from `io_uring_setup`.
fn filter(error: i32) -> io::Result<()> {
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    // `struct seccomp_data` begins with the number of the system call.
    let load = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let setup = libc::SYS_io_uring_setup as u32;
    let is_setup = libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: setup };
    let answer = |k| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let mut program = [load, is_setup, answer(ERRNO | error as u32), answer(ALLOW)];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives both calls, which read it.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) == 0
    };
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn a_refused_io_uring_does_not_keep_a_server_from_starting() {
    for refused in REFUSALS {
        let mut server = Server::run(echo("auto", refused));
        // The line it is ready by is in its log a moment later.
        eventually("the ready line", || server.log().contains("listening on"));
        let said = server.log();
        assert!(said.contains(" driver=epoll workers=2"), "{refused:?}: {said}");
        WebSocket::open(server.addr()).0.assert_alive();
        Polling::open(server.addr()).assert_alive();
        server.terminate();
        let status = server.wait(PATIENCE).expect("it ends");
        assert!(status.success(), "{refused:?}: {status}");
    }
}

#[test]
fn who_insists_on_io_uring_is_not_left_guessing() {
    for refused in REFUSALS {
        let mut command = echo("io-uring", refused);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the example");
        let status = crate::support::server::wait(&mut child, Duration::from_secs(10));
        _ = child.kill();
        let output = child.wait_with_output().expect("its output");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(status.is_some_and(|status| !status.success()), "{refused:?}: {status:?} {said}");
        assert!(said.contains("no io_uring"), "{refused:?}: {said}");
        assert_eq!(output.stdout, b"", "it did not listen");
    }
}
