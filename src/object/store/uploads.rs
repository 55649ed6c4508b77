//! Uploads in parts: begun, filled, looked at, completed or aborted.
//!
//! An upload belongs to the shard of its key, which decides about it (`decisions::uploads`); its parts are written
//! where the client landed, as objects are. The id that clients see is the number of the upload in hexadecimal.

use std::rc::Rc;

use super::{Committed, Result, Store, Writer};
use crate::base::ids::ShardId;
use crate::base::limits::PART_NUMBER_MAX;
use crate::base::time::Nanos;
use crate::catalog::value::{Initiator, UploadValue};
use crate::object::decisions::condition::Conditions;
use crate::object::decisions::events::Origin;
use crate::object::decisions::uploads::{self, UploadRef};
use crate::object::error::ObjectError;
use crate::object::meta::{Attached, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, Headers};
use crate::object::shard::Shard;

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
        let link = move |shard: Rc<Shard>| shard.complete_upload(upload, complete, now);
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
}

pub(super) fn describe_upload(key: String, upload: u128, value: UploadValue) -> UploadInfo {
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

/// Whether a text has the form of an id of an upload.
pub fn is_upload_id(text: &str) -> bool {
    parse_upload_id(text).is_some()
}

pub(super) fn parse_upload_id(text: &str) -> Option<u128> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
