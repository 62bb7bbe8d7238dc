//! [`AddressTable`]: counts connections and handshakes of each address, in bounded memory.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// An address as it is counted: an IPv4 address, or the /64 network of an IPv6 address, which is one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressKey(u64);

impl AddressKey {
    pub(crate) fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            // Next to the networks of IPv6: 0:1::/32 is in a block that is reserved by the IETF (RFC 4291 section 4).
            IpAddr::V4(ip) => Self(1 << 32 | u64::from(u32::from(ip))),
            IpAddr::V6(ip) => Self((u128::from(ip) >> 64) as u64),
        }
    }
}

/// One address. It is free if it has no connection and its second is over.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: u64,
    /// Open connections.
    connections: u32,
    /// The second of `handshakes`.
    second: u32,
    handshakes: u32,
}

impl Entry {
    fn is_free(&self, second: u32) -> bool {
        self.connections == 0 && (self.second != second || self.handshakes == 0)
    }
}

/// Entries that an address may have: the others of its bucket are compared with it.
const WAYS: usize = 8;
/// Parts of the table, each with a lock of its own.
const PARTS: usize = 16;

/// Connections and handshakes of each address. All workers share it.
///
/// Its size is fixed. A new address for which a bucket has no room replaces the address of that bucket that has no
/// connection and the fewest handshakes in this second. If each has a connection, the new address is not limited. So with
/// very many addresses some may exceed a limit, but none is refused below its own.
pub(crate) struct AddressTable {
    parts: [Mutex<Box<[[Entry; WAYS]]>>; PARTS],
    hasher: RandomState,
}

impl AddressTable {
    /// The least size in bytes: one bucket in each part.
    pub(crate) const MIN_BYTES: usize = PARTS * size_of::<[Entry; WAYS]>();

    /// A table of at most this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let buckets = (bytes / PARTS / size_of::<[Entry; WAYS]>()).max(1);
        let part = || Mutex::new(vec![Default::default(); buckets].into_boxed_slice());
        Self { parts: std::array::from_fn(|_| part()), hasher: RandomState::new() }
    }

    /// Calls `use_entry` with the entry of an address; `None` if there is no room for it.
    fn with<R>(
        &self,
        AddressKey(key): AddressKey,
        second: u32,
        use_entry: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let hash = self.hasher.hash_one(key) as usize;
        let part = self.parts.get(hash % PARTS)?;
        let mut buckets = part.lock().unwrap_or_else(PoisonError::into_inner);
        let index = hash / PARTS % buckets.len();
        let bucket = buckets.get_mut(index)?;
        let own = bucket.iter().position(|entry| entry.key == key && !entry.is_free(second));
        let at = own.or_else(|| {
            let at = bucket.iter().position(|entry| entry.is_free(second)).or_else(|| {
                let without_connection = bucket.iter().enumerate();
                let without_connection = without_connection.filter(|(_, it)| it.connections == 0);
                without_connection.min_by_key(|(_, entry)| entry.handshakes).map(|(at, _)| at)
            })?;
            bucket[at] = Entry { key, ..Entry::default() };
            Some(at)
        })?;
        let entry = bucket.get_mut(at)?;
        if entry.second != second {
            (entry.second, entry.handshakes) = (second, 0);
        }
        Some(use_entry(entry))
    }

    /// Counts a connection until the permit is dropped. An error means that `max` are open. `None`: it is not counted.
    pub(crate) fn connect(
        self: &Arc<Self>,
        key: AddressKey,
        second: u32,
        max: usize,
    ) -> Result<Option<AddressPermit>, TooMany> {
        let admitted = self.with(key, second, |entry| {
            if entry.connections as usize >= max {
                return Err(TooMany);
            }
            entry.connections += 1;
            Ok(AddressPermit { table: self.clone(), key })
        });
        admitted.transpose()
    }

    /// Counts a handshake. False if `max` were counted in this second.
    pub(crate) fn handshake(&self, key: AddressKey, second: u32, max: usize) -> bool {
        let admitted = self.with(key, second, |entry| {
            let admitted = (entry.handshakes as usize) < max;
            entry.handshakes += u32::from(admitted);
            admitted
        });
        admitted.unwrap_or(true)
    }

    fn disconnect(&self, AddressKey(key): AddressKey) {
        let hash = self.hasher.hash_one(key) as usize;
        let Some(part) = self.parts.get(hash % PARTS) else { return };
        let mut buckets = part.lock().unwrap_or_else(PoisonError::into_inner);
        let index = hash / PARTS % buckets.len();
        let Some(bucket) = buckets.get_mut(index) else { return };
        if let Some(entry) =
            bucket.iter_mut().find(|entry| entry.key == key && entry.connections > 0)
        {
            entry.connections -= 1;
        }
    }
}

/// An address has as many connections as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Counts one connection of an address, until it is dropped.
pub(crate) struct AddressPermit {
    table: Arc<AddressTable>,
    key: AddressKey,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        self.table.disconnect(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> AddressKey {
        AddressKey::of(SocketAddr::new(address.parse().unwrap(), 1))
    }

    /// Bytes of the entries.
    fn size(table: &AddressTable) -> usize {
        table.parts.iter().map(|part| size_of_val(&**part.lock().unwrap())).sum()
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1:2:3"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("0.0.0.1"), key("::1"));
    }

    #[test]
    fn connections_and_handshakes_are_limited_for_each_address() {
        let table = Arc::new(AddressTable::new(AddressTable::MIN_BYTES));
        let (a, b) = (key("192.0.2.1"), key("192.0.2.2"));
        let connect = |key| table.connect(key, 0, 2);
        let first = connect(a).unwrap();
        let second = connect(a).unwrap();
        assert!(first.is_some() && second.is_some());
        assert_eq!(connect(a).err(), Some(TooMany));
        assert!(connect(b).unwrap().is_some());
        drop(first);
        let third = connect(a).unwrap();
        assert!(third.is_some());
        assert_eq!(connect(a).err(), Some(TooMany));

        assert!((0..3).all(|_| table.handshake(a, 7, 3)));
        assert!(!table.handshake(a, 7, 3));
        assert!(table.handshake(b, 7, 3));
        assert!(table.handshake(a, 8, 3), "another second");
        // The second does not forget connections.
        assert_eq!(table.connect(a, 8, 2).err(), Some(TooMany));
        drop((second, third));
        assert!(table.connect(a, 8, 2).unwrap().is_some());
    }

    #[test]
    fn a_million_addresses_stay_within_the_bytes_and_forget_no_connection() {
        const BYTES: usize = 1 << 20;
        let table = Arc::new(AddressTable::new(BYTES));
        let before = size(&table);
        assert!(before <= BYTES && before > BYTES * 9 / 10, "{before}");
        let held: Vec<_> = (0..100)
            .map(|n: u32| (AddressKey(u64::from(n)), table.connect(AddressKey(n.into()), 0, 1)))
            .collect();
        assert!(held.iter().all(|(_, permit)| matches!(permit, Ok(Some(_)))));
        let mut untracked = 0;
        for n in 0..1_000_000_u64 {
            let address = AddressKey(1 << 40 | n << 8);
            assert!(table.handshake(address, 0, 1), "no address is limited for another");
            // A tenth of them connects and stays for a while.
            if n % 10 == 0 {
                let permit = table.connect(address, 0, 1).expect("its first connection");
                untracked += u32::from(permit.is_none());
            }
        }
        assert_eq!(size(&table), before);
        assert_eq!(untracked, 0);
        for (address, _) in &held {
            assert_eq!(table.connect(*address, 0, 1).err(), Some(TooMany), "it is still counted");
        }
        drop(held);
        let connections = |entry: &Entry| entry.connections;
        let buckets = table.parts.iter().map(|part| part.lock().unwrap().clone());
        let counted: u32 = buckets
            .flat_map(|part| part.into_vec())
            .flatten()
            .map(|entry| connections(&entry))
            .sum();
        assert_eq!(counted, 0);
    }

    /// More connections than entries: the rest is not limited, and the counts stay right.
    #[test]
    fn connections_without_room_are_not_limited() {
        let table = Arc::new(AddressTable::new(AddressTable::MIN_BYTES));
        let permits: Vec<_> =
            (0..1_000).map(|n| table.connect(AddressKey(n), 0, 1).expect("its first")).collect();
        let counted = permits.iter().flatten().count();
        assert!((PARTS..=PARTS * WAYS).contains(&counted), "{counted}");
        for (n, permit) in permits.iter().enumerate() {
            let again = table.connect(AddressKey(n as u64), 0, 1);
            assert_eq!(again.is_err(), permit.is_some(), "{n}");
        }
        drop(permits);
        assert!((0..1_000).all(|n| table.handshake(AddressKey(n), 1, 1)));
    }
}
