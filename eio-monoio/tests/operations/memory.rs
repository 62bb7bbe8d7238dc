//! Memory of sessions that have left returns to the operating system.

use std::thread;
use std::time::{Duration, Instant};

use crate::crowd;
use crate::support::configs::drivers;

#[test]
fn memory_of_sessions_that_left_is_released() {
    let _turn = crowd::turn();
    const SESSIONS: usize = 19_000;
    for driver in drivers() {
        let server = crowd::start(&driver.to_string(), &[]);
        let resident = || crowd::resident(server.pid());
        let before = resident();
        let sessions = crowd::open(server.addr(), SESSIONS);
        let with_sessions = resident();
        drop(sessions);
        let left = Instant::now();
        while left.elapsed() < Duration::from_secs(10) && resident() * 2 > before * 3 {
            thread::sleep(Duration::from_millis(100));
        }
        let (after, time) = (resident(), left.elapsed());
        println!(
            "{driver}: {before} bytes, {with_sessions} with {SESSIONS} sessions, {after} {time:?} later"
        );
        assert!(after * 2 <= before * 3, "{driver}: {after} bytes, at the start {before}");
    }
}
