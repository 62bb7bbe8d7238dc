//! [`HeadScanner`]: finds the end of a head.

use super::Error;
use crate::bytes::find3;

/// Empty lines accepted before a request: "a server that is expecting to receive and parse a request-line
/// SHOULD ignore at least one empty line (CRLF) received prior to the request-line" (RFC 9112 section 2.2).
const LEADING_EMPTY_LINES: u8 = 2;

#[cfg(feature = "std")]
const END: &[u8] = b"\r\n\r\n";

/// To prepare the search would take longer than the search.
#[cfg(feature = "std")]
static HEAD_END: std::sync::LazyLock<memchr::memmem::Finder<'static>> =
    std::sync::LazyLock::new(|| memchr::memmem::Finder::new(END));

/// Finds the end of a head that arrives in pieces.
///
/// It remembers the position of the search, so a head costs the same in many pieces as in one.
///
/// ```
/// use eio_core::http::{Error, HeadScanner};
///
/// let mut scanner = HeadScanner::new();
/// assert_eq!(scanner.poll(b"GET / HTTP/1.1\r\n\r", 100), Ok(None));
/// assert_eq!(scanner.poll(b"GET / HTTP/1.1\r\n\r\nrest", 100), Ok(Some(18)));
/// scanner.reset();
/// assert_eq!(scanner.poll(b"GET / HTTP/1.1\n", 100), Err(Error::BareLf));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// The bytes before were searched. Invariant: `line <= searched`.
    searched: usize,
    /// The start of the current line.
    line: usize,
    /// Empty lines before the first line. Invariant: `leading <= LEADING_EMPTY_LINES`.
    leading: u8,
    /// Whether the first line is complete.
    started: bool,
}

impl HeadScanner {
    /// A scanner for a head that starts at the first unread byte.
    pub const fn new() -> Self {
        Self { searched: 0, line: 0, leading: 0, started: false }
    }

    /// Starts over. Call it when a head was found and skipped.
    pub const fn reset(&mut self) {
        *self = Self::new();
    }

    /// The length in bytes of the head at the start of `unread`, with leading empty lines and the final CRLF CRLF;
    /// `None` until its end arrived. `unread` must start at the same byte as in the previous call.
    ///
    /// # Errors
    /// [`Error::HeadTooLarge`] or [`Error::StartLineTooLarge`] as soon as `max` bytes arrived without an end,
    /// [`Error::BareLf`], [`Error::BareCr`], [`Error::Nul`], [`Error::Tls`], [`Error::LeadingEmptyLines`]. Errors are final: a further
    /// call returns the same.
    pub fn poll(&mut self, unread: &[u8], max: usize) -> Result<Option<usize>, Error> {
        // Bytes beyond the limit are not searched, or the outcome would depend on how many arrive at once.
        let window = unread.get(..max).unwrap_or(unread);
        #[cfg(feature = "std")]
        if self.searched == 0 {
            if is_single_head(window) {
                return Ok(Some(window.len()));
            }
            // The head of a request with a body, or the first of several.
            let head = HEAD_END.find(window).and_then(|at| window.get(..at + END.len()));
            if let Some(head) = head.filter(|head| is_single_head(head)) {
                return Ok(Some(head.len()));
            }
        }
        while let Some(found) =
            window.get(self.searched..).and_then(|rest| find3(b'\r', b'\n', 0, rest))
        {
            self.searched += found;
            match window.get(self.searched..) {
                Some([b'\r', b'\n', ..]) => {}
                Some([b'\r']) => return self.unfinished(window, max),
                // "A recipient of such a bare CR MUST consider that element to be invalid" (RFC 9112
                // section 2.2).
                Some([b'\r', ..]) => return Err(Error::BareCr),
                // "a recipient MAY recognize a single LF as a line terminator" (same section): a proxy in front
                // may not, so this does not either.
                Some([b'\n', ..]) => return Err(Error::BareLf),
                // The first record of a connection is an alert or a handshake, of version 3.x.
                _ if matches!(window, [0x15 | 0x16, 3, 0..=4, ..]) => return Err(Error::Tls),
                _ => return Err(Error::Nul),
            }
            let next = self.searched + 2;
            if self.line != self.searched {
                self.started = true;
            } else if self.started {
                return Ok(Some(next));
            } else if self.leading == LEADING_EMPTY_LINES {
                return Err(Error::LeadingEmptyLines);
            } else {
                self.leading += 1;
            }
            (self.searched, self.line) = (next, next);
        }
        self.searched = window.len();
        self.unfinished(window, max)
    }

    fn unfinished(&self, window: &[u8], max: usize) -> Result<Option<usize>, Error> {
        match window.len() < max {
            true => Ok(None),
            false if self.started => Err(Error::HeadTooLarge),
            false => Err(Error::StartLineTooLarge),
        }
    }
}

/// Whether `window` is exactly one valid head without leading empty lines. Most requests are, and a search for the ends
/// of their lines takes three times as long.
#[cfg(feature = "std")]
fn is_single_head(window: &[u8]) -> bool {
    let Some(lines) = window.strip_suffix(END) else { return false };
    // CR and LF occur only in pairs, NUL does not occur, and a CR two bytes after another would be an earlier end.
    let wrong = |byte: u8, next: u8, third: u8| {
        ((byte == b'\r') != (next == b'\n')) | (byte == 0) | ((byte == b'\r') & (third == b'\r'))
    };
    // No early exit, so that the loop is vectorized: nearly every head is valid.
    let after = |n| window.get(n..).unwrap_or_default();
    let threes = lines.iter().zip(after(1)).zip(after(2));
    let found =
        threes.fold(false, |found, ((byte, next), third)| found | wrong(*byte, *next, *third));
    // A window that starts with either has a leading empty line.
    !found && !matches!(window.first(), None | Some(b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The outcome if fed `step` more bytes at a time, and the number of bytes fed by then.
    fn scan(input: &[u8], max: usize, step: usize) -> (Outcome, usize) {
        let mut scanner = HeadScanner::new();
        let mut fed = 0;
        loop {
            fed = (fed + step).min(input.len());
            let outcome = scanner.poll(&input[..fed], max);
            if outcome != Ok(None) || fed == input.len() {
                return (outcome, fed);
            }
        }
    }

    type Outcome = Result<Option<usize>, Error>;

    const CASES: [(&[u8], Outcome); 24] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", Ok(Some(27))),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(22))),
        (b"\r\n\r\n", Ok(None)),
        (b"\r\n\r\n\r\n", Err(Error::LeadingEmptyLines)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(None)),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(Error::BareLf)),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(Error::BareLf)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(Error::BareLf)),
        (b"\nGET / HTTP/1.1\r\n\r\n", Err(Error::BareLf)),
        (b"GET / HTTP/1.1\r\nHost: a\rb", Err(Error::BareCr)),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Err(Error::BareCr)),
        (b"GET / HTTP/1.1\r\nHost: a\r\0", Err(Error::BareCr)),
        (b"GET / HTTP/1.1\r\nHost: a\0b", Err(Error::Nul)),
        (b"\x16\x03\x01\x02\x00\x01\x00", Err(Error::Tls)),
        (b"GET / HTTP/1.1\r\nA: 0123456789\r\nB: 0123456789\r\n\r\n", Err(Error::HeadTooLarge)),
        (b"GET /0123456789012345678901234567890123456789\n\n", Err(Error::StartLineTooLarge)),
        (b"", Ok(None)),
        // Input that ends like a head: each error occurs twice, so that one cannot cancel the other.
        (b"GET / HTTP/1.1\nA: b\nC: d\r\n\r\n", Err(Error::BareLf)),
        (b"GET / HTTP/1.1\r\nA: \0\n\r\n\r\n", Err(Error::Nul)),
        (b"GET / HTTP/1.1\r\nA: \r\r\r\r\n\r\n", Err(Error::BareCr)),
        (b"GET / HTTP/1.1\r\nA: \rb\r\n\r\n", Err(Error::BareCr)),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET\r\n\r\n", Ok(Some(24))),
        (b"\nET / HTTP/1.1\r\n\r\n", Err(Error::BareLf)),
    ];
    const MAX: usize = 40;

    #[test]
    fn outcome_does_not_depend_on_the_split() {
        for (input, outcome) in CASES {
            for step in 1..=input.len().max(1) {
                assert_eq!(scan(input, MAX, step).0, outcome, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn limit_applies_exactly() {
        let endless = [b'x'; 100];
        assert_eq!(scan(&endless, MAX, 1), (Err(Error::StartLineTooLarge), MAX));
        let head = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(scan(head, head.len(), 1), (Ok(Some(head.len())), head.len()));
        assert_eq!(scan(head, head.len() - 1, 1), (Err(Error::HeadTooLarge), head.len() - 1));
    }

    #[test]
    fn errors_are_final() {
        for (input, outcome) in CASES {
            if outcome.is_err() {
                let mut scanner = HeadScanner::new();
                assert_eq!(scanner.poll(input, MAX), outcome);
                assert_eq!(scanner.poll(input, MAX), outcome);
            }
        }
    }

    #[test]
    fn reset_starts_the_next_head() {
        let heads = b"\r\nGET /a HTTP/1.1\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let mut scanner = HeadScanner::new();
        assert_eq!(scanner.poll(heads, MAX), Ok(Some(21)));
        scanner.reset();
        assert_eq!(scanner.poll(&heads[21..], MAX), Ok(Some(22)));
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let head: Vec<u8> = b"GET / HTTP/1.1\r\nA: b\r\nC: dddddddddddd\r\n".repeat(50);
        let mut scanner = HeadScanner::new();
        for len in 0..=head.len() {
            let before = scanner.searched;
            assert_eq!(scanner.poll(&head[..len], usize::MAX), Ok(None));
            // All but a CR that waits for its LF.
            assert!(scanner.searched >= before && scanner.searched + 1 >= len);
        }
    }
}
