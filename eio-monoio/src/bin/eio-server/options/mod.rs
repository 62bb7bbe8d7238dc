//! [`Opt`]: the options of the program, each with one name for flag, environment variable and file.

mod program;
mod server;

use std::time::Duration;

use crate::settings::Settings;
use crate::value;

/// One option. `ping_interval` is the flag `--ping-interval`, the variable `EIO_PING_INTERVAL` and the key
/// `ping_interval` of the file.
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    /// The option of the library that it belongs to; the same as `name`, except for parts of an option.
    pub(crate) part_of: &'static str,
    /// The text of the default, which is always accepted as value.
    pub(crate) default: &'static str,
    pub(crate) range: &'static str,
    pub(crate) help: &'static str,
    pub(crate) set: Set,
}

/// The type of an option's value, and the function that sets it.
pub(crate) enum Set {
    Time(Setter<Duration>),
    Bytes(Setter<usize>),
    Count(Setter<usize>),
    Switch(Setter<bool>),
    Text(fn(&mut Settings, &str) -> Result<(), String>),
    List(fn(&mut Settings, &[&str]) -> Result<(), String>),
}

type Setter<T> = fn(&mut Settings, T) -> Result<(), String>;

/// Options under a heading.
pub(crate) struct Group {
    pub(crate) heading: &'static str,
    pub(crate) options: &'static [Opt],
}

/// All options, in the order of `--help`.
pub(crate) const GROUPS: [&Group; 12] = [
    &program::PROGRAM,
    &program::TLS,
    &server::HEARTBEAT,
    &server::SESSIONS,
    &server::HTTP,
    &server::LIMITS,
    &server::ORIGINS,
    &server::COOKIE,
    &server::COMPRESSION,
    &server::RUNTIME,
    &server::SHUTDOWN,
    &server::OBSERVABILITY,
];

pub(crate) fn all() -> impl Iterator<Item = &'static Opt> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// The option with this name.
pub(crate) fn find(name: &str) -> Option<&'static Opt> {
    all().find(|option| option.name == name)
}

/// The name that `unknown` was probably meant to be.
pub(crate) fn nearest(unknown: &str) -> Option<&'static str> {
    let distance = |option: &Opt| strsim::damerau_levenshtein(option.name, unknown);
    let nearest = all().min_by_key(|option| distance(option))?;
    (distance(nearest) <= 1 + unknown.len() / 4).then_some(nearest.name)
}

impl Opt {
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    pub(crate) fn variable(&self) -> String {
        format!("EIO_{}", self.name.to_ascii_uppercase())
    }

    /// The placeholder of the value in `--help`.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self.set {
            Set::Time(_) => "TIME",
            Set::Bytes(_) => "BYTES",
            Set::Count(_) => "NUMBER",
            Set::Switch(_) => "BOOL",
            Set::Text(_) => "VALUE",
            Set::List(_) => "LIST",
        }
    }

    /// Parses a value and sets it.
    ///
    /// # Errors
    /// Why the value is refused, without the range.
    pub(crate) fn apply(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        if text == self.default { Ok(()) } else { self.set.apply(settings, text) }
    }
}

impl Set {
    pub(crate) fn apply(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match self {
            Self::Time(set) => set(settings, value::time(text)?),
            Self::Bytes(set) => set(settings, value::bytes(text)?),
            Self::Count(set) => set(settings, value::count(text)?),
            Self::Switch(set) => set(settings, value::switch(text)?),
            Self::Text(set) => set(settings, text),
            Self::List(set) => {
                let parts: Vec<_> = text.split(',').map(str::trim).collect();
                set(settings, &parts)
            }
        }
    }
}
