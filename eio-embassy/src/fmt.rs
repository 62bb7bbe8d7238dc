//! Logging: `log`, `defmt`, both or neither. Arguments must suit whichever is on.

macro_rules! debug {
    ($($arg:expr),+ $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::debug!($($arg),+);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($($arg),+);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        { let _ = ($(&$arg),+); }
    }};
}

pub(crate) use debug;
