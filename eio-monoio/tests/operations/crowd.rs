//! A server as a process, and thousands of clients of it.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::support::process::ServerProcess;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// The turn of a test with thousands of sockets: two such tests exceed the limit on descriptors.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The command of `eio-server` on a free port, without variables and files of this machine.
pub(crate) fn command(driver: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eio-server"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "2", "--driver", driver]);
    command
}

pub(crate) fn start(driver: &str, arguments: &[&str]) -> ServerProcess {
    let mut command = command(driver);
    command.args(arguments);
    ServerProcess::run(command)
}

/// Opens this many sessions over WebSocket.
pub(crate) fn open(addr: SocketAddr, count: usize) -> Vec<WebSocket> {
    const THREADS: usize = 4;
    let open = move |n: usize| -> Vec<_> { (0..n).map(|_| WebSocket::open(addr).0).collect() };
    thread::scope(|scope| {
        let share = |thread: usize| count / THREADS + usize::from(thread < count % THREADS);
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || open(share(thread)))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("all are accepted")).collect()
    })
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: usize = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("kB");
    kib * 1024
}

/// The admin address, which the log names.
pub(crate) fn admin(server: &ServerProcess) -> SocketAddr {
    let mut found = None;
    eventually("the admin address", || {
        let log = server.log();
        let line = log.lines().find(|line| line.contains("admin address"));
        let value = line.and_then(|line| line.split("endpoint=").nth(1));
        found = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        found.is_some()
    });
    found.expect("an address")
}
