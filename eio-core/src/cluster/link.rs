//! Links: direct connections between two nodes, over which one forwards requests of sessions of the other.
//!
//! A link begins with a handshake of one round trip. The dialling node sends a greeting, the accepting node a
//! challenge, and the dialling node a proof, together with its first request:
//!
//! ```text
//! Greeting:  "EIOL" version from-tag[16] from-incarnation[8] to-tag[16] to-incarnation[8] nonce[16]
//! Challenge: "EIOL" version status nonce[16] proof[32]
//! Proof:     proof[32]
//! ```
//!
//! Each proof is HMAC-SHA-256 over a label of its role, the greeting, and the acceptor's version, status and nonce. The
//! key is that of the dialling node followed by that of the accepting node, as both announce them on the bus: a program
//! that cannot read the bus can make neither proof. Both nonces are fresh, so that a recording proves nothing later.
//! The proof covers the beginning of the connection only: links need TLS in a network in which others can change
//! packets.
//!
//! Then requests follow, one at a time. Each begins with a [`Preamble`]. After a request's preamble come its bytes of
//! HTTP, and the answer's in the other direction. The dialling node confirms an answer that [may carry
//! packets](is_confirmed) with [`DELIVERED`] when it is in the client's socket; an upgraded connection carries the client's
//! bytes in both directions until one end closes it. A ping is answered with [`PONG`].

use core::fmt;
use core::net::SocketAddr;

use hmac_sha256::HMAC;

use super::hello::{Identity, KEY_LEN, VERSION};
use super::wire::{ADDRESS_MAX, Reader, put_address, tag_field};
use crate::buffer::{Overflow, Sink, Writer};
use crate::sid::Tag;

/// The length of a greeting. It is the same in each version, as are the first five bytes.
pub const GREETING_LEN: usize = 5 + 2 * (Tag::MAX + 8) + NONCE_LEN;

/// The length of a challenge. It is the same in each version, as are the first six bytes.
pub const CHALLENGE_LEN: usize = TERMS_LEN + PROOF_LEN;

/// The length of a proof.
pub const PROOF_LEN: usize = 32;

/// The length of a nonce, which has to be random and used once.
pub const NONCE_LEN: usize = 16;

/// The dialling node sends this byte when an answer that [is confirmed](is_confirmed) is in the client's socket. A link
/// that ends before it means that the answer may be lost.
pub const DELIVERED: u8 = 0x06;

/// Whether the answer to a request of this method is confirmed: only that of a GET carries packets of a session. That of
/// a POST says what became of the request; if it is lost, no message is.
pub fn is_confirmed(method: &str) -> bool {
    method == "GET"
}

/// The answer to a ping.
pub const PONG: u8 = 0x16;

/// The maximum length of a [`Preamble`].
pub const PREAMBLE_MAX: usize = 2 + ADDRESS_MAX + 2 + CERTIFICATE_MAX;

/// The maximum length of a client's certificate. One that is longer is not forwarded: the request is refused.
pub const CERTIFICATE_MAX: usize = 16 * 1024;

const MAGIC: &[u8; 4] = b"EIOL";

/// A challenge without its proof.
const TERMS_LEN: usize = 6 + NONCE_LEN;

/// The answer of the accepting node to a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The link can be used after the proof.
    Ok,
    /// The accepting node has another version.
    Version,
    /// The accepting node has another tag or incarnation.
    WrongNode,
    /// The accepting node knows no such node: it has not received its hello yet.
    Unknown,
    /// The accepting node has too many links.
    Busy,
}

impl Status {
    const ALL: [Self; 5] = [Self::Ok, Self::Version, Self::WrongNode, Self::Unknown, Self::Busy];
}

/// Why a link cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer is not a node, or a field is illegal.
    Malformed,
    /// The peer has another version.
    Version(u8),
    /// The accepting node refused.
    Refused(Status),
    /// The greeting is for another node.
    WrongNode,
    /// The peer does not know the keys.
    Proof,
}

/// A greeting, as the accepting node receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The tag of the dialling node.
    pub from: Tag,
    /// The incarnation of the dialling node.
    pub from_incarnation: u64,
    /// The tag of the node that it dials.
    pub to: Tag,
    /// The incarnation of the node that it dials.
    pub to_incarnation: u64,
    bytes: [u8; GREETING_LEN],
}

impl Greeting {
    /// Parses a greeting.
    ///
    /// # Errors
    /// [`LinkError::Malformed`] or [`LinkError::Version`], to which [`refuse`] with [`Status::Version`] is the answer.
    pub fn parse(bytes: &[u8; GREETING_LEN]) -> Result<Self, LinkError> {
        let mut reader = versioned(bytes)?;
        let mut node = || Some((reader.tag()?, reader.u64()?));
        let (Some((from, from_incarnation)), Some((to, to_incarnation))) = (node(), node()) else {
            return Err(LinkError::Malformed);
        };
        Ok(Self { from, from_incarnation, to, to_incarnation, bytes: *bytes })
    }
}

/// Checks the beginning of a greeting or challenge.
fn versioned(message: &[u8]) -> Result<Reader<'_>, LinkError> {
    let mut reader = Reader::new(message);
    if reader.array().as_ref() != Some(MAGIC) {
        return Err(LinkError::Malformed);
    }
    match reader.u8() {
        Some(VERSION) => Ok(reader),
        Some(other) => Err(LinkError::Version(other)),
        None => Err(LinkError::Malformed),
    }
}

/// The handshake of the dialling node.
///
/// ```
/// use eio_core::cluster::hello::Identity;
/// use eio_core::cluster::link::{Accept, Dial, Greeting, LinkError};
/// use eio_core::sid::Tag;
///
/// let node = |tag: &str, incarnation, byte| Identity {
///     tag: Tag::new(tag).unwrap(),
///     incarnation,
///     key: [byte; 32],
///     links: Default::default(),
/// };
/// let (here, there) = (node("web-0", 1, 0xaa), node("web-1", 2, 0xbb));
///
/// let dial = Dial::new(&here, &there, [1; 16]);
/// let greeting = Greeting::parse(dial.greeting())?;
/// assert_eq!(greeting.from, here.tag);
/// let accept = Accept::new(&there, &greeting, &here.key, [2; 16])?;
/// let proof = dial.handle_challenge(accept.challenge())?;
/// accept.verify(&proof)?;
///
/// let other = Accept::new(&there, &greeting, &here.key, [3; 16])?;
/// assert_eq!(other.verify(&proof), Err(LinkError::Proof)); // a replay
/// # Ok::<(), LinkError>(())
/// ```
#[derive(Clone)]
pub struct Dial {
    key: [u8; 2 * KEY_LEN],
    greeting: [u8; GREETING_LEN],
}

impl Dial {
    /// A link from `here` to `there`.
    pub fn new(here: &Identity, there: &Identity, nonce: [u8; NONCE_LEN]) -> Self {
        let mut greeting = [0; GREETING_LEN];
        let mut out = Writer::new(&mut greeting);
        let written = out.put_all([&MAGIC[..], &[VERSION]]).and_then(|()| {
            for node in [here, there] {
                out.put_all([&tag_field(&node.tag)[..], &node.incarnation.to_be_bytes()])?;
            }
            out.put(&nonce)
        });
        debug_assert!(written.is_ok() && out.room() == 0);
        Self { key: both(&here.key, &there.key), greeting }
    }

    /// The first bytes to send.
    pub fn greeting(&self) -> &[u8; GREETING_LEN] {
        &self.greeting
    }

    /// Checks the challenge and makes the proof, which is the next to send.
    ///
    /// # Errors
    /// [`LinkError`]: the link cannot be used.
    pub fn handle_challenge(
        &self,
        challenge: &[u8; CHALLENGE_LEN],
    ) -> Result<[u8; PROOF_LEN], LinkError> {
        let mut reader = versioned(challenge)?;
        let status = reader.u8().and_then(|status| Status::ALL.get(usize::from(status)));
        match status {
            None => return Err(LinkError::Malformed),
            Some(Status::Ok) => {}
            Some(&refused) => return Err(LinkError::Refused(refused)),
        }
        let (terms, proof) = challenge.split_at(TERMS_LEN);
        check(&self.key, ACCEPTING, &self.greeting, terms, proof)?;
        Ok(prove(&self.key, DIALLING, &self.greeting, terms))
    }
}

/// The handshake of the accepting node.
#[derive(Clone)]
pub struct Accept {
    key: [u8; 2 * KEY_LEN],
    greeting: [u8; GREETING_LEN],
    challenge: [u8; CHALLENGE_LEN],
}

impl Accept {
    /// Answers a greeting; `from_key` is the key of the node and incarnation that it names.
    ///
    /// # Errors
    /// [`LinkError::WrongNode`], to which [`refuse`] is the answer.
    pub fn new(
        here: &Identity,
        greeting: &Greeting,
        from_key: &[u8; KEY_LEN],
        nonce: [u8; NONCE_LEN],
    ) -> Result<Self, LinkError> {
        if greeting.to != here.tag || greeting.to_incarnation != here.incarnation {
            return Err(LinkError::WrongNode);
        }
        let key = both(from_key, &here.key);
        let mut challenge = challenge(Status::Ok, nonce);
        let (terms, proof) = challenge.split_at_mut(TERMS_LEN);
        proof.copy_from_slice(&prove(&key, ACCEPTING, &greeting.bytes, terms));
        Ok(Self { key, greeting: greeting.bytes, challenge })
    }

    /// The bytes to send.
    pub fn challenge(&self) -> &[u8; CHALLENGE_LEN] {
        &self.challenge
    }

    /// Checks the proof of the dialling node, in a time that does not depend on its content.
    ///
    /// # Errors
    /// [`LinkError::Proof`]
    pub fn verify(&self, proof: &[u8; PROOF_LEN]) -> Result<(), LinkError> {
        check(&self.key, DIALLING, &self.greeting, &self.challenge[..TERMS_LEN], proof)
    }
}

/// A challenge that refuses a greeting.
pub fn refuse(status: Status) -> [u8; CHALLENGE_LEN] {
    challenge(status, [0; NONCE_LEN])
}

fn challenge(status: Status, nonce: [u8; NONCE_LEN]) -> [u8; CHALLENGE_LEN] {
    let mut challenge = [0; CHALLENGE_LEN];
    challenge[..4].copy_from_slice(MAGIC);
    challenge[4..6].copy_from_slice(&[VERSION, status as u8]);
    challenge[6..TERMS_LEN].copy_from_slice(&nonce);
    challenge
}

fn both(dialling: &[u8; KEY_LEN], accepting: &[u8; KEY_LEN]) -> [u8; 2 * KEY_LEN] {
    let mut key = [0; 2 * KEY_LEN];
    key[..KEY_LEN].copy_from_slice(dialling);
    key[KEY_LEN..].copy_from_slice(accepting);
    key
}

const ACCEPTING: &[u8] = b"eio link accept";
const DIALLING: &[u8] = b"eio link dial";

fn mac(key: &[u8], role: &[u8], greeting: &[u8], terms: &[u8]) -> HMAC {
    let mut mac = HMAC::new(key);
    for part in [role, greeting, terms] {
        mac.update(part);
    }
    mac
}

fn prove(key: &[u8], role: &[u8], greeting: &[u8], terms: &[u8]) -> [u8; PROOF_LEN] {
    mac(key, role, greeting, terms).finalize()
}

fn check(
    key: &[u8],
    role: &[u8],
    greeting: &[u8],
    terms: &[u8],
    proof: &[u8],
) -> Result<(), LinkError> {
    let proof = proof.try_into().map_err(|_| LinkError::Malformed)?;
    let proven = mac(key, role, greeting, terms).finalize_verify(proof);
    if proven { Ok(()) } else { Err(LinkError::Proof) }
}

/// The bytes before a request on a link.
///
/// `kind` (1: request, 2: ping). For a request, flags (bit 0: the client used TLS), the client's address (family 0, 4 or
/// 6, IP, port), and the length (2) and bytes of its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preamble<'p> {
    /// The bytes of an HTTP request follow.
    Request(Origin<'p>),
    /// The answer is [`PONG`].
    Ping,
}

/// The client of a forwarded request, as the node sees it that accepted its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'p> {
    /// Its address; `None` if it has none (a Unix socket).
    pub peer: Option<SocketAddr>,
    /// Whether it uses TLS.
    pub secure: bool,
    /// Its certificate (DER), verified; empty if it has sent no certificate.
    pub certificate: &'p [u8],
}

impl<'p> Preamble<'p> {
    /// Parses the beginning of `bytes`: the preamble and its length, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`LinkError::Malformed`]: the link has to be closed.
    pub fn parse(bytes: &'p [u8]) -> Result<Option<(Self, usize)>, LinkError> {
        match bytes.first() {
            None => Ok(None),
            Some(&KIND_PING) => Ok(Some((Self::Ping, 1))),
            Some(&KIND_REQUEST) => Origin::parse(&bytes[1..])
                .map(|parsed| parsed.map(|(origin, len)| (Self::Request(origin), 1 + len))),
            Some(_) => Err(LinkError::Malformed),
        }
    }

    /// Writes the preamble.
    ///
    /// # Errors
    /// [`Overflow`], also for a certificate of more than [`CERTIFICATE_MAX`] bytes; a part may have been written.
    pub fn write(&self, out: &mut impl Sink) -> Result<(), Overflow> {
        let Self::Request(origin) = self else { return out.put(&[KIND_PING]) };
        if origin.certificate.len() > CERTIFICATE_MAX {
            return Err(Overflow);
        }
        out.put(&[KIND_REQUEST, u8::from(origin.secure)])?;
        put_address(origin.peer, out)?;
        let len = origin.certificate.len() as u16;
        out.put_all([&len.to_be_bytes(), origin.certificate])
    }
}

const KIND_REQUEST: u8 = 1;
const KIND_PING: u8 = 2;

impl<'p> Origin<'p> {
    fn parse(bytes: &'p [u8]) -> Result<Option<(Self, usize)>, LinkError> {
        let mut reader = Reader::new(bytes);
        let secure = match reader.u8() {
            None => return Ok(None),
            Some(flags @ 0..=1) => flags == 1,
            Some(_) => return Err(LinkError::Malformed),
        };
        // An illegal family is known from its first byte, a short address is not.
        if let Some(&family) = reader.rest.first()
            && !matches!(family, 0 | 4 | 6)
        {
            return Err(LinkError::Malformed);
        }
        let (Some(peer), Some(len)) = (reader.address(), reader.u16()) else { return Ok(None) };
        if usize::from(len) > CERTIFICATE_MAX {
            return Err(LinkError::Malformed);
        }
        let certificate = reader.bytes(usize::from(len));
        let used = bytes.len() - reader.rest.len();
        Ok(certificate.map(|certificate| (Self { peer, secure, certificate }, used)))
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the peer does not speak the protocol of links",
            Self::Version(version) => {
                return write!(f, "the peer has version {version}, this one {VERSION}");
            }
            Self::Refused(Status::Version) => "refused: another version",
            Self::Refused(Status::WrongNode) => "refused: another node",
            Self::Refused(Status::Unknown) => "refused: the node does not know this one",
            Self::Refused(Status::Busy) => "refused: too many links",
            Self::Refused(Status::Ok) => "refused",
            Self::WrongNode => "the greeting is for another node",
            Self::Proof => "the peer does not know the keys",
        })
    }
}

impl core::error::Error for LinkError {}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn node(tag: &str, incarnation: u64, byte: u8) -> Identity {
        let tag = Tag::new(tag).unwrap();
        Identity { tag, incarnation, key: [byte; KEY_LEN], links: Default::default() }
    }

    fn nodes() -> [Identity; 3] {
        [node("a", 1, 0xa), node("b", 2, 0xb), node("intruder", 3, 0xc)]
    }

    fn accept(here: &Identity, dial: &Dial, from: &Identity) -> Result<Accept, LinkError> {
        Accept::new(here, &Greeting::parse(dial.greeting())?, &from.key, [2; NONCE_LEN])
    }

    #[test]
    fn a_changed_byte_of_the_handshake_opens_nothing() {
        let [a, b, _] = nodes();
        let dial = Dial::new(&a, &b, [1; NONCE_LEN]);
        let accepted = accept(&b, &dial, &a).unwrap();
        let proof = dial.handle_challenge(accepted.challenge()).unwrap();
        accepted.verify(&proof).unwrap();
        for at in 0..PROOF_LEN {
            let mut changed = proof;
            changed[at] ^= 1;
            assert_eq!(accepted.verify(&changed), Err(LinkError::Proof));
        }
        for at in 0..CHALLENGE_LEN {
            let mut changed = *accepted.challenge();
            changed[at] ^= 1;
            assert!(dial.handle_challenge(&changed).is_err(), "{at}");
        }
        for at in 0..GREETING_LEN {
            let mut changed = *dial.greeting();
            changed[at] ^= 1;
            let opened = Greeting::parse(&changed)
                .and_then(|greeting| Accept::new(&b, &greeting, &a.key, [2; NONCE_LEN]))
                .and_then(|accepted| dial.handle_challenge(accepted.challenge()));
            assert!(opened.is_err(), "{at}");
        }
    }

    #[test]
    fn an_end_without_the_keys_makes_no_proof() {
        let [a, b, intruder] = nodes();
        // It knows the names of both, and one key: its own, in the place of the one that it does not know.
        let known = Identity { key: intruder.key, ..a.clone() };
        let dial = Dial::new(&known, &b, [1; NONCE_LEN]);
        let accepted = accept(&b, &dial, &a).unwrap();
        assert_eq!(dial.handle_challenge(accepted.challenge()), Err(LinkError::Proof));
        let proof = prove(&dial.key, DIALLING, dial.greeting(), &accepted.challenge()[..TERMS_LEN]);
        assert_eq!(accepted.verify(&proof), Err(LinkError::Proof));
        // The acceptor's proof is not that of the dialling end.
        let reflected = accepted.challenge()[TERMS_LEN..].try_into().unwrap();
        assert_eq!(accepted.verify(reflected), Err(LinkError::Proof));
    }

    #[test]
    fn only_answers_that_carry_packets_are_confirmed() {
        assert!(is_confirmed("GET"));
        for other in ["POST", "OPTIONS", "HEAD", "get", ""] {
            assert!(!is_confirmed(other), "{other}");
        }
    }

    #[test]
    fn a_node_accepts_links_for_its_tag_and_incarnation_only() {
        let [a, b, _] = nodes();
        for other in [node("c", 2, 0xb), node("b", 3, 0xb)] {
            let dial = Dial::new(&a, &other, [1; NONCE_LEN]);
            assert_eq!(accept(&b, &dial, &a).err(), Some(LinkError::WrongNode));
        }
    }

    #[test]
    fn refusals_and_other_versions_are_named() {
        let [a, b, _] = nodes();
        let dial = Dial::new(&a, &b, [1; NONCE_LEN]);
        for status in [Status::Version, Status::WrongNode, Status::Unknown, Status::Busy] {
            let refused = dial.handle_challenge(&refuse(status));
            assert_eq!(refused, Err(LinkError::Refused(status)));
        }
        let mut other = *dial.greeting();
        other[4] = VERSION + 1;
        assert_eq!(Greeting::parse(&other).err(), Some(LinkError::Version(VERSION + 1)));
        other[0] = b'G';
        assert_eq!(Greeting::parse(&other).err(), Some(LinkError::Malformed));
        let mut other = refuse(Status::Version);
        other[4] = VERSION + 1;
        assert_eq!(dial.handle_challenge(&other), Err(LinkError::Version(VERSION + 1)));
        let mut unknown = refuse(Status::Ok);
        unknown[5] = 99;
        assert_eq!(dial.handle_challenge(&unknown), Err(LinkError::Malformed));
    }

    fn written(preamble: &Preamble<'_>) -> Vec<u8> {
        let mut memory = std::vec![0; PREAMBLE_MAX];
        let mut out = Writer::new(&mut memory);
        preamble.write(&mut out).unwrap();
        out.written().to_vec()
    }

    #[test]
    fn a_preamble_is_read_as_it_was_written_and_cut_nowhere() {
        let certificate = std::vec![7; CERTIFICATE_MAX];
        let origins = [
            Origin::default(),
            Origin { secure: true, ..Origin::default() },
            Origin { peer: Some("10.1.2.3:4000".parse().unwrap()), ..Origin::default() },
            Origin {
                peer: Some("[2001:db8::1]:4".parse().unwrap()),
                certificate: b"der",
                secure: true,
            },
            Origin { certificate: &certificate, ..Origin::default() },
        ];
        for preamble in origins.map(Preamble::Request).into_iter().chain([Preamble::Ping]) {
            let bytes = written(&preamble);
            for len in (0..bytes.len()).rev().take(64) {
                assert_eq!(Preamble::parse(&bytes[..len]), Ok(None), "{len}");
            }
            let request = [&bytes, &b"GET / HTTP/1.1"[..]].concat();
            assert_eq!(Preamble::parse(&request), Ok(Some((preamble, bytes.len()))));
        }
    }

    #[test]
    fn a_preamble_with_an_illegal_field_is_refused_at_once() {
        for bytes in [&[0][..], &[3], b"GET /", &[1, 2], &[1, 0, 5], &[1, 0, 0, 0x40, 1]] {
            assert_eq!(Preamble::parse(bytes), Err(LinkError::Malformed), "{bytes:?}");
        }
        let certificate = std::vec![0; CERTIFICATE_MAX + 1];
        let long = Origin { certificate: &certificate, ..Origin::default() };
        let mut memory = std::vec![0; 2 * PREAMBLE_MAX];
        assert_eq!(Preamble::Request(long).write(&mut Writer::new(&mut memory)), Err(Overflow));
    }
}
