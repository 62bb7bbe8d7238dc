//! [`Hello`]: the message by which a node says that it is there.
//!
//! A version byte, then in network byte order: state (1), tag (16, filled with zeros), incarnation (8), key (32), number
//! of sessions (4), number of messages to all (8), number of addresses (1) and addresses (family 4 or 6, IP, port),
//! number of counts (2) and counts (incarnation of a receiver, number of messages to it: 8 and 8). Bit 7 of the state
//! asks for an answer.

use core::fmt;
use core::net::SocketAddr;

use heapless::Vec;

use super::wire::{Reader, put_address, tag_field};
use crate::buffer::{Overflow, Sink};
use crate::sid::Tag;

/// The version of hellos and links. Nodes of different versions do not see each other.
pub const VERSION: u8 = 2;

/// The length of a node's key.
pub const KEY_LEN: usize = 32;

/// The addresses at which a node accepts links: the first [`LINKS_MAX`], if it has more.
pub type Links = Vec<SocketAddr, LINKS_MAX>;

/// The maximum number of addresses that a hello announces.
pub const LINKS_MAX: usize = 8;

/// The state of a node, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It waits for objections to its tag.
    #[default]
    Joining,
    /// It opens sessions.
    Up,
    /// It closes its sessions and opens no others.
    Leaving,
    /// It has no session. This is its last hello.
    Left,
}

/// The name of a node, its key and its addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The tag of its sids.
    pub tag: Tag,
    /// A random number of this start of the process.
    pub incarnation: u64,
    /// A random key: a link proves that both ends know it.
    pub key: [u8; KEY_LEN],
    /// The addresses at which it accepts links.
    pub links: Links,
}

/// A received hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'h> {
    /// The node.
    pub identity: Identity,
    /// Its state.
    pub state: State,
    /// Whether the others shall answer with theirs, because the node does not know them yet.
    pub wants_answer: bool,
    /// The number of its sessions.
    pub sessions: u32,
    /// The number of messages to all nodes that it has published.
    pub sent_all: u64,
    counts: &'h [u8],
}

/// The error for a message that is not a [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// A node of another version.
    Version(u8),
    /// It ends too early, is too long, or a field is illegal.
    Malformed,
}

const WANTS_ANSWER: u8 = 0x80;
const COUNT_LEN: usize = 16;

impl<'h> Hello<'h> {
    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`HelloError`]
    pub fn parse(body: &'h [u8]) -> Result<Self, HelloError> {
        match body.first() {
            None => Err(HelloError::Malformed),
            Some(&VERSION) => Self::read(Reader::new(&body[1..])).ok_or(HelloError::Malformed),
            Some(&other) => Err(HelloError::Version(other)),
        }
    }

    fn read(mut body: Reader<'h>) -> Option<Self> {
        let flags = body.u8()?;
        let state = match flags & !WANTS_ANSWER {
            0 => State::Joining,
            1 => State::Up,
            2 => State::Leaving,
            3 => State::Left,
            _ => return None,
        };
        let (tag, incarnation, key) = (body.tag()?, body.u64()?, body.array()?);
        let (sessions, sent_all) = (body.u32()?, body.u64()?);
        let mut links = Links::new();
        for _ in 0..body.u8()? {
            links.push(body.address()??).ok()?;
        }
        let counts = body.u16()?;
        let counts = body.bytes(usize::from(counts) * COUNT_LEN)?;
        body.rest.is_empty().then_some(Self {
            identity: Identity { tag, incarnation, key, links },
            state,
            wants_answer: flags & WANTS_ANSWER != 0,
            sessions,
            sent_all,
            counts,
        })
    }

    /// The number of messages that the node has published to the node with `incarnation`; `None` if it does not know
    /// that one.
    pub fn sent_to(&self, incarnation: u64) -> Option<u64> {
        let counts = self.counts.chunks_exact(COUNT_LEN);
        let mut counts = counts.filter_map(|count| {
            let mut count = Reader::new(count);
            Some((count.u64()?, count.u64()?))
        });
        counts.find(|&(receiver, _)| receiver == incarnation).map(|(_, sent)| sent)
    }

    /// Writes the hello. What [`parse`](Self::parse) reads has one form only.
    ///
    /// # Errors
    /// [`Overflow`]; a part may have been written.
    pub fn encode(&self, out: &mut impl Sink) -> Result<(), Overflow> {
        self.write_front(self.counts.len() / COUNT_LEN, out)?;
        out.put(self.counts)
    }

    /// Writes the hello with other counts, of at most 65,535 receivers.
    pub(super) fn encode_with(
        &self,
        counts: impl Iterator<Item = (u64, u64)> + Clone,
        out: &mut impl Sink,
    ) -> Result<(), Overflow> {
        self.write_front(counts.clone().count(), out)?;
        for (receiver, sent) in counts {
            out.put_all([&receiver.to_be_bytes(), &sent.to_be_bytes()])?;
        }
        Ok(())
    }

    fn write_front(&self, counts: usize, out: &mut impl Sink) -> Result<(), Overflow> {
        let Identity { tag, incarnation, key, links } = &self.identity;
        let state = self.state as u8 | if self.wants_answer { WANTS_ANSWER } else { 0 };
        out.put_all([&[VERSION, state][..], &tag_field(tag), &incarnation.to_be_bytes(), key])?;
        out.put_all([&self.sessions.to_be_bytes()[..], &self.sent_all.to_be_bytes()])?;
        out.put(&[links.len() as u8])?;
        for &link in links {
            put_address(Some(link), out)?;
        }
        out.put(&u16::try_from(counts).map_err(|_| Overflow)?.to_be_bytes())
    }

    /// A hello without counts.
    pub(super) fn new(identity: Identity, state: State) -> Self {
        Self { identity, state, wants_answer: false, sessions: 0, sent_all: 0, counts: &[] }
    }
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("tag", &self.tag)
            .field("incarnation", &self.incarnation)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "a node of version {version}, this one has {VERSION}")
            }
            Self::Malformed => f.write_str("a malformed hello"),
        }
    }
}

impl core::error::Error for HelloError {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn hello(links: &[&str]) -> Hello<'static> {
        let identity = Identity {
            tag: Tag::new("web-0").unwrap(),
            incarnation: 7,
            key: [9; KEY_LEN],
            links: links.iter().map(|link| link.parse().unwrap()).collect(),
        };
        let mut hello = Hello::new(identity, State::Leaving);
        (hello.wants_answer, hello.sessions, hello.sent_all) = (true, 3, 5);
        hello
    }

    fn written(hello: &Hello<'_>, counts: &[(u64, u64)]) -> Vec<u8> {
        let mut memory = [0; 512];
        let mut out = crate::buffer::Writer::new(&mut memory);
        hello.encode_with(counts.iter().copied(), &mut out).unwrap();
        out.written().to_vec()
    }

    #[test]
    fn a_hello_is_read_as_it_was_written() {
        let hello = hello(&["10.0.0.1:4000", "[2001:db8::1]:5000"]);
        let body = written(&hello, &[(1, 10), (2, 20)]);
        let read = Hello::parse(&body).unwrap();
        assert_eq!([1, 2, 3].map(|node| read.sent_to(node)), [Some(10), Some(20), None]);
        assert_eq!(Hello { counts: &[], ..read }, hello);
    }

    #[test]
    fn a_cut_a_longer_and_another_version_are_refused() {
        let body = written(&hello(&["10.0.0.1:4000"]), &[(1, 10)]);
        for len in 0..body.len() {
            assert_eq!(Hello::parse(&body[..len]), Err(HelloError::Malformed), "{len}");
        }
        let longer = [&body[..], &[0]].concat();
        assert_eq!(Hello::parse(&longer), Err(HelloError::Malformed));
        let other = [&[VERSION + 1], &body[1..]].concat();
        assert_eq!(Hello::parse(&other), Err(HelloError::Version(VERSION + 1)));
    }
}
