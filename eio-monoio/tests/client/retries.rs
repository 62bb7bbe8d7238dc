//! Which failures are retried, after which pause, and the calls that report it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eio_monoio::client::{Backoff, Client, Connect, ConnectError, Fault};
use eio_monoio::{Driver, timeout};

use crate::support::client::{block_on, polling, websocket};
use crate::support::scripted;

/// A server that answers the first `failures` requests with `refusal`, and then opens sessions; the number of its
/// requests.
fn recovering(refusal: &'static str, failures: usize) -> (String, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let url = scripted::start(move |request| {
        let mut next = Some(request);
        while let Some(request) = next {
            if !request.is_handshake() {
                return request.hold();
            }
            let number = count.fetch_add(1, Ordering::Relaxed);
            next = match number < failures {
                true => request.answer(refusal, ""),
                false => request.answer("200 OK", &scripted::open_packet("", 25_000, 20_000)),
            };
        }
    });
    (url, requests)
}

fn brief() -> Backoff {
    Backoff::new().first(Duration::from_millis(10)).longest(Duration::from_millis(50))
}

#[test]
fn first_connection_is_retried_and_each_pause_is_reported() {
    let (url, requests) = recovering("503 Service Unavailable", 3);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let log = reports.clone();
    let backoff = brief().on_retry(move |retry| {
        let status = retry.fault.and_then(Fault::status);
        log.lock().expect("no panic").push((retry.attempt, status));
    });
    block_on(Driver::Epoll, async {
        drop(polling(&url).connect_with(&backoff).await.expect("connects"));
    });
    assert_eq!(requests.load(Ordering::Relaxed), 4);
    let expected = [(2, Some(503)), (3, Some(503)), (4, Some(503))];
    assert_eq!(*reports.lock().expect("no panic"), expected);
}

#[test]
fn failures_that_no_repetition_cures_end_the_attempts() {
    for refusal in [
        "301 Moved Permanently",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "501 Not Implemented",
    ] {
        let (url, requests) = recovering(refusal, usize::MAX);
        for connect in [polling(&url), websocket(&url)] {
            block_on(Driver::Epoll, async {
                let error = connect.connect_with(&brief()).await.expect_err("refused");
                let status = error.fault().and_then(|fault| fault.status());
                assert_eq!(status.map(|status| status.to_string()).as_deref(), refusal.get(..3));
            });
            assert_eq!(requests.swap(0, Ordering::Relaxed), 1, "{refusal}");
        }
    }
}

#[test]
fn reconnecting_follows_the_same_rules() {
    let (url, requests) = recovering("401 Unauthorized", 0);
    let connect: Connect = polling(&url);
    block_on(Driver::Epoll, async {
        let client: Client = connect.await.expect("connects");
        client.abort();
        // Refused from now on.
        let error = ConnectError::Connected;
        assert_ne!(client.reconnect_with(&brief()).await, Err(error));
    });
    assert_eq!(requests.load(Ordering::Relaxed), 2);
    let (url, requests) = recovering("401 Unauthorized", 2);
    let own = brief().retry_if(|fault| fault.status() == Some(401));
    block_on(Driver::Epoll, async {
        drop(polling(&url).connect_with(&own).await.expect("connects"));
    });
    assert_eq!(requests.load(Ordering::Relaxed), 3);
}

#[test]
fn retry_after_delays_the_next_attempt() {
    let (url, requests) = recovering("503 Service Unavailable\r\nRetry-After: 1", 1);
    block_on(Driver::Epoll, async {
        let begun = Instant::now();
        drop(polling(&url).connect_with(&brief()).await.expect("connects"));
        assert!(begun.elapsed() >= Duration::from_millis(990), "{:?}", begun.elapsed());
    });
    assert_eq!(requests.load(Ordering::Relaxed), 2);
    // Bounded, and a date as well as seconds.
    let distant = "429 Too Many Requests\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT";
    let (url, _) = recovering(distant, 1);
    block_on(Driver::Epoll, async {
        let bounded = brief().longest_retry_after(Duration::from_millis(100));
        drop(polling(&url).connect_with(&bounded).await.expect("connects"));
    });
    let (url, _) = recovering(distant, 1);
    block_on(Driver::Epoll, async {
        let connecting = async { polling(&url).connect_with(&brief()).await };
        assert!(timeout(Duration::from_millis(300), connecting).await.is_err());
    });
}
