//! Operation at the size of a production: thousands of sessions that leave, drains, restarts, signals as programs send
//! them. Needs the feature `heavy-tests`; `./ci.sh operations` runs it.

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod draining;
mod memory;
mod prometheus;
mod restarts;
mod signals;
