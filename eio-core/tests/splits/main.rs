//! Each decoder yields the same events for any split of its input.

mod http;
mod ws;
