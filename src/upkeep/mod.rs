//! Work nobody waits for: repairing what readers found, and scrubbing everything.
//!
//! Asynchronous functions over a core, which may own shards or not: what a shard has to say is asked of its
//! owner, bytes are read and written here. They end when the board says that the server stops.

pub mod pace;
pub mod repair;
pub mod scrub;

use std::time::Duration;

use crate::object::open::Running;

/// Starts what a core does beside serving: repairs of what its readers found and, on one core, the scrub.
/// `interval` is the longest time between two full passes; `None` scrubs on demand only.
pub fn start(running: &mut Running, scrubs: bool, interval: Option<Duration>) {
    let core = running.core.clone();
    running.tend_with(tokio::task::spawn_local(repair::repair_spots(core.clone())));
    if scrubs {
        running.tend_with(tokio::task::spawn_local(scrub::scrub_when_due(core, interval)));
    }
}
