//! [`Registry`]: the sessions of a shard by session id, and [`SidKey`]: the shard and slot within a session id.
//!
//! A sid has 24 characters: 18 bytes in unpadded base64url, of which two are the number of the shard, four the slot in
//! its table, and twelve come from the operating system's random number generator. A lookup is a bounds check and a
//! comparison: there is no hash table to flood. The first six bytes are masked with a secret of the process, so that a
//! sid reveals neither the number of shards nor the number of sessions. The server's tag and a dot precede it, if the
//! server has one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use eio_core::sid::{InvalidSid, Sid, Tag};
use slab::Slab;

use crate::worker::random::Random;

/// Makes and parses the routing part of sids; the same in every shard of a server.
#[derive(Clone)]
pub(crate) struct SidKey {
    mask: [u8; 6],
    shards: u16,
    tag: Option<Tag>,
}

/// The routes of the sids that the application generates, which have no routing part.
#[derive(Default)]
pub(crate) struct Directory(RwLock<HashMap<Sid, Route>>);

impl Directory {
    pub(crate) fn get(&self, sid: &Sid) -> Option<Route> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(sid).copied()
    }

    /// Returns false if the sid is in use.
    fn claim(&self, sid: &Sid, route: Route) -> bool {
        let mut sids = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match sids.entry(sid.clone()) {
            Entry::Vacant(free) => {
                free.insert(route);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    fn release(&self, sid: &Sid) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(sid);
    }
}

/// Why a session could not get a sid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoSid {
    /// The operating system returned no random bytes.
    Random(getrandom::Error),
    /// The sid that the application generated is in use.
    Taken,
}

impl fmt::Display for NoSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(error) => {
                write!(f, "the operating system returned no random bytes: {error}")
            }
            Self::Taken => f.write_str("the session id is in use"),
        }
    }
}

/// The shard and slot of the session with a sid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) shard: u16,
    slot: u32,
}

const RAW: usize = 18;
const RANDOM: usize = 12;

const NOT_BASE64URL: u8 = u8::MAX;

/// The value of each character of base64url. Eight characters are too few for a vectorized decoder.
const BASE64URL: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [NOT_BASE64URL; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values
};

impl SidKey {
    pub(crate) fn new(shards: u16, tag: Option<Tag>) -> Result<Self, getrandom::Error> {
        let mut mask = [0; 6];
        getrandom::fill(&mut mask)?;
        Ok(Self { mask, shards, tag })
    }

    /// A sid with the tag of the server.
    pub(crate) fn tagged(&self, text: &str) -> Result<Sid, InvalidSid> {
        match &self.tag {
            Some(tag) => Sid::tagged(tag, text),
            None => Sid::new(text),
        }
    }

    /// The sid of the session in `slot` of `shard`.
    fn make(&self, shard: u16, slot: u32, random: [u8; RANDOM]) -> Sid {
        let mut raw = [0; RAW];
        let (routing, rest) = raw.split_at_mut(RAW - RANDOM);
        routing[..2].copy_from_slice(&shard.to_be_bytes());
        routing[2..].copy_from_slice(&slot.to_be_bytes());
        routing.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        rest.copy_from_slice(&random);
        let mut text = [0; 24];
        let out = base64_simd::Out::from_slice(&mut text);
        let text = base64_simd::URL_SAFE_NO_PAD.encode_as_str(&raw, out);
        // 18 bytes are exactly 24 characters of the unreserved set.
        self.tagged(text).unwrap_or_else(|_| unreachable!("base64url is unreserved"))
    }

    /// Parses the routing part; `None` for a sid that this server cannot have issued.
    pub(crate) fn route(&self, sid: &Sid) -> Option<Route> {
        let text = match &self.tag {
            Some(tag) => sid.as_str().strip_prefix(tag.as_str())?.strip_prefix('.')?,
            None => sid.as_str(),
        };
        if text.len() != 24 {
            return None;
        }
        // The first 8 characters are the routing part. The comparison with the sid of the session checks all others.
        let mut bits = 0;
        for byte in text.get(..8)?.bytes() {
            let value = BASE64URL[usize::from(byte)];
            if value == NOT_BASE64URL {
                return None;
            }
            bits = bits << 6 | u64::from(value);
        }
        let [_, _, mut raw @ ..] = bits.to_be_bytes();
        raw.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        let shard = u16::from_be_bytes([raw[0], raw[1]]);
        let slot = u32::from_be_bytes([raw[2], raw[3], raw[4], raw[5]]);
        (shard < self.shards).then_some(Route { shard, slot })
    }
}

/// An entry of a [`Registry`].
pub(crate) trait HasSid {
    fn sid(&self) -> &Sid;
}

/// The sessions of one shard.
pub(crate) struct Registry<S> {
    key: SidKey,
    shard: u16,
    slots: Slab<Rc<S>>,
    random: Random,
    /// `Some` if the application generates the sids.
    directory: Option<Arc<Directory>>,
}

impl<S: HasSid> Registry<S> {
    pub(crate) fn new(key: SidKey, shard: u16, directory: Option<Arc<Directory>>) -> Self {
        Self { key, shard, slots: Slab::new(), random: Random::default(), directory }
    }

    /// Makes a session with its sid and slot, and adds it. `own` is the sid that the application generated, if any.
    pub(crate) fn insert_with(
        &mut self,
        own: Option<Sid>,
        make: impl FnOnce(Sid, u32) -> Rc<S>,
    ) -> Result<Rc<S>, NoSid> {
        let vacant = self.slots.vacant_entry();
        let slot = vacant.key() as u32;
        let sid = match own {
            Some(sid) => sid,
            None => {
                let random = self.random.take().map_err(NoSid::Random)?;
                self.key.make(self.shard, slot, random)
            }
        };
        if let Some(directory) = &self.directory
            && !directory.claim(&sid, Route { shard: self.shard, slot })
        {
            return Err(NoSid::Taken);
        }
        let session = make(sid, slot);
        vacant.insert(session.clone());
        Ok(session)
    }

    /// The session of a sid that routes to this shard.
    pub(crate) fn find(&self, route: Route, sid: &Sid) -> Option<&Rc<S>> {
        self.slots.get(route.slot as usize).filter(|session| session.sid() == sid)
    }

    pub(crate) fn in_slot(&self, slot: u32) -> Option<&Rc<S>> {
        self.slots.get(slot as usize)
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(session) = self.slots.try_remove(slot as usize)
            && let Some(directory) = &self.directory
        {
            directory.release(session.sid());
        }
    }

    /// Frees the memory of slots after the last one that is in use.
    pub(crate) fn shrink(&mut self) {
        self.slots.shrink_to_fit();
    }

    /// The slots in use. A copy, because calling a session may add or remove others.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.slots.iter().map(|(slot, _)| slot as u32).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Rc<S>> {
        self.slots.iter().map(|(_, session)| session)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HasSid for Sid {
        fn sid(&self) -> &Sid {
            self
        }
    }

    impl HasSid for (Sid, u32) {
        fn sid(&self) -> &Sid {
            &self.0
        }
    }

    #[test]
    fn a_sid_leads_to_its_slot_and_no_other() {
        for tag in [None, Some(Tag::new("web-0").unwrap())] {
            sids_lead_to_their_slots(&SidKey::new(3, tag).unwrap());
        }
    }

    fn sids_lead_to_their_slots(key: &SidKey) {
        let mut registry = Registry::new(key.clone(), 2, None);
        let mut insert = || registry.insert_with(None, |sid, _| Rc::new(sid)).unwrap();
        let sessions: Vec<_> = (0..100).map(|_| insert()).collect();
        for sid in &sessions {
            let route = key.route(sid).unwrap();
            assert_eq!(route.shard, 2);
            assert_eq!(
                sid.as_str().len(),
                key.tag.as_ref().map_or(24, |tag| tag.as_str().len() + 25)
            );
            assert_eq!(sid.tag(), key.tag.as_ref().map(Tag::as_str));
            assert_eq!(registry.find(route, sid), Some(sid));
        }
        let route = key.route(&sessions[7]).unwrap();
        assert_eq!(registry.find(route, &sessions[8]), None);
        registry.remove(7);
        assert_eq!(registry.find(route, &sessions[7]), None);
        // The next session in the slot has another sid.
        registry.insert_with(None, |sid, _| Rc::new(sid)).unwrap();
        assert_eq!(registry.find(route, &sessions[7]), None);
    }

    #[test]
    fn a_generated_sid_leads_to_its_session_and_can_be_reused_after_it() {
        let key = SidKey::new(3, None).unwrap();
        let directory = Arc::new(Directory::default());
        let mut registries =
            [1, 2].map(|shard| Registry::new(key.clone(), shard, Some(directory.clone())));
        let sid = Sid::new("alice").unwrap();
        let mut insert = |n: usize| {
            registries[n].insert_with(Some(sid.clone()), |sid, slot| Rc::new((sid, slot)))
        };
        let (_, slot) = *insert(0).unwrap();
        assert!(matches!(insert(0), Err(NoSid::Taken)) && matches!(insert(1), Err(NoSid::Taken)));
        let route = directory.get(&sid).unwrap();
        assert_eq!(route.shard, 1);
        assert!(registries[0].find(route, &sid).is_some());
        registries[0].remove(slot);
        assert_eq!(directory.get(&sid), None);
        let mut insert = |n: usize| {
            registries[n].insert_with(Some(sid.clone()), |sid, slot| Rc::new((sid, slot)))
        };
        assert!(insert(1).is_ok());
        assert_eq!(directory.get(&sid).map(|route| route.shard), Some(2));
    }

    #[test]
    fn forged_sids_lead_to_no_session() {
        let key = SidKey::new(1, None).unwrap();
        let mut registry = Registry::new(key.clone(), 0, None);
        let real = registry.insert_with(None, |sid, _| Rc::new(sid)).unwrap();
        for length in 1..=64 {
            let forged = Sid::new(&"A".repeat(length)).unwrap();
            let found = key.route(&forged).and_then(|route| registry.find(route, &forged));
            assert_eq!(found, None, "{length}");
        }
        // The right routing part and other random bytes.
        let mut text = real.as_str().to_owned();
        text.replace_range(23.., if text.ends_with('A') { "B" } else { "A" });
        let forged = Sid::new(&text).unwrap();
        assert!(key.route(&forged).is_none_or(|route| registry.find(route, &forged).is_none()));
    }

    #[test]
    fn sids_of_another_tag_or_none_lead_to_no_session() {
        let key = SidKey::new(1, Some(Tag::new("n1").unwrap())).unwrap();
        let sid = key.make(0, 7, [5; RANDOM]);
        assert_eq!(key.route(&sid).map(|route| route.slot), Some(7));
        let (_, rest) = sid.split_tag().unwrap();
        for other in
            [rest.to_owned(), format!("n2.{rest}"), format!("n1{rest}"), format!("n1.n1.{rest}")]
        {
            assert_eq!(key.route(&Sid::new(&other).unwrap()), None, "{other}");
        }
    }
}
