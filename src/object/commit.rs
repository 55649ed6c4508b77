//! Putting and deleting versions: what happens at the owner of the key, under its lock.
//!
//! A mutation reads what is there, checks the conditions, and commits one record that installs the
//! new state and disowns the old one. It runs in a task of its own, so that a client who goes away
//! cannot leave a lock or a record half way.

use std::rc::Rc;

use bytes::Bytes;

use super::condition::Conditions;
use super::error::ObjectError;
use super::meta::ObjectMeta;
use super::shard::{Shard, damaged};
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::value::{GarbageValue, Storage, Version};
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
    pub version: Version,
    pub body: Bytes,
    pub conditions: Conditions,
}

impl Shard {
    /// Installs a version in place of the current one. Space of a striped version is the shard's
    /// from the call on, whether it succeeds or not.
    pub async fn put_version(self: Rc<Self>, put: PutVersion) -> Result<ObjectMeta, ObjectError> {
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

    async fn try_put_version(&self, put: PutVersion) -> Result<ObjectMeta, ObjectError> {
        self.admit().await?;
        let at = key::version(put.bucket.id, &put.key, key::ORDER_UNVERSIONED);
        let _guard = self.locks.lock(&at).await;
        let current = self.version(&at).await?;
        put.conditions.check_write(current.as_ref().map(|version| &version.meta))?;
        let mut operations = vec![Operation::Put { key: at, value: put.version.encode() }];
        operations.extend(current.and_then(disown));
        self.commit(&put.bucket, operations, &put.body).await?;
        Ok(put.version.meta)
    }

    /// Removes the current version; an absent key is fine unless a condition asks for it.
    pub async fn delete_version(
        self: Rc<Self>,
        bucket: BucketRef,
        name: String,
        conditions: Conditions,
    ) -> Result<(), ObjectError> {
        let at = key::version(bucket.id, &name, key::ORDER_UNVERSIONED);
        let guard = self.locks.lock(&at).await;
        let Some(current) = self.version(&at).await? else {
            return conditions.check_delete(None);
        };
        conditions.check_delete(Some(&current.meta))?;
        let garbage = matches!(current.storage, Storage::Parts { .. });
        let mut operations = vec![Operation::Delete { key: at }];
        operations.extend(disown(current));
        self.commit(&bucket, operations, &[]).await?;
        drop(guard);
        if garbage {
            self.collect_later();
        }
        Ok(())
    }

    /// Commits a record into a bucket that still takes records when its place in the log is fixed.
    pub async fn commit(
        &self,
        bucket: &BucketRef,
        operations: Vec<Operation>,
        body: &[u8],
    ) -> Result<(), ObjectError> {
        let check = || match self.bulletin.common.buckets.accepts(&bucket.name, bucket.id) {
            true => Ok(()),
            false => Err(ObjectError::NoSuchBucket),
        };
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

    /// Frees, piece by piece, what deleted multipart objects left behind.
    pub fn collect_later(self: &Rc<Self>) {
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = shard.collect_garbage().await {
                tracing::warn!(shard = %shard.id, %error, "garbage stays until the next start");
            }
        });
    }

    pub async fn collect_garbage(&self) -> Result<(), ObjectError> {
        let (start, end) = key::garbages();
        let mut scan = self.index.scan(start, end);
        while let Some((at, value)) = scan.next().await? {
            let garbage = GarbageValue::decode(&value).ok_or_else(|| damaged("garbage record"))?;
            let _guard = self.locks.lock(&at).await;
            if self.get(&at).await?.is_none() {
                continue;
            }
            self.free_parts(garbage.upload, |_| true).await?;
            self.commit_internal(vec![Operation::Delete { key: at.to_vec() }]).await?;
        }
        Ok(())
    }
}

/// What a record has to say about the bytes of a version that it replaces or removes.
pub fn disown(version: Version) -> Option<Operation> {
    match version.storage {
        Storage::Empty | Storage::Inline { .. } => None,
        Storage::Packed { pack, .. } => Some(Operation::Unpack { pack }),
        Storage::Striped(extent) => Some(Operation::Free(extent)),
        Storage::Parts { upload, .. } => {
            Some(Operation::Put { key: key::garbage(upload), value: GarbageValue { upload }.encode() })
        }
    }
}
