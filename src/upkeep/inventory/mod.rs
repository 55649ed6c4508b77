//! Inventories: reports of what a bucket holds, written into another one each day or each week.
//!
//! One task of the process looks which are due, by the day of lifecycle: the first as soon as it is wanted, the
//! others when a day or a week begins (weeks begin on Sundays, UTC). A background core writes them, one at a time.
//! When one has been written, the bucket remembers when it was begun (`InventoryRun`), so a restart neither
//! repeats a report nor forgets one. One that failed is tried again after a while. The destination must belong to
//! the account of the source and let the server in; both are looked at again for each report, and who is let in
//! is for a layer above to say (`Admits`).

mod line;
mod manifest;
mod output;
mod report;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::limits::{INVENTORY_LINES_MAX, INVENTORY_LOOK_SECONDS};
use crate::base::time::Nanos;
use crate::catalog::log::Log;
use crate::codec::xml::{Inventory, InventoryRun};
use crate::object::buckets::BUCKET_SHARD;
use crate::object::commit::BucketRef;
use crate::object::core::Core;
use crate::object::error::ObjectError;
use crate::object::lifecycle::Day;
use crate::object::open::Running;
use crate::object::settings::{BucketSettings, Setting};

/// A report that is to be written.
#[derive(Clone, Debug)]
pub struct Order {
    pub source: BucketRef,
    /// Canonical id of who owns both buckets.
    pub owner: String,
    pub destination: BucketRef,
    pub inventory: Arc<Inventory>,
    pub begun: Nanos,
    /// Lines of one file.
    pub lines_max: u64,
}

impl Order {
    /// A key of each kind that the report has.
    pub fn keys(&self) -> [String; 3] {
        let report = manifest::report_key(self, "manifest.json");
        [manifest::list_key(self, 0), report, manifest::symlink_key(self)]
    }
}

/// Whether the destination lets the report in.
pub type Admits = Rc<dyn Fn(&Core, &Order) -> bool>;

/// Why a report was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the destination does not exist or belongs to another account")]
    Destination,
    #[error("the policy of the destination does not let s3.amazonaws.com write")]
    Denied,
    #[error(transparent)]
    Store(#[from] ObjectError),
    #[error("the report is too large")]
    TooLarge,
    #[error("the server is stopping")]
    Stopping,
}

/// Starts the one task.
pub fn start(running: &mut Running, day: Day, admits: Admits) {
    let task = report_when_due(running.core.clone(), running.log.clone(), day, admits);
    running.tend_with(tokio::task::spawn_local(task));
}

/// Reports whatever is due, until the server stops.
pub async fn report_when_due(core: Rc<Core>, log: Rc<Log>, day: Day, admits: Admits) {
    let look = Duration::from_nanos(day.length().0 / 4).min(Duration::from_secs(INVENTORY_LOOK_SECONDS));
    // Those that failed, and when to try again.
    let mut failed: BTreeMap<(u64, String), Nanos> = BTreeMap::new();
    while !log.is_over() {
        let now = core.pool.world.now();
        failed.retain(|_, again| *again > now);
        for (source, inventory) in due(&core, now, day) {
            let name = (source.id, inventory.id.clone());
            if log.is_over() || failed.contains_key(&name) {
                continue;
            }
            let report = report_one(&core, source.clone(), inventory, INVENTORY_LINES_MAX, &admits).await;
            let figures = &core.board.inventories;
            let Err(error) = report else {
                figures.written.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if !log.is_over() {
                let count = if error == Failure::Denied { &figures.denied } else { &figures.failed };
                count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(bucket = source.name, inventory = name.1, %error, "an inventory was not written");
                failed.insert(name, Nanos(now.0.saturating_add(day.length().0 / 24)));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            () = log.over() => {}
        }
    }
}

/// Inventories of all buckets of which a report is due.
pub fn due(core: &Core, now: Nanos, day: Day) -> Vec<(BucketRef, Arc<Inventory>)> {
    let selected = core.common.buckets.select(|settings| !settings.inventories.is_empty());
    let of_bucket = |(named, settings): (BucketRef, Arc<BucketSettings>)| {
        let wanted = settings.inventories.values().filter(|inventory| {
            let run = settings.inventory_runs.get(&inventory.id);
            inventory.enabled && is_due(inventory.weekly, run.map(|run| run.begun), now, day)
        });
        wanted.map(|inventory| (named.clone(), inventory.clone())).collect::<Vec<_>>()
    };
    selected.into_iter().flat_map(of_bucket).collect()
}

/// The first day of 1970 was a Thursday.
const DAYS_SINCE_SUNDAY: u64 = 4;

fn is_due(weekly: bool, last: Option<Nanos>, now: Nanos, day: Day) -> bool {
    let turn = |time: Nanos| match weekly {
        true => (day.count(time) + DAYS_SINCE_SUNDAY) / 7,
        false => day.count(time),
    };
    last.is_none_or(|last| turn(now) > turn(last))
}

/// Writes one report, on the background core, and remembers it.
pub async fn report_one(
    core: &Rc<Core>,
    source: BucketRef,
    inventory: Arc<Inventory>,
    lines_max: u64,
    admits: &Admits,
) -> Result<(), Failure> {
    let buckets = &core.common.buckets;
    let begun = core.pool.world.now();
    let bucket = buckets.get(&source.name).filter(|found| found.value.id == source.id);
    let owner = bucket.ok_or(ObjectError::NoSuchBucket)?.value.owner.clone();
    let name = inventory.destination().to_owned();
    let destination = buckets.get(&name).filter(|found| found.value.owner == owner);
    let destination = BucketRef { id: destination.ok_or(Failure::Destination)?.value.id, name };
    let id = inventory.id.clone();
    let order = Order { source: source.clone(), owner, destination, inventory, begun, lines_max };
    if !admits(core, &order) {
        return Err(Failure::Denied);
    }
    core.in_background(move |core| report::write(core, order)).await.unwrap_or(Err(Failure::Stopping))?;
    let run = Setting::InventoryRun(InventoryRun { id, begun });
    let remembered = core.on_shard_whole(BUCKET_SHARD, move |shard| shard.set_setting(source, run)).await;
    match remembered {
        // It was removed meanwhile, or the bucket was.
        Err(ObjectError::InvalidBucketState(_) | ObjectError::NoSuchBucket) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_due_when_a_day_or_a_week_begins() {
        let (day, hour) = (24 * 3600, 3600);
        let at = |seconds: u64| Nanos::from_seconds(seconds);
        let due = |weekly, last: Option<u64>, now: u64| is_due(weekly, last.map(at), at(now), Day::REAL);
        assert!(due(false, None, hour) && due(true, None, hour));
        assert!(!due(false, Some(0), day - 1) && due(false, Some(day - 1), day));
        // 1970-01-04 was a Sunday.
        assert!(!due(true, Some(0), 3 * day - 1) && due(true, Some(3 * day - 1), 3 * day));
        assert!(!due(true, Some(3 * day), 10 * day - 1) && due(true, Some(3 * day), 10 * day));
        assert!(!due(false, Some(day), hour), "a clock that was set back");
    }
}
