//! Every decoder, fed one, two, three... bytes at a time, gives the same events as when fed all at once.

mod http;
mod ws;
