//! The clients people use, against a server with its more unusual options all at once: what they see of them, and
//! that they go on working.

use std::time::Duration;

use crate::support::app::{App, Log};
use crate::support::foreign;
use eio_monoio::{Config, Cookie, Running, Server, Sid};

/// Three workers, on which each request of engine.io-client may arrive: the sids say nothing about where.
fn server() -> Running {
    let log = Log::default();
    let config = Config::new()
        .workers(3)
        .ping_interval(Duration::from_millis(400))
        .ping_grace(Duration::from_secs(10))
        .cookie(Cookie::new("io").value(|sid| format!("{sid}.shard")))
        .shutdown_timeout(Duration::from_millis(100));
    let number = std::sync::atomic::AtomicUsize::new(0);
    Server::new(move || App::new(&log))
        .config(config)
        .generate_id(move |_| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Sid::new(&format!("made-{number}"))
        })
        .headers(|_, headers| {
            headers.insert("x-served-by", http::HeaderValue::from_static("eio"));
        })
        .middleware(|request| match request.method() {
            "GET" | "POST" => Ok(()),
            _ => Err(eio_monoio::Refusal::forbidden()),
        })
        .bind("127.0.0.1:0")
        .expect("a server")
}

fn succeed(client: &foreign::Client, server: &Running, scenarios: &[&str]) {
    let url = format!("http://{}/engine.io/", server.local_addr());
    foreign::run(&mut client.command(&url, scenarios), Duration::from_secs(120), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_javascript_client_finds_nothing_missing() {
    let Some(client) = foreign::javascript("the_javascript_client_finds_nothing_missing") else {
        return;
    };
    let server = server();
    succeed(client, &server, &["options", "order-across-upgrade", "burst", "crowd"]);
}

#[test]
fn the_python_clients_find_nothing_missing() {
    let Some(client) = foreign::python("the_python_clients_find_nothing_missing") else { return };
    let server = server();
    succeed(client, &server, &["options", "sync-upgrade", "async-polling"]);
}
