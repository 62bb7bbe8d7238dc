//! Engine.IO server on engineioxide and hyper: an echo, or a broadcast of each message to every session.
//!
//! usage: engineioxide PORT THREADS [broadcast | tls CERTIFICATE KEY]
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::Str;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::socket::{DisconnectReason, Socket};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsAcceptor;

#[derive(Debug, Clone)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();
    fn on_connect(self: Arc<Self>, _s: Arc<Socket<()>>) {}
    fn on_disconnect(&self, _s: Arc<Socket<()>>, _r: DisconnectReason) {}
    fn on_message(self: &Arc<Self>, msg: Str, s: Arc<Socket<()>>) {
        s.emit(msg).ok();
    }
    fn on_binary(self: &Arc<Self>, data: Bytes, s: Arc<Socket<()>>) {
        s.emit_binary(data).ok();
    }
}

/// engineioxide has no broadcast: an application keeps the sockets and sends to each.
#[derive(Debug, Default)]
struct Room(RwLock<Vec<Arc<Socket<()>>>>);

impl EngineIoHandler for Room {
    type Data = ();
    fn on_connect(self: Arc<Self>, s: Arc<Socket<()>>) {
        self.0.write().unwrap().push(s);
    }
    fn on_disconnect(&self, s: Arc<Socket<()>>, _r: DisconnectReason) {
        self.0.write().unwrap().retain(|other| other.id != s.id);
    }
    fn on_message(self: &Arc<Self>, msg: Str, _s: Arc<Socket<()>>) {
        for socket in &*self.0.read().unwrap() {
            socket.emit(msg.clone()).ok();
        }
    }
    fn on_binary(self: &Arc<Self>, data: Bytes, _s: Arc<Socket<()>>) {
        for socket in &*self.0.read().unwrap() {
            socket.emit_binary(data.clone()).ok();
        }
    }
}

async fn serve<H: EngineIoHandler>(port: u16, handler: Arc<H>, tls: Option<TlsAcceptor>) {
    let config = EngineIoConfig::builder()
        .ping_interval(Duration::from_secs(25))
        .ping_timeout(Duration::from_secs(20))
        .max_payload(1_000_000)
        .max_buffer_size(4096)
        .build();
    let svc = EngineIoService::with_config(handler, config);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let svc = svc.clone();
        let http = http1::Builder::new();
        let Some(tls) = tls.clone() else {
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                let _ = http.serve_connection(io, svc).with_upgrades().await;
            });
            continue;
        };
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let _ = http.serve_connection(TokioIo::new(stream), svc).with_upgrades().await;
        });
    }
}

fn main() {
    let mut a = std::env::args().skip(1);
    let port: u16 = a.next().unwrap().parse().unwrap();
    let threads: usize = a.next().unwrap().parse().unwrap();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async move {
        match a.next().as_deref() {
            Some("broadcast") => tokio::spawn(serve(port, Arc::new(Room::default()), None)),
            Some("tls") => {
                let config = eio_compare_peers::tls(&a.next().unwrap(), &a.next().unwrap());
                tokio::spawn(serve(port, Arc::new(Echo), Some(config.into())))
            }
            _ => tokio::spawn(serve(port, Arc::new(Echo), None)),
        }
        .await
        .unwrap()
    });
}
