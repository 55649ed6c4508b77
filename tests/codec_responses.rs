//! The response documents, byte for byte as they stand in tests/vectors/responses.
//!
//! That those files mean what they should is botocore's judgement: tests/vectors/check_responses.py
//! reads them with its parser and compares the values.

use basalt::codec::checksum::{ChecksumAlgorithm, ChecksumType};
use basalt::codec::xml::*;

const DATE: &str = "2026-02-28T23:59:58.123Z";
const ETAG: &str = "25f9e794323b453885f5181f1b624d0b";
const OWNER: Owner<'static> = Owner { id: "owner-id", display_name: "root" };
const USER: Owner<'static> = Owner { id: "arn:aws:iam::111122223333:user/ann", display_name: "ann" };
const CRC: ChecksumText<'static> = ChecksumText { algorithm: ChecksumAlgorithm::Crc32, value: "y/Q5Jg==" };
const CRC_WHOLE: Option<(ChecksumAlgorithm, ChecksumType)> =
    Some((ChecksumAlgorithm::Crc32, ChecksumType::FullObject));

/// None of these documents is long.
async fn rest() {
    panic!("a short document needs no rest");
}

/// A page of keys in which every byte is escaped: the longest that is written.
#[tokio::test]
async fn long_documents_rest() {
    let rests = std::cell::Cell::new(0);
    let key = "\u{1f}".repeat(1024);
    let contents = vec![entry(&key, 1); 1000];
    let result = listing(&contents, false);
    let document =
        list_objects_v1(&result, &ListBucketV1::default(), async || rests.set(rests.get() + 1)).await;
    let wanted = document.len() / basalt::base::limits::XML_STEP_BYTES;
    assert!(wanted > 10 && rests.get() + 1 >= wanted, "{} rests in {} bytes", rests.get(), document.len());
}

fn entry<'a>(key: &'a str, size: u64) -> ObjectEntry<'a> {
    ObjectEntry {
        key,
        last_modified: DATE,
        etag: ETAG,
        size,
        storage_class: "STANDARD",
        checksum: None,
        owner: None,
    }
}

/// Two objects, one with everything, and two common prefixes.
fn listing<'a>(contents: &'a [ObjectEntry<'a>], url_encoded: bool) -> ListBucketResult<'a> {
    ListBucketResult {
        bucket: "bucket",
        prefix: "a b/",
        delimiter: Some("/"),
        max_keys: 1000,
        is_truncated: true,
        url_encoded,
        contents,
        common_prefixes: &["a b/c&d/", "a b/ü+/"],
    }
}

#[track_caller]
fn same(document: Vec<u8>, golden: &str) {
    assert_eq!(String::from_utf8(document).unwrap(), golden.trim_end_matches('\n'));
}

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("vectors/responses/", $name, ".xml"))
    };
}

#[test]
fn error_document() {
    let document = ErrorDocument {
        code: "NoSuchKey",
        message: "The specified key does not exist.",
        resource: "/bucket/a<b>&\"c\"",
        request_id: "0123",
        details: &[("Key", "a<b>")],
    };
    same(error(&document), golden!("error"));
}

#[tokio::test]
async fn buckets_and_location() {
    let buckets = [
        Bucket { name: "one", creation_date: DATE, region: None },
        Bucket { name: "two", creation_date: DATE, region: Some("eu-west-1") },
    ];
    let result = ListAllMyBucketsResult {
        owner: OWNER,
        buckets: &buckets,
        continuation_token: Some("token"),
        prefix: Some("t"),
    };
    same(list_buckets(&result, rest).await, golden!("list_buckets"));
    same(location_constraint(Some("eu-west-1")), golden!("location"));
    same(location_constraint(None), golden!("location_default"));
}

#[tokio::test]
async fn listings() {
    let full =
        ObjectEntry { checksum: CRC_WHOLE, owner: Some(OWNER), ..entry("a b/\u{1}\r\n<&>", u64::MAX >> 1) };
    let contents = [entry("a b/plain", 0), full];
    let encoded = listing(&contents, true);
    let v1 = ListBucketV1 { marker: "m k", next_marker: Some("n&k") };
    same(list_objects_v1(&encoded, &v1, rest).await, golden!("list_objects_v1"));
    let v2 = ListBucketV2 {
        continuation_token: Some("t1"),
        next_continuation_token: Some("t2"),
        start_after: Some("s a"),
    };
    same(list_objects_v2(&encoded, &v2, rest).await, golden!("list_objects_v2"));
    let contents = [entry("a b/<&>\r\n", 1)];
    let plain = ListBucketResult { delimiter: None, is_truncated: false, ..listing(&contents, false) };
    same(list_objects_v2(&plain, &ListBucketV2::default(), rest).await, golden!("list_objects_v2_plain"));
}

#[test]
fn copies() {
    let result = CopyResult {
        last_modified: DATE,
        etag: ETAG,
        checksum: Some(CRC),
        checksum_type: Some(ChecksumType::FullObject),
    };
    same(copy_object(&result), golden!("copy_object"));
    same(copy_part(&CopyResult { checksum_type: None, ..result }), golden!("copy_part"));
}

#[test]
fn multipart() {
    let started = InitiateMultipartUploadResult { bucket: "bucket", key: "a&b", upload_id: "u" };
    same(initiate_multipart_upload(&started), golden!("initiate"));
    let value = ChecksumText { algorithm: ChecksumAlgorithm::Sha256, value: "AAAA-2" };
    let done = CompleteMultipartUploadResult {
        location: "http://127.0.0.1:9000/bucket/a%26b",
        bucket: "bucket",
        key: "a&b",
        etag: "25f9e794323b453885f5181f1b624d0b-2",
        checksum: Some(value),
        checksum_type: Some(ChecksumType::Composite),
    };
    same(complete_multipart_upload(&done), golden!("complete"));
    let part =
        PartEntry { part_number: 7, last_modified: DATE, etag: ETAG, size: 5 << 20, checksum: Some(CRC) };
    let parts = ListPartsResult {
        bucket: "bucket",
        key: "a&b",
        upload_id: "u",
        initiator: USER,
        owner: OWNER,
        storage_class: "STANDARD",
        checksum: CRC_WHOLE,
        part_number_marker: 6,
        next_part_number_marker: 8,
        max_parts: 2,
        is_truncated: true,
        parts: &[part, PartEntry { part_number: 8, checksum: None, ..part }],
    };
    same(list_parts(&parts), golden!("list_parts"));
}

#[tokio::test]
async fn uploads() {
    let upload = UploadEntry {
        key: "a b&c",
        upload_id: "u1",
        initiated: DATE,
        initiator: USER,
        owner: OWNER,
        storage_class: "STANDARD",
        checksum: CRC_WHOLE,
    };
    let result = ListMultipartUploadsResult {
        bucket: "bucket",
        prefix: "a ",
        delimiter: Some("/"),
        key_marker: "k m",
        upload_id_marker: "u0",
        next_key_marker: Some("a b&c"),
        next_upload_id_marker: Some("u2"),
        max_uploads: 2,
        is_truncated: true,
        url_encoded: true,
        uploads: &[upload, UploadEntry { upload_id: "u2", checksum: None, ..upload }],
        common_prefixes: &["a z/"],
    };
    same(list_multipart_uploads(&result, rest).await, golden!("list_uploads"));
}

#[tokio::test]
async fn deletes() {
    let plain =
        DeletedObject { key: "a&b", version_id: None, delete_marker: false, delete_marker_version_id: None };
    let marked = DeletedObject { delete_marker: true, delete_marker_version_id: Some("v2"), ..plain };
    let failed =
        FailedDelete { key: "c\t", version_id: Some("v1"), code: "AccessDenied", message: "Access Denied" };
    let result = DeleteResult { deleted: &[plain, marked], errors: &[failed] };
    same(delete_result(&result, rest).await, golden!("delete"));
}
