//! The chat behind nginx with the configuration of deploy/nginx.conf.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use eio_monoio::Transport;
use eio_monoio::client::{Client, Event};

use crate::chat::Chat;
use crate::support::{Program, TIMEOUT, TempDir, block_on, next_text};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts nginx in front of `server`, without TLS; `None` if there is no nginx.
fn start_nginx(directory: &TempDir, server: &Program) -> Option<(Nginx, String)> {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let site = include_str!("../../deploy/nginx.conf")
        .replace("127.0.0.1:3000", server.address(0))
        .replace("listen 443 ssl;", &format!("listen {free};"));
    let site: Vec<&str> = site.lines().filter(|line| !line.contains("ssl_cert")).collect();
    let directory = directory.file("");
    let main = format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr;
         events {{}}
         http {{
             access_log off;
             client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
             fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
             scgi_temp_path {directory}/scgi;
             {}
         }}",
        site.join("\n")
    );
    let path = format!("{directory}/nginx.conf");
    std::fs::write(&path, main).expect("writes");
    let started = Command::new("nginx").args(["-c", &path, "-p", &directory]).spawn();
    let nginx = Nginx(started.ok()?);
    let begun = Instant::now();
    while TcpStream::connect(free).is_err() {
        assert!(begun.elapsed() < TIMEOUT, "nginx does not listen");
        sleep(Duration::from_millis(20));
    }
    Some((nginx, free.to_string()))
}

#[test]
fn configuration_of_nginx_carries_polling_and_the_upgrade() {
    let mut chat = Chat::new(&["lobby"]);
    let token = chat.admin("account", "ada");
    chat.start();
    let directory = TempDir::new();
    let server = chat.server.as_ref().expect("it runs");
    let Some((_nginx, address)) = start_nginx(&directory, server) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "there is no nginx");
        // Not `eprintln!`: the harness hides the output of tests that pass.
        writeln!(std::io::stderr(), "SKIPPED: there is no nginx").ok();
        return chat.stop();
    };
    block_on(async {
        let url = format!("http://{address}/engine.io/?room=lobby&token={token}");
        let polling = Client::connect(&url).upgrade(false).await.expect("connects");
        let upgrading = Client::connect(&url).await.expect("connects");
        let websocket = Client::connect(&url).transports([Transport::WebSocket]);
        let websocket = websocket.await.expect("connects");
        while upgrading.transport() == Transport::Polling {
            match upgrading.next().await.expect("the session is open") {
                Event::UpgradeFailed(failure) => panic!("{failure}"),
                Event::Closed(closed) => panic!("{closed}"),
                _ => {}
            }
        }
        websocket.send("hello").await.expect("the session is open");
        for client in [&polling, &websocket, &upgrading] {
            while !next_text(client).await.contains("hello") {}
        }
    });
    chat.stop();
}
