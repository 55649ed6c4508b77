#!/usr/bin/env python3
"""Reads responses/*.xml with botocore's parser and compares what it finds with what was meant.

Needs `pip install botocore`. Run it after a change of the documents; tests/codec_responses.rs
holds the documents themselves still.
"""

import datetime
import pathlib
from urllib.parse import unquote

import botocore.loaders
import botocore.model
import botocore.parsers

HERE = pathlib.Path(__file__).parent / "responses"
model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("s3", "service-2"))
DATE = datetime.datetime(2026, 2, 28, 23, 59, 58, 123000, tzinfo=datetime.timezone.utc)
ETAG, OWNER = '"25f9e794323b453885f5181f1b624d0b"', {"ID": "owner-id", "DisplayName": "root"}
USER = {"ID": "arn:aws:iam::111122223333:user/ann", "DisplayName": "ann"}
SUM = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}


def parse(name, operation, status=200):
    parser = botocore.parsers.create_parser("rest-xml")
    response = {"status_code": status, "headers": {}, "body": (HERE / f"{name}.xml").read_bytes()}
    got = parser.parse(response, model.operation_model(operation).output_shape)
    got.pop("ResponseMetadata")
    return got


def entry(key, size, **more):
    return {"Key": key, "LastModified": DATE, "ETag": ETAG, "Size": size, "StorageClass": "STANDARD", **more}


def same(got, want):
    assert got == want, f"\n got {got}\nwant {want}"


PREFIXES = [{"Prefix": "a%20b/c%26d/"}, {"Prefix": "a%20b/%C3%BC%2B/"}]
LISTING = {
    "Name": "bucket", "Prefix": "a%20b/", "Delimiter": "/", "MaxKeys": 1000, "EncodingType": "url", "IsTruncated": True,
    "CommonPrefixes": PREFIXES,
    "Contents": [
        entry("a%20b/plain", 0),
        entry("a%20b/%01%0D%0A%3C%26%3E", 2**63 - 1, Owner=OWNER, ChecksumAlgorithm=["CRC32"], ChecksumType="FULL_OBJECT"),
    ],
}
assert unquote("a%20b/%C3%BC%2B/") == "a b/ü+/"
got = parse("error", "GetObject", 404)["Error"]
same((got["Code"], got["Key"], got["Resource"]), ("NoSuchKey", "a<b>", '/bucket/a<b>&"c"'))
same(parse("list_buckets", "ListBuckets"), {
    "Owner": OWNER, "ContinuationToken": "token", "Prefix": "t",
    "Buckets": [{"Name": "one", "CreationDate": DATE}, {"Name": "two", "CreationDate": DATE, "BucketRegion": "eu-west-1"}],
})
for name in ("location", "location_default"):  # botocore reads this one by hand, with a regular expression
    text = (HERE / f"{name}.xml").read_text()
    assert text.endswith("eu-west-1</LocationConstraint>\n" if name == "location" else "></LocationConstraint>\n")
same(parse("list_objects_v1", "ListObjects"), {**LISTING, "Marker": "m%20k", "NextMarker": "n%26k"})
same(parse("list_objects_v2", "ListObjectsV2"), {
    **LISTING, "KeyCount": 4, "ContinuationToken": "t1", "NextContinuationToken": "t2", "StartAfter": "s%20a"})
same(parse("list_objects_v2_plain", "ListObjectsV2"), {
    "Name": "bucket", "Prefix": "a b/", "MaxKeys": 1000, "IsTruncated": False, "KeyCount": 3,
    "Contents": [entry("a b/<&>\r\n", 1)], "CommonPrefixes": [{"Prefix": "a b/c&d/"}, {"Prefix": "a b/ü+/"}]})
copied = {"LastModified": DATE, "ETag": ETAG, "ChecksumCRC32": "y/Q5Jg=="}
same(parse("copy_object", "CopyObject")["CopyObjectResult"], {**copied, "ChecksumType": "FULL_OBJECT"})
same(parse("copy_part", "UploadPartCopy")["CopyPartResult"], copied)
same(parse("initiate", "CreateMultipartUpload"), {"Bucket": "bucket", "Key": "a&b", "UploadId": "u"})
same(parse("complete", "CompleteMultipartUpload"), {
    "Location": "http://127.0.0.1:9000/bucket/a%26b", "Bucket": "bucket", "Key": "a&b", "ETag": ETAG[:-1] + '-2"',
    "ChecksumSHA256": "AAAA-2", "ChecksumType": "COMPOSITE"})
part = {"PartNumber": 7, "LastModified": DATE, "ETag": ETAG, "Size": 5 << 20}
same(parse("list_parts", "ListParts"), {
    "Bucket": "bucket", "Key": "a&b", "UploadId": "u", "Initiator": USER, "Owner": OWNER, "StorageClass": "STANDARD",
    **SUM, "PartNumberMarker": 6, "NextPartNumberMarker": 8, "MaxParts": 2, "IsTruncated": True,
    "Parts": [{**part, "ChecksumCRC32": "y/Q5Jg=="}, {**part, "PartNumber": 8}]})
upload = {"Key": "a%20b%26c", "Initiated": DATE, "Initiator": USER, "Owner": OWNER, "StorageClass": "STANDARD"}
same(parse("list_uploads", "ListMultipartUploads"), {
    "Bucket": "bucket", "Prefix": "a%20", "Delimiter": "/", "KeyMarker": "k%20m", "UploadIdMarker": "u0",
    "NextKeyMarker": "a%20b%26c", "NextUploadIdMarker": "u2", "MaxUploads": 2, "IsTruncated": True, "EncodingType": "url",
    "Uploads": [{**upload, "UploadId": "u1", **SUM}, {**upload, "UploadId": "u2"}], "CommonPrefixes": [{"Prefix": "a%20z/"}]})
same(parse("delete", "DeleteObjects"), {
    "Deleted": [{"Key": "a&b"}, {"Key": "a&b", "DeleteMarker": True, "DeleteMarkerVersionId": "v2"}],
    "Errors": [{"Key": "c\t", "VersionId": "v1", "Code": "AccessDenied", "Message": "Access Denied"}]})
print("all documents read as meant")
