//! Floor of an echo: raw TCP on monoio, one thread. usage: monoio-tcp-echo PORT [uring|epoll] [bufsize]
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

async fn conn(mut s: TcpStream, size: usize) {
    let _ = s.set_nodelay(true);
    let mut buf: Vec<u8> = Vec::with_capacity(size);
    loop {
        let (r, b) = s.read(buf).await;
        match r {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let (r, b) = s.write_all(b).await;
        if r.is_err() {
            return;
        }
        buf = b;
        buf.clear();
    }
}

async fn serve(port: u16, size: usize) {
    let l = TcpListener::bind(("127.0.0.1", port)).unwrap();
    loop {
        if let Ok((s, _)) = l.accept().await {
            monoio::spawn(conn(s, size));
        }
    }
}

fn main() {
    let mut a = std::env::args().skip(1);
    let port: u16 = a.next().unwrap().parse().unwrap();
    let driver = a.next().unwrap_or_else(|| "uring".into());
    let size: usize = a.next().map(|s| s.parse().unwrap()).unwrap_or(65536);
    // The flags that eio sets: without them the runtime costs a fifth more.
    let mut ring = io_uring::IoUring::builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    if driver == "epoll" {
        monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
            .build()
            .unwrap()
            .block_on(serve(port, size))
    } else {
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .uring_builder(ring)
            .with_entries(4096)
            .build()
            .unwrap()
            .block_on(serve(port, size))
    }
}
