//! Subjects and bodies of the messages on the bus.
//!
//! All subjects of a cluster begin with `eio.<cluster>.`. A node needs three subscriptions, whatever the number of its
//! sessions: [`Subjects::subscribe_hello`], [`Subjects::subscribe_node`] and [`Subjects::subscribe_all`].

use core::fmt::{self, Write as _};
use core::ops::Deref;

use heapless::String;

use crate::buffer::{Overflow, Sink};
use crate::bytes::find;
use crate::sid::{Sid, Tag};
use crate::text::{AsciiSet, utf8};

/// The header of each message that a node publishes to sessions of other nodes: a [`Stamp`].
pub const FROM: &str = "Eio-From";

/// The header with the session identifiers that a message to all sessions does not reach, separated by spaces.
pub const EXCEPT: &str = "Eio-Except";

/// The maximum length of a subject.
const SUBJECT_MAX: usize = "eio.".len() + Subjects::NAME_MAX + ".binary.".len() + Sid::MAX;

/// The subjects of one cluster.
///
/// ```
/// use eio_core::cluster::bus::{Received, Subjects};
/// use eio_core::sid::Sid;
///
/// let subjects = Subjects::new("chat")?;
/// let sid = Sid::new("web-0.lv_VI97HAXpY6yYWAAAC").unwrap();
/// assert_eq!(&*subjects.text(&sid), "eio.chat.text.web-0.lv_VI97HAXpY6yYWAAAC");
/// assert_eq!(subjects.parse("eio.chat.text.web-0.lv_VI97HAXpY6yYWAAAC"), Some(Received::Text(sid)));
/// assert_eq!(subjects.parse("eio.other.all.text"), None);
/// # Ok::<(), eio_core::cluster::bus::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String<{ "eio.".len() + Subjects::NAME_MAX + ".".len() }>,
}

/// The error for a name of a cluster that is empty, longer than [`Subjects::NAME_MAX`], or has a character that is not
/// one of `A-Z a-z 0-9 - _`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

/// The subject of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String<SUBJECT_MAX>);

/// The meaning of a received subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A hello: to all nodes, or in answer to this node's first.
    Hello,
    /// The body is a text message to the session.
    Text(Sid),
    /// The body is a binary message to the session.
    Binary(Sid),
    /// The session shall be closed.
    Close(Sid),
    /// The body is a [`Many`].
    Many,
    /// The body is a text message to all sessions, but those in the header [`EXCEPT`].
    AllText,
    /// The body is a binary message to all sessions, but those in the header [`EXCEPT`].
    AllBinary,
    /// All sessions shall be closed.
    AllClose,
    /// A request; the reply is a hello.
    AskAlive,
    /// A request with a sid; the reply is the name of the session's transport, or empty if there is no such session.
    AskTransport,
}

const NAME: AsciiSet = AsciiSet::alphanumeric_and(b"-_");

impl Subjects {
    /// The maximum length of the name of a cluster, in characters.
    pub const NAME_MAX: usize = 32;

    /// The subjects of the cluster `name`.
    ///
    /// # Errors
    /// [`InvalidName`]
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty()
            || name.len() > Self::NAME_MAX
            || !name.bytes().all(|byte| NAME.contains(byte))
        {
            return Err(InvalidName);
        }
        let mut prefix = String::new();
        write!(prefix, "eio.{name}.").map_err(|_| InvalidName)?;
        Ok(Self { prefix })
    }

    fn subject(&self, parts: [&str; 3]) -> Subject {
        let mut subject = String::new();
        for part in [self.prefix.as_str()].into_iter().chain(parts) {
            // `SUBJECT_MAX` is the length of the longest.
            subject.push_str(part).unwrap_or_else(|_| unreachable!("no subject is longer"));
        }
        Subject(subject)
    }

    /// A text message to a session.
    pub fn text(&self, sid: &Sid) -> Subject {
        self.subject(["text.", sid.as_str(), ""])
    }

    /// A binary message to a session.
    pub fn binary(&self, sid: &Sid) -> Subject {
        self.subject(["binary.", sid.as_str(), ""])
    }

    /// The end of a session.
    pub fn close(&self, sid: &Sid) -> Subject {
        self.subject(["close.", sid.as_str(), ""])
    }

    /// One message to many sessions of a node: a [`Many`].
    pub fn many(&self, tag: &Tag) -> Subject {
        self.subject(["many.", tag.as_str(), ".sids"])
    }

    /// A text message to all sessions.
    pub fn all_text(&self) -> Subject {
        self.subject(["all.text", "", ""])
    }

    /// A binary message to all sessions.
    pub fn all_binary(&self) -> Subject {
        self.subject(["all.binary", "", ""])
    }

    /// The end of all sessions.
    pub fn all_close(&self) -> Subject {
        self.subject(["all.close", "", ""])
    }

    /// A hello to all nodes.
    pub fn hello(&self) -> Subject {
        self.subject(["hello", "", ""])
    }

    /// A hello to one node.
    pub fn hello_to(&self, tag: &Tag) -> Subject {
        self.subject(["hello.", tag.as_str(), ".reply"])
    }

    /// The question whether a node is alive, to which it replies with a hello.
    pub fn ask_alive(&self, tag: &Tag) -> Subject {
        self.subject(["ask.", tag.as_str(), ".alive"])
    }

    /// The question for the transport of a session.
    pub fn ask_transport(&self, tag: &Tag) -> Subject {
        self.subject(["ask.", tag.as_str(), ".transport"])
    }

    /// The subscription to the hellos of all nodes.
    pub fn subscribe_hello(&self) -> Subject {
        self.hello()
    }

    /// The subscription to messages to one node and its sessions.
    pub fn subscribe_node(&self, tag: &Tag) -> Subject {
        self.subject(["*.", tag.as_str(), ".>"])
    }

    /// The subscription to messages to all sessions.
    pub fn subscribe_all(&self) -> Subject {
        self.subject(["all.*", "", ""])
    }

    /// The meaning of a subject; `None` for one of another cluster, or that this version does not know.
    pub fn parse(&self, subject: &str) -> Option<Received> {
        let rest = subject.strip_prefix(self.prefix.as_str())?;
        let Some((verb, object)) = rest.split_once('.') else {
            return (rest == "hello").then_some(Received::Hello);
        };
        let sid = || Sid::new(object).ok().filter(is_publishable);
        let about =
            || object.split_once('.').and_then(|(tag, about)| Tag::new(tag).ok().map(|_| about));
        match verb {
            "text" => sid().map(Received::Text),
            "binary" => sid().map(Received::Binary),
            "close" => sid().map(Received::Close),
            "all" => match object {
                "text" => Some(Received::AllText),
                "binary" => Some(Received::AllBinary),
                "close" => Some(Received::AllClose),
                _ => None,
            },
            "many" if about()? == "sids" => Some(Received::Many),
            "hello" if about()? == "reply" => Some(Received::Hello),
            "ask" => match about()? {
                "alive" => Some(Received::AskAlive),
                "transport" => Some(Received::AskTransport),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Deref for Subject {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a name of a cluster: 1 to 32 letters, digits, hyphens and underscores")
    }
}

impl core::error::Error for InvalidName {}

/// Whether a sid has a tag and can be part of a subject: no part between its dots is empty. The identifiers that a
/// server makes always can; those that an application makes have to be checked.
pub fn is_publishable(sid: &Sid) -> bool {
    sid.split_tag().is_some_and(|(_, rest)| rest.split('.').all(|token| !token.is_empty()))
}

/// The publisher and number of a message: the text of the header [`FROM`].
///
/// ```
/// use eio_core::cluster::bus::Stamp;
///
/// let stamp = Stamp::parse("web-0 00c0ffee00c0ffee 17").unwrap();
/// assert_eq!((stamp.tag.as_str(), stamp.incarnation, stamp.number), ("web-0", 0xc0ffee_00c0ffee, 17));
/// assert_eq!(stamp.to_string(), "web-0 00c0ffee00c0ffee 17");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The tag of the node that published.
    pub tag: Tag,
    /// The incarnation of the node that published.
    pub incarnation: u64,
    /// The number of the message: 1 for the first of this node to the receiver, or to all.
    pub number: u64,
}

impl Stamp {
    /// Parses the text of the header; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let tag = Tag::new(parts.next()?).ok()?;
        let incarnation = parts.next().filter(|text| text.len() == 16)?;
        let incarnation = digits(incarnation, 16)?;
        let number = digits(parts.next()?, 10)?;
        parts.next().is_none().then_some(Self { tag, incarnation, number })
    }
}

/// `u64::from_str_radix` without its plus sign.
fn digits(text: &str, radix: u32) -> Option<u64> {
    if text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x} {}", self.tag, self.incarnation, self.number)
    }
}

/// The sids of the header [`EXCEPT`]. Text that is not a sid is skipped.
pub fn parse_except(text: &str) -> impl Iterator<Item = Sid> + '_ {
    text.split(' ').filter_map(|sid| Sid::new(sid).ok())
}

/// The kind of a message to many sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// The end of the sessions; there is no data.
    Close,
}

impl MessageKind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
        }
    }
}

/// One message to many sessions of a node: `<kind>` LF `<sid> <sid> …` LF and the data.
///
/// ```
/// use eio_core::cluster::bus::{Many, MessageKind};
///
/// let many = Many::parse(b"text\nweb-0.aaa web-0.bbb\nhello")?;
/// assert_eq!((many.kind(), many.data()), (MessageKind::Text, &b"hello"[..]));
/// assert_eq!(many.sids().count(), 2);
/// # Ok::<(), eio_core::cluster::bus::MalformedBody>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Many<'m> {
    kind: MessageKind,
    sids: &'m str,
    data: &'m [u8],
}

/// The error for a body that is not a [`Many`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedBody;

impl<'m> Many<'m> {
    /// Parses a body.
    ///
    /// # Errors
    /// [`MalformedBody`]: a line is missing, the kind is unknown, a sid is illegal, or text is not UTF-8.
    pub fn parse(body: &'m [u8]) -> Result<Self, MalformedBody> {
        let (kind, rest) = line(body).ok_or(MalformedBody)?;
        let (sids, data) = line(rest).ok_or(MalformedBody)?;
        let kinds = [MessageKind::Text, MessageKind::Binary, MessageKind::Close];
        let kind =
            kinds.into_iter().find(|known| known.name().as_bytes() == kind).ok_or(MalformedBody)?;
        let sids = utf8(sids).ok_or(MalformedBody)?;
        let legal = sids.is_empty() || sids.split(' ').all(|sid| Sid::new(sid).is_ok());
        let fits = match kind {
            MessageKind::Text => utf8(data).is_some(),
            MessageKind::Binary => true,
            MessageKind::Close => data.is_empty(),
        };
        if !legal || !fits {
            return Err(MalformedBody);
        }
        Ok(Self { kind, sids, data })
    }

    /// The kind of the message.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The message; UTF-8 if its kind is text.
    pub fn data(&self) -> &'m [u8] {
        self.data
    }

    /// The sessions.
    pub fn sids(&self) -> impl Iterator<Item = Sid> + 'm {
        self.sids.split(' ').filter_map(|sid| Sid::new(sid).ok())
    }
}

/// The bytes before and after the first line feed.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    find(b'\n', bytes).map(|at| (&bytes[..at], &bytes[at + 1..]))
}

/// Writes a [`Many`].
///
/// # Errors
/// [`Overflow`]; a part may have been written.
pub fn write_many<'s>(
    kind: MessageKind,
    sids: impl IntoIterator<Item = &'s Sid>,
    data: &[u8],
    out: &mut impl Sink,
) -> Result<(), Overflow> {
    out.put_all([kind.name().as_bytes(), b"\n"])?;
    for (n, sid) in sids.into_iter().enumerate() {
        let space: &[u8] = if n == 0 { b"" } else { b" " };
        out.put_all([space, sid.as_str().as_bytes()])?;
    }
    out.put_all([b"\n", data])
}

impl fmt::Display for MalformedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of a message to many sessions is malformed")
    }
}

impl core::error::Error for MalformedBody {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Writer;

    fn sid(text: &str) -> Sid {
        Sid::new(text).unwrap()
    }

    #[test]
    fn each_subject_is_parsed_as_what_it_was_made_for() {
        let (subjects, tag) = (Subjects::new("c").unwrap(), Tag::new("n1").unwrap());
        let to = sid("n1.abc");
        for (subject, expected, received) in [
            (subjects.text(&to), "eio.c.text.n1.abc", Received::Text(to.clone())),
            (subjects.binary(&to), "eio.c.binary.n1.abc", Received::Binary(to.clone())),
            (subjects.close(&to), "eio.c.close.n1.abc", Received::Close(to.clone())),
            (subjects.many(&tag), "eio.c.many.n1.sids", Received::Many),
            (subjects.all_text(), "eio.c.all.text", Received::AllText),
            (subjects.all_binary(), "eio.c.all.binary", Received::AllBinary),
            (subjects.all_close(), "eio.c.all.close", Received::AllClose),
            (subjects.hello(), "eio.c.hello", Received::Hello),
            (subjects.hello_to(&tag), "eio.c.hello.n1.reply", Received::Hello),
            (subjects.ask_alive(&tag), "eio.c.ask.n1.alive", Received::AskAlive),
            (subjects.ask_transport(&tag), "eio.c.ask.n1.transport", Received::AskTransport),
        ] {
            assert_eq!(&*subject, expected);
            assert_eq!(subjects.parse(&subject), Some(received));
        }
        assert_eq!(&*subjects.subscribe_hello(), "eio.c.hello");
        assert_eq!(&*subjects.subscribe_node(&tag), "eio.c.*.n1.>");
        assert_eq!(&*subjects.subscribe_all(), "eio.c.all.*");
    }

    #[test]
    fn the_longest_subject_fits() {
        let subjects = Subjects::new(&"c".repeat(Subjects::NAME_MAX)).unwrap();
        let longest = sid(&std::format!("{}.{}", "t".repeat(Tag::MAX), "x".repeat(47)));
        assert_eq!(subjects.binary(&longest).len(), SUBJECT_MAX);
        for bad in ["", "a.b", "a*", "a b", &"c".repeat(Subjects::NAME_MAX + 1)] {
            assert_eq!(Subjects::new(bad), Err(InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn other_subjects_have_no_meaning() {
        let subjects = Subjects::new("c").unwrap();
        for other in [
            "",
            "eio.c",
            "eio.c.",
            "eio.d.hello",
            "eio.c.text",
            "eio.c.text.",
            "eio.c.text.abc",
            "eio.c.text.n1.",
            "eio.c.text.n1.a..b",
            "eio.c.text.n1.a.",
            "eio.c.text.n1.a b",
            "eio.c.all",
            "eio.c.all.x",
            "eio.c.many.n1",
            "eio.c.many.n1.x",
            "eio.c.many.n~1.sids",
            "eio.c.hello.n1",
            "eio.c.ask.n1",
            "eio.c.ask.n1.x",
            "eio.c.goodbye",
            "eio.c.hello.n1.reply.x",
        ] {
            assert_eq!(subjects.parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_stamp_is_three_words() {
        for bad in [
            "",
            "n1",
            "n1 0",
            "n1 00c0ffee00c0ffee",
            "n1 00c0ffee00c0ffee +1",
            "n1 00c0ffee00c0ffee 1 ",
            "n~1 00c0ffee00c0ffee 1",
            "n1 +0c0ffee00c0ffee 1",
            "n1  00c0ffee00c0ffee 1",
            "n1 00c0ffee00c0ffee 18446744073709551616",
            "n1 c0ffee 1",
        ] {
            assert_eq!(Stamp::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn many_is_read_as_it_was_written() {
        let sids = [sid("n1.a"), sid("n1.b")];
        for (kind, data, body) in [
            (MessageKind::Text, &b"a\nb"[..], &b"text\nn1.a n1.b\na\nb"[..]),
            (MessageKind::Binary, b"\xff\n", b"binary\nn1.a n1.b\n\xff\n"),
            (MessageKind::Close, b"", b"close\nn1.a n1.b\n"),
        ] {
            let mut memory = [0; 64];
            let mut out = Writer::new(&mut memory);
            write_many(kind, &sids, data, &mut out).unwrap();
            assert_eq!(out.written(), body);
            let many = Many::parse(body).unwrap();
            assert_eq!((many.kind(), many.data()), (kind, data));
            assert!(many.sids().eq(sids.iter().cloned()));
        }
        assert_eq!(Many::parse(b"text\n\nhello").unwrap().sids().count(), 0);
        for bad in [
            &b""[..],
            b"text",
            b"text\nn1.a",
            b"words\nn1.a\nx",
            b"text\nn1.a  n1.b\nx",
            b"text\n\xff\nx",
            b"text\nn1.a\n\xff",
            b"close\nn1.a\nx",
            b"Text\nn1.a\nx",
        ] {
            assert_eq!(Many::parse(bad), Err(MalformedBody), "{bad:?}");
        }
        assert!(parse_except("n1.a  b* n1.b").eq(sids));
    }
}
