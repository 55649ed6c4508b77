//! API STAND-IN: signatures only, for the edge to compile against until the real store lands.
#![allow(unused_variables, clippy::unimplemented)]

use std::ops::Range;

use bytes::Bytes;

use super::condition::Conditions;
use super::error::ObjectError;
use super::meta::{Checksum, ChecksumKind, ETag, Headers, ObjectMeta};
use crate::base::time::Nanos;
use crate::codec::checksum::ChecksumAlgorithm;

pub type Result<T> = std::result::Result<T, ObjectError>;

/// The store as one core sees it; cheap to clone, not Send.
#[derive(Clone)]
pub struct Store;

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
    pub conditions: Conditions,
}

#[derive(Debug, Clone)]
pub struct Committed {
    pub meta: ObjectMeta,
}

/// The one who receives the body of a PUT or a part. Dropping it leaves nothing behind.
pub struct Writer;

impl Writer {
    /// Takes the next bytes of the body; waits when drives are slower than the client.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        unimplemented!()
    }
    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    /// Commits the object durably, or fails and leaves what was there.
    pub async fn commit(self, commit: Commit) -> Result<Committed> {
        unimplemented!()
    }
    /// For a Writer from `upload_part`: records the part durably.
    pub async fn commit_part(self, etag: ETag, checksum: Option<Checksum>) -> Result<Part> {
        unimplemented!()
    }
}

/// One version opened for reading: its bytes stay readable until this is dropped.
pub struct Object;

impl Object {
    pub fn meta(&self) -> &ObjectMeta {
        unimplemented!()
    }
    /// Byte range and number of parts for `?partNumber=`; None when there is no such part. A plain object has one part.
    pub fn part(&self, number: u16) -> Option<(Range<u64>, u16)> {
        unimplemented!()
    }
    /// The bytes when they are in memory already (small objects after one call of `load_small`).
    /// Streams `range` (within 0..size).
    pub fn stream(self, range: Range<u64>) -> ObjectStream {
        unimplemented!()
    }
    /// Whole body of a small object in one go; None if larger than the inline limit (use `stream`).
    pub async fn small(&self) -> Result<Option<Bytes>> {
        unimplemented!()
    }
}

pub struct ObjectStream;

impl ObjectStream {
    /// The next bytes in order; None at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        unimplemented!()
    }
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

#[derive(Debug, Clone)]
pub struct UploadInfo {
    pub key: String,
    pub upload_id: String,
    pub initiated: Nanos,
    pub owner: String,
    pub headers: Headers,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
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
    Upload(UploadInfo),
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
}

impl Store {
    pub fn now(&self) -> Nanos {
        unimplemented!()
    }
    pub async fn create_bucket(&self, name: &str, region: &str, owner: &str) -> Result<()> {
        unimplemented!()
    }
    pub async fn bucket(&self, name: &str) -> Result<BucketInfo> {
        unimplemented!()
    }
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_buckets(&self, prefix: &str, after: &str, limit: usize) -> Result<BucketPage> {
        unimplemented!()
    }
    /// Opens a Writer for an object; `size` is the decoded length when known.
    pub async fn put(&self, bucket: &str, key: &str, size: Option<u64>) -> Result<Writer> {
        unimplemented!()
    }
    pub async fn open(&self, bucket: &str, key: &str) -> Result<Object> {
        unimplemented!()
    }
    /// Deletes durably; an absent key is fine unless a condition asks for it.
    pub async fn delete(&self, bucket: &str, key: &str, conditions: Conditions) -> Result<()> {
        unimplemented!()
    }
    pub async fn list(&self, query: ListQuery) -> Result<ListPage> {
        unimplemented!()
    }
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        owner: &str,
        headers: Headers,
        checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    ) -> Result<UploadInfo> {
        unimplemented!()
    }
    pub async fn upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<UploadInfo> {
        unimplemented!()
    }
    pub async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        size: Option<u64>,
    ) -> Result<Writer> {
        unimplemented!()
    }
    /// Links the parts into an object without copying a byte.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        complete: Complete,
    ) -> Result<Committed> {
        unimplemented!()
    }
    pub async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        limit: usize,
    ) -> Result<PartPage> {
        unimplemented!()
    }
    pub async fn list_uploads(&self, query: UploadQuery) -> Result<UploadPage> {
        unimplemented!()
    }
}
