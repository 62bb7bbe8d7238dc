//! Floor of a WebSocket echo over TLS: rustls on monoio with the framing of `ws-floor`, and no sessions.
//!
//! usage: tls-floor PORT CERTIFICATE KEY
use std::io::{Read, Write};
use std::sync::Arc;

use eio_compare_peers::{Echo, tls};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use rustls::{ServerConfig, ServerConnection};

async fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    session.set_buffer_limit(None);
    let mut echo = Echo::default();
    let mut plain = vec![0; 16 * 1024];
    let (mut received, mut records) = (Vec::with_capacity(64 * 1024), Vec::new());
    while !echo.ended {
        let (result, buffer) = stream.read(received).await;
        if result? == 0 {
            break;
        }
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            session.read_tls(&mut rest)?;
            session.process_new_packets().map_err(std::io::Error::other)?;
            while let Ok(n @ 1..) = session.reader().read(&mut plain) {
                echo.received(&mut plain[..n]);
            }
        }
        received = buffer;
        received.clear();
        session.writer().write_all(&echo.out)?;
        echo.out.clear();
        records = send(&mut stream, &mut session, records).await?;
    }
    session.send_close_notify();
    send(&mut stream, &mut session, records).await.map(drop)
}

/// Sends pending records in one write.
async fn send(
    stream: &mut TcpStream,
    session: &mut ServerConnection,
    mut records: Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    while session.wants_write() {
        session.write_tls(&mut records)?;
    }
    if records.is_empty() {
        return Ok(records);
    }
    let (result, mut records) = stream.write_all(records).await;
    result?;
    records.clear();
    Ok(records)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap().parse().unwrap();
    let config = tls(&args.next().unwrap(), &args.next().unwrap());
    let mut ring = io_uring::IoUring::builder();
    // The flags that eio sets.
    ring.setup_coop_taskrun().setup_single_issuer();
    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new();
    let runtime = builder.uring_builder(ring).with_entries(4096).build();
    runtime.unwrap().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let config = config.clone();
                monoio::spawn(async move { serve(stream, config).await.ok() });
            }
        }
    })
}
