//! The store as the edge sees it: buckets, objects, listings, uploads, in the words of S3.
//!
//! Each call finds the shard that decides, lets it decide, and moves bytes where the client landed.
//! Objects stand here; `buckets`, `listing` and `uploads` add what is theirs to [`Store`].
//! Cheap to clone, belongs to one core, not Send.

mod buckets;
mod listing;
mod uploads;

use std::rc::Rc;

use bytes::Bytes;

use super::content::deposit::Deposit;
use super::core::Core;
use super::decisions::amend::{Amendment, Grounds};
use super::decisions::commit::BucketRef;
use super::decisions::condition::Conditions;
use super::decisions::events::{Cause, Origin};
use super::error::ObjectError;
use super::lifecycle::witness::Listener;
use super::meta::{Attached, Checksum, ETag, Headers};
use super::registry::buckets::{BUCKET_SHARD, Bucket};
use super::registry::identities::{Decision, Identities};
use super::registry::usage::Room;
use super::shard::Shard;
use crate::base::ids::ShardId;
use crate::base::limits::{HASH_STEP_BYTES_MAX, KEY_BYTES_MAX};
use crate::base::time::Nanos;
use crate::catalog::key;
use crate::catalog::usage::Usage;
pub use crate::catalog::value::Initiator;

pub use super::content::reader::{Object, ObjectStream};
pub use super::content::writer::Writer;
pub use super::decisions::commit::{Deleted, Deletion, Installed as Committed};
pub use buckets::{BucketInfo, BucketPage};
pub use listing::{
    ListEntry, ListPage, ListQuery, ListedObject, UploadEntry, UploadPage, UploadQuery, VersionEntry,
    VersionInfo, VersionPage, VersionQuery,
};
pub use uploads::{Complete, NewUpload, Part, PartClaim, PartPage, UploadInfo, is_upload_id};

pub type Result<T> = std::result::Result<T, ObjectError>;

/// The store on one core.
#[derive(Clone)]
pub struct Store {
    core: Rc<Core>,
}

/// Where a writer's bytes belong.
pub(super) struct Target {
    pub bucket: BucketRef,
    pub key: String,
    pub shard: ShardId,
    /// Upload and part number, for a part.
    pub part: Option<(u128, u16)>,
}

impl Target {
    pub fn is_part(&self) -> bool {
        self.part.is_some()
    }
}

/// What to record with an object when its body is complete.
#[derive(Debug, Default)]
pub struct Commit {
    pub headers: Headers,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
    pub attached: Attached,
    pub conditions: Conditions,
    pub origin: Origin,
}

impl Store {
    pub fn new(core: Rc<Core>) -> Self {
        Store { core }
    }

    pub fn now(&self) -> Nanos {
        self.core.pool.world.now()
    }

    /// Whether a client that hardly reads keeps memory from others who wait for it: then its answer is to be
    /// broken off.
    pub fn reading_gives_way(&self) -> bool {
        self.core.reads.gives_way()
    }

    pub fn identities(&self) -> &Rc<Identities> {
        &self.core.common.identities
    }

    /// Has what lifecycle removes on this core told to whoever logs it.
    pub fn witness(&self, listener: &Listener) {
        self.core.shards.iter().flatten().for_each(|shard| shard.witness.report_to(listener.clone()));
    }

    /// Decides about accounts and users where they are decided; durable and known to every core
    /// when it returns.
    pub async fn change_identities<T, E>(
        &self,
        decide: impl FnOnce(&Shard) -> Decision<T, E> + Send + 'static,
    ) -> Result<std::result::Result<T, E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.change_identities(decide)).await
    }

    /// Has work done that waits for something outside.
    pub async fn in_background<T, F, W>(&self, work: W) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Rc<Core>) -> F + Send + 'static,
    {
        self.core.in_background(work).await
    }

    fn bucket_ref(&self, name: &str) -> Result<BucketRef> {
        let id = self.core.common.buckets.id(name).ok_or(ObjectError::NoSuchBucket)?;
        Ok(BucketRef { name: name.to_owned(), id })
    }

    fn shard_of(&self, bucket: u64, key: &str) -> ShardId {
        key::shard_of(bucket, key.as_bytes(), self.core.shard_count())
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.core.shard_count()).map(ShardId)
    }

    // ---- Objects ----

    /// Opens a writer for an object; `size` is the decoded length when known.
    pub async fn put(&self, bucket: &str, key: &str, size: Option<u64>) -> Result<Writer> {
        let (target, bucket) = self.target(bucket, key, None)?;
        let room = self.room(&bucket, &target, size).await?;
        Ok(Writer::new(self.core.clone(), target, size, room))
    }

    /// Whether the event of a new object would find a place in its queue, so that nobody sends a body in vain. What
    /// counts is decided when the record is made.
    pub async fn look_for_place(&self, bucket: &str, key: &str, cause: Cause) -> Result<()> {
        let found = self.settings(bucket)?;
        let Some(notification) = &found.settings.notification else { return Ok(()) };
        let Some(rule) = notification.matching(cause.of_put().name(), key) else { return Ok(()) };
        let (shard, target) = (self.shard_of(found.value.id, key), rule.target().to_owned());
        self.core.on_shard(shard, move |shard| async move { shard.events.look(&target) }).await
    }

    /// The most bytes that the bucket takes in this place; an error when what is announced does not fit. What
    /// counts in the end is decided when the record is made: others write meanwhile.
    async fn room(&self, bucket: &Bucket, target: &Target, size: Option<u64>) -> Result<u64> {
        let Some(quota) = bucket.settings.quota else { return Ok(u64::MAX) };
        let objects = u64::from(!target.is_part());
        let fits = |room: Room| room.objects >= objects && size.is_none_or(|size| size <= room.bytes);
        let room = bucket.meter.room(&quota, Usage::NONE);
        if size.is_some() && fits(room) {
            return Ok(room.bytes);
        }
        // Near the bound it matters what goes away.
        let (named, key, part) = (target.bucket.clone(), target.key.clone(), target.part);
        let replaced =
            self.core.on_shard(target.shard, move |shard| shard.replaced(named, key, part)).await?;
        let room = bucket.meter.room(&quota, replaced);
        if fits(room) { Ok(room.bytes) } else { Err(ObjectError::QuotaExceeded) }
    }

    /// Stores an object that this server itself made, whole. Hashing and writing are the background core's.
    pub async fn deposit(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        headers: Headers,
        attached: Attached,
    ) -> Result<Committed> {
        let (target, bucket) = self.target(bucket, key, None)?;
        let size = Some(body.len() as u64);
        let room = self.room(&bucket, &target, size).await?;
        let write = move |core: Rc<Core>| async move {
            let mut deposit = Deposit::new(Writer::new(core, target, size, room));
            let mut rest = body;
            while !rest.is_empty() {
                deposit.write(rest.split_to(rest.len().min(HASH_STEP_BYTES_MAX))).await?;
            }
            deposit.commit(headers, attached).await
        };
        self.core.in_background(write).await.unwrap_or(Err(ObjectError::SlowDown))
    }

    /// The place, and the bucket as it is now.
    fn target(&self, name: &str, key: &str, part: Option<(u128, u16)>) -> Result<(Target, Rc<Bucket>)> {
        assert!(!key.is_empty() && key.len() <= KEY_BYTES_MAX, "checked at the edge");
        let found = self.settings(name)?;
        let bucket = BucketRef { name: name.to_owned(), id: found.value.id };
        let shard = self.shard_of(bucket.id, key);
        Ok((Target { bucket, key: key.to_owned(), shard, part }, found))
    }

    /// The current version.
    pub async fn open(&self, bucket: &str, key: &str) -> Result<Object> {
        self.open_version(bucket, key, None).await
    }

    /// The version of an id, or the current one.
    pub async fn open_version(&self, bucket: &str, key: &str, id: Option<&str>) -> Result<Object> {
        let settings = self.settings(bucket)?;
        let shard = self.shard_of(settings.value.id, key);
        Object::open(self.core.clone(), shard, (bucket, settings), key, id).await
    }

    /// Deletes durably; an absent key or version is fine unless a condition asks for it.
    pub async fn delete(&self, bucket: &str, key: &str, deletion: impl Into<Deletion>) -> Result<Deleted> {
        let (bucket, deletion) = (self.bucket_ref(bucket)?, deletion.into());
        let (shard, key) = (self.shard_of(bucket.id, key), key.to_owned());
        self.core.on_shard_whole(shard, move |shard| shard.delete_version(bucket, key, deletion)).await
    }

    /// Changes what is attached to a version; gives its id in a bucket that is or was versioned. `Outdated` when it
    /// gives other grounds than the caller was judged on.
    pub async fn amend(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        amendment: Amendment,
        grounds: Grounds,
        origin: Origin,
    ) -> Result<Option<String>> {
        let bucket = self.bucket_ref(bucket)?;
        let (shard, key, id) = (self.shard_of(bucket.id, key), key.to_owned(), id.map(str::to_owned));
        let amend = move |shard: Rc<Shard>| shard.amend_version(bucket, key, id, amendment, grounds, origin);
        self.core.on_shard_whole(shard, amend).await
    }
}
