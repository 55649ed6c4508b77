//! Lifecycle at the owner of a key: pages of entries for whoever looks for what is due, and its removal.
//!
//! A pass looks from afar and may be out of date by the time it has found something. So it only names keys, and what
//! is due about each is decided again here, under the lock of the key, by the rules that hold here and now; a version
//! that was written meanwhile, or that has become current, is never hit. Every version goes through
//! `Shard::delete_under`, the way of all deletions, so a lock wins over any rule: a locked version is
//! counted and left for the next pass.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::witness::{Done, Removal};
use super::{Action, Day, Facts, History, Tally, abort};
use crate::base::join::join_all;
use crate::base::limits::{
    DELETES_AT_ONCE_MAX, EXPIRED_AT_ONCE_MAX, EXPIRED_TOLD_MAX, LIFECYCLE_PAGE_STEPS, LIFECYCLE_SEEK_STEPS,
};
use crate::base::rest::Stint;
use crate::base::time::Nanos;
use crate::catalog::key::{self, ORDER_UNVERSIONED};
use crate::catalog::value::Version;
use crate::codec::xml::{Expiration, LifecycleRule};
use crate::object::decisions::commit::{BucketRef, Deletion};
use crate::object::decisions::events::{Cause, Origin};
use crate::object::decisions::retention;
use crate::object::decisions::uploads::UploadRef;
use crate::object::decisions::versions;
use crate::object::error::ObjectError;
use crate::object::registry::buckets::Bucket;
use crate::object::registry::settings::BucketSettings;
use crate::object::shard::{Shard, damaged};

/// Keys from the first, inclusive, to the second, exclusive.
pub type KeyRange = (Vec<u8>, Vec<u8>);

/// A bucket with rules, as it was when somebody began to look for what is due.
#[derive(Clone, Debug)]
pub struct Subject {
    pub named: BucketRef,
    pub settings: Arc<BucketSettings>,
}

/// Entries as the catalog has them, and where to go on.
#[derive(Debug, Default)]
pub struct EntryPage {
    pub entries: Vec<(Bytes, Bytes)>,
    /// `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Something about which a removal is due.
#[derive(Clone, Debug)]
pub enum Due {
    Key { bucket: BucketRef, key: String },
    Upload(UploadRef),
}

/// A version that is due.
struct Doomed {
    action: Action,
    /// `None` for the current one.
    id: Option<String>,
    /// `None` for a delete marker.
    size: Option<u64>,
}

/// The versions of a key, newest first, from turn to turn: what was removed is not stepped over again.
#[derive(Default)]
struct Walk {
    /// Where the next turn goes on; `None` before the first.
    reached: Option<Vec<u8>>,
    /// Of what stays.
    history: History,
    newest: Option<String>,
    locked: u64,
    /// Due, and there is no room for the marker.
    refused: u64,
    is_over: bool,
}

impl Shard {
    /// Entries from `from` on inside of `ranges`, which are in order and do not overlap. What lies between is
    /// passed over by seeking.
    pub async fn entries(
        self: Rc<Self>,
        from: Vec<u8>,
        ranges: Arc<[KeyRange]>,
    ) -> Result<EntryPage, ObjectError> {
        let mut page = EntryPage::default();
        let mut place = ranges.partition_point(|(_, end)| *end <= from);
        let (Some((start, _)), Some((_, end))) = (ranges.get(place), ranges.last()) else { return Ok(page) };
        let mut scan = self.index.scan(from.max(start.clone()), end.clone());
        let mut steps = 0;
        while let Some((at, value)) = scan.next().await? {
            if ranges.get(place).is_some_and(|(_, end)| at[..] >= end[..]) {
                place = ranges.partition_point(|(_, end)| end[..] <= at[..]);
            }
            let Some((start, _)) = ranges.get(place) else { break };
            if at[..] < start[..] {
                scan.seek(start);
                steps += LIFECYCLE_SEEK_STEPS;
            } else if steps >= LIFECYCLE_PAGE_STEPS {
                page.next = Some(at.to_vec());
                break;
            } else {
                page.entries.push((at, value));
                steps += 1;
            }
            if steps >= 2 * LIFECYCLE_PAGE_STEPS {
                page.next = Some(start.clone());
                break;
            }
        }
        Ok(page)
    }

    /// Removes what is due about each of these, several at a time, so that they share the batches of the log.
    pub async fn expire(self: Rc<Self>, dues: Vec<Due>, day: Day) -> Result<Tally, ObjectError> {
        let mut all = Tally::default();
        for dues in dues.chunks(DELETES_AT_ONCE_MAX) {
            if self.log.is_over() {
                break;
            }
            for result in join_all(dues.iter().map(|due| self.expire_one(due, day))).await {
                match result {
                    Ok(tally) => all += tally,
                    Err(ObjectError::NoSuchBucket) => {}
                    Err(error) => {
                        tracing::debug!(shard = %self.id, %error, "what is due stays for the next pass");
                        all.failed += 1;
                    }
                }
            }
        }
        Ok(all)
    }

    async fn expire_one(self: &Rc<Self>, due: &Due, day: Day) -> Result<Tally, ObjectError> {
        match due {
            Due::Key { bucket, key } => self.expire_key(bucket, key, day).await,
            Due::Upload(upload) => self.expire_upload(upload, day).await,
        }
    }

    /// In turns, so that others get at the key in between.
    async fn expire_key(&self, named: &BucketRef, key: &str, day: Day) -> Result<Tally, ObjectError> {
        let now = self.pool.world.now();
        let (mut all, mut walk) = (Tally::default(), Walk::default());
        while !walk.is_over && !self.log.is_over() {
            // As for any deletion: a marker takes room, and waiting with the lock would keep packing out.
            let adds = walk.reached.is_none() && adds_marker(&*self.bucket(named)?, key);
            let room = !adds || self.admit().await.is_ok();
            self.log.admit_freeing().await?;
            let _guard = self.locks.lock(&key::version(named.id, key, ORDER_UNVERSIONED)).await;
            let bucket = self.bucket(named)?;
            if !self.stands(&bucket, key, &walk).await? {
                walk = Walk::default();
                continue;
            }
            let doomed = self.doomed(&bucket, key, (now, day), room, &mut walk).await?;
            // The oldest first: what is removed makes room for a marker.
            for Doomed { action, id, size } in doomed.into_iter().rev() {
                let origin = Origin { cause: Cause::Expiration, asked: None };
                let deletion = Deletion { version_id: id, origin, ..Deletion::default() };
                match self.delete_under(named, &bucket, key, &deletion).await {
                    Ok(Some(deleted)) => {
                        all.count(action);
                        let is_new = deletion.version_id.is_none() && deleted.marker;
                        let done = if is_new { Done::Marked } else { Done::Removed };
                        let (version, size) = (deleted.version_id.as_deref(), size.filter(|_| !is_new));
                        self.witnessed(&bucket, Removal { done, bucket: &named.name, key, version, size });
                    }
                    // Other rules may hold by now.
                    Ok(None) => {
                        walk = Walk::default();
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(shard = %self.id, %error, "a version that is due stays for the next pass");
                        all += Tally { locked: walk.locked, failed: 1 + walk.refused, ..Tally::default() };
                        return Ok(all);
                    }
                }
            }
        }
        all += Tally { locked: walk.locked, failed: walk.refused, ..Tally::default() };
        Ok(all)
    }

    fn witnessed(&self, bucket: &Bucket, removal: Removal<'_>) {
        if bucket.settings.logging.as_ref().is_some_and(|logging| logging.target.is_some()) {
            self.witness.tell(&removal);
        }
    }

    /// Whether as many versions still stand in front of where a walk goes on as its history says, or as rules want to
    /// keep: others may have removed some meanwhile. The caller holds the lock of the key.
    async fn stands(&self, bucket: &Bucket, key: &str, walk: &Walk) -> Result<bool, ObjectError> {
        let (Some(reached), Some(lifecycle)) = (&walk.reached, &bucket.settings.lifecycle) else {
            return Ok(true);
        };
        let keep = lifecycle.under(key).filter_map(|rule| rule.noncurrent?.keep).max().unwrap_or(0);
        let mut scan = self.index.scan(key::version(bucket.value.id, key, u64::MAX), reached.clone());
        for _ in 0..walk.history.versions.min(keep.saturating_add(1)) {
            if scan.next().await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Versions of a key that are due, not more than are removed in one turn. The caller holds the lock of the key.
    async fn doomed(
        &self,
        bucket: &Bucket,
        key: &str,
        time: (Nanos, Day),
        room: bool,
        walk: &mut Walk,
    ) -> Result<Vec<Doomed>, ObjectError> {
        let mut doomed = Vec::new();
        walk.is_over = true;
        let Some(lifecycle) = &bucket.settings.lifecycle else { return Ok(doomed) };
        let (id, versioned) = (bucket.value.id, bucket.settings.versioning.is_some());
        let by_tags = lifecycle.under(key).any(|rule| !rule.filter.tags.is_empty());
        let reached = walk.reached.take();
        let is_first = reached.is_none();
        let start = reached.unwrap_or_else(|| key::version(id, key, u64::MAX));
        let mut scan = self.index.scan(start, key::versions_after(id, key.as_bytes()));
        let mut stint = Stint::new(EXPIRED_TOLD_MAX);
        while let Some((at, value)) = scan.next().await? {
            stint.step(1).await;
            let (_, order) = key::parse_version(&at).ok_or_else(|| damaged("version key"))?;
            let whole = by_tags.then(|| decoded(&value)).transpose()?;
            let marker = Version::encodes_marker(&value);
            let facts = Facts::read(whole.as_ref(), &value).ok_or_else(|| damaged("version"))?;
            let (told, size) =
                (walk.history.tell(lifecycle, key, &facts, time), (!marker).then_some(facts.size));
            let version_id = || versions::id(id, key, order, Version::encodes_null(&value));
            if walk.newest.is_none() {
                walk.newest = Some(version_id());
            }
            let Some(action) = told else { continue };
            if action == Action::Expire && versioned {
                walk.refused += u64::from(!room);
                doomed.extend(room.then_some(Doomed { action, id: None, size }));
            } else if is_locked(whole, &value, time.0)? {
                walk.locked += 1;
            } else {
                if action == Action::RemoveNoncurrent {
                    walk.history.forget();
                }
                doomed.push(Doomed { action, id: (action != Action::Expire).then(version_id), size });
            }
            if doomed.len() == EXPIRED_AT_ONCE_MAX {
                (walk.reached, walk.is_over) = (Some([&at[..], &[0]].concat()), false);
                return Ok(doomed);
            }
        }
        match walk.history.end() {
            None => {}
            Some(action) if is_first && doomed.is_empty() => {
                doomed.push(Doomed { action, id: walk.newest.take(), size: None });
            }
            // A marker is alone when these are gone. Whether it is says a turn that sees all of the key.
            Some(_) => *walk = Walk::default(),
        }
        Ok(doomed)
    }

    async fn expire_upload(self: &Rc<Self>, upload: &UploadRef, day: Day) -> Result<Tally, ObjectError> {
        let now = self.pool.world.now();
        let bucket = self.bucket(&upload.bucket)?;
        let value = match self.upload_value(upload).await {
            Err(ObjectError::NoSuchUpload) => return Ok(Tally::default()),
            value => value?,
        };
        let rules = bucket.settings.lifecycle.as_ref();
        let date = rules.and_then(|rules| abort(rules, &upload.key, value.initiated, day));
        if date.is_none_or(|(date, _)| date > now) {
            return Ok(Tally::default());
        }
        match self.clone().abort_upload(upload.clone()).await {
            Ok(()) => {
                let (done, bucket_name, key) = (Done::Aborted, &*upload.bucket.name, &*upload.key);
                let removal = Removal { done, bucket: bucket_name, key, version: None, size: None };
                self.witnessed(&bucket, removal);
                Ok(Tally { uploads: 1, ..Tally::default() })
            }
            // It was completed meanwhile.
            Err(ObjectError::NoSuchUpload) => Ok(Tally::default()),
            Err(error) => Err(error),
        }
    }
}

fn decoded(value: &[u8]) -> Result<Version, ObjectError> {
    Version::decode(value).ok_or_else(|| damaged("version"))
}

/// `whole` is the version where it was read already.
fn is_locked(whole: Option<Version>, value: &[u8], now: Nanos) -> Result<bool, ObjectError> {
    let version = whole.map_or_else(|| decoded(value), Ok)?;
    Ok(retention::check_removal(&version.meta.attached, now, false).is_err())
}

/// Whether a delete marker may come to be: that takes room.
fn adds_marker(bucket: &Bucket, key: &str) -> bool {
    let Some(lifecycle) = &bucket.settings.lifecycle else { return false };
    let expires =
        |rule: &LifecycleRule| matches!(rule.expiration, Some(Expiration::Days(_) | Expiration::Date(_)));
    bucket.settings.versioning.is_some() && lifecycle.under(key).any(expires)
}
