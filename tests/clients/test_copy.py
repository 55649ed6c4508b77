"""Copies: bytes, headers and metadata, between keys and buckets, of objects of every kind."""
import pytest

from .content import MIB, content
from .errors import refused
from .test_multipart import PART, Upload
from .wire import object_path


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 200000, 10 * MIB])
def test_a_copy_has_the_bytes_and_outlives_its_source(s3, bucket, size):
    body = content(size)
    etag = s3.put_object(Bucket=bucket, Key="from", Body=body, ContentType="text/x", Metadata={"m": "1"})["ETag"]
    result = s3.copy_object(Bucket=bucket, Key="to/ü +", CopySource={"Bucket": bucket, "Key": "from"})
    assert result["CopyObjectResult"]["ETag"] == etag and result["CopyObjectResult"]["LastModified"]
    s3.delete_object(Bucket=bucket, Key="from")
    answer = s3.get_object(Bucket=bucket, Key="to/ü +")
    assert answer["Body"].read() == body
    assert (answer["ContentType"], answer["Metadata"], answer["ETag"]) == ("text/x", {"m": "1"}, etag)


def test_a_plus_in_a_source_is_a_space(s3, wire, bucket):
    """Go's QueryEscape writes it so, and S3 reads it so: of a copy and of a part of one."""
    s3.put_object(Bucket=bucket, Key="a b+c", Body=b"v")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="to")["UploadId"]
    source = {"x-amz-copy-source": f"{bucket}%2Fa+b%2Bc"}
    wire.put(bucket, "to", b"", source).expect(200)
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == b"v"
    part = [("partNumber", "1"), ("uploadId", upload)]
    wire.request("PUT", object_path(bucket, "to"), part, source).expect(200)


def test_a_copy_of_a_copy_of_a_copy(s3, bucket):
    body = content(3 * MIB)
    s3.put_object(Bucket=bucket, Key="c0", Body=body)
    for n in range(5):
        s3.copy_object(Bucket=bucket, Key=f"c{n + 1}", CopySource=f"{bucket}/c{n}")
        s3.delete_object(Bucket=bucket, Key=f"c{n}")
    assert s3.get_object(Bucket=bucket, Key="c5")["Body"].read() == body


def test_metadata_is_kept_or_replaced_as_told(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=b"v", ContentType="text/x", CacheControl="no-store", Metadata={"m": "1"})
    source = {"Bucket": bucket, "Key": "from"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source, MetadataDirective="COPY", Metadata={"n": "2"})
    kept = s3.head_object(Bucket=bucket, Key="kept")
    assert (kept["ContentType"], kept["CacheControl"], kept["Metadata"]) == ("text/x", "no-store", {"m": "1"})
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"})
    new = s3.head_object(Bucket=bucket, Key="new")
    assert new["Metadata"] == {"n": "2"} and "CacheControl" not in new


def test_a_copy_onto_itself_must_change_something(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata={"m": "1"})
    itself = dict(Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k"})
    with refused("InvalidRequest", 400):
        s3.copy_object(**itself)
    s3.copy_object(**itself, MetadataDirective="REPLACE", Metadata={"m": "2"})
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert (answer["Metadata"], answer["Body"].read()) == ({"m": "2"}, b"v")


def test_large_objects_change_their_metadata_in_place(s3, bucket):
    body = content(10 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    for n in range(3):
        s3.copy_object(
            Bucket=bucket, Key="k", CopySource=f"{bucket}/k", MetadataDirective="REPLACE", Metadata={"n": str(n)})
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert answer["Metadata"] == {"n": "2"} and answer["Body"].read() == body


def test_between_buckets(s3, bucket):
    s3.create_bucket(Bucket=f"{bucket}-to")
    s3.put_object(Bucket=bucket, Key="a/b", Body=content(100000))
    s3.copy_object(Bucket=f"{bucket}-to", Key="c", CopySource={"Bucket": bucket, "Key": "a/b"})
    assert s3.get_object(Bucket=f"{bucket}-to", Key="c")["Body"].read() == content(100000)


def test_a_multipart_object_is_copied_whole(s3, bucket):
    upload = Upload(s3, bucket, "from")
    upload.part(1, content(PART, "1"))
    upload.part(2, content(PART + 5, "2"))
    upload.complete()
    s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
    s3.delete_object(Bucket=bucket, Key="from")
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == content(PART, "1") + content(PART + 5, "2")


def test_sources_that_cannot_be(s3, wire, bucket):
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "missing"})
    with refused("NoSuchBucket", 404):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": "not-there", "Key": "k"})
    for source in ("", "nokey", "/", "//", "%ff/%ff"):
        answer = wire.request("PUT", object_path(bucket, "to"), headers={"x-amz-copy-source": source})
        assert 400 <= answer.status < 500, (source, answer)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_unknown_directive_is_refused(wire, bucket):
    wire.put(bucket, "from", b"v")
    headers = {"x-amz-copy-source": f"/{bucket}/from", "x-amz-metadata-directive": "MAYBE"}
    wire.request("PUT", object_path(bucket, "to"), headers=headers).expect(400, "InvalidArgument")


@pytest.mark.parametrize("form", ["/{}/a%20b%2Bc", "{}/a%20b%2Bc", "/{}/a+b%2Bc", "{}%2Fa+b%2Bc"])
def test_the_source_is_percent_encoded(wire, bucket, form):
    wire.put(bucket, "a b+c", b"v").expect(200)
    answer = wire.request("PUT", object_path(bucket, "to"), headers={"x-amz-copy-source": form.format(bucket)})
    assert answer.status == 200, answer
    assert wire.get(bucket, "to").body == b"v"


def test_a_storage_class_is_a_change_too(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata={"a": "1"})
    s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", StorageClass="STANDARD")
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "1"}
    with refused("InvalidStorageClass", 400):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", StorageClass="BOGUS")
    with refused("NotImplemented", 501):
        s3.put_object(Bucket=bucket, Key="k", Body=b"v", StorageClass="GLACIER")
