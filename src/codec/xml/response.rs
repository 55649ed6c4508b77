//! The documents that this server sends.
//!
//! May use: `xml::write`, `codec::checksum` for names. Every structure borrows; timestamps are text
//! in the form of `date::iso8601_ms`; ETags come without quotes and get them here. With
//! `url_encoded` set, keys, prefixes, delimiters and markers are percent-encoded and the document
//! says so. Element order is AWS's. Documents of many keys rest while they are written.

use super::write::XmlWriter;
use crate::codec::checksum::{ChecksumAlgorithm, ChecksumType};

#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub id: &'a str,
    pub display_name: &'a str,
}

/// A checksum as it stands on the wire: base64, with `-N` when composite.
#[derive(Debug, Clone, Copy)]
pub struct ChecksumText<'a> {
    pub algorithm: ChecksumAlgorithm,
    pub value: &'a str,
}

/// The body of every error answer. It has no namespace.
#[derive(Debug, Clone, Copy)]
pub struct ErrorDocument<'a> {
    pub code: &'a str,
    pub message: &'a str,
    pub resource: &'a str,
    pub request_id: &'a str,
    /// Further elements that some codes have, such as `Region` or `StringToSign`.
    pub details: &'a [(&'a str, &'a str)],
}

pub fn error(document: &ErrorDocument<'_>) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open("Error");
    w.legible("Code", document.code);
    w.legible("Message", document.message);
    for (name, value) in document.details {
        w.legible(name, value);
    }
    w.legible("Resource", document.resource);
    w.legible("RequestId", document.request_id);
    w.close("Error");
    w.finish()
}

#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    pub name: &'a str,
    pub creation_date: &'a str,
    /// Written when the request is paginated, as AWS does.
    pub region: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
pub struct ListAllMyBucketsResult<'a> {
    pub owner: Owner<'a>,
    pub buckets: &'a [Bucket<'a>],
    /// Where the next page starts.
    pub continuation_token: Option<&'a str>,
    pub prefix: Option<&'a str>,
}

pub async fn list_buckets(result: &ListAllMyBucketsResult<'_>, rest: impl AsyncFn()) -> Vec<u8> {
    let mut w = XmlWriter::with_capacity(512 + result.buckets.len() * 160);
    w.open_root("ListAllMyBucketsResult");
    owner(&mut w, "Owner", &result.owner);
    w.open("Buckets");
    for bucket in result.buckets {
        w.entry(&rest).await;
        w.open("Bucket");
        w.text("Name", bucket.name);
        w.text("CreationDate", bucket.creation_date);
        w.optional("BucketRegion", bucket.region);
        w.close("Bucket");
    }
    w.close("Buckets");
    w.optional("ContinuationToken", result.continuation_token);
    w.optional("Prefix", result.prefix);
    w.close("ListAllMyBucketsResult");
    w.finish()
}

/// `None` for us-east-1, which has no constraint.
pub fn location_constraint(region: Option<&str>) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open_root("LocationConstraint");
    w.escaped(region.unwrap_or(""));
    w.close("LocationConstraint");
    w.finish()
}

/// One object of a listing.
#[derive(Debug, Clone, Copy)]
pub struct ObjectEntry<'a> {
    pub key: &'a str,
    pub last_modified: &'a str,
    pub etag: &'a str,
    pub size: u64,
    pub storage_class: &'a str,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub owner: Option<Owner<'a>>,
}

/// What both versions of ListObjects answer.
#[derive(Debug, Clone, Copy)]
pub struct ListBucketResult<'a> {
    pub bucket: &'a str,
    pub prefix: &'a str,
    pub delimiter: Option<&'a str>,
    pub max_keys: u64,
    pub is_truncated: bool,
    pub url_encoded: bool,
    pub contents: &'a [ObjectEntry<'a>],
    pub common_prefixes: &'a [&'a str],
}

/// What only version 1 answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListBucketV1<'a> {
    pub marker: &'a str,
    pub next_marker: Option<&'a str>,
}

/// What only version 2 answers. `KeyCount` is counted here.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListBucketV2<'a> {
    pub continuation_token: Option<&'a str>,
    pub next_continuation_token: Option<&'a str>,
    pub start_after: Option<&'a str>,
}

pub async fn list_objects_v1(
    result: &ListBucketResult<'_>,
    v1: &ListBucketV1<'_>,
    rest: impl AsyncFn(),
) -> Vec<u8> {
    let mut w = begin_list(result);
    w.listed("Marker", v1.marker, result.url_encoded);
    if let Some(next) = v1.next_marker {
        w.listed("NextMarker", next, result.url_encoded);
    }
    finish_list(w, result, &rest).await
}

pub async fn list_objects_v2(
    result: &ListBucketResult<'_>,
    v2: &ListBucketV2<'_>,
    rest: impl AsyncFn(),
) -> Vec<u8> {
    let mut w = begin_list(result);
    if let Some(start_after) = v2.start_after {
        w.listed("StartAfter", start_after, result.url_encoded);
    }
    w.optional("ContinuationToken", v2.continuation_token);
    w.optional("NextContinuationToken", v2.next_continuation_token);
    w.number("KeyCount", (result.contents.len() + result.common_prefixes.len()) as u64);
    finish_list(w, result, &rest).await
}

/// What an object of a listing takes beside its key and owner.
const OBJECT_ENTRY_BYTES: usize = 320;

fn begin_list(result: &ListBucketResult<'_>) -> XmlWriter {
    let entries = result.contents.iter().map(|entry| OBJECT_ENTRY_BYTES + entry.key.len()).sum::<usize>();
    let prefixes = result.common_prefixes.iter().map(|prefix| 64 + prefix.len()).sum::<usize>();
    let mut w = XmlWriter::with_capacity(1024 + entries + prefixes);
    w.open_root("ListBucketResult");
    w.text("Name", result.bucket);
    w.listed("Prefix", result.prefix, result.url_encoded);
    w
}

async fn finish_list(mut w: XmlWriter, result: &ListBucketResult<'_>, rest: &impl AsyncFn()) -> Vec<u8> {
    w.number("MaxKeys", result.max_keys);
    listing_options(&mut w, result.delimiter, result.url_encoded);
    w.boolean("IsTruncated", result.is_truncated);
    for entry in result.contents {
        w.entry(rest).await;
        object_entry(&mut w, entry, result.url_encoded);
    }
    common_prefixes(&mut w, result.common_prefixes, result.url_encoded, rest).await;
    w.close("ListBucketResult");
    w.finish()
}

fn listing_options(w: &mut XmlWriter, delimiter: Option<&str>, url_encoded: bool) {
    if let Some(delimiter) = delimiter {
        w.listed("Delimiter", delimiter, url_encoded);
    }
    if url_encoded {
        w.text("EncodingType", "url");
    }
}

fn object_entry(w: &mut XmlWriter, entry: &ObjectEntry<'_>, url_encoded: bool) {
    w.open("Contents");
    w.listed("Key", entry.key, url_encoded);
    w.plain("LastModified", entry.last_modified);
    w.etag(entry.etag);
    if let Some((algorithm, kind)) = entry.checksum {
        w.plain("ChecksumAlgorithm", algorithm.name());
        w.plain("ChecksumType", kind.name());
    }
    w.number("Size", entry.size);
    if let Some(entry_owner) = &entry.owner {
        owner(w, "Owner", entry_owner);
    }
    w.plain("StorageClass", entry.storage_class);
    w.close("Contents");
}

async fn common_prefixes(w: &mut XmlWriter, prefixes: &[&str], url_encoded: bool, rest: &impl AsyncFn()) {
    for prefix in prefixes {
        w.entry(rest).await;
        w.open("CommonPrefixes");
        w.listed("Prefix", prefix, url_encoded);
        w.close("CommonPrefixes");
    }
}

fn owner(w: &mut XmlWriter, name: &str, owner: &Owner<'_>) {
    w.open(name);
    w.text("ID", owner.id);
    w.text("DisplayName", owner.display_name);
    w.close(name);
}

/// The answer of CopyObject and UploadPartCopy.
#[derive(Debug, Clone, Copy)]
pub struct CopyResult<'a> {
    pub last_modified: &'a str,
    pub etag: &'a str,
    pub checksum: Option<ChecksumText<'a>>,
    /// CopyObject only.
    pub checksum_type: Option<ChecksumType>,
}

pub fn copy_object(result: &CopyResult<'_>) -> Vec<u8> {
    copied("CopyObjectResult", result)
}

pub fn copy_part(result: &CopyResult<'_>) -> Vec<u8> {
    copied("CopyPartResult", result)
}

fn copied(root: &str, result: &CopyResult<'_>) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open_root(root);
    w.text("LastModified", result.last_modified);
    w.etag(result.etag);
    checksum(&mut w, result.checksum, result.checksum_type);
    w.close(root);
    w.finish()
}

fn checksum(w: &mut XmlWriter, value: Option<ChecksumText<'_>>, kind: Option<ChecksumType>) {
    if let Some(value) = value {
        w.text(value.algorithm.element(), value.value);
    }
    w.optional("ChecksumType", kind.map(ChecksumType::name));
}

#[derive(Debug, Clone, Copy)]
pub struct InitiateMultipartUploadResult<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub upload_id: &'a str,
}

pub fn initiate_multipart_upload(result: &InitiateMultipartUploadResult<'_>) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open_root("InitiateMultipartUploadResult");
    w.text("Bucket", result.bucket);
    w.text("Key", result.key);
    w.text("UploadId", result.upload_id);
    w.close("InitiateMultipartUploadResult");
    w.finish()
}

#[derive(Debug, Clone, Copy)]
pub struct CompleteMultipartUploadResult<'a> {
    pub location: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    pub etag: &'a str,
    pub checksum: Option<ChecksumText<'a>>,
    pub checksum_type: Option<ChecksumType>,
}

pub fn complete_multipart_upload(result: &CompleteMultipartUploadResult<'_>) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open_root("CompleteMultipartUploadResult");
    w.text("Location", result.location);
    w.text("Bucket", result.bucket);
    w.text("Key", result.key);
    w.etag(result.etag);
    checksum(&mut w, result.checksum, result.checksum_type);
    w.close("CompleteMultipartUploadResult");
    w.finish()
}

#[derive(Debug, Clone, Copy)]
pub struct PartEntry<'a> {
    pub part_number: u32,
    pub last_modified: &'a str,
    pub etag: &'a str,
    pub size: u64,
    pub checksum: Option<ChecksumText<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct ListPartsResult<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub upload_id: &'a str,
    pub initiator: Owner<'a>,
    pub owner: Owner<'a>,
    pub storage_class: &'a str,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub part_number_marker: u32,
    /// Of the last part on this page; zero when there is none.
    pub next_part_number_marker: u32,
    pub max_parts: u64,
    pub is_truncated: bool,
    pub parts: &'a [PartEntry<'a>],
}

pub fn list_parts(result: &ListPartsResult<'_>) -> Vec<u8> {
    let mut w = XmlWriter::with_capacity(1024 + result.parts.len() * 224);
    w.open_root("ListPartsResult");
    w.text("Bucket", result.bucket);
    w.text("Key", result.key);
    w.text("UploadId", result.upload_id);
    owner(&mut w, "Initiator", &result.initiator);
    owner(&mut w, "Owner", &result.owner);
    w.text("StorageClass", result.storage_class);
    algorithm_and_type(&mut w, result.checksum);
    w.number("PartNumberMarker", result.part_number_marker.into());
    w.number("NextPartNumberMarker", result.next_part_number_marker.into());
    w.number("MaxParts", result.max_parts);
    w.boolean("IsTruncated", result.is_truncated);
    for part in result.parts {
        w.open("Part");
        w.number("PartNumber", part.part_number.into());
        w.text("LastModified", part.last_modified);
        w.etag(part.etag);
        w.number("Size", part.size);
        checksum(&mut w, part.checksum, None);
        w.close("Part");
    }
    w.close("ListPartsResult");
    w.finish()
}

fn algorithm_and_type(w: &mut XmlWriter, checksum: Option<(ChecksumAlgorithm, ChecksumType)>) {
    if let Some((algorithm, kind)) = checksum {
        w.text("ChecksumAlgorithm", algorithm.name());
        w.text("ChecksumType", kind.name());
    }
}

#[derive(Debug, Clone, Copy)]
pub struct UploadEntry<'a> {
    pub key: &'a str,
    pub upload_id: &'a str,
    pub initiated: &'a str,
    pub initiator: Owner<'a>,
    pub owner: Owner<'a>,
    pub storage_class: &'a str,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

#[derive(Debug, Clone, Copy)]
pub struct ListMultipartUploadsResult<'a> {
    pub bucket: &'a str,
    pub prefix: &'a str,
    pub delimiter: Option<&'a str>,
    pub key_marker: &'a str,
    pub upload_id_marker: &'a str,
    pub next_key_marker: Option<&'a str>,
    pub next_upload_id_marker: Option<&'a str>,
    pub max_uploads: u64,
    pub is_truncated: bool,
    pub url_encoded: bool,
    pub uploads: &'a [UploadEntry<'a>],
    pub common_prefixes: &'a [&'a str],
}

pub async fn list_multipart_uploads(
    result: &ListMultipartUploadsResult<'_>,
    rest: impl AsyncFn(),
) -> Vec<u8> {
    let encoded = result.url_encoded;
    let mut w = XmlWriter::with_capacity(1024 + result.uploads.len() * 512);
    w.open_root("ListMultipartUploadsResult");
    w.text("Bucket", result.bucket);
    w.listed("KeyMarker", result.key_marker, encoded);
    w.text("UploadIdMarker", result.upload_id_marker);
    if let Some(next) = result.next_key_marker {
        w.listed("NextKeyMarker", next, encoded);
    }
    w.optional("NextUploadIdMarker", result.next_upload_id_marker);
    w.listed("Prefix", result.prefix, encoded);
    listing_options(&mut w, result.delimiter, encoded);
    w.number("MaxUploads", result.max_uploads);
    w.boolean("IsTruncated", result.is_truncated);
    for upload in result.uploads {
        w.entry(&rest).await;
        w.open("Upload");
        w.listed("Key", upload.key, encoded);
        w.text("UploadId", upload.upload_id);
        owner(&mut w, "Initiator", &upload.initiator);
        owner(&mut w, "Owner", &upload.owner);
        w.text("StorageClass", upload.storage_class);
        algorithm_and_type(&mut w, upload.checksum);
        w.text("Initiated", upload.initiated);
        w.close("Upload");
    }
    common_prefixes(&mut w, result.common_prefixes, encoded, &rest).await;
    w.close("ListMultipartUploadsResult");
    w.finish()
}

#[derive(Debug, Clone, Copy)]
pub struct DeletedObject<'a> {
    pub key: &'a str,
    pub version_id: Option<&'a str>,
    /// A marker was made or removed.
    pub delete_marker: bool,
    pub delete_marker_version_id: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
pub struct FailedDelete<'a> {
    pub key: &'a str,
    pub version_id: Option<&'a str>,
    pub code: &'a str,
    pub message: &'a str,
}

/// In quiet mode `deleted` is empty.
#[derive(Debug, Clone, Copy)]
pub struct DeleteResult<'a> {
    pub deleted: &'a [DeletedObject<'a>],
    pub errors: &'a [FailedDelete<'a>],
}

pub async fn delete_result(result: &DeleteResult<'_>, rest: impl AsyncFn()) -> Vec<u8> {
    let mut w = XmlWriter::with_capacity(512 + (result.deleted.len() + result.errors.len()) * 128);
    w.open_root("DeleteResult");
    for object in result.deleted {
        w.entry(&rest).await;
        w.open("Deleted");
        w.text("Key", object.key);
        w.optional("VersionId", object.version_id);
        if object.delete_marker {
            w.boolean("DeleteMarker", true);
            w.optional("DeleteMarkerVersionId", object.delete_marker_version_id);
        }
        w.close("Deleted");
    }
    for failed in result.errors {
        w.entry(&rest).await;
        w.open("Error");
        w.text("Key", failed.key);
        w.optional("VersionId", failed.version_id);
        w.text("Code", failed.code);
        w.text("Message", failed.message);
        w.close("Error");
    }
    w.close("DeleteResult");
    w.finish()
}
