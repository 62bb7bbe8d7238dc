//! Two to seven nodes of a cluster on a virtual clock, over a bus and links that drop, delay, split and restart.
//!
//! A seed determines a run: how many nodes there are, the delays, which fault happens when. A run that fails prints its
//! seed: `EIO_CLUSTER_SEED=n` runs only that one and prints its events; `EIO_CLUSTER_SEEDS=n` sets the number of runs.
//!
//! The laws, which [`laws`] checks during a run and when all faults are over:
//! - Requests of a session go to the process that opened it, or to none.
//! - No node is lost whose hellos arrive, or to which a link works.
//! - A node that has ended is lost by all others in time; at once, if they had links to it.
//! - After the faults all nodes agree about each other.
//! - Each message that the bus has lost is counted, and no other.

mod fault;
mod laws;
#[path = "../support/seeds.rs"]
mod seeds;
mod world;

use seeds::{Rng, for_each_seed};
use world::World;

#[test]
fn no_session_has_two_owners_and_living_nodes_are_known_from_dead_ones() {
    for_each_seed("EIO_CLUSTER_SEED", 4_000, |seed, trace| {
        let mut world = World::new(Rng::new(seed), trace);
        world.run();
    });
}
