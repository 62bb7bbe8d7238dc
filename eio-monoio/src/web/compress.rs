//! HTTP content codings: `Accept-Encoding` and compressors.

use std::cell::RefCell;

use eio_core::http::Headers;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Only for precompressed files: there is no Brotli compressor here.
    Brotli,
    Gzip,
    /// The zlib format, as RFC 9110 section 8.4.1.2 defines this name.
    Deflate,
}

impl Coding {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// The codings that a client accepts, as weights in thousandths; 0 means not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    brotli: u16,
    gzip: u16,
    deflate: u16,
    identity: u16,
}

impl Accepted {
    /// Reads `Accept-Encoding`. Without it the body is sent uncompressed: RFC 9110 section 12.5.3 would allow any
    /// coding, but clients that can decode send the header.
    pub(crate) fn new(headers: &Headers<'_, '_>) -> Self {
        let mut named = [None; 4];
        let mut any = None;
        for value in headers.all("accept-encoding") {
            for element in value.split(|b| *b == b',') {
                let (name, weight) = weighed(element);
                let slot = match name {
                    b"*" => &mut any,
                    _ if name.eq_ignore_ascii_case(b"br") => &mut named[0],
                    // RFC 9110 section 8.4.1.3: "x-gzip" is equivalent.
                    _ if name.eq_ignore_ascii_case(b"gzip") => &mut named[1],
                    _ if name.eq_ignore_ascii_case(b"x-gzip") => &mut named[1],
                    _ if name.eq_ignore_ascii_case(b"deflate") => &mut named[2],
                    _ if name.eq_ignore_ascii_case(b"identity") => &mut named[3],
                    _ => continue,
                };
                *slot = Some(weight);
            }
        }
        let [brotli, gzip, deflate, identity] = named;
        let or_any = |weight: Option<u16>| weight.or(any).unwrap_or(0);
        Self {
            brotli: or_any(brotli),
            gzip: or_any(gzip),
            deflate: or_any(deflate),
            // Acceptable unless excluded, but preferred only if it is listed.
            identity: identity.unwrap_or(0),
        }
    }

    /// The coding in which this server compresses a body for the client.
    pub(crate) fn made(self) -> Option<Coding> {
        self.best(&[(Coding::Gzip, self.gzip), (Coding::Deflate, self.deflate)])
    }

    /// The codings in which the client accepts a precompressed file, the preferred one first.
    pub(crate) fn stored(self) -> impl Iterator<Item = Coding> {
        let both = [(Coding::Brotli, self.brotli), (Coding::Gzip, self.gzip)];
        let first = self.best(&both);
        let second = both.into_iter().find(|(coding, _)| Some(*coding) != first);
        first.into_iter().chain(second.and_then(|second| self.best(&[second])))
    }

    /// The candidate with the largest weight, the earlier of two equals; `None` if `identity` has a larger weight.
    fn best(self, candidates: &[(Coding, u16)]) -> Option<Coding> {
        let mut best = None;
        let mut max = 0;
        for (coding, weight) in candidates {
            if *weight > max && *weight >= self.identity {
                (best, max) = (Some(*coding), *weight);
            }
        }
        best
    }
}

/// Splits an element of the list into its name and its weight (RFC 9110 section 12.4.2): `gzip;q=0.5` is 500. An invalid
/// weight counts as 0; the request is not refused for it.
fn weighed(element: &[u8]) -> (&[u8], u16) {
    let mut parts = element.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| {
        part.strip_prefix(b"q=")
            .or(part.strip_prefix(b"Q="))
            .map(|value| weight(value).unwrap_or(0))
    });
    (name, weight.unwrap_or(1000))
}

fn weight(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = *fraction.get(place).unwrap_or(&b'0');
        thousandths = thousandths * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

/// Whether content of this type becomes noticeably smaller. Formats that are compressed already do not.
pub(crate) fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    let starts = |with: &str| {
        essence.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let ends = |with: &str| {
        let at = essence.len().checked_sub(with.len());
        at.and_then(|at| essence.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(with))
    };
    starts("text/")
        || ends("+json")
        || ends("+xml")
        || is("application/json")
        || is("application/javascript")
        || is("application/xml")
        || is("application/wasm")
        || is("font/ttf")
        || is("font/otf")
        || is("image/x-icon")
        || is("image/bmp")
}

/// A compressor for each coding, made when first needed and then kept: one takes about 300 KiB, and resetting it is
/// cheaper than making it.
pub(crate) struct Deflater {
    level: Compression,
    raw: RefCell<Option<Compress>>,
    zlib: RefCell<Option<Compress>>,
}

impl Deflater {
    /// The fastest level: for a worker, which compressing blocks.
    pub(crate) fn fast() -> Self {
        Self::new(Compression::fast())
    }

    /// The default level: for a thread that serves no connections.
    pub(crate) fn thorough() -> Self {
        Self::new(Compression::default())
    }

    fn new(level: Compression) -> Self {
        Self { level, raw: RefCell::default(), zlib: RefCell::default() }
    }

    /// Appends `body`, compressed, to `out`. Returns false, with `out` unchanged, if that is not smaller.
    pub(crate) fn shrink(&self, coding: Coding, body: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let done = self.compress(coding, body, body.len(), out);
        let smaller = done && out.len() - start < body.len();
        if !smaller {
            out.truncate(start);
        }
        smaller
    }

    /// `body`, compressed, even if that is larger: for a response whose entity tag names the coding already. `None` if
    /// there is no compressor for the coding.
    pub(crate) fn always(&self, coding: Coding, body: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        // Deflate adds five bytes for each block that it cannot compress, and blocks have kilobytes.
        let bound = body.len() + body.len() / 64 + 64;
        self.compress(coding, body, bound, &mut out).then_some(out)
    }

    /// Appends at most about `bound` bytes; returns false if the compressed body is longer.
    fn compress(&self, coding: Coding, body: &[u8], bound: usize, out: &mut Vec<u8>) -> bool {
        /// RFC 1952 section 2.3: no file name, no modification time, unknown operating system.
        const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        let (slot, zlib) = match coding {
            Coding::Gzip => (&self.raw, false),
            Coding::Deflate => (&self.zlib, true),
            Coding::Brotli => return false,
        };
        let mut slot = slot.borrow_mut();
        let compress = slot.get_or_insert_with(|| Compress::new(self.level, zlib));
        compress.reset();
        out.reserve_exact(bound + GZIP.len() + 8);
        if !zlib {
            out.extend_from_slice(&GZIP);
        }
        // It writes into the available capacity and does not allocate.
        let status = compress.compress_vec(body, out, FlushCompress::Finish);
        if !matches!(status, Ok(Status::StreamEnd)) {
            return false;
        }
        if !zlib {
            let mut crc = Crc::new();
            crc.update(body);
            out.extend_from_slice(&crc.sum().to_le_bytes());
            out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use eio_core::http::{EMPTY, RequestHead};
    use flate2::read::{GzDecoder, ZlibDecoder};

    use super::*;

    fn accepted(lines: &str) -> Accepted {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = [EMPTY; 8];
        Accepted::new(&RequestHead::parse(head.as_bytes(), &mut slots).unwrap().headers)
    }

    #[test]
    fn the_coding_with_the_largest_weight_is_chosen() {
        use Coding::{Deflate, Gzip};
        for (value, expected) in [
            ("gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Gzip)),
            ("deflate, gzip", Some(Gzip)),
            ("deflate", Some(Deflate)),
            ("DEFLATE;q=1.0,GZIP;q=0.9", Some(Deflate)),
            ("gzip;q=0.5, deflate;q=0.8", Some(Deflate)),
            ("gzip ; q=0.5 , deflate;q=0.500", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Gzip)),
            ("gzip;q=0, *", Some(Deflate)),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip", Some(Gzip)),
            ("identity;q=0, gzip;q=0.001", Some(Gzip)),
            ("br", None),
            ("gzipped", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.5555", None),
            ("gzip;q=", None),
            ("gzip;q=-1", None),
            ("", None),
        ] {
            let lines = format!("Accept-Encoding: {value}\r\n");
            assert_eq!(accepted(&lines).made(), expected, "{value:?}");
        }
        assert_eq!(accepted("").made(), None);
        let two_lines = "Accept-Encoding: gzip;q=0\r\nAccept-Encoding: deflate\r\n";
        assert_eq!(accepted(two_lines).made(), Some(Deflate));
    }

    #[test]
    fn stored_codings_are_in_the_order_of_preference() {
        use Coding::{Brotli, Gzip};
        for (value, expected) in [
            ("gzip, deflate, br", &[Brotli, Gzip][..]),
            ("br;q=0.5, gzip", &[Gzip, Brotli]),
            ("gzip", &[Gzip]),
            ("br", &[Brotli]),
            ("deflate", &[]),
            ("identity, br;q=0.9", &[]),
            ("identity;q=0.7, br;q=0.9, gzip;q=0.5", &[Brotli]),
        ] {
            let lines = format!("Accept-Encoding: {value}\r\n");
            assert_eq!(accepted(&lines).stored().collect::<Vec<_>>(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_compressor_is_reused_and_its_output_decodes_to_the_body() {
        let deflater = Deflater::fast();
        for text in ["a".repeat(5000), "abc def ".repeat(10_000), "x".repeat(1024)] {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Gzip] {
                let mut out = b"before".to_vec();
                assert!(deflater.shrink(coding, text.as_bytes(), &mut out));
                let coded = out.strip_prefix(b"before").unwrap();
                assert!(coded.len() < text.len());
                assert_eq!(decoded(coding, coded), text.as_bytes());
            }
        }
    }

    #[test]
    fn noise_is_compressed_only_by_always() {
        let deflater = Deflater::fast();
        let mut noise = vec![0; 100_000];
        getrandom::fill(&mut noise).unwrap();
        for coding in [Coding::Gzip, Coding::Deflate] {
            let mut out = b"before".to_vec();
            assert!(!deflater.shrink(coding, &noise, &mut out));
            assert_eq!(out, b"before");
            for len in [0, 1, 63, 100_000] {
                let coded = deflater.always(coding, &noise[..len]).unwrap();
                assert_eq!(decoded(coding, &coded), &noise[..len]);
            }
        }
        assert_eq!(deflater.always(Coding::Brotli, &noise), None);
    }

    fn decoded(coding: Coding, coded: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Gzip => GzDecoder::new(coded).read_to_end(&mut plain),
            _ => ZlibDecoder::new(coded).read_to_end(&mut plain),
        }
        .unwrap();
        plain
    }

    #[test]
    fn types_that_are_compressed_already_are_not_compressible() {
        for (kind, expected) in [
            ("text/html; charset=utf-8", true),
            ("Text/Plain", true),
            ("application/json", true),
            ("application/ld+json;x=y", true),
            ("image/svg+xml", true),
            ("image/png", false),
            ("application/octet-stream", false),
            ("font/woff2", false),
            ("", false),
        ] {
            assert_eq!(is_compressible(kind), expected, "{kind}");
        }
    }
}
