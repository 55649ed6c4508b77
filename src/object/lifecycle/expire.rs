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

use super::{Action, Day, Facts, History, Tally, abort};
use crate::base::join::join_all;
use crate::base::limits::{
    DELETES_AT_ONCE_MAX, EXPIRED_AT_ONCE_MAX, LIFECYCLE_PAGE_STEPS, LIFECYCLE_SEEK_STEPS,
};
use crate::base::time::Nanos;
use crate::catalog::key::{self, ORDER_UNVERSIONED};
use crate::catalog::value::Version;
use crate::object::buckets::Bucket;
use crate::object::commit::{BucketRef, Deletion};
use crate::object::error::ObjectError;
use crate::object::events::{Cause, Origin};
use crate::object::retention;
use crate::object::settings::BucketSettings;
use crate::object::shard::{Shard, damaged};
use crate::object::uploads::UploadRef;
use crate::object::versions;

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
    Key {
        bucket: BucketRef,
        key: String,
        /// A delete marker comes, which takes room.
        adds: bool,
    },
    Upload(UploadRef),
}

/// A version that is due.
struct Doomed {
    action: Action,
    /// `None` for the current one.
    id: Option<String>,
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
            Due::Key { bucket, key, adds } => self.expire_key(bucket, key, *adds, day).await,
            Due::Upload(upload) => self.expire_upload(upload, day).await,
        }
    }

    /// In turns, so that others get at the key in between; the last turn finds nothing due.
    async fn expire_key(
        &self,
        named: &BucketRef,
        key: &str,
        adds: bool,
        day: Day,
    ) -> Result<Tally, ObjectError> {
        let now = self.pool.world.now();
        let mut all = Tally::default();
        while !self.log.is_over() {
            // As for any deletion: a marker takes room, and waiting with the lock would keep packing out.
            let room = !adds || self.admit().await.is_ok();
            self.log.admit_freeing().await?;
            let _guard = self.locks.lock(&key::version(named.id, key, ORDER_UNVERSIONED)).await;
            let bucket = self.bucket(named)?;
            let (doomed, locked) = self.doomed(&bucket, key, (now, day), room).await?;
            all.locked = locked;
            if doomed.is_empty() {
                break;
            }
            // The oldest first: what is removed makes room for a marker.
            for Doomed { action, id } in doomed.into_iter().rev() {
                let origin = Origin { cause: Cause::Expiration, asked: None };
                let deletion = Deletion { version_id: id, origin, ..Deletion::default() };
                match self.delete_under(named, &bucket, key, &deletion).await {
                    Ok(Some(_)) => all.count(action),
                    // Other rules may hold by now.
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(shard = %self.id, %error, "a version that is due stays for the next pass");
                        all.failed += 1;
                        return Ok(all);
                    }
                }
            }
        }
        Ok(all)
    }

    /// Versions of a key that are due, not more than are removed in one turn, and how many are locked. The caller holds
    /// the lock of the key.
    async fn doomed(
        &self,
        bucket: &Bucket,
        key: &str,
        time: (Nanos, Day),
        room: bool,
    ) -> Result<(Vec<Doomed>, u64), ObjectError> {
        let (mut doomed, mut locked) = (Vec::new(), 0);
        let Some(lifecycle) = &bucket.settings.lifecycle else { return Ok((doomed, locked)) };
        let (id, versioned) = (bucket.value.id, bucket.settings.versioning.is_some());
        let start = key::version(id, key, u64::MAX);
        let mut scan = self.index.scan(start, key::versions_after(id, key.as_bytes()));
        let (mut history, mut newest) = (History::default(), None);
        while let Some((at, value)) = scan.next().await? {
            let (_, order) = key::parse_version(&at).ok_or_else(|| damaged("version key"))?;
            let version = Version::decode(&value).ok_or_else(|| damaged("version"))?;
            let facts = Facts::of(&version.meta, version.is_marker());
            let told = history.tell(lifecycle, key, &facts, time);
            let version_id = || versions::id(id, key, order, version.null);
            if newest.is_none() {
                newest = Some(version_id());
            }
            let Some(action) = told else { continue };
            if action == Action::Expire && versioned {
                doomed.extend(room.then_some(Doomed { action, id: None }));
            } else if retention::check_removal(&version.meta.attached, time.0, false).is_err() {
                locked += 1;
            } else {
                doomed.push(Doomed { action, id: (action != Action::Expire).then(version_id) });
            }
            if doomed.len() == EXPIRED_AT_ONCE_MAX {
                return Ok((doomed, locked));
            }
        }
        doomed.extend(history.end().map(|action| Doomed { action, id: newest }));
        Ok((doomed, locked))
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
            Ok(()) => Ok(Tally { uploads: 1, ..Tally::default() }),
            // It was completed meanwhile.
            Err(ObjectError::NoSuchUpload) => Ok(Tally::default()),
            Err(error) => Err(error),
        }
    }
}
