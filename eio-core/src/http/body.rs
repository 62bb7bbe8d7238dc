//! [`BodyDecoder`]: removes the framing of an HTTP body.

use nom::bytes::complete::{take_while, take_while_m_n};
use nom::character::complete::{char, space0};
use nom::combinator::{all_consuming, opt};
use nom::{IResult, Parser};

use super::headers::is_field_char;
use super::{EMPTY, Error};
use crate::buffer::RecvBuffer;
use crate::bytes::find;

/// How many bytes of chunk sizes, extensions and trailers may be outstanding. Each chunk gives some back, so that many
/// small chunks are accepted and endless extensions are not.
const FRAMING_MAX: usize = 16 * 1024;
/// The bytes of framing that each chunk gives back: more than its size line and the line end after its data.
const FRAMING_PER_CHUNK: usize = 16;
/// The bytes of framing that each byte of payload gives back.
const FRAMING_PER_BYTE: usize = 2;
/// The maximum length of a chunk line or trailer line, with its CRLF. A signed chunk of Amazon S3 needs 90 bytes.
const LINE_MAX: usize = 1024;

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Framing {
    /// No body.
    None,
    /// This number of bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// All bytes until the peer closes the connection. Responses only.
    UntilClose,
}

/// The result of [`BodyDecoder::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Step {
    /// The body cannot be complete before at least this number of bytes (never 0) arrived.
    Need(usize),
    /// The body is complete, and [kept](RecvBuffer::kept).
    Done,
}

/// Removes the framing of a body that arrives in pieces. The payload ends up contiguous in [`RecvBuffer::kept`]; bytes
/// after the body stay unread.
///
/// The buffer must have room for the payload and one line of framing, which is at most 1024 bytes long.
#[derive(Clone, Copy, Debug)]
pub struct BodyDecoder {
    state: State,
    /// How many more bytes of payload are allowed.
    room: usize,
    /// How many more bytes of framing are allowed before more payload.
    allowance: usize,
    /// How many unread bytes were searched for a line end without success.
    searched: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Length(u64),
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

impl BodyDecoder {
    /// A decoder for a body with this framing and at most `max` bytes of payload.
    pub const fn new(framing: Framing, max: usize) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, room: max, allowance: FRAMING_MAX, searched: 0 }
    }

    /// Decodes the unread bytes. A body that lasts until the end of the stream always needs more.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] as soon as a size beyond the limit is announced, before its bytes arrive; the errors of
    /// chunks and trailers. Errors are final: a further call returns the same.
    pub fn poll<S>(&mut self, rx: &mut RecvBuffer<S>) -> Result<Step, Error>
    where
        S: AsRef<[u8]> + AsMut<[u8]>,
    {
        loop {
            match self.state {
                State::Done => return Ok(Step::Done),
                State::Length(left) => {
                    let left = self.take(rx, left)?;
                    if left > 0 {
                        self.state = State::Length(left);
                        return Ok(Step::Need(clamp(left)));
                    }
                    self.state = State::Done;
                }
                State::UntilClose => {
                    let all = rx.unread().len() as u64;
                    self.take(rx, all)?;
                    return Ok(Step::Need(1));
                }
                State::ChunkLine => {
                    let Some(line) = self.line(rx.unread())? else { return Ok(Step::Need(1)) };
                    let (size, len) = (chunk_size(line)?, line.len());
                    self.check(size)?;
                    self.skip_line(rx, len);
                    if size > 0 {
                        self.credit(size);
                        self.state = State::ChunkData(size);
                    } else {
                        self.state = State::Trailers;
                    }
                }
                State::ChunkData(left) => {
                    let left = self.take(rx, left)?;
                    if left > 0 {
                        self.state = State::ChunkData(left);
                        return Ok(Step::Need(clamp(left).saturating_add(AFTER_DATA)));
                    }
                    self.state = State::ChunkEnd;
                }
                State::ChunkEnd => match rx.unread() {
                    [b'\r', b'\n', ..] => {
                        rx.skip(2);
                        self.state = State::ChunkLine;
                    }
                    [] | [b'\r'] => return Ok(Step::Need(AFTER_DATA - rx.unread().len())),
                    _ => return Err(Error::BadChunkEnd),
                },
                State::Trailers => {
                    let unread = rx.unread();
                    let Some(line) = self.line(unread)? else { return Ok(Step::Need(1)) };
                    let len = line.len();
                    if len == 0 {
                        self.state = State::Done;
                    } else {
                        check_trailer(unread.get(..len + CRLF).unwrap_or_default())?;
                    }
                    self.skip_line(rx, len);
                }
            }
        }
    }

    /// The stream ended.
    ///
    /// # Errors
    /// [`Error::Truncated`] unless the body is complete, or lasts until the end of the stream.
    pub fn finish(&mut self) -> Result<(), Error> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Error::Truncated),
        }
    }

    /// The number of bytes still to come, if it was announced: how much of a rejected body to skip.
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    const fn check(&self, size: u64) -> Result<(), Error> {
        if size > self.room as u64 { Err(Error::BodyTooLarge) } else { Ok(()) }
    }

    /// Keeps up to `left` unread bytes as payload; returns how many are still missing.
    fn take<S>(&mut self, rx: &mut RecvBuffer<S>, left: u64) -> Result<u64, Error>
    where
        S: AsRef<[u8]> + AsMut<[u8]>,
    {
        self.check(left)?;
        let n = rx.unread().len().min(clamp(left));
        rx.keep(n);
        self.room -= n;
        Ok(left - n as u64)
    }

    /// The line at the start of `unread` without its CRLF; `None` until the CRLF arrives.
    fn line<'u>(&mut self, unread: &'u [u8]) -> Result<Option<&'u [u8]>, Error> {
        let limit = self.allowance.min(LINE_MAX);
        let window = unread.get(..limit).unwrap_or(unread);
        match window.get(self.searched..).and_then(|rest| find(b'\n', rest)) {
            Some(found) => window
                .get(..self.searched + found)
                .and_then(|line| line.strip_suffix(b"\r"))
                .map(Some)
                .ok_or(Error::BareLf),
            None if window.len() == limit => Err(Error::TooMuchFraming),
            None => {
                self.searched = window.len();
                Ok(None)
            }
        }
    }

    /// Skips a line of this length and its CRLF.
    fn skip_line<S>(&mut self, rx: &mut RecvBuffer<S>, line: usize)
    where
        S: AsRef<[u8]> + AsMut<[u8]>,
    {
        rx.skip(line + CRLF);
        self.allowance = self.allowance.saturating_sub(line + CRLF);
        self.searched = 0;
    }

    fn credit(&mut self, size: u64) {
        let credit = clamp(size).saturating_mul(FRAMING_PER_BYTE).saturating_add(FRAMING_PER_CHUNK);
        self.allowance = self.allowance.saturating_add(credit).min(FRAMING_MAX);
    }
}

const CRLF: usize = 2;
/// The minimum length of the bytes after the data of a chunk: its CRLF and `0 CRLF CRLF`.
const AFTER_DATA: usize = CRLF + 5;

fn clamp(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// `chunk-size [ chunk-ext ]` (RFC 9112 section 7.1).
///
/// "A recipient MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to
/// integer conversion overflows": 16 digits are 64 bits. "A recipient MUST ignore unrecognized chunk
/// extensions": all extensions are unrecognized here.
fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    fn grammar(line: &[u8]) -> IResult<&[u8], &[u8]> {
        let size = take_while_m_n(1, 16, |byte: u8| byte.is_ascii_hexdigit());
        let extension = (space0, char(';'), take_while(is_field_char));
        all_consuming((size, opt(extension))).map(|(size, _)| size).parse(line)
    }
    let (_, digits) = grammar(line).map_err(|_| Error::BadChunkLine)?;
    Ok(digits.iter().fold(0, |size, digit| (size << 4) | u64::from(hex(*digit))))
}

/// The value of a hexadecimal digit.
const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a' - 10) & 0xf,
    }
}

/// A trailer line must be a valid header line, and is dropped: "A recipient that removes the chunked
/// coding from a message MAY selectively retain or discard the received trailer fields" (RFC 9112 section
/// 7.1.2).
fn check_trailer(line: &[u8]) -> Result<(), Error> {
    let mut slot = [EMPTY];
    match httparse::parse_headers(line, &mut slot) {
        Ok(httparse::Status::Partial) => Ok(()),
        _ => Err(Error::BadTrailer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    type Outcome = Result<(Step, Vec<u8>, Vec<u8>), Error>;

    /// The outcome, the payload, and the bytes left unread.
    fn decode(framing: Framing, max: usize, input: &[u8]) -> Outcome {
        let mut rx = RecvBuffer::with_unread(input.to_vec(), input.len());
        let step = BodyDecoder::new(framing, max).poll(&mut rx)?;
        Ok((step, rx.kept().to_vec(), rx.unread().to_vec()))
    }

    fn chunked(input: &[u8]) -> Outcome {
        decode(Framing::Chunked, 100, input)
    }

    fn done(payload: &[u8], rest: &[u8]) -> Outcome {
        Ok((Step::Done, payload.to_vec(), rest.to_vec()))
    }

    #[test]
    fn body_ends_where_announced() {
        assert_eq!(decode(Framing::None, 9, b"GET"), done(b"", b"GET"));
        assert_eq!(decode(Framing::Length(0), 9, b"GET"), done(b"", b"GET"));
        assert_eq!(decode(Framing::Length(3), 3, b"abcGET"), done(b"abc", b"GET"));
        assert_eq!(
            chunked(b"3\r\nabc\r\n0000a ;x=\"y z\"\r\n0123456789\r\n0\r\n\r\nGET"),
            done(b"abc0123456789", b"GET")
        );
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_in_either_case() {
        for size in ["1f", "1F", "000000000000001f"] {
            let body = std::format!("{size}\r\n{}\r\n0\r\n\r\n", "x".repeat(31));
            assert_eq!(chunked(body.as_bytes()), done(&[b'x'; 31], b""));
        }
        assert_eq!(chunk_size(b"ffffffffffffffff"), Ok(u64::MAX));
        assert_eq!(chunk_size(b"0123456789abcdef"), Ok(0x0123_4567_89ab_cdef));
        assert_eq!(chunk_size(b"ABCDEF"), Ok(0xab_cdef));
    }

    #[test]
    fn chunk_size_contains_only_digits() {
        for line in [
            &b"\r\n"[..],
            b"+5\r\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"5 \r\n",
            b" 5\r\n",
            b"5_0\r\n",
            b"g\r\n",
            b"5,5\r\n",
            b"00000000000000005\r\n",
            b"10000000000000000\r\n",
            b"5;a\0b\r\n",
            b"5;a\rb\r\n",
            b"5;a\r\r\n",
            b";a\r\n",
        ] {
            assert_eq!(chunked(line), Err(Error::BadChunkLine), "{line:?}");
        }
    }

    #[test]
    fn bare_line_feeds_are_rejected() {
        assert_eq!(chunked(b"1\na\r\n0\r\n\r\n"), Err(Error::BareLf));
        assert_eq!(chunked(b"1;x\na\r\n0\r\n\r\n"), Err(Error::BareLf));
        assert_eq!(chunked(b"1\r\na\n0\r\n\r\n"), Err(Error::BadChunkEnd));
        assert_eq!(chunked(b"0\r\n\n"), Err(Error::BareLf));
        assert_eq!(chunked(b"0\r\na: b\n\r\n"), Err(Error::BareLf));
    }

    #[test]
    fn chunk_longer_than_its_size_is_rejected() {
        assert_eq!(chunked(b"1\r\nab\r\n0\r\n\r\n"), Err(Error::BadChunkEnd));
        assert_eq!(chunked(b"1\r\na\rb"), Err(Error::BadChunkEnd));
    }

    #[test]
    fn too_large_body_is_rejected_when_announced() {
        assert_eq!(decode(Framing::Length(101), 100, b""), Err(Error::BodyTooLarge));
        assert_eq!(decode(Framing::Length(u64::MAX), 100, b""), Err(Error::BodyTooLarge));
        assert_eq!(chunked(b"65\r\n"), Err(Error::BodyTooLarge));
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(Error::BodyTooLarge));
        assert_eq!(chunked(b"1\r\na\r\n64\r\n"), Err(Error::BodyTooLarge));
        assert_eq!(decode(Framing::UntilClose, 2, b"abc"), Err(Error::BodyTooLarge));
        assert!(decode(Framing::Length(100), 100, &[b'x'; 100]).is_ok());
    }

    #[test]
    fn remaining_length_of_a_rejected_body_is_known() {
        let mut rx = RecvBuffer::with_unread(*b"abc", 3);
        let mut body = BodyDecoder::new(Framing::Length(10), 5);
        assert_eq!(body.poll(&mut rx), Err(Error::BodyTooLarge));
        assert_eq!(body.poll(&mut rx), Err(Error::BodyTooLarge));
        assert_eq!((body.remaining(), rx.unread()), (Some(10), &b"abc"[..]));
    }

    #[test]
    fn remaining_length_is_known_if_announced() {
        let mut rx = RecvBuffer::with_unread(*b"abcde", 3);
        let mut body = BodyDecoder::new(Framing::Length(5), 5);
        assert_eq!((body.poll(&mut rx), body.remaining()), (Ok(Step::Need(2)), Some(2)));
        rx.fill(2);
        assert_eq!((body.poll(&mut rx), body.remaining()), (Ok(Step::Done), Some(0)));
        assert_eq!(BodyDecoder::new(Framing::None, 5).remaining(), Some(0));
        assert_eq!(BodyDecoder::new(Framing::Chunked, 5).remaining(), None);
        assert_eq!(BodyDecoder::new(Framing::UntilClose, 5).remaining(), None);
    }

    #[test]
    fn endless_extensions_are_rejected() {
        let mut one_line = b"1;".to_vec();
        one_line.resize(LINE_MAX, b'x');
        assert_eq!(chunked(&one_line), Err(Error::TooMuchFraming));

        let line = [&b"1;"[..], &[b'x'; 500], b"\r\na\r\n"].concat();
        let many = line.repeat(64);
        assert_eq!(decode(Framing::Chunked, 1_000_000, &many), Err(Error::TooMuchFraming));
    }

    #[test]
    fn endless_trailers_are_rejected() {
        // 16 KiB of framing may be outstanding.
        let trailers = |count| [&b"0\r\n"[..], &b"a: bcd\r\n".repeat(count), b"\r\n"].concat();
        assert_eq!(chunked(&trailers(2047)), done(b"", b""));
        assert_eq!(chunked(&trailers(2048)), Err(Error::TooMuchFraming));
        assert_eq!(chunked(&trailers(4000)), Err(Error::TooMuchFraming));
    }

    #[test]
    fn body_of_tiny_chunks_is_accepted() {
        let body = [&b"1\r\na\r\n".repeat(50_000)[..], b"0\r\n\r\n"].concat();
        assert_eq!(decode(Framing::Chunked, 50_000, &body), done(&[b'a'; 50_000], b""));
    }

    #[test]
    fn trailers_must_be_valid_headers_and_are_dropped() {
        assert_eq!(chunked(b"0\r\nA: b\r\nc:\r\n\r\nGET"), done(b"", b"GET"));
        for trailer in [
            &b"a : b"[..],
            b" a: b",
            b"\ta: b",
            b"a",
            b": b",
            b"a: \0",
            b"a: b\rc",
            b"a(b: c",
            b"\r",
        ] {
            let body = [b"0\r\n", trailer, b"\r\n\r\n"].concat();
            assert_eq!(chunked(&body), Err(Error::BadTrailer), "{trailer:?}");
        }
    }

    #[test]
    fn end_of_stream_completes_only_bodies_that_last_until_close() {
        let mut rx = RecvBuffer::with_unread(*b"abc", 3);
        let mut body = BodyDecoder::new(Framing::UntilClose, 10);
        assert_eq!(body.poll(&mut rx), Ok(Step::Need(1)));
        assert_eq!(body.finish(), Ok(()));
        assert_eq!((body.poll(&mut rx), rx.kept()), (Ok(Step::Done), &b"abc"[..]));

        for (framing, input) in [
            (Framing::Length(4), &b"abc"[..]),
            (Framing::Chunked, b""),
            (Framing::Chunked, b"3\r\nabc"),
            (Framing::Chunked, b"3\r\nabc\r\n"),
            (Framing::Chunked, b"0\r\n"),
        ] {
            let mut rx = RecvBuffer::with_unread(input.to_vec(), input.len());
            let mut body = BodyDecoder::new(framing, 10);
            assert!(matches!(body.poll(&mut rx), Ok(Step::Need(_))));
            assert_eq!(body.finish(), Err(Error::Truncated), "{input:?}");
        }
    }

    #[test]
    fn need_is_a_lower_bound() {
        for (framing, input, need) in [
            (Framing::Length(9), &b"abc"[..], 6),
            (Framing::Chunked, b"", 1),
            (Framing::Chunked, b"9\r\nabc", 6 + 7),
            (Framing::Chunked, b"3\r\nabc", 7),
            (Framing::Chunked, b"3\r\nabc\r", 6),
            (Framing::Chunked, b"0\r\n\r", 1),
        ] {
            let Ok((step, ..)) = decode(framing, 100, input) else { panic!("{input:?}") };
            assert_eq!(step, Step::Need(need), "{input:?}");
        }
    }
}
