//! Large files, slow readers and the threads that read files.

use std::fs;
use std::time::Duration;

use super::{get, serve};
use eio_monoio::Files;

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::Request;
use crate::support::temp_dir::TempDir;
use crate::support::wait::eventually;

#[test]
fn large_files_are_streamed_to_many_clients() {
    for_each_config(|config| {
        let site = TempDir::new();
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
        site.write("large.bin", &bytes);
        for len in [65_535, 65_536, 65_537, 131_072] {
            site.write(&format!("{len}.bin"), &bytes[..len]);
        }
        let running = serve(config, Files::new().route("/f", site.path()));
        let addr = running.local_addr();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut conn = Connection::open(addr);
                    for len in [65_535, 65_536, 65_537, 131_072] {
                        let response = conn.request(&Request::get(&format!("/f/{len}.bin")));
                        assert!(response.body == bytes[..len], "{len}");
                    }
                    let complete = conn.request(&Request::get("/f/large.bin"));
                    assert!(complete.status == 200 && complete.body == bytes);
                    let request =
                        Request::get("/f/large.bin").header("Range", "bytes=100000-2999999");
                    let part = conn.request(&request);
                    assert!(part.status == 206 && part.body == bytes[100_000..3_000_000]);
                });
            }
        });
        let remote = running.remote();
        eventually("the end of the connections", || remote.connections() == 0);
    });
}

#[test]
fn stalled_reader_does_not_block_others() {
    let site = TempDir::new();
    site.write("large.bin", vec![b'x'; 20_000_000]);
    site.write("small.txt", "small");
    let config = default_config().workers(1).write_timeout(Duration::from_millis(300));
    let running = serve(config, Files::new().route("/f", site.path()).threads(1));
    let mut stopped: Vec<Connection> = (0..8)
        .map(|_| {
            let mut conn = Connection::open(running.local_addr());
            conn.send(&Request::get("/f/large.bin"));
            conn
        })
        .collect();
    let mut leaving = Connection::open(running.local_addr());
    leaving.send(&Request::get("/f/large.bin"));
    drop(leaving);
    get(&running, "/f/small.txt").assert(200, "small");
    Polling::open(running.local_addr()).assert_alive();
    let remote = running.remote();
    eventually("the end of the connections", || remote.connections() == 0);
    for conn in &mut stopped {
        conn.expect_closed();
    }
    running.shutdown();
    running.join().expect("a clean shutdown");
}

#[test]
fn shrinking_file_ends_its_connection() {
    let site = TempDir::new();
    site.write("large.bin", vec![b'x'; 20_000_000]);
    let running = serve(default_config().workers(1), Files::new().route("/f", site.path()));
    let mut conn = Connection::open(running.local_addr());
    conn.send(&Request::get("/f/large.bin"));
    let deadline = std::time::Instant::now() + crate::support::wait::TIMEOUT;
    conn.read_bytes(100, deadline).expect("the head");
    let file = fs::File::options().write(true).open(site.join("large.bin")).expect("the file");
    file.set_len(10).expect("a shorter file");
    conn.expect_closed();
    get(&running, "/f/large.bin").assert(200, "xxxxxxxxxx");
}

#[test]
fn file_threads_end_with_the_server() {
    let site = TempDir::new();
    site.write("a.txt", "a");
    let running =
        serve(default_config().workers(1), Files::new().route("/f", site.path()).threads(31));
    get(&running, "/f/a.txt").assert(200, "a");
    // No other server of this process has that many.
    let is_alive = || {
        let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
        tasks.flatten().filter_map(|task| name(task).ok()).any(|name| name.trim() == "eio-disk-30")
    };
    // A thread gets its name when it runs.
    eventually("the threads", is_alive);
    running.shutdown();
    running.join().expect("a clean shutdown");
    eventually("the end of the threads", || !is_alive());
}
