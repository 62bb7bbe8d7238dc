//! Application code next to a client that awaits work of other threads.

use std::thread;
use std::time::Duration;

use eio_monoio::blocking;
use eio_monoio::client::{block_on, spawn};

use crate::support::configs::drivers;

/// A value that another thread sends after 20 ms.
async fn of_another_thread() -> &'static str {
    let (tx, rx) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        tx.send("sent").expect("the receiver waits");
    });
    rx.await.expect("a value")
}

#[test]
fn any_thread_wakes_the_application() {
    for driver in drivers() {
        let awaited = async {
            let in_a_task = spawn(of_another_thread());
            (of_another_thread().await, in_a_task.await, blocking(|| "blocked").await)
        };
        let values = block_on(driver, awaited).expect("a runtime");
        assert_eq!(values, ("sent", Some("sent"), "blocked"), "{driver}");
    }
}
