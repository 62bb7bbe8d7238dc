//! Application code next to a client that awaits work of other threads.

use std::time::{Duration, Instant};

use eio_monoio::client::{Client, block_on, spawn};

use crate::awaits::{MISUSES, WAYS, WORK, await_many, misuse, run};
use crate::support::configs::{default_config, drivers};
use crate::support::test_server::TestServer;

#[test]
fn any_thread_wakes_the_application() {
    for driver in drivers() {
        for way in WAYS {
            let begun = Instant::now();
            // One after the other: `shared lock` waits for its thread without an await.
            let awaited = async { (run(way).await, spawn(run(way)).await) };
            let (here, in_a_task) = block_on(driver, awaited).expect("a runtime");
            assert!(!here.is_empty() && in_a_task == Some(here), "{driver} {way}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{driver} {way}");
            if std::env::var_os("EIO_TEST_PRINT").is_some() {
                eprintln!("{driver} {way}: {:?} after the end of both", begun.elapsed() - 2 * WORK);
            }
        }
    }
}

#[test]
fn misuse_ends_no_more_than_its_task() {
    let server = TestServer::start(default_config());
    for driver in drivers() {
        block_on(driver, async {
            let client = Client::connect(&server.url()).await.expect("connects");
            for (name, answer) in MISUSES {
                let outcome = spawn(misuse(name).expect("a misuse")).await;
                assert_eq!(outcome.as_deref(), answer, "{driver} {name}");
                client.send(name).await.expect("the session is open");
            }
            client.disconnect().await;
        })
        .expect("a runtime");
    }
}

#[test]
fn ten_thousand_awaits_at_once_all_end() {
    for driver in drivers() {
        let sums = async {
            let tasks: Vec<_> = (0..100).map(|_| spawn(await_many(100))).collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.expect("no panic");
            }
            sum
        };
        assert_eq!(block_on(driver, sums).expect("a runtime"), 100 * 100 * 99 / 2, "{driver}");
    }
}
