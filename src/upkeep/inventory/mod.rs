//! Inventories: reports of what a bucket holds, written into another bucket each day or each week.
//!
//! One task of the process looks which reports are due, counting in the days of lifecycle: the first report of a new
//! configuration at once, the others when a day or a week begins (weeks begin on Sundays, UTC). A background core
//! writes them, one at a time. The bucket remembers when its newest report was begun and when its newest complete one
//! was (`InventoryRun`), so a restart neither repeats a report nor forgets one, and what a report that was cut off has
//! left is deleted before the next. A report that failed is tried again after a pause that doubles each time. The
//! destination must belong to the account of the source and let the server write; both are checked again for each
//! report. Who is let in is decided by a layer above (`Admits`).

mod line;
mod manifest;
mod output;
mod report;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::limits::{INVENTORY_LINES_MAX, INVENTORY_LOOK_SECONDS, INVENTORY_LOOKS_MAX};
use crate::base::rest::Stint;
use crate::base::time::Nanos;
use crate::catalog::log::Log;
use crate::codec::xml::{Inventory, InventoryRun};
use crate::object::core::Core;
use crate::object::decisions::commit::BucketRef;
use crate::object::error::ObjectError;
use crate::object::lifecycle::Day;
use crate::object::open::Running;
use crate::object::registry::buckets::BUCKET_SHARD;
use crate::object::registry::settings::Setting;

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
    running.tend(task);
}

/// Reports whatever is due, until the server stops.
pub async fn report_when_due(core: Rc<Core>, log: Rc<Log>, day: Day, admits: Admits) {
    let look = Duration::from_nanos(day.length().0 / 4).min(Duration::from_secs(INVENTORY_LOOK_SECONDS));
    // Those that failed, and when to try again.
    let mut failed: BTreeMap<(u64, String), Failed> = BTreeMap::new();
    while !log.is_over() {
        let now = core.pool.world.now();
        // Of what is gone or no longer due nobody asks again.
        failed.retain(|_, failed| failed.again.0.saturating_add(2 * day.length().0) > now.0);
        for (source, inventory) in due(&core, now, day).await {
            let name = (source.id, inventory.id.clone());
            let before = failed.get(&name).map(|failed| failed.pause);
            if log.is_over() || failed.get(&name).is_some_and(|failed| failed.again > now) {
                continue;
            }
            let report = report_one(&core, source.clone(), inventory, INVENTORY_LINES_MAX, &admits).await;
            let figures = &core.board.inventories;
            let Err(error) = report else {
                figures.written.fetch_add(1, Ordering::Relaxed);
                failed.remove(&name);
                continue;
            };
            if !log.is_over() {
                let count = if error == Failure::Denied { &figures.denied } else { &figures.failed };
                count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(bucket = source.name, inventory = name.1, %error, "an inventory was not written");
                let pause = before.map_or(day.length().0 / 24, |pause| (2 * pause).min(day.length().0));
                failed.insert(name, Failed { again: Nanos(now.0.saturating_add(pause)), pause });
            }
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(look) => {}
            () = log.over() => {}
        }
    }
}

/// A report that could not be written.
struct Failed {
    again: Nanos,
    /// Nanoseconds; twice as long each time.
    pause: u64,
}

/// Inventories of all buckets of which a report is due.
async fn due(core: &Core, now: Nanos, day: Day) -> Vec<(BucketRef, Arc<Inventory>)> {
    let (mut all, mut after, mut stint) = (Vec::new(), String::new(), Stint::new(INVENTORY_LOOKS_MAX));
    loop {
        let page = core.common.buckets.page(&after, INVENTORY_LOOKS_MAX);
        let Some((last, _)) = page.last() else { return all };
        after.clone_from(last);
        stint.step(page.len()).await;
        for (name, bucket) in page {
            let (named, settings) = (BucketRef { name, id: bucket.value.id }, &bucket.settings);
            for inventory in settings.inventories.values() {
                let whole = settings.inventory_runs.get(&inventory.id).and_then(|run| run.whole);
                if inventory.enabled && is_due(inventory.weekly, whole, now, day) {
                    all.push((named.clone(), inventory.clone()));
                }
            }
            stint.step(settings.inventories.len()).await;
        }
    }
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
    let bucket = buckets.get(&source.name).filter(|found| found.value.id == source.id);
    let bucket = bucket.ok_or(ObjectError::NoSuchBucket)?;
    let (owner, before) =
        (bucket.value.owner.clone(), bucket.settings.inventory_runs.get(&inventory.id).cloned());
    let name = inventory.destination().to_owned();
    let destination = buckets.get(&name).filter(|found| found.value.owner == owner);
    let destination = BucketRef { id: destination.ok_or(Failure::Destination)?.value.id, name };
    let id = inventory.id.clone();
    let begun = core.pool.world.now();
    let order = Order { source: source.clone(), owner, destination, inventory, begun, lines_max };
    if !admits(core, &order) {
        return Err(Failure::Denied);
    }
    let whole = before.as_ref().and_then(|before| before.whole);
    if let Some(cut) = before.map(|before| before.begun).filter(|begun| Some(*begun) != whole) {
        let order = Order { begun: cut, ..order.clone() };
        core.in_background(move |core| report::sweep(core, order)).await.unwrap_or(Err(Failure::Stopping))?;
    }
    remember(core, &source, InventoryRun { id: id.clone(), begun, whole }).await?;
    core.in_background(move |core| report::write(core, order)).await.unwrap_or(Err(Failure::Stopping))?;
    match remember(core, &source, InventoryRun { id, begun, whole: Some(begun) }).await {
        // It was removed meanwhile, or the bucket was.
        Err(ObjectError::InvalidBucketState(_) | ObjectError::NoSuchBucket) => Ok(()),
        other => Ok(other?),
    }
}

async fn remember(core: &Rc<Core>, source: &BucketRef, run: InventoryRun) -> Result<(), ObjectError> {
    let (source, run) = (source.clone(), Setting::InventoryRun(run));
    core.on_shard_whole(BUCKET_SHARD, move |shard| shard.set_setting(source, run)).await
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
