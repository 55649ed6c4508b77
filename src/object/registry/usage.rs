//! What buckets hold, and their quotas.
//!
//! Records say what they change (`Operation::Charge`). A shard counts these changes by bucket and folds them into the
//! usage values of the catalog in one step with the freeze of its memtable, as it does with packs: at every moment, the
//! value plus what is counted here is what the bucket holds in the shard.
//! Over all shards a bucket has one `Meter`, which all cores share. The meter goes up when the owner of a key decides
//! on a record, before the record is written, and down again if that fails; it goes down when a record that removes
//! something is applied. So a bucket is never over its quota, however many write at once, and a deletion makes room at
//! once. Only a record that adds is refused, and only for what it adds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::join::join_groups;
use crate::base::limits::{USAGE_CHANGE_BYTES, USAGES_FOLDED_AT_ONCE, USAGES_READ_AT_ONCE};
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::usage::Usage;
use crate::codec::xml::Quota;
use crate::object::decisions::commit::BucketRef;
use crate::object::error::ObjectError;
use crate::object::shard::{Shard, damaged};

// ---- In a shard ----

/// What records changed since the values were written, by bucket.
#[derive(Default)]
pub struct Ledger(RefCell<BTreeMap<u64, Usage>>);

impl Ledger {
    pub fn note(&self, bucket: u64, change: Usage) {
        *self.0.borrow_mut().entry(bucket).or_default() += change;
    }

    /// Memory taken by what is not in the catalog yet.
    pub fn unsaved_bytes(&self) -> usize {
        self.0.borrow().len() * USAGE_CHANGE_BYTES
    }
}

/// The operation that says what a record changes; `None` where that is nothing.
pub fn charge(bucket: u64, usage: Usage) -> Option<Operation> {
    (usage != Usage::NONE).then_some(Operation::Charge { bucket, usage })
}

impl Shard {
    /// Puts what changed into the values. True when there was something, so that more may have come
    /// meanwhile; false at once when there was not.
    pub(in crate::object) async fn fold_usages(&self) -> Result<bool, ObjectError> {
        let buckets: Vec<u64> = self.ledger.0.borrow().keys().copied().collect();
        join_groups(&buckets, USAGES_FOLDED_AT_ONCE, |bucket| self.fold_usage(*bucket)).await?;
        Ok(!buckets.is_empty())
    }

    async fn fold_usage(&self, bucket: u64) -> Result<(), ObjectError> {
        let at = key::usage(bucket);
        let before = self.usage_value(&at).await?;
        // From here to the end nothing waits: the count and the value change in one step.
        let Some(change) = self.ledger.0.borrow_mut().remove(&bucket) else { return Ok(()) };
        let after = (before + change).clamped();
        if after != before + change {
            tracing::error!(shard = %self.id, bucket, "a bucket holds less than nothing: records are damaged");
        }
        // A bucket that was emptied, as one is before it is deleted, leaves nothing behind.
        let value = (after != Usage::NONE).then(|| after.encode());
        self.index.apply(&at, value.as_deref());
        Ok(())
    }

    async fn usage_value(&self, at: &[u8]) -> Result<Usage, ObjectError> {
        match self.get(at).await? {
            None => Ok(Usage::NONE),
            Some(value) => Usage::decode(&value).ok_or_else(|| damaged("usage")),
        }
    }

    /// What the buckets behind `after` hold here, a page of them, by id.
    pub async fn usages(
        self: std::rc::Rc<Self>,
        after: Option<u64>,
    ) -> Result<BTreeMap<u64, Usage>, ObjectError> {
        let (mut start, end) = key::usages();
        if let Some(after) = after {
            start = key::usage(after);
            start.push(0);
        }
        // A fold between the two looks would hide what it moves from the count to a value.
        let _still = self.no_checkpoint().await;
        let mut found = BTreeMap::new();
        let mut scan = self.index.scan(start, end);
        while found.len() < USAGES_READ_AT_ONCE
            && let Some((at, value)) = scan.next().await?
        {
            let bucket = key::parse_usage(&at).ok_or_else(|| damaged("usage key"))?;
            found.insert(bucket, Usage::decode(&value).ok_or_else(|| damaged("usage"))?);
        }
        let last = (found.len() == USAGES_READ_AT_ONCE).then(|| found.keys().next_back().copied()).flatten();
        for (bucket, change) in self.ledger.0.borrow().iter() {
            if after.is_none_or(|after| *bucket > after) && last.is_none_or(|last| *bucket <= last) {
                *found.entry(*bucket).or_default() += *change;
            }
        }
        Ok(found)
    }

    /// What a write to this place would take away: the version it replaces, or the part of that number.
    pub async fn replaced(
        self: std::rc::Rc<Self>,
        named: BucketRef,
        key: String,
        part: Option<(u128, u16)>,
    ) -> Result<Usage, ObjectError> {
        if let Some((upload, number)) = part {
            let part = self.part(&key::part(upload, number)).await?;
            return Ok(part.map_or(Usage::NONE, |part| Usage::parts(part.size)));
        }
        let bucket = self.bucket(&named)?;
        if bucket.settings.is_versioned() {
            return Ok(Usage::NONE);
        }
        let found = self.null_version(&bucket, &key).await?.filter(|found| !found.version.is_marker());
        Ok(found.map_or(Usage::NONE, |found| Usage::version(found.version.meta.size)))
    }
}

// ---- Over all shards ----

/// What a bucket holds and what is about to be added; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Meter {
    objects: AtomicI64,
    /// Bytes of versions and of parts.
    stored: AtomicI64,
    /// Bytes of parts alone.
    uploading: AtomicI64,
}

impl Meter {
    pub fn new(usage: Usage) -> Arc<Self> {
        Arc::new(Meter {
            objects: AtomicI64::new(usage.objects),
            stored: AtomicI64::new(usage.stored()),
            uploading: AtomicI64::new(usage.uploading),
        })
    }

    pub fn read(&self) -> Usage {
        let (stored, uploading) = (load(&self.stored), load(&self.uploading));
        Usage { objects: load(&self.objects), bytes: stored.saturating_sub(uploading), uploading }.clamped()
    }

    /// Adds what a change adds, if that fits; given back when the claim is dropped and was not kept.
    pub fn claim(&self, change: Usage, quota: Option<&Quota>) -> Result<Claim<'_>, ObjectError> {
        let max = |bound: fn(&Quota) -> Option<u64>| {
            quota.and_then(bound).map(|max| i64::try_from(max).unwrap_or(i64::MAX))
        };
        if !raise(&self.stored, change.stored(), max(|quota| quota.max_bytes)) {
            return Err(ObjectError::QuotaExceeded);
        }
        if !raise(&self.objects, change.objects, max(|quota| quota.max_objects)) {
            add(&self.stored, -change.stored().max(0));
            return Err(ObjectError::QuotaExceeded);
        }
        add(&self.uploading, change.uploading.max(0));
        Ok(Claim { meter: self, change, kept: false })
    }

    /// A change became true: what it takes away is gone.
    pub fn settle(&self, change: Usage) {
        add(&self.stored, change.stored().min(0));
        add(&self.objects, change.objects.min(0));
        add(&self.uploading, change.uploading.min(0));
    }

    /// What may still be added: bytes, and whether an object may.
    pub fn room(&self, quota: &Quota, replaced: Usage) -> Room {
        let left = |max: Option<u64>, level: &AtomicI64, replaced: i64| {
            let used = u64::try_from(load(level).saturating_sub(replaced)).unwrap_or(0);
            max.map_or(u64::MAX, |max| max.saturating_sub(used))
        };
        Room {
            bytes: left(quota.max_bytes, &self.stored, replaced.stored()),
            objects: left(quota.max_objects, &self.objects, replaced.objects),
        }
    }
}

/// What a bucket has left of its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    pub objects: u64,
}

fn load(level: &AtomicI64) -> i64 {
    level.load(Ordering::Relaxed)
}

fn add(level: &AtomicI64, change: i64) {
    if change != 0 {
        level.fetch_add(change, Ordering::Relaxed);
    }
}

/// Adds what is above zero unless that would be more than `max`.
fn raise(level: &AtomicI64, change: i64, max: Option<i64>) -> bool {
    let Some(max) = max.filter(|_| change > 0) else {
        add(level, change.max(0));
        return true;
    };
    let next = |now: i64| now.checked_add(change).filter(|next| *next <= max);
    level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

/// Room that a record in the making has taken.
#[derive(Debug)]
pub struct Claim<'a> {
    meter: &'a Meter,
    change: Usage,
    kept: bool,
}

impl Claim<'_> {
    /// The record is durable.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            add(&self.meter.stored, -self.change.stored().max(0));
            add(&self.meter.objects, -self.change.objects.max(0));
            add(&self.meter.uploading, -self.change.uploading.max(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(max_bytes: Option<u64>, max_objects: Option<u64>) -> Quota {
        Quota { max_bytes, max_objects }
    }

    #[test]
    fn only_what_takes_away_concerns_a_meter_that_was_claimed_from() {
        let replaced = Usage::version(3) - Usage::version(5);
        let completed = Usage::version(5) - Usage::parts(5);
        for (change, takes) in [
            (Usage::NONE, false),
            (Usage::version(7), false),
            (Usage::parts(7), false),
            (replaced, true),
            (completed, true),
            (Usage::NONE - Usage::version(0), true),
        ] {
            let meter = Meter::new(Usage { objects: 9, bytes: 90, uploading: 9 });
            let before = meter.read();
            meter.settle(change);
            assert_eq!((change.takes_away(), meter.read() != before), (takes, takes), "{change:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
        let meter = Meter::new(Usage { objects: 2, bytes: 90, uploading: 5 });
        let quota = quota(Some(100), Some(3));
        let small = meter.claim(Usage::version(5), Some(&quota)).expect("it fits");
        assert_eq!(meter.claim(Usage::parts(1), Some(&quota)).err(), Some(ObjectError::QuotaExceeded));
        drop(small);
        assert_eq!(meter.read(), Usage { objects: 2, bytes: 90, uploading: 5 });
        meter.claim(Usage::version(0), Some(&quota)).expect("one more").keep();
        assert_eq!(meter.claim(Usage::version(1), Some(&quota)).err(), Some(ObjectError::QuotaExceeded));
        assert_eq!(meter.read(), Usage { objects: 3, bytes: 90, uploading: 5 });
        assert_eq!(meter.room(&quota, Usage::NONE), Room { bytes: 5, objects: 0 });
        assert_eq!(meter.room(&quota, Usage::version(10)), Room { bytes: 15, objects: 1 });
    }

    #[test]
    fn what_takes_away_is_never_refused_and_counts_when_it_is_true() {
        let meter = Meter::new(Usage { objects: 2, bytes: 90, uploading: 60 });
        let quota = quota(Some(10), Some(1));
        let completed = Usage { objects: 0, bytes: 50, uploading: -60 };
        let claim = meter.claim(completed, Some(&quota)).expect("it takes no room");
        assert_eq!(meter.read().stored(), 150);
        meter.settle(completed);
        claim.keep();
        assert_eq!(meter.read(), Usage { objects: 2, bytes: 140, uploading: 0 });
    }
}
