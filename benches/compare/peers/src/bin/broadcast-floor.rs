//! Floor of a broadcast: one frame, and a loop of sends on tokio current_thread.
//!
//! It completes the handshake of the load generator only. usage: broadcast-floor PORT
use std::cell::RefCell;
use std::rc::Rc;

use tokio::net::TcpStream;

/// The response to the generator's only key.
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OPEN: &[u8] = b"0{\"sid\":\"AAAAAAAAAAAAAAAAAAAA\",\"upgrades\":[],\"pingInterval\":25000,\
    \"pingTimeout\":20000,\"maxPayload\":1000000}";

type Room = Rc<RefCell<Vec<Rc<TcpStream>>>>;

/// False if the connection is closed or its send buffer is full: it leaves the room.
fn send(stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.try_write(bytes).is_ok_and(|sent| sent == bytes.len())
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The payload of a client's first frame, unmasked, and the length of the frame.
fn message(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (len, at) = match *data.get(1)? & 0x7f {
        126 => (usize::from(u16::from_be_bytes([*data.get(2)?, *data.get(3)?])), 4),
        short => (usize::from(short), 2),
    };
    let mask = data.get(at..at + 4)?;
    let payload = data.get(at + 4..at + 4 + len)?;
    Some((
        payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect(),
        at + 4 + len,
    ))
}

async fn serve(room: Room, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let stream = Rc::new(stream);
    let mut data = Vec::new();
    let mut open = false;
    while stream.readable().await.is_ok() {
        match stream.try_read_buf(&mut data) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        if !open {
            let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            data.drain(..end + 4);
            open = send(&stream, SWITCHING) && send(&stream, &frame(OPEN));
            if !open {
                return;
            }
            room.borrow_mut().push(stream.clone());
        }
        while let Some((payload, len)) = message(&data) {
            data.drain(..len);
            let frame = frame(&payload);
            room.borrow_mut().retain(|member| send(member, &frame));
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let room = Room::default();
    let serving = tokio::task::LocalSet::new();
    serving
        .run_until(async {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::task::spawn_local(serve(room.clone(), stream));
            }
        })
        .await;
}
