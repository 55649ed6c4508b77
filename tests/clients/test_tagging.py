"""Tags of objects and of their versions: by header, by document, through copies and multipart uploads, and what
cannot be a tag."""
import pytest

from .errors import refused
from .test_multipart import PART, Upload
from .test_versioning import enable
from .wire import object_path


def tags(s3, bucket, key="k", **which):
    return [(t["Key"], t["Value"]) for t in s3.get_object_tagging(Bucket=bucket, Key=key, **which)["TagSet"]]


def tag(s3, bucket, pairs, key="k", **which):
    document = {"TagSet": [{"Key": k, "Value": v} for k, v in pairs]}
    return s3.put_object_tagging(Bucket=bucket, Key=key, Tagging=document, **which)


def test_tags_are_put_replaced_and_deleted(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata={"m": "1"})
    before = s3.head_object(Bucket=bucket, Key="k")
    assert tags(s3, bucket) == [] and "TagCount" not in before
    pairs = [("a", "1"), ("ü ß", "日本"), ("x:y/z", ""), ("c", "+-=._:/@")]
    tag(s3, bucket, pairs)
    assert tags(s3, bucket) == sorted(pairs)
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert (answer["TagCount"], answer["Body"].read(), answer["Metadata"]) == (4, b"v", {"m": "1"})
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ETag"], head["LastModified"]) == (before["ETag"], before["LastModified"])
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "4"
    tag(s3, bucket, [("b", "2")])
    assert tags(s3, bucket) == [("b", "2")]
    assert s3.delete_object_tagging(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert tags(s3, bucket) == []


@pytest.mark.parametrize("size", [0, 10, 20000, 300000])
def test_tags_come_with_an_object_and_go_with_it(s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v" * size, Tagging="a=1&b=x%20y&c=")
    assert tags(s3, bucket) == [("a", "1"), ("b", "x y"), ("c", "")]
    tag(s3, bucket, [("n", "1")])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v" * size
    s3.put_object(Bucket=bucket, Key="k", Body=b"w")
    assert tags(s3, bucket) == []


def test_copies_take_tags_along_or_their_own(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=b"v", Tagging="a=1")
    source = {"Bucket": bucket, "Key": "from"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="same", CopySource=source, TaggingDirective="COPY", MetadataDirective="REPLACE")
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, TaggingDirective="REPLACE", Tagging="b=2")
    s3.copy_object(Bucket=bucket, Key="none", CopySource=source, TaggingDirective="REPLACE")
    assert tags(s3, bucket, "kept") == tags(s3, bucket, "same") == [("a", "1")]
    assert tags(s3, bucket, "new") == [("b", "2")] and tags(s3, bucket, "none") == []
    with refused("InvalidArgument", 400):
        s3.copy_object(Bucket=bucket, Key="none", CopySource=source, TaggingDirective="MAYBE")


def test_an_upload_brings_its_tags(s3, bucket):
    upload = Upload(s3, bucket, "k", Tagging="a=1&b=2")
    upload.part(1, b"v" * PART)
    upload.part(2, b"w")
    upload.complete()
    assert tags(s3, bucket) == [("a", "1"), ("b", "2")]
    tag(s3, bucket, [("c", "3")])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v" * PART + b"w"


def test_each_version_has_its_own(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0", Tagging="n=0")
    enable(s3, bucket)
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="n=1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2", Tagging="n=2")["VersionId"]
    assert tag(s3, bucket, [("n", "one")], VersionId=first)["VersionId"] == first
    assert tags(s3, bucket) == [("n", "2")] == tags(s3, bucket, VersionId=second)
    assert tags(s3, bucket, VersionId=first) == [("n", "one")] and tags(s3, bucket, VersionId="null") == [("n", "0")]
    assert s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)["VersionId"] == first
    assert s3.delete_object_tagging(Bucket=bucket, Key="k", VersionId=first)["VersionId"] == first
    assert tags(s3, bucket, VersionId=first) == [] and tags(s3, bucket) == [("n", "2")]
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == second
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    for operation in (tags, lambda *a, **w: tag(*a, [("a", "1")], **w)):
        with refused("NoSuchKey", 404):
            operation(s3, bucket)
        with refused("MethodNotAllowed", 405):
            operation(s3, bucket, VersionId=marker)


def test_what_cannot_be_a_tag(s3, wire, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", Tagging="kept=1")
    longest = [("k" * 128, "v" * 256)]
    tag(s3, bucket, longest)
    assert tags(s3, bucket) == longest
    ten = [(f"k{n}", str(n)) for n in range(10)]
    tag(s3, bucket, ten)
    for pairs in ([*ten, ("one", "more")], [("k" * 129, "v")], [("k", "v" * 257)],
                  [("a", "1"), ("a", "2")], [("aws:x", "1")], [("a<", "1")]):
        with refused("InvalidTag", 400):
            tag(s3, bucket, pairs)
    for header in ("&".join(f"k{n}=v" for n in range(11)), "k" * 129 + "=v"):
        with refused("InvalidTag", 400):
            s3.put_object(Bucket=bucket, Key="k", Body=b"w", Tagging=header)
    for header in ("a=%zz", "a=1&a=2", "=v"):
        with refused("InvalidArgument", 400):
            s3.put_object(Bucket=bucket, Key="k", Body=b"w", Tagging=header)
    for body in (b"", b"<Tagging/>", b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", b"<Tag/>"):
        wire.request("PUT", object_path(bucket, "k"), query=[("tagging", "")], body=body).expect(400, "MalformedXML")
    assert tags(s3, bucket) == ten and s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    for operation in (tags, lambda *a: tag(*a[:2], [("a", "1")], key=a[2])):
        with refused("NoSuchKey", 404):
            operation(s3, bucket, "missing")
        with refused("NoSuchBucket", 404):
            operation(s3, f"{bucket}-not", "k")
