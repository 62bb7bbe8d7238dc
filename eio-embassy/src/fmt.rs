//! Log messages by `log`, `defmt`, both or neither. Arguments must be formattable by each enabled crate.

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
