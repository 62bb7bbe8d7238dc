//! WebSocket frames, as tungstenite 0.30 reads them.

use std::io::{self, Read, Write};

use eio_core::ws::{self, Role};
use tungstenite::protocol::{self, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::laws::Input;
use crate::laws::ws::{Got, whole};

pub(crate) fn server(data: &[u8]) {
    agree(Role::Server, data);
}

pub(crate) fn client(data: &[u8]) {
    agree(Role::Client, data);
}

fn agree(role: Role, data: &[u8]) {
    let (mut ours, limit) = whole(role, data);
    let mut wire = Input::parse(data).wire.to_vec();
    let error = match ours.last() {
        Some(Got::Error(error)) => Some(*error),
        _ => None,
    };
    if error.is_some() {
        ours.pop();
        // tungstenite checks complete frames, eio-core each byte: complete the frame.
        wire.resize(wire.len() + limit + 200, 0);
    }
    let (theirs, broken) = read(role, limit, &wire);
    let Some(error) = error else {
        if let (Some((Got::Close(ours, _), before)), Some((Got::Close(theirs, _), same))) =
            (ours.split_last(), theirs.split_last())
        {
            // 1014 was registered with IANA after RFC 6455. tungstenite reports a violation.
            if (*ours, *theirs) == (Some(1014), Some(1002)) {
                return assert_eq!(before, same);
            }
        }
        assert_eq!(theirs, ours);
        return assert!(!broken, "an error in theirs only");
    };
    assert!(theirs.starts_with(&ours), "{ours:?} before {error:?} in ours, {theirs:?} in theirs");
    let more = &theirs[ours.len()..];
    match error {
        // "the minimal number of bytes MUST be used to encode the length" (RFC 6455 section 5.2). tungstenite accepts
        // any.
        ws::Error::LengthNotMinimal => {}
        // The same of a control frame, whose length fits in seven bits: eio-core refuses longer encodings.
        ws::Error::ControlTooLong if !more.is_empty() => {
            let [Got::Ping(short) | Got::Pong(short), ..] = more else {
                return assert!(matches!(more, [Got::Close(..)]));
            };
            assert!(short.len() <= 125);
        }
        // tungstenite reports and answers the close with its own code, unless the reason is not UTF-8, which it checks
        // first.
        ws::Error::CloseCodeInvalid if more.is_empty() => assert!(broken),
        ws::Error::CloseCodeInvalid => {
            assert_eq!(more, [Got::Close(Some(1002), "Protocol violation".into())]);
        }
        _ => assert!(more.is_empty() && broken, "{error:?} in ours, {more:?} in theirs"),
    }
}

/// The events up to a close frame, and whether an error followed.
fn read(role: Role, limit: usize, wire: &[u8]) -> (Vec<Got>, bool) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4_096)
        .max_message_size(Some(limit))
        // Control frames are not messages.
        .max_frame_size(Some(limit.max(125)));
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Wire(wire), role, Some(config));
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => Got::Text(text.as_str().into()),
            Ok(Message::Binary(bytes)) => Got::Binary(bytes.into()),
            Ok(Message::Ping(bytes)) => Got::Ping(bytes.into()),
            Ok(Message::Pong(bytes)) => Got::Pong(bytes.into()),
            Ok(Message::Close(Some(close))) => {
                Got::Close(Some(close.code.into()), close.reason.as_str().into())
            }
            Ok(Message::Close(None)) => Got::Close(None, String::new()),
            Ok(Message::Frame(_)) => unreachable!("read returns messages"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (events, false);
            }
            Err(_) => return (events, true),
        };
        let closed = matches!(event, Got::Close(..));
        events.push(event);
        if closed {
            return (events, false);
        }
    }
}

/// A stream that returns the input and discards the output.
struct Wire<'w>(&'w [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
