//! Buckets: made, described, set, listed, deleted.
//!
//! One shard decides about all buckets, and every core has them in memory (`registry::buckets`): reading waits for
//! nobody. Deleting asks all shards, since each may hold something of the bucket.

use std::rc::Rc;

use super::{Result, Store};
use crate::base::time::Nanos;
use crate::base::whole::Whole;
use crate::catalog::value::BucketValue;
use crate::codec::xml::Quota;
use crate::object::decisions::commit::BucketRef;
use crate::object::error::ObjectError;
use crate::object::registry::buckets::{BUCKET_SHARD, Bucket};
use crate::object::registry::settings::{Setting, SettingId};
use crate::object::shard::Shard;

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

impl Store {
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
        Whole::new(async move { store.delete_bucket_whole(bucket).await }).await
    }

    async fn delete_bucket_whole(&self, bucket: BucketRef) -> Result<()> {
        let closing = bucket.clone();
        self.core.on_shard_whole(BUCKET_SHARD, move |shard| shard.close_bucket(closing)).await?;
        let emptied = self.empty_closed(bucket.id).await;
        let finish = move |shard: Rc<Shard>| shard.finish_bucket(bucket, emptied);
        // Not told, the bucket would stay closed.
        self.core.on_shard_surely(BUCKET_SHARD, finish).await
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
}

fn describe(name: String, value: &BucketValue) -> BucketInfo {
    let (region, owner) = (value.region.clone(), value.owner.clone());
    BucketInfo { name, created: value.created, region, owner }
}
