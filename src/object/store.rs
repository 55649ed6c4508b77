//! The store as the edge sees it: buckets, objects, listings, uploads, in the words of S3.
//!
//! Each call finds the shard that decides, lets it decide, and moves bytes where the client landed.
//! Cheap to clone, belongs to one core, not Send.

use std::rc::Rc;

use bytes::Bytes;

use super::content::deposit::Deposit;
use super::core::Core;
use super::decisions::amend::Amendment;
use super::decisions::commit::BucketRef;
use super::decisions::condition::Conditions;
use super::decisions::events::{Cause, Origin};
use super::decisions::list::{After, ListedVersion, Merge, Next, Placed, Row, ShardPage, ShardQuery};
use super::decisions::uploads::{self, UploadRef};
use super::decisions::versions::{self, Named};
use super::error::ObjectError;
use super::lifecycle::witness::Listener;
use super::meta::{Attached, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, Headers};
use super::registry::buckets::{BUCKET_SHARD, Bucket};
use super::registry::identities::{Decision, Identities};
use super::registry::settings::{Setting, SettingId};
use super::registry::usage::Room;
use super::shard::Shard;
use crate::base::ids::ShardId;
use crate::base::limits::{HASH_STEP_BYTES_MAX, KEY_BYTES_MAX, PART_NUMBER_MAX, VERSIONS_TOLD_MAX};
use crate::base::rest::Stint;
use crate::base::time::Nanos;
use crate::catalog::key;
use crate::catalog::usage::Usage;
pub use crate::catalog::value::Initiator;
use crate::catalog::value::{BucketValue, Listed, UploadValue};
use crate::codec::xml::Quota;

pub use super::content::reader::{Object, ObjectStream};
pub use super::content::writer::Writer;
pub use super::decisions::commit::{Deleted, Deletion, Installed as Committed};

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketInfo {
    pub name: String,
    pub created: Nanos,
    pub region: String,
    /// Account id of the owner.
    pub owner: String,
}

#[derive(Debug)]
pub struct BucketPage {
    pub buckets: Vec<BucketInfo>,
    /// Name to continue after.
    pub next: Option<String>,
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

#[derive(Debug, Clone)]
pub struct ListQuery {
    pub bucket: String,
    pub prefix: String,
    pub delimiter: String,
    /// Start strictly after this key (or common prefix, whose members are then all skipped).
    pub after: String,
    pub limit: usize,
}

#[derive(Debug)]
pub struct ListedObject {
    pub key: String,
    pub size: u64,
    pub modified: Nanos,
    pub etag: ETag,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Canonical id, when it is not the owner of the bucket.
    pub owner: Option<String>,
}

#[derive(Debug)]
pub enum ListEntry {
    Object(ListedObject),
    Prefix(String),
}

#[derive(Debug)]
pub struct ListPage {
    pub entries: Vec<ListEntry>,
    pub truncated: bool,
}

#[derive(Debug)]
pub struct VersionQuery {
    pub bucket: String,
    pub prefix: String,
    pub delimiter: String,
    /// Start behind all versions of this key, or behind the one below.
    pub key_marker: String,
    /// A version of the marker's key, or empty.
    pub version_id_marker: String,
    pub limit: usize,
}

#[derive(Debug)]
pub struct VersionInfo {
    pub key: String,
    pub version_id: String,
    pub is_latest: bool,
    pub is_delete_marker: bool,
    pub listed: Listed,
}

#[derive(Debug)]
pub enum VersionEntry {
    Version(VersionInfo),
    Prefix(String),
}

#[derive(Debug, Default)]
pub struct VersionPage {
    pub entries: Vec<VersionEntry>,
    pub truncated: bool,
    /// With the key of the last entry, if that is a version: where to go on. A null version may move
    /// meanwhile; this place stays.
    pub next_version: Option<String>,
}

#[derive(Debug, Clone)]
pub struct UploadInfo {
    pub key: String,
    pub upload_id: String,
    pub initiated: Nanos,
    pub owner: String,
    pub initiator: Option<Initiator>,
    pub headers: Headers,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    pub attached: Attached,
}

/// What an upload is begun with.
#[derive(Debug, Clone, Default)]
pub struct NewUpload {
    /// Canonical id of the account of who begins it.
    pub owner: String,
    pub initiator: Option<Initiator>,
    pub headers: Headers,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    pub attached: Attached,
}

#[derive(Debug, Clone)]
pub struct Part {
    pub number: u16,
    pub size: u64,
    pub modified: Nanos,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
}

#[derive(Debug)]
pub struct PartPage {
    pub upload: UploadInfo,
    pub parts: Vec<Part>,
    pub truncated: bool,
}

#[derive(Debug)]
pub struct UploadQuery {
    pub bucket: String,
    pub prefix: String,
    pub delimiter: String,
    pub key_marker: String,
    pub upload_id_marker: String,
    pub limit: usize,
}

#[derive(Debug)]
pub enum UploadEntry {
    Upload(Box<UploadInfo>),
    Prefix(String),
}

#[derive(Debug)]
pub struct UploadPage {
    pub entries: Vec<UploadEntry>,
    pub truncated: bool,
}

/// One part as CompleteMultipartUpload names it.
#[derive(Debug, Clone)]
pub struct PartClaim {
    pub number: u16,
    /// As sent, quotes removed.
    pub etag: String,
    /// Raw checksum if the client repeated it.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
}

#[derive(Debug, Default)]
pub struct Complete {
    pub parts: Vec<PartClaim>,
    pub conditions: Conditions,
    /// Full-object checksum the client asserts, with its type if named.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
    pub kind: Option<ChecksumKind>,
    /// `x-amz-mp-object-size`.
    pub size: Option<u64>,
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

    // ---- Buckets ----

    pub async fn create_bucket(&self, name: &str, region: &str, owner: &str) -> Result<()> {
        self.create_bucket_with(name, region, owner, Vec::new()).await
    }

    /// The bucket and its settings become durable together.
    pub async fn create_bucket_with(
        &self,
        name: &str,
        region: &str,
        owner: &str,
        settings: Vec<Setting>,
    ) -> Result<()> {
        let world = &self.core.pool.world;
        let value = BucketValue {
            id: world.random_u64() >> 1,
            created: world.now(),
            owner: owner.to_owned(),
            region: region.to_owned(),
        };
        let name = name.to_owned();
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.create_bucket(name, value, settings)).await
    }

    pub async fn bucket(&self, name: &str) -> Result<BucketInfo> {
        Ok(describe(name.to_owned(), &self.settings(name)?.value))
    }

    /// The bucket and everything that is set on it, without a copy or a wait.
    pub fn settings(&self, name: &str) -> Result<Rc<Bucket>> {
        self.core.common.buckets.get(name).ok_or(ObjectError::NoSuchBucket)
    }

    /// Buckets behind a name, whoever owns them.
    pub fn all_buckets(&self, after: &str, limit: usize) -> Vec<(String, Rc<Bucket>)> {
        self.core.common.buckets.page(after, limit)
    }

    /// Sets durably; when it returns, every core goes by it.
    pub async fn set_setting(&self, name: &str, setting: Setting) -> Result<()> {
        let bucket = self.bucket_ref(name)?;
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.set_setting(bucket, setting)).await
    }

    /// Bounds what a bucket holds; bounds that are not named stay as they are.
    pub async fn limit(&self, name: &str, named: Quota) -> Result<()> {
        let bucket = self.bucket_ref(name)?;
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.limit_bucket(bucket, named)).await
    }

    /// Removes durably; what was not set is fine.
    pub async fn remove_setting(&self, name: &str, id: impl Into<SettingId>) -> Result<()> {
        let (bucket, id) = (self.bucket_ref(name)?, id.into());
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.remove_setting(bucket, id)).await
    }

    /// Deletes an empty bucket. Nothing can be committed into it while it is being looked at.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        let bucket = self.bucket_ref(name)?;
        // Whoever gave up waiting would leave the bucket closed.
        let store = self.clone();
        let task = tokio::task::spawn_local(async move { store.delete_bucket_whole(bucket).await });
        task.await.unwrap_or(Err(ObjectError::SlowDown))
    }

    async fn delete_bucket_whole(&self, bucket: BucketRef) -> Result<()> {
        let closing = bucket.clone();
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.close_bucket(closing)).await?;
        let emptied = self.empty_closed(bucket.id).await;
        let finish = move |shard: Rc<super::shard::Shard>| shard.finish_bucket(bucket, emptied);
        self.core.on_shard_whole(BUCKET_SHARD, finish).await
    }

    /// Whether a closed bucket holds nothing; its uploads are aborted then.
    async fn empty_closed(&self, id: u64) -> Result<()> {
        for shard in self.shards() {
            let empty = self.core.on_shard_whole(shard, move |shard| async move {
                // What was pushed before the bucket closed is applied behind this.
                shard.log.barrier().await?;
                shard.clone().is_empty_bucket(id).await
            });
            if !empty.await? {
                return Err(ObjectError::BucketNotEmpty);
            }
        }
        for shard in self.shards() {
            self.core.on_shard_whole(shard, move |shard| shard.abort_uploads(id)).await?;
        }
        Ok(())
    }

    pub async fn list_buckets(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<BucketPage> {
        let mut found = self.core.common.buckets.list(owner, prefix, after, limit.saturating_add(1));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(name, _)| name.clone());
        let buckets = found.into_iter().map(|(name, bucket)| describe(name, &bucket.value)).collect();
        Ok(BucketPage { buckets, next })
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

    /// Changes what is attached to a version; gives its id in a bucket that is or was versioned.
    pub async fn amend(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        amendment: Amendment,
        origin: Origin,
    ) -> Result<Option<String>> {
        let bucket = self.bucket_ref(bucket)?;
        let (shard, key, id) = (self.shard_of(bucket.id, key), key.to_owned(), id.map(str::to_owned));
        let amend = move |shard: Rc<Shard>| shard.amend_version(bucket, key, id, amendment, origin);
        self.core.on_shard_whole(shard, amend).await
    }

    // ---- Listings ----

    pub async fn list(&self, query: ListQuery) -> Result<ListPage> {
        let bucket = self.bucket_ref(&query.bucket)?;
        if query.limit == 0 {
            return Ok(ListPage { entries: Vec::new(), truncated: false });
        }
        let asked = ShardQuery {
            bucket,
            after: After::marker(&query.after, &query.prefix, &query.delimiter),
            prefix: query.prefix,
            delimiter: query.delimiter,
            limit: self.share(query.limit),
        };
        let fetch = |shard: ShardId, query: ShardQuery| {
            let core = self.core.clone();
            async move { core.on_shard(shard, move |shard| shard.list(query)).await }
        };
        let entry = |row: Row<Listed>| match row {
            Row::Prefix(name) => ListEntry::Prefix(name),
            Row::Key(key, listed) => ListEntry::Object(ListedObject {
                key,
                size: listed.size,
                modified: listed.modified,
                etag: listed.etag,
                checksum: listed.checksum,
                owner: listed.owner,
            }),
        };
        let (entries, truncated) = self.merge(asked, query.limit, fetch, entry).await?;
        Ok(ListPage { entries, truncated })
    }

    /// Versions and delete markers, those of a key newest first.
    pub async fn list_versions(&self, query: VersionQuery) -> Result<VersionPage> {
        let bucket = self.bucket_ref(&query.bucket)?;
        let id = bucket.id;
        let after = match query.version_id_marker.is_empty() {
            true => After::marker(&query.key_marker, &query.prefix, &query.delimiter),
            false => self.behind_version(&bucket, query.key_marker, &query.version_id_marker).await?,
        };
        if query.limit == 0 {
            return Ok(VersionPage::default());
        }
        let (prefix, delimiter) = (query.prefix, query.delimiter);
        let asked = ShardQuery { bucket, after, prefix, delimiter, limit: self.share(query.limit) };
        let fetch = |shard: ShardId, query: ShardQuery| {
            let core = self.core.clone();
            async move { core.on_shard(shard, move |shard| shard.list_versions(query)).await }
        };
        let (rows, truncated) = self.merge(asked, query.limit, fetch, |row| row).await?;
        let next_version = match rows.last() {
            Some(Row::Key(key, version)) => Some(versions::place(id, key, version.order)),
            _ => None,
        };
        let mut entries = Vec::with_capacity(rows.len());
        let mut stint = Stint::new(VERSIONS_TOLD_MAX);
        for row in rows {
            stint.step(1).await;
            entries.push(match row {
                Row::Prefix(name) => VersionEntry::Prefix(name),
                Row::Key(key, version) => VersionEntry::Version(describe_version(id, key, version)),
            });
        }
        Ok(VersionPage { entries, truncated, next_version })
    }

    /// Where a listing goes on behind a version. A null version may have moved or gone: then all of
    /// its key was shown.
    async fn behind_version(&self, bucket: &BucketRef, key: String, id: &str) -> Result<After> {
        let order = match versions::parse_id(bucket.id, &key, id)? {
            Named::Order(order) => Some(order),
            Named::Elsewhere => return Err(ObjectError::InvalidVersionId),
            Named::Null => {
                let (named, name) = (bucket.clone(), key.clone());
                let found = self.core.on_shard(self.shard_of(bucket.id, &key), move |shard| async move {
                    shard.null_version(&*shard.bucket(&named)?, &name).await
                });
                found.await?.map(|found| found.order)
            }
        };
        Ok(match order {
            Some(order) => After::Version(key, order),
            None => After::Key(key),
        })
    }

    /// What to ask of each shard for a page of `limit`: its even share and what chance may add.
    fn share(&self, limit: usize) -> usize {
        let even = limit.div_ceil(usize::from(self.core.shard_count()));
        (even + even / 4 + 8).min(limit + 1)
    }

    /// The first `limit` rows of all shards as `entry` has them, and whether there are more.
    async fn merge<T: Placed, E, F>(
        &self,
        query: ShardQuery,
        limit: usize,
        fetch: impl Fn(ShardId, ShardQuery) -> F,
        entry: impl Fn(Row<T>) -> E,
    ) -> Result<(Vec<E>, bool)>
    where
        F: Future<Output = Result<ShardPage<T>>>,
    {
        let pages = crate::base::join::join_all(self.shards().map(|shard| fetch(shard, query.clone()))).await;
        let pages = pages.into_iter().collect::<Result<Vec<_>>>()?;
        let mut merge = Merge::new(self.shards().zip(pages));
        let mut entries = Vec::with_capacity(merge.rows().min(limit));
        loop {
            match merge.step() {
                Next::End => return Ok((entries, false)),
                Next::Row(_) if entries.len() == limit => return Ok((entries, true)),
                Next::Row(row) => entries.push(entry(row)),
                Next::Refill(shard, after) => {
                    let page = fetch(shard, ShardQuery { after, ..query.clone() }).await?;
                    merge.refill(shard, page);
                }
            }
        }
    }

    // ---- Uploads ----

    pub async fn create_upload(&self, bucket: &str, key: &str, new: NewUpload) -> Result<UploadInfo> {
        let (target, _) = self.target(bucket, key, None)?;
        let (now, random) = (self.now(), self.core.pool.world.random_u64());
        let upload = u128::from(now.0) << 64 | u128::from(random);
        let NewUpload { owner, initiator, headers, checksum, attached } = new;
        let value = UploadValue { initiated: now, owner, initiator, headers, checksum, attached };
        let info = describe_upload(key.to_owned(), upload, value.clone());
        let upload = UploadRef { bucket: target.bucket, key: target.key, upload };
        self.core.on_shard_whole(target.shard, move |shard| shard.begin_upload(upload, value)).await?;
        Ok(info)
    }

    fn upload_ref(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(ShardId, UploadRef)> {
        let bucket = self.bucket_ref(bucket)?;
        let upload = parse_upload_id(upload_id).ok_or(ObjectError::NoSuchUpload)?;
        let shard = self.shard_of(bucket.id, key);
        Ok((shard, UploadRef { bucket, key: key.to_owned(), upload }))
    }

    pub async fn upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<UploadInfo> {
        let (shard, upload) = self.upload_ref(bucket, key, upload_id)?;
        let (key, id) = (upload.key.clone(), upload.upload);
        let value = self.core.on_shard(shard, move |shard| async move { shard.upload_value(&upload).await });
        Ok(describe_upload(key, id, value.await?))
    }

    pub async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        size: Option<u64>,
    ) -> Result<Writer> {
        assert!((1..=PART_NUMBER_MAX).contains(&number), "checked at the edge");
        self.upload(bucket, key, upload_id).await?;
        let upload = parse_upload_id(upload_id).ok_or(ObjectError::NoSuchUpload)?;
        let (target, bucket) = self.target(bucket, key, Some((upload, number)))?;
        let room = self.room(&bucket, &target, size).await?;
        Ok(Writer::new(self.core.clone(), target, size, room))
    }

    /// Links the parts into an object without copying a byte.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        complete: Complete,
    ) -> Result<Committed> {
        let (shard, upload) = self.upload_ref(bucket, key, upload_id)?;
        let now = self.now();
        let link = move |shard: Rc<super::shard::Shard>| shard.complete_upload(upload, complete, now);
        self.core.on_shard_whole(shard, link).await
    }

    pub async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<()> {
        let (shard, upload) = self.upload_ref(bucket, key, upload_id)?;
        self.core.on_shard_whole(shard, move |shard| shard.abort_upload(upload)).await
    }

    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        limit: usize,
    ) -> Result<PartPage> {
        let (shard, upload) = self.upload_ref(bucket, key, upload_id)?;
        let (name, id) = (upload.key.clone(), upload.upload);
        let found = self.core.on_shard(shard, move |shard| async move {
            let value = shard.upload_value(&upload).await?;
            Ok((value, shard.parts(upload.upload, after, limit.saturating_add(1)).await?))
        });
        let (value, mut parts) = found.await?;
        // A page of none has no end to go on from, so it is all there is, as in the other listings.
        let truncated = limit > 0 && parts.len() > limit;
        parts.truncate(limit);
        let parts = parts.into_iter().map(|(number, part)| uploads::describe(number, part)).collect();
        Ok(PartPage { upload: describe_upload(name, id, value), parts, truncated })
    }

    pub async fn list_uploads(&self, query: UploadQuery) -> Result<UploadPage> {
        let bucket = self.bucket_ref(&query.bucket)?;
        if query.limit == 0 {
            return Ok(UploadPage { entries: Vec::new(), truncated: false });
        }
        let after = match parse_upload_id(&query.upload_id_marker) {
            Some(upload) if !query.key_marker.is_empty() => After::Upload(query.key_marker, upload),
            _ => After::marker(&query.key_marker, &query.prefix, &query.delimiter),
        };
        let asked = ShardQuery {
            bucket,
            after,
            prefix: query.prefix,
            delimiter: query.delimiter,
            limit: self.share(query.limit),
        };
        let fetch = |shard: ShardId, query: ShardQuery| {
            let core = self.core.clone();
            async move { core.on_shard(shard, move |shard| shard.list_uploads(query)).await }
        };
        let entry = |row: Row<(u128, UploadValue)>| match row {
            Row::Prefix(name) => UploadEntry::Prefix(name),
            Row::Key(key, (upload, value)) => {
                UploadEntry::Upload(Box::new(describe_upload(key, upload, value)))
            }
        };
        let (entries, truncated) = self.merge(asked, query.limit, fetch, entry).await?;
        Ok(UploadPage { entries, truncated })
    }
}

fn describe(name: String, value: &BucketValue) -> BucketInfo {
    let (region, owner) = (value.region.clone(), value.owner.clone());
    BucketInfo { name, created: value.created, region, owner }
}

fn describe_upload(key: String, upload: u128, value: UploadValue) -> UploadInfo {
    UploadInfo {
        key,
        upload_id: format!("{upload:032x}"),
        initiated: value.initiated,
        owner: value.owner,
        initiator: value.initiator,
        headers: value.headers,
        checksum: value.checksum,
        attached: value.attached,
    }
}

fn describe_version(bucket: u64, key: String, version: ListedVersion) -> VersionInfo {
    let ListedVersion { order, null, marker, latest, listed } = version;
    let version_id = versions::id(bucket, &key, order, null);
    VersionInfo { key, version_id, is_latest: latest, is_delete_marker: marker, listed }
}

/// Whether a text has the form of an id of an upload.
pub fn is_upload_id(text: &str) -> bool {
    parse_upload_id(text).is_some()
}

fn parse_upload_id(text: &str) -> Option<u128> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
