//! [`Open`]: the content of the open packet, as JSON ("Handshake").

mod number;
mod tail;

use core::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json_core::de::{Deserializer as Json, Error as JsonError};

use crate::buffer::{Overflow, Sink};
use crate::sid::Sid;
use crate::transport::{Transport, TransportSet};

pub use tail::{OPEN_MAX, OpenTail};

/// The parameters that a server announces in the open packet.
///
/// ```
/// use eio_core::open::{OPEN_MAX, Open};
/// use eio_core::packet::Packet;
/// use eio_core::transport::{Transport, TransportSet};
///
/// let open = Open {
///     sid: "lv_VI97HAXpY6yYWAAAC".parse()?,
///     upgrades: TransportSet::EMPTY.with(Transport::WebSocket),
///     ping_interval_ms: 25_000,
///     ping_timeout_ms: 20_000,
///     max_payload: 1_000_000,
/// };
/// let mut memory = [0; OPEN_MAX];
/// let packet = Packet::Open(open.json(&mut memory));
/// # let Packet::Open(json) = packet else { unreachable!() };
/// assert_eq!(Open::parse(json), Ok(open));
/// # Ok::<(), eio_core::sid::InvalidSid>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Open {
    /// The identifier of the session, which each later request names.
    pub sid: Sid,
    /// The transports to which the session may upgrade from the transport it was opened on.
    pub upgrades: TransportSet,
    /// Milliseconds from the handshake to the first ping, and from each pong to the next ping.
    ///
    /// 0 does not disable pings. python-engineio announces whole seconds, rounded down, so 0 means that the server
    /// pings more than once a second; only the sum with `ping_timeout_ms` is meaningful.
    pub ping_interval_ms: u32,
    /// Milliseconds within which a ping must be answered. A client gives up after `ping_interval_ms + ping_timeout_ms`
    /// without a ping.
    pub ping_timeout_ms: u32,
    /// The maximum size of a request body or WebSocket message for the server, in bytes; `u32::MAX` means no limit.
    pub max_payload: u32,
}

impl Open {
    /// Writes the JSON, without the packet type.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written. [`OPEN_MAX`] bytes always suffice.
    pub fn encode<K: Sink>(&self, out: &mut K) -> Result<(), Overflow> {
        self.tail().encode(&self.sid, out)
    }

    /// The JSON, as the data of a [`Packet::Open`](crate::packet::Packet::Open).
    pub fn json<'m>(&self, memory: &'m mut [u8; OPEN_MAX]) -> &'m str {
        // The output is ASCII.
        simdutf8::basic::from_utf8(self.json_bytes(memory)).unwrap_or_default()
    }

    /// The bytes of [`json`](Self::json), for an output of bytes.
    pub fn json_bytes<'m>(&self, memory: &'m mut [u8; OPEN_MAX]) -> &'m [u8] {
        self.tail().json_bytes(&self.sid, memory)
    }

    fn tail(&self) -> OpenTail {
        OpenTail::new(self.upgrades, self.ping_interval_ms, self.ping_timeout_ms, self.max_payload)
    }

    /// Parses the JSON of a server, with keys in any order. Unknown keys and transports are skipped; the values of
    /// unknown keys are not fully validated. If a key occurs twice the last value counts, as with `JSON.parse`.
    ///
    /// A missing `maxPayload` (older servers), `null` (engine.io with `maxHttpBufferSize: Infinity`) and numbers from
    /// `u32::MAX` on all mean no limit, `u32::MAX`.
    ///
    /// Servers compute these numbers: one with a fraction or an exponent is rounded (engine.io announces
    /// `33333.333333333336` and `1e+21`), one above `u32::MAX` counts as `u32::MAX`, and a string of digits counts as the
    /// number.
    ///
    /// # Errors
    /// [`Error`]: there is no usable session.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let text = json.as_bytes();
        let mut json = Json::new(text, None);
        let mut fields = Fields {
            sid: None,
            upgrades: None,
            ping_interval_ms: None,
            ping_timeout_ms: None,
            max_payload: None,
            error: Error::Json,
            text,
        };
        // The object itself, and eight levels in an unknown value.
        let reader = Reader { fields: &mut fields, place: Place::Handshake, levels: 9 };
        let read = reader.deserialize(&mut json).and_then(|_| json.end());
        read.map_err(|error| match error {
            JsonError::InvalidType => Error::Type,
            JsonError::CustomError => fields.error,
            _ => Error::Json,
        })?;
        Ok(Self {
            sid: Sid::new(fields.sid.ok_or(Error::Missing("sid"))?).map_err(|_| Error::Sid)?,
            upgrades: fields.upgrades.ok_or(Error::Missing("upgrades"))?,
            ping_interval_ms: fields.ping_interval_ms.ok_or(Error::Missing("pingInterval"))?,
            ping_timeout_ms: fields.ping_timeout_ms.ok_or(Error::Missing("pingTimeout"))?,
            max_payload: fields.max_payload.unwrap_or(u32::MAX),
        })
    }
}

/// Why an open packet cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// Not exactly one JSON object.
    Json,
    /// A known key has a value of the wrong type.
    Type,
    /// A number is negative.
    Number,
    /// An unknown value is nested more than eight levels deep.
    TooDeep,
    /// This key is missing.
    Missing(&'static str),
    /// The `sid` is not a [`Sid`].
    Sid,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "the handshake is not a JSON object",
            Self::Type => "a value of the handshake has the wrong type",
            Self::Number => "a number of the handshake is out of range",
            Self::TooDeep => "the handshake is nested too deep",
            Self::Missing(key) => return write!(f, "the handshake has no {key}"),
            Self::Sid => "the handshake's session identifier is unusable",
        })
    }
}

impl core::error::Error for Error {}

/// The values found, or the error. Filled by a handwritten visitor: a derived one skips unknown values with
/// `IgnoredAny`, which serde-json-core implements by recursion without a limit on the depth.
struct Fields<'de> {
    sid: Option<&'de str>,
    upgrades: Option<TransportSet>,
    ping_interval_ms: Option<u32>,
    ping_timeout_ms: Option<u32>,
    max_payload: Option<u32>,
    /// The error of the visitor, where serde-json-core reports a custom error.
    error: Error,
    /// The whole text.
    text: &'de [u8],
}

/// Reads any value, which is at `place`. One type for all values, because serde-json-core's functions are compiled once
/// per visitor.
struct Reader<'f, 'de> {
    fields: &'f mut Fields<'de>,
    place: Place,
    /// How many more levels of nesting are allowed.
    levels: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Handshake,
    Key,
    Sid,
    Upgrades,
    Transport,
    Unknown,
}

impl<'de> Reader<'_, 'de> {
    fn at(&mut self, place: Place) -> Reader<'_, 'de> {
        Reader { fields: self.fields, place, levels: self.levels }
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        match self.levels.checked_sub(1) {
            Some(levels) => {
                self.levels = levels;
                Ok(())
            }
            None => self.fail(Error::TooDeep).map(drop),
        }
    }

    fn fail<E: serde::de::Error>(&mut self, error: Error) -> Result<Place, E> {
        self.fields.error = error;
        Err(E::custom(""))
    }

    /// The place of the value of `key`. Reads the value itself if it is a number: serde-json-core has no number with a
    /// fraction, unless a parser of floating-point numbers is linked, and skips it afterwards.
    fn key(&mut self, key: &'de str) -> Result<Place, Error> {
        let field = match key {
            "sid" => return Ok(Place::Sid),
            "upgrades" => return Ok(Place::Upgrades),
            "pingInterval" => &mut self.fields.ping_interval_ms,
            "pingTimeout" => &mut self.fields.ping_timeout_ms,
            "maxPayload" => &mut self.fields.max_payload,
            _ => return Ok(Place::Unknown),
        };
        let text = self.fields.text;
        let end = (key.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize) + key.len();
        // After the quote that ends the key.
        let value = text.get(end + 1..).map_or(&[][..], number::trimmed);
        let value = value.strip_prefix(b":").ok_or(Error::Json)?;
        *field = number::read(number::trimmed(value))?;
        if field.is_none() && key != "maxPayload" {
            return Err(Error::Type);
        }
        Ok(Place::Unknown)
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, 'de> {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Place, D::Error> {
        match self.place {
            Place::Handshake => json.deserialize_map(self),
            Place::Key | Place::Sid | Place::Transport => json.deserialize_str(self),
            Place::Upgrades => json.deserialize_seq(self),
            Place::Unknown => json.deserialize_ignored_any(self),
        }
    }
}

/// A [`Reader`] of a key: serde-json-core's deserializer of keys supports only `deserialize_str`.
struct KeyReader<'f, 'de>(Reader<'f, 'de>);

impl<'de> DeserializeSeed<'de> for KeyReader<'_, 'de> {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Place, D::Error> {
        json.deserialize_str(self.0)
    }
}

/// Each method returns the place of the next value, which is used only after a key.
impl<'de> Visitor<'de> for Reader<'_, 'de> {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a handshake")
    }

    fn visit_borrowed_str<E: serde::de::Error>(mut self, text: &'de str) -> Result<Place, E> {
        match self.place {
            Place::Key => return self.key(text).or_else(|error| self.fail(error)),
            // Escapes are not decoded. No character of a `Sid` needs one, so `Sid` rejects them.
            Place::Sid => self.fields.sid = Some(text),
            Place::Transport => {
                // Unknown transports (`webtransport`) are skipped.
                if let (Some(set), Some(known)) =
                    (&mut self.fields.upgrades, Transport::from_name(text))
                {
                    *set = set.with(known);
                }
            }
            _ => {}
        }
        Ok(Place::Unknown)
    }

    /// Numbers, `true`, `false` and `null`, as serde-json-core reports them.
    fn visit_unit<E>(self) -> Result<Place, E> {
        Ok(Place::Unknown)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<Place, A::Error> {
        self.enter()?;
        let mut place = Place::Unknown;
        if self.place == Place::Upgrades {
            self.fields.upgrades = Some(TransportSet::EMPTY);
            place = Place::Transport;
        }
        while values.next_element_seed(self.at(place))?.is_some() {}
        Ok(Place::Unknown)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Place, A::Error> {
        self.enter()?;
        let key = if self.place == Place::Handshake { Place::Key } else { Place::Unknown };
        while let Some(place) = map.next_key_seed(KeyReader(self.at(key)))? {
            map.next_value_seed(self.at(place))?;
        }
        Ok(Place::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};

    use super::*;
    use crate::buffer::Writer;

    fn open() -> Open {
        Open {
            sid: "abc".parse().unwrap(),
            upgrades: TransportSet::EMPTY.with(Transport::WebSocket),
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            max_payload: 1_000_000,
        }
    }

    /// Valid JSON with `more` in front.
    fn with(more: &str) -> String {
        format!(
            r#"{{{more}"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )
    }

    #[test]
    fn the_five_keys_are_written_in_order() {
        let mut memory = [0; OPEN_MAX];
        assert_eq!(open().json(&mut memory), with(""));
        let bare = Open { upgrades: TransportSet::EMPTY, ..open() };
        assert!(bare.json(&mut memory).contains(r#""upgrades":[],"#));
    }

    #[test]
    fn open_max_is_the_exact_bound() {
        let longest = Open {
            sid: "x".repeat(Sid::MAX).parse().unwrap(),
            upgrades: TransportSet::ALL,
            ping_interval_ms: u32::MAX,
            ping_timeout_ms: u32::MAX,
            max_payload: u32::MAX,
        };
        let mut memory = [0; OPEN_MAX];
        let mut out = Writer::new(&mut memory);
        longest.encode(&mut out).unwrap();
        assert_eq!(out.room(), 0);
        let json = str::from_utf8(out.into_written()).unwrap();
        assert_eq!(Open::parse(json), Ok(longest));
    }

    #[test]
    fn overflow_writes_nothing() {
        let mut memory = [0; 40];
        let mut out = Writer::new(&mut memory);
        assert_eq!(open().encode(&mut out), Err(Overflow));
        assert!(out.is_empty());
    }

    #[test]
    fn order_and_whitespace_are_ignored() {
        let json = " {\n\t\"maxPayload\" : 1000000 ,\"pingTimeout\":20000,\r\n\
            \"upgrades\": [ \"websocket\" ], \"pingInterval\":25000,\"sid\":\"abc\"} ";
        assert_eq!(Open::parse(json), Ok(open()));
    }

    #[test]
    fn unknown_keys_are_skipped() {
        for value in [
            "1",
            "-1.5e9",
            "true",
            "null",
            r#""""#,
            r#""a\"b\\""#,
            r#""}],{[""#,
            r#""\u00e9\ud83d\ude00é😀""#,
            "[]",
            "{}",
            r#"[1,"]",[{"a":null}],false]"#,
            r#"{"sid":"other","a\"}":{"b":[]}}"#,
            "[[[[[[[[1]]]]]]]]",
        ] {
            assert_eq!(Open::parse(&with(&format!(r#""x":{value},"#))), Ok(open()), "{value}");
        }
        for key in ["", "SID", "sid ", "ping_interval_ms", r#"\""#, r"\u0073id", "é"] {
            assert_eq!(Open::parse(&with(&format!(r#""{key}":1,"#))), Ok(open()), "{key}");
        }
    }

    #[test]
    fn unknown_transports_are_skipped_and_names_must_be_strings() {
        let upgrades = |list| Open::parse(&with("").replace(r#"["websocket"]"#, list));
        for list in [r#"["webtransport","websocket"]"#, r#"["websocket","","we\"b","Polling"]"#] {
            assert_eq!(upgrades(list), Ok(open()), "{list}");
        }
        assert!(upgrades("[]").unwrap().upgrades.is_empty());
        assert!(upgrades(r#"["webtransport"]"#).unwrap().upgrades.is_empty());
        for list in ["[1]", r#""websocket""#, "null", "{}", r#"[["websocket"]]"#] {
            assert_eq!(upgrades(list), Err(Error::Type), "{list}");
        }
        assert_eq!(upgrades(r#"["websocket",]"#), Err(Error::Json));
    }

    #[test]
    fn nesting_is_limited() {
        let deep = |open: &str, close: &str, depth: usize| {
            let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            Open::parse(&with(&format!(r#""x":{value},"#)))
        };
        for (open_bracket, close_bracket) in [("[", "]"), (r#"{"a":"#, "}"), ("[{\"a\":", "}]")] {
            let levels = open_bracket.matches(['[', '{']).count();
            assert_eq!(deep(open_bracket, close_bracket, 8 / levels), Ok(open()));
            for depth in [8 / levels + 1, 10_000, 1_000_000] {
                assert_eq!(deep(open_bracket, close_bracket, depth), Err(Error::TooDeep));
            }
        }
        // Known values may not be nested at all.
        for key in ["sid", "upgrades", "pingInterval", "maxPayload"] {
            for bracket in ["[", r#"{"a":"#] {
                let json = with(&format!(r#""{key}":{}"#, bracket.repeat(10_000)));
                assert_eq!(Open::parse(&json), Err(Error::Type), "{key}");
            }
        }
        assert_eq!(Open::parse(&"[".repeat(1_000_000)), Err(Error::Type));
        // A bracket after a quote that opens no string.
        let junk = format!(r#""x":1"y,"z":{}"#, "[".repeat(1_000_000));
        assert_eq!(Open::parse(&with(&junk)), Err(Error::TooDeep));
    }

    #[test]
    fn only_max_payload_may_be_missing() {
        for (key, value) in [
            ("sid", r#""sid":"abc","#),
            ("upgrades", r#""upgrades":["websocket"],"#),
            ("pingInterval", r#""pingInterval":25000,"#),
            ("pingTimeout", r#""pingTimeout":20000,"#),
        ] {
            let error = Open::parse(&with("").replace(value, "")).unwrap_err();
            assert_eq!(error, Error::Missing(key));
            assert!(error.to_string().ends_with(key));
        }
        let without = with("").replace(r#","maxPayload":1000000"#, "");
        assert_eq!(Open::parse(&without).unwrap().max_payload, u32::MAX);
    }

    #[test]
    fn numbers_are_rounded_and_clamped() {
        let interval = |value| Open::parse(&with("").replace("25000", value));
        for (value, expected) in [
            ("0", 0),
            ("4294967295", u32::MAX),
            ("33333.333333333336", 33_333),
            ("2.5e4", 25_000),
            ("4294967296", u32::MAX),
            (r#""15000""#, 15_000),
        ] {
            assert_eq!(interval(value).unwrap().ping_interval_ms, expected, "{value}");
        }
        for value in ["-1", "-0", "-2.5e4"] {
            assert_eq!(interval(value), Err(Error::Number), "{value}");
        }
        for value in ["025000", "0x10", "1_000", "1.", "1e", "1 2", r#""1"2"#] {
            assert_eq!(interval(value), Err(Error::Json), "{value}");
        }
        for value in ["+1", r#""25 s""#, r#""""#, "null", "true", "NaN", "[]", "{}"] {
            assert_eq!(interval(value), Err(Error::Type), "{value}");
        }
    }

    #[test]
    fn too_large_max_payload_means_no_limit() {
        let limit = |value| Open::parse(&with("").replace("1000000", value)).map(|o| o.max_payload);
        for value in ["null", "4294967295", "10000000000", "18446744073709551616", "1e+21"] {
            assert_eq!(limit(value), Ok(u32::MAX), "{value}");
        }
        assert_eq!(limit("4294967294"), Ok(u32::MAX - 1));
        assert_eq!(limit("0"), Ok(0));
        assert_eq!(limit(r#""1""#), Ok(1));
        assert_eq!(limit("-1"), Err(Error::Number));
    }

    #[test]
    fn sid_with_other_characters_is_rejected() {
        for sid in ["", "a b", "a&b", r"a\u0062", r#"a\"b"#, "é", &"a".repeat(65)] {
            let json = with("").replace("abc", sid);
            assert_eq!(Open::parse(&json), Err(Error::Sid), "{sid}");
        }
        assert_eq!(Open::parse(&with("").replace(r#""abc""#, "1")), Err(Error::Type));
    }

    #[test]
    fn last_of_two_equal_keys_counts() {
        let json = with(r#""sid":"first","pingInterval":1,"upgrades":["polling"],"#);
        assert_eq!(Open::parse(&json), Ok(open()));
    }

    #[test]
    fn truncated_json_is_rejected() {
        let json = with(r#""x":[1,{"a":"\"é"}],"#);
        for end in (0..json.len()).filter(|&end| json.is_char_boundary(end)) {
            assert_eq!(Open::parse(&json[..end]), Err(Error::Json), "{}", &json[..end]);
        }
        for more in ["}", "x", "{}", "\0", "\u{1e}"] {
            assert_eq!(Open::parse(&(json.clone() + more)), Err(Error::Json), "{more:?}");
        }
    }
}
