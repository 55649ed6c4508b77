//! Listings: objects, versions and uploads of a bucket, a page at a time.
//!
//! Every shard holds some of the keys, so each is asked for its share of a page and the answers are merged in the order
//! of the keys (`decisions::list`); one whose share was too small is asked again.

use super::uploads::{UploadInfo, describe_upload, parse_upload_id};
use super::{Result, Store};
use crate::base::ids::ShardId;
use crate::base::join::join_all;
use crate::base::limits::VERSIONS_TOLD_MAX;
use crate::base::rest::Stint;
use crate::base::time::Nanos;
use crate::catalog::value::{Listed, UploadValue};
use crate::object::decisions::commit::BucketRef;
use crate::object::decisions::list::{After, ListedVersion, Merge, Next, Placed, Row, ShardPage, ShardQuery};
use crate::object::decisions::versions::{self, Named};
use crate::object::error::ObjectError;
use crate::object::meta::{ChecksumAlgorithm, ChecksumKind, ETag};

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

impl Store {
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
        let pages = join_all(self.shards().map(|shard| fetch(shard, query.clone()))).await;
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
}

fn describe_version(bucket: u64, key: String, version: ListedVersion) -> VersionInfo {
    let ListedVersion { order, null, marker, latest, listed } = version;
    let version_id = versions::id(bucket, &key, order, null);
    VersionInfo { key, version_id, is_latest: latest, is_delete_marker: marker, listed }
}
