//! [`Timers`]: the timer wheel of a worker, which serves any number of deadlines by one sleep.
//!
//! It has 4096 slots of 10 ms. A deadline is linked into the slot of its tick. A deadline more than one revolution away
//! stays in its slot until the tick is reached. Moving a deadline later, as every pong does, is one store: the entry is
//! relinked when its old slot is processed.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};

use eio_core::time::Instant;
use slab::Slab;

/// The granularity in milliseconds: a deadline fires at most this late.
pub(crate) const TICK: u64 = 10;
const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;

/// Identifies a deadline in [`Timers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(NonZeroU32);

impl TimerId {
    /// Of the entry with this index.
    fn new(index: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index as u32))
    }

    fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// The receiver of an expired deadline.
#[derive(Debug)]
pub(crate) enum Target {
    /// The session in this slot of the registry.
    Session(u32),
    /// The task that last called [`Timers::poll_expired`].
    Task(Option<Waker>),
}

pub(crate) struct Timers {
    inner: RefCell<Inner>,
}

struct Inner {
    entries: Slab<Entry>,
    /// First entry of each slot.
    heads: Box<[u32; SLOTS]>,
    /// One bit per slot: whether it has entries.
    occupied: [u64; SLOTS / 64],
    /// The last tick that has been processed.
    done: u64,
    /// The tick until which the driving task sleeps.
    armed: u64,
    /// Wakes the driving task earlier.
    driver: Option<Waker>,
}

/// Ticks are kept as their lower 32 bits: two of the times here are less than 2^31 ticks, or 248 days, apart.
struct Entry {
    /// The tick of the deadline. Invariant: not before `linked` while `is_linked`.
    due: u32,
    /// The tick whose slot the entry is linked into.
    linked: u32,
    prev: u32,
    next: u32,
    /// Of [`Target::Task`].
    waker: Option<Waker>,
    /// Of [`Target::Session`], or [`NONE`].
    session: u32,
    is_linked: bool,
    expired: bool,
}

/// Whether the tick `a` is not after `b`.
fn is_not_after(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) as i32 >= 0
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            inner: RefCell::new(Inner {
                entries: Slab::new(),
                heads: Box::new([NONE; SLOTS]),
                occupied: [0; SLOTS / 64],
                done: now.as_millis() / TICK,
                armed: u64::MAX,
                driver: None,
            }),
        }
    }

    /// A new entry without a deadline.
    pub(crate) fn insert(&self, target: Target) -> TimerId {
        let (session, waker) = match target {
            Target::Session(session) => (session, None),
            Target::Task(waker) => (NONE, waker),
        };
        let entry = Entry {
            due: 0,
            linked: 0,
            prev: NONE,
            next: NONE,
            waker,
            session,
            is_linked: false,
            expired: false,
        };
        TimerId::new(self.inner.borrow_mut().entries.insert(entry))
    }

    /// Sets or moves the deadline.
    pub(crate) fn set(&self, id: TimerId, at: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        // The next tick: a deadline never fires early, although its time was computed from one that was rounded down to
        // a millisecond.
        let due_at = (at.as_millis() / TICK + 1).max(inner.done + 1);
        let due = due_at as u32;
        let Some(entry) = inner.entries.get_mut(id.index() as usize) else { return };
        entry.expired = false;
        entry.due = due;
        if entry.is_linked && is_not_after(entry.linked, due) {
            return;
        }
        inner.unlink(id.index());
        inner.link(id.index());
        if due_at < inner.armed
            && let Some(driver) = inner.driver.take()
        {
            driver.wake();
        }
    }

    /// Clears the deadline and keeps the entry.
    pub(crate) fn clear(&self, id: TimerId) {
        let inner = &mut *self.inner.borrow_mut();
        inner.unlink(id.index());
        if let Some(entry) = inner.entries.get_mut(id.index() as usize) {
            entry.expired = false;
        }
    }

    pub(crate) fn remove(&self, id: TimerId) {
        let inner = &mut *self.inner.borrow_mut();
        inner.unlink(id.index());
        inner.entries.try_remove(id.index() as usize);
    }

    /// Ready when the deadline of a [`Target::Task`] has passed.
    pub(crate) fn poll_expired(&self, id: TimerId, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(entry) = inner.entries.get_mut(id.index() as usize) else { return Poll::Pending };
        if entry.expired {
            return Poll::Ready(());
        }
        match &entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => entry.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The time at which the driving task must next call [`advance`](Self::advance). It is woken if an earlier deadline
    /// is set.
    pub(crate) fn next(&self, cx: &mut Context<'_>) -> Option<Instant> {
        let inner = &mut *self.inner.borrow_mut();
        let next = inner.next_occupied();
        inner.armed = next.unwrap_or(u64::MAX);
        match &inner.driver {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => inner.driver = Some(cx.waker().clone()),
        }
        next.map(|tick| Instant::from_millis(tick * TICK))
    }

    /// Wakes the driving task.
    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = self.inner.borrow_mut().driver.take() {
            driver.wake();
        }
    }

    /// Processes the ticks up to `now`: wakes tasks whose deadline has passed, and appends the slots of such sessions.
    pub(crate) fn advance(&self, now: Instant, sessions: &mut Vec<u32>) {
        let inner = &mut *self.inner.borrow_mut();
        let now = now.as_millis() / TICK;
        let first = (inner.done + 1).max(now.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=now {
            inner.done = tick;
            let mut id = inner.heads[slot(tick as u32)];
            while id != NONE {
                let Some(entry) = inner.entries.get_mut(id as usize) else { break };
                let (next, due) = (entry.next, entry.due);
                if is_not_after(due, now as u32) {
                    entry.expired = true;
                    if entry.session != NONE {
                        sessions.push(entry.session);
                    } else if let Some(waker) = entry.waker.take() {
                        waker.wake();
                    }
                    inner.unlink(id);
                } else if slot(due) != slot(tick as u32) {
                    inner.unlink(id);
                    inner.link(id);
                }
                id = next;
            }
        }
        inner.done = inner.done.max(now);
    }

    /// Frees the memory of removed entries after the last one that is in use.
    pub(crate) fn shrink(&self) {
        self.inner.borrow_mut().entries.shrink_to_fit();
    }

    /// The number of entries.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.inner.borrow().entries.len()
    }
}

impl Inner {
    fn link(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let slot = slot(entry.due);
        let next = std::mem::replace(&mut self.heads[slot], id);
        (entry.linked, entry.prev, entry.next) = (entry.due, NONE, next);
        entry.is_linked = true;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = id;
        }
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        if !std::mem::take(&mut entry.is_linked) {
            return;
        }
        let (slot, prev, next) = (slot(entry.linked), entry.prev, entry.next);
        match self.entries.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => self.heads[slot] = next,
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = prev;
        }
        if self.heads[slot] == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// The first tick after `done` whose slot has entries. They may belong to a later revolution, which costs one wake-up
    /// per revolution.
    fn next_occupied(&self) -> Option<u64> {
        let first = self.done + 1;
        let start = slot(first as u32);
        let words = SLOTS / 64;
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= !0 << (start % 64);
            } else if step == words {
                bits &= !(!0 << (start % 64));
            }
            if bits != 0 {
                let found = word * 64 + bits.trailing_zeros() as usize;
                return Some(first + ((found + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }
}

fn slot(tick: u32) -> usize {
    tick as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn fired(timers: &Timers, now: u64) -> Vec<u32> {
        let mut sessions = Vec::new();
        timers.advance(at(now), &mut sessions);
        sessions.sort_unstable();
        sessions
    }

    fn next(timers: &Timers) -> Option<u64> {
        timers.next(&mut Context::from_waker(Waker::noop())).map(Instant::as_millis)
    }

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let timers = Timers::new(at(1_000));
        let a = timers.insert(Target::Session(1));
        timers.set(a, at(1_305));
        assert_eq!(next(&timers), Some(1_310));
        assert!(fired(&timers, 1_309).is_empty());
        assert_eq!(fired(&timers, 1_310), [1]);
        // It may have been due 0.9 ms later.
        timers.set(a, at(1_320));
        assert!(fired(&timers, 1_320).is_empty());
        assert_eq!(fired(&timers, 1_330), [1]);
        assert!(fired(&timers, 99_000).is_empty());
        assert_eq!(next(&timers), None);
    }

    #[test]
    fn a_later_deadline_keeps_its_slot_and_an_earlier_one_is_relinked() {
        let timers = Timers::new(at(0));
        let a = timers.insert(Target::Session(1));
        timers.set(a, at(500));
        timers.set(a, at(900));
        assert_eq!(next(&timers), Some(510));
        assert!(fired(&timers, 510).is_empty());
        assert_eq!(next(&timers), Some(910));
        timers.set(a, at(700));
        assert_eq!(fired(&timers, 710), [1]);
    }

    #[test]
    fn a_deadline_many_revolutions_away_fires_on_time() {
        let timers = Timers::new(at(0));
        let a = timers.insert(Target::Session(7));
        let day = 86_400_000;
        timers.set(a, at(day - 1));
        let mut now = 0;
        while let Some(then) = next(&timers) {
            assert!(then > now && then <= day);
            now = then;
            assert_eq!(fired(&timers, now), if now == day { vec![7] } else { vec![] });
        }
        assert_eq!(now, day);
    }

    #[test]
    fn a_stalled_driver_misses_no_deadline() {
        let timers = Timers::new(at(0));
        for session in 0..100 {
            let id = timers.insert(Target::Session(session));
            timers.set(id, at(u64::from(session) * 777));
        }
        assert_eq!(fired(&timers, 500_000), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn removed_and_cleared_entries_do_not_fire() {
        let timers = Timers::new(at(0));
        let ids: Vec<_> = (0..10).map(|n| timers.insert(Target::Session(n))).collect();
        ids.iter().for_each(|id| timers.set(*id, at(50)));
        ids.iter().step_by(2).for_each(|id| timers.remove(*id));
        timers.clear(ids[1]);
        // The first entry is in use, and keeps its place.
        timers.set(timers.insert(Target::Session(99)), at(60));
        timers.remove(ids[9]);
        timers.shrink();
        assert_eq!(fired(&timers, 70), [3, 5, 7, 99]);
        assert_eq!(timers.len(), 5);
    }

    #[test]
    fn agrees_with_a_sorted_list() {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut random = |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let timers = Timers::new(at(0));
        let ids: Vec<_> = (0..50).map(|n| timers.insert(Target::Session(n))).collect();
        let mut due = [None; 50];
        let mut now = 0;
        for _ in 0..20_000 {
            let n = random(50) as usize;
            match random(3) {
                0 => {
                    let then = now + random(120_000);
                    timers.set(ids[n], at(then));
                    due[n] = Some(then / TICK + 1);
                }
                1 => {
                    timers.clear(ids[n]);
                    due[n] = None;
                }
                _ => {
                    now += random(2_000);
                    let mut expected = Vec::new();
                    for (n, due) in due.iter_mut().enumerate() {
                        if due.is_some_and(|due| due <= now / TICK) {
                            *due = None;
                            expected.push(n as u32);
                        }
                    }
                    assert_eq!(fired(&timers, now), expected);
                }
            }
        }
    }
}
