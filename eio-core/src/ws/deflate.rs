//! Negotiation of permessage-deflate, RFC 7692. Compression itself is the driver's, which has the memory for it.
//!
//! A client [offers](Terms::offer), a server [accepts](Terms::accept) and responds with the agreed terms, and the
//! client [checks](Terms::check) the response:
//!
//! ```
//! use eio_core::ws::deflate::{Terms, WindowBits};
//!
//! let client = Terms { server_no_context_takeover: true, ..Terms::default() };
//! let offer = client.offer().to_string();
//! assert_eq!(offer, "permessage-deflate; server_no_context_takeover; client_max_window_bits");
//!
//! let server = Terms { client_max_window_bits: WindowBits::new(10), ..Terms::default() };
//! let agreed = server.accept([offer.as_bytes()].into_iter())?.expect("an acceptable offer");
//! let answer = agreed.to_string();
//! assert_eq!(answer, "permessage-deflate; server_no_context_takeover; client_max_window_bits=10");
//!
//! assert_eq!(client.check([answer.as_bytes()].into_iter()), Ok(Some(agreed)));
//! # Ok::<(), eio_core::ws::deflate::Malformed>(())
//! ```
//!
//! After that the [`Decoder`](super::Decoder) [allows](super::Decoder::allow_compressed) compressed messages, and
//! [`encode_compressed`](super::encode_compressed) writes them.

use core::fmt;

use super::extension::{Extension, extensions};
use super::mismatch::Mismatch;

pub use super::extension::Malformed;

/// The parameters that one endpoint asks for, or that both agreed on. The default asks for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Terms {
    /// The server compresses each message independently (7.1.1.1), so the client need not keep its context.
    pub server_no_context_takeover: bool,
    /// The client compresses each message independently (7.1.1.2), so the server need not keep its context.
    pub client_no_context_takeover: bool,
    /// The maximum window of the server (7.1.2.1); `None` is the maximum of DEFLATE, 32 KiB.
    pub server_max_window_bits: Option<WindowBits>,
    /// The maximum window of the client (7.1.2.2); `None` is the maximum of DEFLATE, 32 KiB.
    pub client_max_window_bits: Option<WindowBits>,
}

/// The base-2 logarithm of the size of an LZ77 window, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct WindowBits(u8);

impl WindowBits {
    /// The maximum, 32 KiB.
    pub const MAX: Self = Self(15);

    /// > a decimal integer value [...] between 8 to 15, inclusive (7.1.2.1)
    pub const fn new(bits: u8) -> Option<Self> {
        match bits {
            8..=15 => Some(Self(bits)),
            _ => None,
        }
    }

    /// The logarithm.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The size in bytes.
    pub const fn size(self) -> usize {
        1 << self.0
    }

    /// > [...] without leading zeroes (7.1.2.1)
    fn read(mut digits: impl Iterator<Item = u8>) -> Option<Self> {
        match (digits.next()?, digits.next(), digits.next()) {
            (digit @ b'8'..=b'9', None, _) => Some(Self(digit - b'0')),
            (b'1', Some(digit @ b'0'..=b'5'), None) => Some(Self(10 + (digit - b'0'))),
            _ => None,
        }
    }
}

/// The parameters in a list (7.1).
#[derive(Default)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    /// `Some(None)` in an offer: the client accepts a window size from the server.
    client_max_window_bits: Option<Option<WindowBits>>,
}

impl Params {
    /// `None` if a parameter is not defined in 7.1, occurs twice, or has an invalid value.
    fn read(extension: &Extension<'_>) -> Option<Self> {
        let mut params = Self::default();
        for param in extension.params() {
            let bits = param.value.map(|value| WindowBits::read(value.bytes()));
            match (param.name, bits) {
                (b"server_no_context_takeover", None) if !params.server_no_context_takeover => {
                    params.server_no_context_takeover = true;
                }
                (b"client_no_context_takeover", None) if !params.client_no_context_takeover => {
                    params.client_no_context_takeover = true;
                }
                (b"server_max_window_bits", Some(Some(bits)))
                    if params.server_max_window_bits.is_none() =>
                {
                    params.server_max_window_bits = Some(bits);
                }
                (b"client_max_window_bits", None | Some(Some(_)))
                    if params.client_max_window_bits.is_none() =>
                {
                    params.client_max_window_bits = Some(bits.flatten());
                }
                _ => return None,
            }
        }
        Some(params)
    }
}

/// The server's side.
impl Terms {
    /// The terms to agree on, from the offers in the values of `Sec-WebSocket-Extensions`: those of the first offer
    /// that is compatible with these terms. The server responds with their `Display`; `None` means no response and no
    /// compression.
    ///
    /// An offer is declined if its parameters break a rule of 7.1, or if it does not accept a
    /// [`client_max_window_bits`](Self::client_max_window_bits) that these terms ask for.
    ///
    /// # Errors
    /// The header is malformed, in any of its extensions: the handshake must be refused.
    pub fn accept<'h>(
        &self,
        offers: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, Malformed> {
        let mut agreed = None;
        for extension in offers.flat_map(extensions) {
            let extension = extension?;
            if agreed.is_none() && extension.name == NAME.as_bytes() {
                agreed = Params::read(&extension).and_then(|offer| self.agree(&offer));
            }
        }
        Ok(agreed)
    }

    fn agree(&self, offer: &Params) -> Option<Self> {
        let client_max_window_bits =
            match (self.client_max_window_bits, offer.client_max_window_bits) {
                (None, _) => None,
                (Some(ours), Some(theirs)) => Some(theirs.map_or(ours, |theirs| theirs.min(ours))),
                // > If a received extension negotiation offer doesn't have the "client_max_window_bits" extension
                // > parameter, the corresponding extension negotiation response [...] MUST NOT include [it]. (7.1.2.2)
                (Some(_), None) => return None,
            };
        Some(Self {
            // > A server accepts an extension negotiation offer that includes the "server_no_context_takeover"
            // > extension parameter by including [it] in the corresponding [...] response (7.1.1.1)
            server_no_context_takeover: self.server_no_context_takeover
                || offer.server_no_context_takeover,
            // A hint that the client will not use its context, so that no endpoint need keep one.
            client_no_context_takeover: self.client_no_context_takeover
                || offer.client_no_context_takeover,
            // > [...] by including the "server_max_window_bits" extension parameter in the [...] response [...]
            // > with the same or smaller value as the offer. (7.1.2.1)
            server_max_window_bits: match (
                self.server_max_window_bits,
                offer.server_max_window_bits,
            ) {
                (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                (ours, theirs) => ours.or(theirs),
            },
            client_max_window_bits,
        })
    }
}

/// The client's side.
impl Terms {
    /// The value of `Sec-WebSocket-Extensions` in the request. It always accepts a window size from the server.
    pub const fn offer(&self) -> Offer<'_> {
        Offer(self)
    }

    /// The terms that the server agreed on, from the values of `Sec-WebSocket-Extensions` in its response to the
    /// [offer](Self::offer); `None` means no compression.
    ///
    /// # Errors
    /// [`Mismatch::Extension`], if the response is malformed, contains an extension or parameter that was not offered,
    /// or breaks a rule of 7.1: the connection must be closed.
    pub fn check<'h>(
        &self,
        answers: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, Mismatch> {
        let mut agreed = None;
        for value in answers {
            agreed = self.check_value(value, agreed)?;
        }
        Ok(agreed)
    }

    /// The same for one value after another; `agreed` is the result for the values before.
    pub(super) fn check_value(
        &self,
        value: &[u8],
        mut agreed: Option<Self>,
    ) -> Result<Option<Self>, Mismatch> {
        for extension in extensions(value) {
            let extension = extension.map_err(|Malformed| Mismatch::Extension)?;
            if agreed.is_some() || extension.name != NAME.as_bytes() {
                return Err(Mismatch::Extension);
            }
            agreed = Some(
                Params::read(&extension)
                    .and_then(|answer| self.match_response(&answer))
                    .ok_or(Mismatch::Extension)?,
            );
        }
        Ok(agreed)
    }

    /// The agreed terms, if the response is compatible with the offer.
    fn match_response(&self, answer: &Params) -> Option<Self> {
        // The server accepts a parameter by repeating it, with no larger window (7.1.1.1, 7.1.2.1).
        let context_matches = answer.server_no_context_takeover || !self.server_no_context_takeover;
        let window_matches = match (self.server_max_window_bits, answer.server_max_window_bits) {
            (Some(ours), Some(theirs)) => theirs <= ours,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let client_max_window_bits = match answer.client_max_window_bits {
            // The value may be missing only in an offer (7.1.2.2).
            Some(None) => return None,
            Some(theirs) => theirs.min(self.client_max_window_bits.or(theirs)),
            // The client keeps the limit it announced.
            None => self.client_max_window_bits,
        };
        (context_matches && window_matches).then_some(Self {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: answer.client_no_context_takeover
                || self.client_no_context_takeover,
            server_max_window_bits: answer.server_max_window_bits,
            client_max_window_bits,
        })
    }
}

const NAME: &str = "permessage-deflate";

/// The agreed terms, as the value of `Sec-WebSocket-Extensions` in the response of a server.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_common(f)?;
        match self.client_max_window_bits {
            Some(bits) => write!(f, "; client_max_window_bits={}", bits.get()),
            None => Ok(()),
        }
    }
}

/// See [`Terms::offer`].
#[derive(Clone, Copy, Debug)]
pub struct Offer<'t>(&'t Terms);

impl fmt::Display for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_common(f)?;
        f.write_str("; client_max_window_bits")?;
        match self.0.client_max_window_bits {
            Some(bits) => write!(f, "={}", bits.get()),
            None => Ok(()),
        }
    }
}

impl Terms {
    fn write_common(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        match self.server_max_window_bits {
            Some(bits) => write!(f, "; server_max_window_bits={}", bits.get()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    const ANY: Terms = Terms {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };

    fn bits(bits: u8) -> Option<WindowBits> {
        Some(WindowBits::new(bits).unwrap())
    }

    fn accept(terms: Terms, offer: &str) -> Result<Option<String>, Malformed> {
        let agreed = terms.accept([offer.as_bytes()].into_iter())?;
        Ok(agreed.map(|agreed| agreed.to_string()))
    }

    #[track_caller]
    fn accepted(terms: Terms, offer: &str, answer: &str) {
        assert_eq!(accept(terms, offer).unwrap().as_deref(), Some(answer), "{offer}");
    }

    #[test]
    fn window_has_256_bytes_to_32_kib() {
        let sizes = (0..=u8::MAX).filter_map(WindowBits::new).map(|bits| (bits.get(), bits.size()));
        assert!(sizes.eq((8..=15).zip([256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768])));
        assert_eq!(WindowBits::MAX.size(), 32_768);
    }

    #[test]
    fn offer_is_accepted_with_the_terms_of_both() {
        let plain = "permessage-deflate";
        accepted(ANY, plain, plain);
        accepted(ANY, "permessage-deflate; client_max_window_bits", plain);
        accepted(ANY, "permessage-deflate; client_max_window_bits=10", plain);
        for both in [
            "; server_no_context_takeover",
            "; client_no_context_takeover",
            "; server_max_window_bits=8",
        ] {
            let offer = plain.to_string() + both;
            accepted(ANY, &offer, &offer);
        }
        accepted(
            Terms { client_no_context_takeover: true, server_no_context_takeover: true, ..ANY },
            "permessage-deflate; server_max_window_bits=\"12\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=12",
        );
        for (ours, theirs, agreed) in [(9, 12, 9), (12, 9, 9), (15, 15, 15)] {
            let terms = Terms { server_max_window_bits: bits(ours), ..ANY };
            let offer = std::format!("permessage-deflate; server_max_window_bits={theirs}");
            accepted(terms, &offer, &std::format!("{plain}; server_max_window_bits={agreed}"));
            let terms = Terms { client_max_window_bits: bits(ours), ..ANY };
            let offer = std::format!("permessage-deflate; client_max_window_bits={theirs}");
            accepted(terms, &offer, &std::format!("{plain}; client_max_window_bits={agreed}"));
        }
        let terms = Terms { server_max_window_bits: bits(9), ..ANY };
        accepted(terms, plain, "permessage-deflate; server_max_window_bits=9");
        let terms = Terms { client_max_window_bits: bits(9), ..ANY };
        let offer = "permessage-deflate; client_max_window_bits";
        accepted(terms, offer, "permessage-deflate; client_max_window_bits=9");
    }

    #[test]
    fn first_compatible_offer_is_accepted() {
        accepted(ANY, "x-webkit-deflate-frame, permessage-deflate", "permessage-deflate");
        accepted(
            ANY,
            "permessage-deflate; unknown, permessage-deflate; server_no_context_takeover, permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
        );
        // RFC 7692 7.1.3: a fallback without the parameter.
        let terms = Terms { client_max_window_bits: bits(10), ..ANY };
        accepted(
            terms,
            "permessage-deflate, permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10",
        );
        let two_lines = [&b"foo"[..], b"permessage-deflate"].into_iter();
        assert_eq!(ANY.accept(two_lines), Ok(Some(ANY)));
    }

    #[test]
    fn offers_with_invalid_parameters_are_declined() {
        for params in [
            "unknown",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=\"true\"",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=010",
            "server_max_window_bits=+9",
            "server_max_window_bits=9.0",
            "server_max_window_bits=100",
            "server_max_window_bits=1",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=x",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits=9; client_max_window_bits",
            "Server_No_Context_Takeover",
        ] {
            assert_eq!(
                accept(ANY, &std::format!("permessage-deflate; {params}")),
                Ok(None),
                "{params}"
            );
        }
        assert_eq!(accept(ANY, "Permessage-Deflate, permessage-deflate2, deflate-frame"), Ok(None));
        assert_eq!(accept(ANY, ""), Ok(None));
        let terms = Terms { client_max_window_bits: bits(10), ..ANY };
        assert_eq!(accept(terms, "permessage-deflate"), Ok(None));
    }

    #[test]
    fn malformed_offers_are_errors() {
        for offer in [
            "permessage-deflate;",
            "permessage-deflate, ;",
            "foo bar, permessage-deflate",
            "a;b=\"",
        ] {
            assert_eq!(accept(ANY, offer), Err(Malformed), "{offer}");
        }
        let two_lines = [&b"permessage-deflate"[..], b"=="].into_iter();
        assert_eq!(ANY.accept(two_lines), Err(Malformed));
    }

    #[test]
    fn client_offers_its_terms() {
        assert_eq!(ANY.offer().to_string(), "permessage-deflate; client_max_window_bits");
        let terms = Terms {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: bits(10),
            client_max_window_bits: bits(11),
        };
        assert_eq!(
            terms.offer().to_string(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10; client_max_window_bits=11"
        );
    }

    fn check(offered: Terms, answer: &str) -> Result<Option<Terms>, Mismatch> {
        offered.check([answer.as_bytes()].into_iter())
    }

    #[test]
    fn client_accepts_responses_that_match_its_offer() {
        assert_eq!(check(ANY, ""), Ok(None));
        assert_eq!(ANY.check(core::iter::empty()), Ok(None));
        assert_eq!(check(ANY, "permessage-deflate"), Ok(Some(ANY)));
        let agreed = Terms {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: bits(8),
            client_max_window_bits: bits(9),
        };
        assert_eq!(check(ANY, &agreed.to_string()), Ok(Some(agreed)));
        // The client keeps its own limits, whatever the server responds.
        let offered =
            Terms { client_no_context_takeover: true, client_max_window_bits: bits(10), ..ANY };
        assert_eq!(check(offered, "permessage-deflate"), Ok(Some(offered)));
        let answer = "permessage-deflate; client_max_window_bits=12";
        assert_eq!(check(offered, answer), Ok(Some(offered)));
    }

    #[test]
    fn client_rejects_responses_outside_its_offer() {
        let server = Terms { server_no_context_takeover: true, ..ANY };
        assert_eq!(check(server, "permessage-deflate"), Err(Mismatch::Extension));
        let window = Terms { server_max_window_bits: bits(10), ..ANY };
        assert_eq!(check(window, "permessage-deflate"), Err(Mismatch::Extension));
        assert_eq!(
            check(window, "permessage-deflate; server_max_window_bits=11"),
            Err(Mismatch::Extension)
        );
        assert!(check(window, "permessage-deflate; server_max_window_bits=9").is_ok());
        for answer in [
            "foo",
            "foo, permessage-deflate",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; unknown",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate;",
        ] {
            assert_eq!(check(ANY, answer), Err(Mismatch::Extension), "{answer}");
        }
        let two_lines = [&b"permessage-deflate"[..], b"permessage-deflate"].into_iter();
        assert_eq!(ANY.check(two_lines), Err(Mismatch::Extension));
    }

    #[test]
    fn both_endpoints_agree_on_the_same_terms() {
        let windows = [None, bits(8), bits(9), bits(15)];
        let all = (0..64).map(|n: usize| Terms {
            server_no_context_takeover: n & 1 != 0,
            client_no_context_takeover: n & 2 != 0,
            server_max_window_bits: windows[n >> 2 & 3],
            client_max_window_bits: windows[n >> 4 & 3],
        });
        for (client, server) in all.clone().flat_map(|c| all.clone().map(move |s| (c, s))) {
            let offer = client.offer().to_string();
            let agreed = server.accept([offer.as_bytes()].into_iter()).unwrap().unwrap();
            let kept = check(client, &agreed.to_string()).unwrap().unwrap();
            // The client may keep a smaller window of its own than the server asks for.
            assert!(kept.client_max_window_bits <= agreed.client_max_window_bits.or(bits(15)));
            let window = agreed.client_max_window_bits;
            assert_eq!(
                Terms { client_max_window_bits: window, ..kept },
                agreed,
                "{client:?} {server:?}"
            );
        }
    }
}
