//! Work nobody waits for: repairing what readers found, scrubbing everything, removing what is due, telling who
//! listens.
//!
//! Asynchronous functions over a core, which may own shards or not: what a shard has to say is asked of its
//! owner, bytes are read and written here. They end when the board says that the server stops.

pub mod ask;
pub mod lifecycle;
pub mod notify;
pub mod pace;
pub mod readmit;
pub mod repair;
pub mod roster;
pub mod scrub;

use std::time::Duration;

use crate::io::world::World;
use crate::object::lifecycle::Day;
use crate::object::open::{Running, Shared};

/// Starts what every core that reads does beside serving: repairs of what its readers found.
pub fn start(running: &mut Running) {
    running.tend_with(tokio::task::spawn_local(repair::repair_spots(running.core.clone())));
}

/// Starts what one core does for all: the scrub, lifecycle, and keeping the superblocks true. All cores have opened
/// their shards by then. `interval` is the longest time between two full scrubs; `None` scrubs on demand only.
/// `day` is how long lifecycle takes a day for.
pub fn start_for_all(
    running: &mut Running,
    world: &World,
    shared: Shared,
    interval: Option<Duration>,
    day: Day,
) {
    let core = running.core.clone();
    let lifecycle = lifecycle::run_when_due(core.clone(), running.log.clone(), day);
    running.tend_with(tokio::task::spawn_local(lifecycle));
    running.tend_with(tokio::task::spawn_local(scrub::scrub_when_due(core, interval)));
    running.tend_with(tokio::task::spawn_local(roster::keep_roster(world.clone(), shared)));
}
