//! Background work that no request waits for: repair and scrub, lifecycle, inventories, notifications, and the care of
//! drives (doubt, evacuation, readmission, what their superblocks say).
//!
//! Asynchronous functions over a core, which need not own any shard: what a shard knows is asked of its owner, bytes
//! are read and written here. All of it ends when the board says that the server stops.

pub mod ask;
pub mod doubt;
pub mod ballast;
pub mod inventory;
pub mod lifecycle;
pub mod notify;
pub mod evacuate;
pub mod pace;
pub mod readmit;
pub mod repair;
pub mod roster;
pub mod scrub;
pub mod uses;

use std::time::Duration;

use crate::object::open::{Running, Shared};
use crate::object::registry::buckets::BUCKET_SHARD;

/// Starts what every core does beside serving: repairs of what its readers found, and what belongs to the
/// identities where they are decided.
pub fn start(running: &mut Running) {
    running.tend(repair::repair_spots(running.core.clone()));
    if let Some(shard) = running.core.local(BUCKET_SHARD) {
        running.tend(uses::keep_uses(shard.clone()));
    }
}

/// How long the work for all waits before it begins by itself; `None` for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// The longest time between two full scrubs.
    pub scrub: Option<Duration>,
    /// How long a drive may be out before what stands on it is written anew on the others.
    pub evacuate: Option<Duration>,
}

/// Starts what one core does for all: the scrub, giving up drives that stay out, and keeping the superblocks
/// true. All cores have opened their shards by then.
pub fn start_for_all(running: &mut Running, shared: Shared, patience: Patience) {
    let core = running.core.clone();
    running.tend(scrub::scrub_when_due(core.clone(), patience.scrub));
    if let Some(after) = patience.evacuate {
        running.tend(evacuate::give_up_drives(shared.clone(), after));
    }
    running.tend(doubt::watch_drives(core.clone()));
    running.tend(ballast::keep_ballast(core.clone()));
    running.tend(roster::keep_roster(core, shared));
}
