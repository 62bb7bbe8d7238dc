//! [`Instant`]: time as an argument, in milliseconds.

/// A point in time, in milliseconds since an origin that the driver chooses once (boot, start of the process).
///
/// This crate never reads a clock; the caller passes the current time.
///
/// ```
/// use eio_core::time::Instant;
///
/// let now = Instant::from_millis(1_000);
/// assert_eq!(now.after(250).millis_since(now), 250);
/// assert_eq!(now.millis_since(now.after(250)), 0); // never negative
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The instant `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The instant `millis` milliseconds later. Saturates at the latest instant.
    pub const fn after(self, millis: u32) -> Self {
        Self(self.0.saturating_add(millis as u64))
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
