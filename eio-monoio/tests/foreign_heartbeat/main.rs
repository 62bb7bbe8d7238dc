//! Short heartbeats between our own code and programs written by others.
//!
//! Not in the test `foreign`, whose browsers and large messages use all of the machine: a pong would be late.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod servers;
