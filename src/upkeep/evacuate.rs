//! Evacuation: drives that stay out for long are given up.
//!
//! When a drive has been latched or missing for longer than the operator wants to wait, what stands on it counts as
//! lost, and a pass of the scrub writes anew, on the other drives, whatever they can give more width to. In a pool of
//! no more than k + m drives that is the catalog and the log; objects have to wait for another drive. Giving up takes
//! nothing away from the drive: it is still read, and when it comes back it is in service like any drive that was away.
//! It is not remembered over a start; the next start begins to wait anew.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::ids::DriveId;
use crate::base::metrics::Evacuation;
use crate::drive::device::Drive;
use crate::object::open::Shared;
use crate::pool::Pool;

/// How often the drives' states are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Gives up drives that have been out for longer than `after`, until the server stops.
pub async fn give_up_drives(shared: Shared, after: Duration) {
    let mut out: BTreeMap<DriveId, Instant> = BTreeMap::new();
    while !shared.board.is_closing() {
        for drive in shared.drives.iter() {
            if drive.condition().is_in_service() {
                out.remove(&drive.id());
                continue;
            }
            let since = *out.entry(drive.id()).or_insert_with(Instant::now);
            if since.elapsed() >= after && drive.health.give_up() {
                shared.board.nudge();
            }
        }
        let _ = tokio::time::timeout(TICK, shared.board.closes()).await;
    }
}

/// Whether there are drives whose evacuation is not done, and drives that are safe to write to.
pub fn is_owed(pool: &Pool) -> bool {
    !given_up(pool).is_empty() && pool.mirrors().is_ok()
}

/// Drives whose evacuation is under way.
pub fn given_up(pool: &Pool) -> Vec<DriveId> {
    let is_under_way = |drive: &&Rc<Drive>| drive.condition().evacuation() == Evacuation::UnderWay;
    let under_way = pool.drives.iter().filter(is_under_way);
    under_way.map(|drive| drive.id()).collect()
}

/// Everything that stood on these drives has what the others can give it.
pub fn done(pool: &Pool, drives: &[DriveId]) {
    let done = pool.drives.iter().filter(|drive| drives.contains(&drive.id()));
    done.for_each(|drive| drive.health().evacuated());
}
