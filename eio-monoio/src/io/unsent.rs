//! The messages in bytes that were encoded and not sent.

use eio_core::packet::Packet;
use eio_core::payload;
use eio_core::ws::{Kind, Role, Step};

use crate::deflate::Inward;
use crate::io::message_queue::MessageQueue;
use crate::io::ws_reader::WsReader;
use crate::worker::budget::{RecvBytes, RecvStorage};

/// Where the first frame begins of which not all bytes are among the first `sent` ones. The head of a response may
/// precede the frames.
pub(crate) fn first_unsent(batch: &[u8], sent: usize) -> usize {
    let mut start = if batch.starts_with(b"HTTP/") { after_head(batch) } else { 0 };
    while let Some(len) = batch.get(start..).and_then(frame_len)
        && start + len <= sent
    {
        start += len;
    }
    start
}

/// The length of the HTTP head with which `bytes` begins.
fn after_head(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(bytes.len(), |end| end + 4)
}

/// The length of the frame with which `bytes` begins (RFC 6455 5.2); `None` without a whole head.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let (&[_, second], rest) = bytes.split_first_chunk()?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (head, len) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        len => (2, len.into()),
    };
    usize::try_from(len).ok()?.checked_add(head + mask)
}

/// Appends the messages of the frames that `role` has written to `queue`. `inflater`: for compressed ones; without it
/// the first compressed frame is the end.
pub(crate) fn push_frames(
    frames: Vec<u8>,
    role: Role,
    inflater: Option<Box<Inward>>,
    queue: &mut MessageQueue,
) {
    let receiver = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let len = frames.len();
    let rx = RecvBytes::with_unread(RecvStorage::new(frames), len);
    let mut reader = WsReader::new(receiver, u32::MAX as usize, inflater, rx);
    while let Ok(Step::Ready(ready)) = reader.poll() {
        let bytes = reader.payload_mut(ready);
        let packet = match ready.kind() {
            Kind::Binary => Ok(Packet::parse_binary(bytes)),
            Kind::Text => Packet::parse_text(bytes),
            Kind::Ping | Kind::Pong | Kind::Close => continue,
        };
        if let Ok(Packet::Message(message)) = packet {
            queue.push(message);
        }
    }
}

/// Appends the messages of a polling body to `queue`.
pub(crate) fn push_body(body: &mut [u8], queue: &mut MessageQueue) {
    for packet in payload::Decoder::new(body) {
        if let Ok(Packet::Message(message)) = packet {
            queue.push(message);
        }
    }
}

/// Appends the messages of a response to a GET to `queue`. A compressed body is not read.
pub(crate) fn push_response(response: &mut [u8], queue: &mut MessageQueue) {
    let (head, body) = response.split_at_mut(after_head(response));
    let name = b"\r\nContent-Encoding:";
    if !head.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name)) {
        push_body(body, queue);
    }
}

#[cfg(test)]
mod tests {
    use eio_core::packet::Message;

    use super::*;
    use crate::message::OutBuf;

    fn encode(messages: &[Message<'_>], mask: Option<[u8; 4]>) -> (Vec<u8>, Vec<usize>) {
        let mut out = OutBuf::default();
        let mut starts = Vec::new();
        for message in messages {
            starts.push(out.0.len());
            out.frame(message.frame(), mask);
        }
        (out.0, starts)
    }

    fn all(queue: &mut MessageQueue) -> Vec<crate::OwnedMessage> {
        std::iter::from_fn(|| {
            let message = queue.front().map(Into::into);
            queue.pop();
            message
        })
        .collect()
    }

    #[test]
    fn a_frame_counts_as_sent_with_its_last_byte() {
        let (long, longer) = (vec![7; 300], vec![8; 70_000]);
        let messages = [Message::Text("a"), Message::Binary(&long), Message::Binary(&longer)];
        for (mask, role) in [(None, Role::Server), (Some([1, 2, 3, 4]), Role::Client)] {
            let (batch, starts) = encode(&messages, mask);
            for (index, end) in starts[1..].iter().chain([&batch.len()]).enumerate() {
                assert_eq!(first_unsent(&batch, end - 1), starts[index]);
                assert_eq!(first_unsent(&batch, *end), *end);
                let mut queue = MessageQueue::default();
                push_frames(batch[starts[index]..].to_vec(), role, None, &mut queue);
                let expected: Vec<_> = messages[index..].iter().map(|&m| m.into()).collect();
                assert_eq!(all(&mut queue), expected);
            }
        }
    }

    #[test]
    fn the_head_of_a_response_is_no_frame() {
        let mut batch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let head = batch.len();
        batch.extend(encode(&[Message::Text("a")], None).0);
        assert_eq!(first_unsent(&batch, 0), head);
        assert_eq!(first_unsent(&batch, batch.len()), batch.len());
    }

    #[test]
    fn messages_of_a_response_are_found_unless_it_is_compressed() {
        let found = |field: &str| {
            let mut response = format!(
                "HTTP/1.1 200 OK\r\n{field}Content-Length: 12\r\n\r\n4a\x1e2\x1ebAQI=\x1e6"
            );
            let mut queue = MessageQueue::default();
            push_response(&mut response.clone().into_bytes(), &mut queue);
            response.clear();
            all(&mut queue)
        };
        assert_eq!(found(""), ["a".into(), vec![1, 2].into()]);
        assert_eq!(found("Content-Encoding: gzip\r\n"), []);
    }
}
