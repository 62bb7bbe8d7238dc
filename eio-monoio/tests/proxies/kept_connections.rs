//! Sessions that send every two seconds, on connections that a proxy or a server keeps, and that end in between.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::client::{self, Event};
use eio_monoio::{Driver, OwnedMessage, Transport};

use crate::proxy::{Kind, Proxy};
use crate::reverse_proxies::{for_each_proxy, server};
use crate::support::client::connect_over;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::polling::Polling;
use crate::support::process::ServerProcess;
use crate::support::request::{Request, target};
use crate::support::websocket::WebSocket;

const SESSIONS: u64 = 100;

/// A little more than the 2 s after which gunicorn ends a kept connection.
const PAUSE: Duration = Duration::from_millis(2_020);

/// The time for which the sessions send. It is short here; `./ci.sh soak` takes the minute.
fn time() -> Duration {
    let seconds = std::env::var("EIO_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

#[test]
fn no_session_is_lost_on_connections_kept_by_a_proxy() {
    let test = "no_session_is_lost_on_connections_kept_by_a_proxy";
    let kinds = [Kind::NginxDefaults, Kind::Nginx, Kind::HaProxy];
    for_each_proxy(&kinds, |kind| {
        let server = server(&["--ping-interval-ms", "4000"]);
        let Some(proxy) = Proxy::start(test, kind, server.addr(), 60) else { return };
        let websockets = kind != Kind::NginxDefaults;
        let sessions = (0..SESSIONS).map(|number| (format!("{kind:?} {number}"), number));
        parallel::for_each(sessions, |number| {
            // Not all at once.
            thread::sleep(Duration::from_millis(number * 17));
            match websockets && number % 2 == 0 {
                true => keep_websocket(proxy.addr, time()),
                false => keep_polling(proxy.addr, time()),
            }
        });
    });
}

fn keep_polling(addr: SocketAddr, time: Duration) {
    let mut polling = Polling::open(addr);
    let target = target(&polling.sid);
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < time {
        number += 1;
        let message = format!("4{number}");
        polling.post.request(&Request::post(&target, &message)).assert(200, "ok");
        let mut received = String::new();
        while !received.contains(&message) {
            received = polling.poll();
            if received.split('\u{1e}').any(|packet| packet == "2") {
                polling.post_ok("3");
            }
        }
        thread::sleep(PAUSE);
    }
}

fn keep_websocket(addr: SocketAddr, time: Duration) {
    let (mut ws, _) = WebSocket::open(addr);
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < time {
        number += 1;
        let message = format!("4{number}");
        ws.send(&message);
        loop {
            match ws.text() {
                text if text == message => break,
                text => assert_eq!(text, "2"),
            }
            ws.send("3");
        }
        thread::sleep(PAUSE);
    }
}

/// A POST on a connection that gunicorn ends at that moment would be lost, and the session with it.
#[test]
fn our_client_loses_no_session_on_connections_that_gunicorn_ends() {
    let test = "our_client_loses_no_session_on_connections_that_gunicorn_ends";
    let Some(gunicorn) = foreign::gunicorn(test) else { return };
    // One for each held GET or WebSocket, and for each POST.
    let server = ServerProcess::run(gunicorn.server_command(&["220"]));
    let exchanged = client::block_on(Driver::Auto, async {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|number| client::spawn(keep_client(server.url().to_owned(), number)))
            .collect();
        let mut exchanged = 0;
        for session in sessions {
            exchanged += session.await.expect("the session lives");
        }
        exchanged
    });
    let least = SESSIONS * (time().as_secs() / 4).max(1);
    assert!(exchanged.expect("a runtime") >= least);
}

/// Exchanges messages, and returns their number.
async fn keep_client(url: String, number: u64) -> u64 {
    client::sleep(Duration::from_millis(number * 17)).await;
    let transport =
        if number.is_multiple_of(2) { Transport::WebSocket } else { Transport::Polling };
    let client = connect_over(&url, Some(transport)).await.expect("connects");
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < time() {
        count += 1;
        let message = count.to_string();
        client.send(message.as_str()).await.expect("queued");
        match client.next().await {
            Some(Event::Message(echo)) => {
                assert_eq!(echo.into_owned(), OwnedMessage::Text(message), "{number}");
            }
            other => panic!("{transport} {number}, message {count}: {other:?}"),
        }
        // Around the moment of the end.
        client::sleep(PAUSE - Duration::from_millis(number % 40)).await;
    }
    client.disconnect().await;
    count
}
