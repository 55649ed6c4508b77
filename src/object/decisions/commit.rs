//! Putting and deleting versions: what happens at the owner of the key, under its lock.
//!
//! A mutation reads what is there, checks the conditions, and commits one record that installs the
//! new state and disowns the old one. It is done whole (`base::whole`), so that a client who goes away
//! cannot leave a lock or a record half way. What it does to the versions of the key follows from
//! the settings of the bucket that hold when its record takes its place in the log. No version goes
//! away but through `removal`, which asks whether it is locked.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::condition::Conditions;
use super::events::{Origin, Subject};
use super::keylock::KeyGuard;
use super::retention;
use super::versions::{self, Found, Named};
use crate::catalog::key::{self, ORDER_UNVERSIONED};
use crate::catalog::record::Operation;
use crate::catalog::usage::Usage;
use crate::catalog::value::{GarbageValue, NullOrder, Storage, Version};
use crate::codec::xml::Versioning;
use crate::object::content::pins::Held;
use crate::object::error::ObjectError;
use crate::object::meta::ObjectMeta;
use crate::object::registry::buckets::Bucket;
use crate::object::registry::usage::charge;
use crate::object::shard::{Shard, damaged};
use crate::pool::stripe::Extent;

/// A bucket as a request names it: records go to `id`, and only while `name` still means it.
#[derive(Clone, Debug)]
pub struct BucketRef {
    pub name: String,
    pub id: u64,
}

/// A new version and, if it is small, its bytes.
#[derive(Debug)]
pub struct PutVersion {
    pub bucket: BucketRef,
    pub key: String,
    /// Whether it is null and what retention it has by default is decided at the owner.
    pub version: Version,
    pub body: Bytes,
    pub conditions: Conditions,
    pub origin: Origin,
}

/// What became of a put.
#[derive(Clone, Debug)]
pub struct Installed {
    pub meta: ObjectMeta,
    /// In a bucket that is or was versioned.
    pub version_id: Option<String>,
}

/// What to delete: the current version, or for good the one of an id.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    pub version_id: Option<String>,
    pub conditions: Conditions,
    /// The caller may and wants to ignore governance.
    pub bypass: bool,
    pub origin: Origin,
}

impl From<Conditions> for Deletion {
    fn from(conditions: Conditions) -> Self {
        Deletion { conditions, ..Deletion::default() }
    }
}

/// What a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was removed, or the delete marker that was made.
    pub version_id: Option<String>,
    /// What was made or removed is a delete marker.
    pub marker: bool,
}

/// A record in the making.
pub struct Change {
    pub operations: Vec<Operation>,
    pub version_id: Option<String>,
    /// It leaves parts behind to be freed.
    pub garbage: bool,
    /// What the bucket holds more, or less.
    pub usage: Usage,
}

/// What a put mostly has to say: the version, what becomes of the one it replaces, what the bucket holds more,
/// and an event. One more is no error.
const OPERATIONS_MOSTLY: usize = 4;

impl Shard {
    /// Installs a version as the newest of its key. Space of a striped version is the shard's from
    /// the call on, whether it succeeds or not.
    pub async fn put_version(self: Rc<Self>, put: Box<PutVersion>) -> Result<Installed, ObjectError> {
        let extent = match &put.version.storage {
            Storage::Striped(extent) => Some(extent.clone()),
            _ => None,
        };
        let result = self.try_put_version(put).await;
        if let (Err(error), Some(extent)) = (&result, extent) {
            self.abandon(&extent, error);
        }
        result
    }

    async fn try_put_version(self: &Rc<Self>, mut put: Box<PutVersion>) -> Result<Installed, ObjectError> {
        self.admit().await?;
        let PutVersion { bucket: named, key, version, body, conditions, origin } = &mut *put;
        let _guard = self.locks.lock(&key::version(named.id, key, ORDER_UNVERSIONED)).await;
        let given = version.meta.attached.retention;
        loop {
            let bucket = self.bucket(named)?;
            version.meta.attached.retention = given;
            let check = |current: Option<&ObjectMeta>| conditions.check_write(current);
            let mut change = self.installing(&bucket, key, version, check).await?;
            let version_id = change.version_id.as_deref();
            let subject = Subject { named, key, version_id, meta: Some(&version.meta) };
            let kind = origin.cause.of_put();
            let _ticket = self.tell(&mut change.operations, &bucket, kind, subject, origin)?;
            if self.commit_under(named, &bucket, change.operations, change.usage, body).await? {
                if change.garbage {
                    self.collect_later();
                }
                return Ok(Installed { meta: put.version.meta, version_id: change.version_id });
            }
        }
    }

    /// Deletes the current version, which is what it is called in a bucket that is not versioned and
    /// leaves a delete marker in one that is, or one version for good. What is absent is fine unless
    /// a condition asks for it.
    pub async fn delete_version(
        self: Rc<Self>,
        named: BucketRef,
        name: String,
        deletion: Deletion,
    ) -> Result<Deleted, ObjectError> {
        let marks = deletion.version_id.is_none();
        if marks && self.bucket(&named)?.settings.versioning == Some(Versioning::Enabled) {
            // A marker takes room and gives none back. Waiting with the lock would keep packing out.
            self.admit().await?;
        }
        self.delete_admitted(&named, &name, &deletion).await.map_err(ObjectError::while_freeing)
    }

    async fn delete_admitted(
        &self,
        named: &BucketRef,
        name: &str,
        deletion: &Deletion,
    ) -> Result<Deleted, ObjectError> {
        self.log.admit_freeing().await?;
        let _guard = self.lock_to_delete(named.id, name, deletion.version_id.as_deref()).await?;
        loop {
            let bucket = self.bucket(named)?;
            if let Some(deleted) = self.delete_under(named, &bucket, name, deletion).await? {
                return Ok(deleted);
            }
        }
    }

    /// What is deleted by its id is nothing to the other versions, so that many of a key go together.
    async fn lock_to_delete(
        &self,
        bucket: u64,
        name: &str,
        id: Option<&str>,
    ) -> Result<Vec<KeyGuard>, ObjectError> {
        match id.map(|id| versions::parse_id(bucket, name, id)).transpose()? {
            Some(Named::Order(order)) if order != ORDER_UNVERSIONED => {
                Ok(self.locks.lock_version(&key::version(bucket, name, order)).await.into())
            }
            // The null version may stand anywhere, and the current one is what the others make it.
            _ => Ok(vec![self.locks.lock(&key::version(bucket, name, ORDER_UNVERSIONED)).await]),
        }
    }

    /// As `delete_version`, while the caller holds the lock of the key, or of the version and a share of the key;
    /// `None`, and nothing is done, when the settings are no longer those that `bucket` has.
    pub async fn delete_under(
        &self,
        named: &BucketRef,
        bucket: &Rc<Bucket>,
        name: &str,
        deletion: &Deletion,
    ) -> Result<Option<Deleted>, ObjectError> {
        let (mut change, deleted) = match (&deletion.version_id, bucket.settings.versioning) {
            (None, Some(_)) => self.marking(bucket, name, deletion).await?,
            (id, _) => match self.removing(bucket, name, id.as_deref(), deletion).await? {
                Some(removed) => removed,
                None => return Ok(Some(Deleted { version_id: id.clone(), marker: false })),
            },
        };
        let version_id = deleted.version_id.as_deref();
        let subject = Subject { named, key: name, version_id, meta: None };
        let kind = deletion.origin.cause.of_removal(change.version_id.is_some());
        let _ticket = self.tell(&mut change.operations, bucket, kind, subject, &deletion.origin)?;
        if !self.commit_under(named, bucket, change.operations, change.usage, &[]).await? {
            return Ok(None);
        }
        if change.garbage {
            self.collect_later();
        }
        Ok(Some(deleted))
    }

    /// A delete marker as the newest version.
    async fn marking(
        &self,
        bucket: &Bucket,
        key: &str,
        deletion: &Deletion,
    ) -> Result<(Change, Deleted), ObjectError> {
        let mut marker = Version::marker(self.pool.world.now());
        let check = |current: Option<&ObjectMeta>| deletion.conditions.check_delete(current);
        let change = self.installing(bucket, key, &mut marker, check).await?;
        let version_id = change.version_id.clone();
        Ok((change, Deleted { version_id, marker: true }))
    }

    /// One version gone for good; `None` when there is none.
    async fn removing(
        &self,
        bucket: &Bucket,
        key: &str,
        id: Option<&str>,
        deletion: &Deletion,
    ) -> Result<Option<(Change, Deleted)>, ObjectError> {
        let found = match id {
            None => self.newest(bucket, key).await?,
            Some(id) => self.named(bucket, key, id).await?,
        };
        let object = found.as_ref().filter(|found| !found.version.is_marker());
        deletion.conditions.check_delete(object.map(|found| &found.version.meta))?;
        let Some(found) = found else { return Ok(None) };
        let deleted = Deleted { version_id: id.map(str::to_owned), marker: found.version.is_marker() };
        let (operations, usage) = (Vec::new(), Usage::NONE);
        let mut change = Change { operations, version_id: None, garbage: false, usage };
        if found.version.null && found.order != ORDER_UNVERSIONED {
            change.operations.push(Operation::Delete { key: key::null_order(bucket.value.id, key) });
        }
        self.removal(bucket, key, found, deletion.bypass, &mut change)?;
        Ok(Some((change, deleted)))
    }

    /// What makes `version` the newest of its key, as the settings of the bucket have it. `check` is
    /// asked with the current object, if there is one.
    pub async fn installing(
        &self,
        bucket: &Bucket,
        key: &str,
        version: &mut Version,
        check: impl Fn(Option<&ObjectMeta>) -> Result<(), ObjectError>,
    ) -> Result<Change, ObjectError> {
        let newest = self.newest(bucket, key).await?;
        let current = newest.as_ref().filter(|found| !found.version.is_marker());
        check(current.map(|found| &found.version.meta))?;
        if !version.is_marker() && version.meta.attached.retention.is_none() {
            version.meta.attached.retention = retention::default_of(bucket, self.pool.world.now());
        }
        let id = bucket.value.id;
        let versioning = bucket.settings.versioning;
        let order = versioning.map_or(ORDER_UNVERSIONED, |_| self.order_behind(newest.as_ref()));
        version.null = versioning != Some(Versioning::Enabled);
        let at = key::version(id, key, order);
        let mut operations = Vec::with_capacity(OPERATIONS_MOSTLY);
        operations.push(Operation::Put { key: at, value: version.encode() });
        let mut change = Change {
            operations,
            version_id: versioning.map(|_| versions::id(id, key, order, version.null)),
            garbage: false,
            usage: counted(version),
        };
        let replaced = match versioning {
            None => newest,
            Some(Versioning::Enabled) => None,
            Some(Versioning::Suspended) => {
                let value = NullOrder(order).encode();
                change.operations.push(Operation::Put { key: key::null_order(id, key), value });
                match newest {
                    Some(newest) if newest.version.null => Some(newest),
                    _ => Box::pin(self.null_version(bucket, key)).await?,
                }
            }
        };
        if let Some(found) = replaced {
            self.removal(bucket, key, found, false, &mut change)?;
        }
        Ok(change)
    }

    /// Adds what takes a version away, unless it is locked. A version of order 0 that is replaced by
    /// one of order 0 is not deleted first.
    fn removal(
        &self,
        bucket: &Bucket,
        key: &str,
        found: Found,
        bypass: bool,
        change: &mut Change,
    ) -> Result<(), ObjectError> {
        retention::check_removal(&found.version.meta.attached, self.pool.world.now(), bypass)?;
        let at = key::version(bucket.value.id, key, found.order);
        let replaced = |operation: &Operation| matches!(operation, Operation::Put { key, .. } if *key == at);
        if !change.operations.iter().any(replaced) {
            change.operations.push(Operation::Delete { key: at });
        }
        change.usage = change.usage - counted(&found.version);
        change.garbage |= matches!(found.version.storage, Storage::Parts { .. });
        change.operations.extend(disown(found.version));
        Ok(())
    }

    /// As `commit`, if the settings are still those that `bucket` has when the record takes its
    /// place; false if they are not, and nothing is committed. `usage` is what the bucket holds more,
    /// which must be within its quota, or less.
    pub async fn commit_under(
        &self,
        named: &BucketRef,
        bucket: &Rc<Bucket>,
        mut operations: Vec<Operation>,
        usage: Usage,
        body: &[u8],
    ) -> Result<bool, ObjectError> {
        let claim = bucket.meter.claim(usage, bucket.settings.quota.as_ref())?;
        operations.extend(charge(named.id, usage));
        let changed = Cell::new(false);
        let check = || {
            let buckets = &self.bulletin.common.buckets;
            buckets.check_open(&named.name, named.id)?;
            changed.set(buckets.get(&named.name).is_none_or(|now| !Rc::ptr_eq(&now, bucket)));
            if changed.get() { Err(ObjectError::SlowDown) } else { Ok(()) }
        };
        match self.log.commit(self.id, operations, body, check).await {
            Err(_) if changed.get() => Ok(false),
            result => {
                result?;
                claim.keep();
                Ok(true)
            }
        }
    }

    /// Commits a record into a bucket that still takes records when its place in the log is fixed.
    pub async fn commit(
        &self,
        bucket: &BucketRef,
        operations: Vec<Operation>,
        body: &[u8],
    ) -> Result<(), ObjectError> {
        let check = || self.bulletin.common.buckets.check_open(&bucket.name, bucket.id);
        self.log.commit(self.id, operations, body, check).await
    }

    /// Commits a record that concerns no bucket.
    pub async fn commit_internal(&self, operations: Vec<Operation>) -> Result<(), ObjectError> {
        self.log.commit(self.id, operations, &[], || Ok::<(), ObjectError>(())).await
    }

    /// Space that was written for a record which did not come about. After the log has stopped
    /// nobody knows whether it did, and the space stays taken.
    pub fn abandon(&self, extent: &Extent, error: &ObjectError) {
        if *error != ObjectError::NotWritable || !self.log.is_stopped() {
            self.space.release_extent(extent);
        }
    }

    /// Has what deleted multipart objects left behind freed, soon.
    pub fn collect_later(&self) {
        self.pins.garbage.notify_one();
    }

    /// Frees, piece by piece, what deleted multipart objects left behind and nobody reads.
    pub async fn collect_garbage(&self) -> Result<(), ObjectError> {
        let (start, end) = key::garbages();
        let mut scan = self.index.scan(start, end);
        while let Some((at, value)) = scan.next().await? {
            let upload = GarbageValue::decode(&value).ok_or_else(|| damaged("garbage record"))?.upload;
            // A reader looks parts up as it goes; when the last one is through, this is called again.
            self.pins.barrier().await;
            if self.pins.is_held(Held::Upload(upload)) {
                continue;
            }
            self.log.admit_freeing().await?;
            let _guard = self.locks.lock(&at).await;
            if self.get(&at).await?.is_none() {
                continue;
            }
            self.free_parts(upload, |_| true).await?;
            self.commit_internal(vec![Operation::Delete { key: at.to_vec() }]).await?;
        }
        Ok(())
    }
}

/// What a version counts for.
fn counted(version: &Version) -> Usage {
    if version.is_marker() { Usage::NONE } else { Usage::version(version.meta.size) }
}

/// The size of an object in a pack, as packs count it: what a drive says may be anything.
pub fn packed_bytes(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// What a record has to say about the bytes of a version that it replaces or removes.
pub fn disown(version: Version) -> Option<Operation> {
    match version.storage {
        Storage::Empty | Storage::Inline { .. } | Storage::Marker => None,
        Storage::Packed { pack, .. } => {
            Some(Operation::Unpack { pack, objects: 1, bytes: packed_bytes(version.meta.size) })
        }
        Storage::Striped(extent) => Some(Operation::Free(extent)),
        Storage::Parts { upload, .. } => {
            Some(Operation::Put { key: key::garbage(upload), value: GarbageValue { upload }.encode() })
        }
    }
}
