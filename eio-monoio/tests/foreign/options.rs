//! Foreign clients against a server that uses its less common options all at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eio_monoio::{Cookie, Refusal, Running, Server, Sid};
use http::HeaderValue;

use crate::support::configs::default_config;
use crate::support::echo::Echo;
use crate::support::foreign;

/// Three workers. engine.io-client opens a connection for each request, so a request may arrive at any worker, and these
/// sids do not name the worker of their session.
fn server() -> Running {
    let config = default_config()
        .workers(3)
        .ping_interval(Duration::from_millis(400))
        .ping_grace(Duration::from_secs(10))
        .cookie(Cookie::new("io").value(|sid| format!("{sid}.shard")));
    let number = AtomicUsize::new(0);
    Server::new(Echo::<()>::new)
        .config(config)
        .generate_id(move |_| Sid::new(&format!("made-{}", number.fetch_add(1, Ordering::Relaxed))))
        .headers(|_, headers| {
            headers.insert("x-served-by", HeaderValue::from_static("eio"));
        })
        .middleware(|request| match request.method() {
            "GET" | "POST" => Ok(()),
            _ => Err(Refusal::forbidden()),
        })
        .bind("127.0.0.1:0")
        .expect("the server starts")
}

fn run(client: &foreign::Program, scenarios: &[&str]) {
    let server = server();
    let url = format!("http://{}/engine.io/", server.local_addr());
    foreign::run(&mut client.client_command(&url, scenarios), Duration::from_secs(120), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn javascript_client_works_with_unusual_options() {
    let test = "javascript_client_works_with_unusual_options";
    let Some(client) = foreign::javascript(test) else { return };
    run(client, &["options", "order-across-upgrade", "burst", "crowd"]);
}

#[test]
fn python_clients_work_with_unusual_options() {
    let Some(client) = foreign::python("python_clients_work_with_unusual_options") else { return };
    run(client, &["options", "sync-upgrade", "async-polling"]);
}
