"""The multipart family: parts in any order, replaced parts, limits, listings, aborts, completions, checksums."""
import base64
import datetime
import hashlib
import threading

import pytest
from boto3.s3.transfer import TransferConfig

from .content import MIB, content
from .errors import refused
from .test_checksums import ALGORITHMS, checksum
from .waiting import until
from .wire import object_path

PART = 5 * MIB


class Upload:
    """One upload in progress: `part(number, body)`, then `complete()`."""

    def __init__(self, s3, bucket, key="k", **made):
        self.s3, self.parts = s3, {}
        self.id = s3.create_multipart_upload(Bucket=bucket, Key=key, **made)["UploadId"]
        self.where = dict(Bucket=bucket, Key=key, UploadId=self.id)

    def part(self, number, body, **more):
        answer = self.s3.upload_part(**self.where, PartNumber=number, Body=body, **more)
        named = {k: v for k, v in answer.items() if k.startswith("Checksum")}
        self.parts[number] = {"PartNumber": number, "ETag": answer["ETag"], **named}
        return answer

    def complete(self, numbers=None, **more):
        parts = [self.parts[n] for n in numbers or sorted(self.parts)]
        return self.s3.complete_multipart_upload(**self.where, MultipartUpload={"Parts": parts}, **more)

    def abort(self):
        self.s3.abort_multipart_upload(**self.where)


def etag_of(bodies):
    digest = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in bodies)).hexdigest()
    return f'"{digest}-{len(bodies)}"'


def read(s3, bucket, key="k"):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_parts_in_any_order_make_one_object(s3, bucket):
    bodies = {n: content(PART + n, f"part{n}") for n in (1, 2, 7)} | {10000: content(17, "last")}
    upload = Upload(s3, bucket, ContentType="text/plain", Metadata={"m": "1"})
    for number in (7, 10000, 1, 2):
        assert upload.part(number, bodies[number])["ETag"] == f'"{hashlib.md5(bodies[number]).hexdigest()}"'
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="k")
    whole = [bodies[n] for n in sorted(bodies)]
    done = upload.complete()
    assert done["ETag"] == etag_of(whole) and (done["Bucket"], done["Key"]) == (bucket, "k")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentLength"] == sum(map(len, whole)) and head["ETag"] == done["ETag"]
    assert head["ContentType"] == "text/plain" and head["Metadata"] == {"m": "1"}
    assert read(s3, bucket) == b"".join(whole)
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == done["ETag"]


def test_ranges_and_part_numbers_of_a_multipart_object(s3, bucket):
    bodies = [content(PART + n * 7, f"part{n}") for n in range(3)] + [content(1, "last")]
    upload = Upload(s3, bucket)
    for number, body in enumerate(bodies, 1):
        upload.part(number, body)
    upload.complete()
    whole, at = b"".join(bodies), 0
    for number, body in enumerate(bodies, 1):
        answer = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert answer["Body"].read() == body and answer["PartsCount"] == 4
        assert answer["ContentRange"] == f"bytes {at}-{at + len(body) - 1}/{len(whole)}"
        assert s3.head_object(Bucket=bucket, Key="k", PartNumber=number)["ContentLength"] == len(body)
        for first, last in ((at - 3, at + 3), (at, at), (at + len(body) - 1, at + len(body))):
            if 0 <= first and last < len(whole):
                ranged = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}")
                assert ranged["Body"].read() == whole[first:last + 1]
        at += len(body)
    with refused("InvalidPartNumber", 416):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=5)


def test_the_last_upload_of_a_part_counts(s3, bucket):
    upload = Upload(s3, bucket)
    old = upload.part(1, content(PART, "old"))
    upload.part(2, b"end")
    upload.part(1, content(PART + 1, "new"))
    with refused("InvalidPart", 400):
        stale = [{"PartNumber": 1, "ETag": old["ETag"]}, upload.parts[2]]
        s3.complete_multipart_upload(**upload.where, MultipartUpload={"Parts": stale})
    upload.complete()
    assert read(s3, bucket) == content(PART + 1, "new") + b"end"


def test_parts_left_out_of_the_completion_are_gone(s3, bucket):
    upload = Upload(s3, bucket)
    for number in (1, 2, 3):
        upload.part(number, content(PART, str(number)))
    upload.complete([1, 3])
    assert read(s3, bucket) == content(PART, "1") + content(PART, "3")


def test_completions_that_cannot_be(s3, wire, bucket):
    upload = Upload(s3, bucket)
    upload.part(1, content(PART - 1, "short"))
    upload.part(2, content(PART, "2"))
    upload.part(3, b"3")
    with refused("EntityTooSmall", 400):
        upload.complete()
    with refused("InvalidPartOrder", 400):
        upload.complete([3, 2])
    with refused("InvalidPartOrder", 400):
        upload.complete([2, 2])
    missing = {"PartNumber": 9, "ETag": '"0123456789abcdef0123456789abcdef"'}
    with refused("InvalidPart", 400):
        s3.complete_multipart_upload(**upload.where, MultipartUpload={"Parts": [missing]})
    with refused("MalformedXML", 400):
        s3.complete_multipart_upload(**upload.where, MultipartUpload={"Parts": []})
    for wrong in ({"PartNumber": -4}, {"ChecksumCRC32": "short"}, {"ChecksumCRC32": "AAAAAA==", "ChecksumCRC32C": "AAAAAA=="}):
        with refused("InvalidArgument", 400):
            s3.complete_multipart_upload(**upload.where, MultipartUpload={"Parts": [{**upload.parts[2], **wrong}]})
    with refused("InvalidRequest", 400):
        upload.complete([2, 3], MpuObjectSize=-1)
    path = object_path(bucket, "k")
    wire.request("POST", path, [("uploadId", upload.id)], body=b"<not xml").expect(400, "MalformedXML")
    upload.complete([2, 3])
    assert read(s3, bucket) == content(PART, "2") + b"3"


def test_an_upload_that_is_not_there(s3, bucket):
    where = dict(Bucket=bucket, Key="k", UploadId="bm90LXRoZXJl")
    part = [{"PartNumber": 1, "ETag": '"0123456789abcdef0123456789abcdef"'}]
    for call in (
        lambda: s3.upload_part(**where, PartNumber=1, Body=b"v"),
        lambda: s3.list_parts(**where),
        lambda: s3.abort_multipart_upload(**where),
        lambda: s3.complete_multipart_upload(**where, MultipartUpload={"Parts": part}),
    ):
        with refused("NoSuchUpload", 404):
            call()
    upload = Upload(s3, bucket, "one-key")
    with refused("NoSuchUpload", 404):
        s3.upload_part(Bucket=bucket, Key="another-key", UploadId=upload.id, PartNumber=1, Body=b"v")


def test_only_copies_name_a_source(wire, s3, bucket):
    """Policies would judge them as copies, whose tags are those of the source."""
    headers = {"x-amz-copy-source": f"{bucket}/k", "x-amz-tagging": "a=1"}
    wire.request("POST", object_path(bucket, "k"), [("uploads", "")], headers).expect(400, "InvalidArgument")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_part_numbers_have_limits(wire, s3, bucket):
    upload = Upload(s3, bucket)
    for number in ("0", "10001", "-1", "x"):
        answer = wire.request("PUT", object_path(bucket, "k"), [("partNumber", number), ("uploadId", upload.id)], body=b"v")
        answer.expect(400, "InvalidArgument")
    upload.abort()


def test_an_abort_leaves_nothing(basalt, s3, bucket):
    upload = Upload(s3, bucket)
    upload.part(1, content(PART))
    upload.abort()
    with refused("NoSuchUpload", 404):
        upload.part(2, b"v")
    with refused("NoSuchUpload", 404):
        upload.complete()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_space_of_an_aborted_upload_comes_back(basalt, s3, bucket):
    before = basalt.used_bytes()
    upload = Upload(s3, bucket)
    for number in range(1, 7):
        upload.part(number, content(2 * PART, str(number)))
    upload.abort()
    until(lambda: basalt.used_bytes() < before + 4 * PART, 60, "the space of the aborted parts")


def test_a_completion_may_be_asked_for_again(s3, bucket):
    upload = Upload(s3, bucket)
    upload.part(1, b"only")
    first = upload.complete()
    assert upload.complete()["ETag"] == first["ETag"]
    assert read(s3, bucket) == b"only"


def test_the_old_object_stays_until_the_completion(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    upload = Upload(s3, bucket)
    upload.part(1, b"new")
    assert read(s3, bucket) == b"old"
    upload.complete()
    assert read(s3, bucket) == b"new"


def test_two_uploads_of_one_key_do_not_mix(s3, bucket):
    first, second = Upload(s3, bucket), Upload(s3, bucket)
    first.part(1, b"first")
    second.part(1, b"second")
    second.complete()
    assert read(s3, bucket) == b"second"
    first.complete()
    assert read(s3, bucket) == b"first"


def test_parts_are_listed_in_pages(s3, bucket):
    upload = Upload(s3, bucket)
    for number in (5, 1, 9, 3, 7):
        upload.part(number, b"x" * number)
    found, more = [], {}
    while True:
        answer = s3.list_parts(**upload.where, MaxParts=2, **more)
        found += [(p["PartNumber"], p["Size"], p["ETag"]) for p in answer["Parts"]]
        assert len(answer["Parts"]) <= 2
        if not answer["IsTruncated"]:
            break
        more = dict(PartNumberMarker=answer["NextPartNumberMarker"])
    assert found == [(n, n, f'"{hashlib.md5(b"x" * n).hexdigest()}"') for n in (1, 3, 5, 7, 9)]
    none = s3.list_parts(**upload.where, MaxParts=0)
    assert not none["IsTruncated"], "a page of none could be followed for ever"
    upload.abort()


def test_uploads_are_listed_by_key_prefix_delimiter_and_page(s3, bucket):
    keys = ["a/1", "a/2", "b", "c/1", "d"]
    uploads = [Upload(s3, bucket, key) for key in keys for _ in range(2)]
    wanted = sorted(u.where["Key"] for u in uploads)
    listed = s3.list_multipart_uploads(Bucket=bucket)
    assert [u["Key"] for u in listed["Uploads"]] == wanted
    assert {u["UploadId"] for u in listed["Uploads"]} == {u.id for u in uploads}
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=bucket, Prefix="a/")["Uploads"]] == ["a/1", "a/1", "a/2", "a/2"]
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in rolled["CommonPrefixes"]] == ["a/", "c/"]
    assert [u["Key"] for u in rolled["Uploads"]] == ["b", "b", "d", "d"]
    found, more = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=3, **more)
        found += [(u["Key"], u["UploadId"]) for u in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        more = dict(KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"])
    with refused("InvalidArgument", 400):
        s3.list_multipart_uploads(Bucket=bucket, KeyMarker="b", UploadIdMarker="never-was-one")
    assert sorted(found) == sorted((u.where["Key"], u.id) for u in uploads) and len(found) == 10
    for upload in uploads:
        upload.abort()


def test_parts_may_be_copied(s3, bucket):
    source = content(12 * MIB, "source")
    s3.put_object(Bucket=bucket, Key="s/ö +", Body=source)
    upload = Upload(s3, bucket)
    copy = dict(**upload.where, CopySource={"Bucket": bucket, "Key": "s/ö +"})
    whole = s3.upload_part_copy(**copy, PartNumber=1)["CopyPartResult"]
    ranged = s3.upload_part_copy(**copy, PartNumber=2, CopySourceRange=f"bytes=65455-{65455 + PART}")["CopyPartResult"]
    assert whole["ETag"] == f'"{hashlib.md5(source).hexdigest()}"'
    with refused("InvalidArgument", 400):
        s3.upload_part_copy(**copy, PartNumber=3, CopySourceRange=f"bytes=0-{len(source)}")
    for source_range in ("0-2", "bytes=0-", "bytes=-5", "bytes=2-1", "bytes=0-1,3-4", "bytes=a-b"):
        with refused("InvalidArgument", 400):
            s3.upload_part_copy(**{**copy, "CopySource": f"{bucket}/none"}, PartNumber=3, CopySourceRange=source_range)
    upload.parts = {n: {"PartNumber": n, "ETag": r["ETag"]} for n, r in ((1, whole), (2, ranged))}
    upload.part(3, b"end")
    upload.complete()
    s3.delete_object(Bucket=bucket, Key="s/ö +")
    assert read(s3, bucket) == source + source[65455:65455 + PART + 1] + b"end"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128"])
def test_composite_checksums(s3, bucket, algorithm):
    bodies = [content(PART, "one"), content(1234, "two")]
    upload = Upload(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="COMPOSITE")
    for number, body in enumerate(bodies, 1):
        assert upload.part(number, body, ChecksumAlgorithm=algorithm)[f"Checksum{algorithm}"] == checksum(algorithm, body)
    digest = ALGORITHMS[algorithm](b"".join(ALGORITHMS[algorithm](b) for b in bodies))
    wanted = base64.b64encode(digest).decode() + "-2"
    # Who tells how many parts there are has to be right.
    with refused("BadDigest", 400):
        upload.complete(**{f"Checksum{algorithm}": wanted.removesuffix("2") + "3"})
    done = upload.complete(**{f"Checksum{algorithm}": wanted})
    assert done[f"Checksum{algorithm}"] == wanted and done.get("ChecksumType", "COMPOSITE") == "COMPOSITE"
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (wanted, "COMPOSITE")
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum"])["Checksum"]
    assert told == {f"Checksum{algorithm}": wanted.removesuffix("-2"), "ChecksumType": "COMPOSITE"}


def test_a_composite_checksum_is_made_of_what_the_client_sends(s3, wire, bucket):
    upload = Upload(s3, bucket, ChecksumAlgorithm="SHA256", ChecksumType="composite")
    wire.request("PUT", object_path(bucket, "k"), [("partNumber", "1"), ("uploadId", upload.id)], body=b"v").expect(
        400, "InvalidRequest")
    assert "Parts" not in s3.list_parts(**upload.where)
    upload.part(1, b"v", ChecksumAlgorithm="SHA256")
    for wrong in ("short", checksum("SHA256", b"v") + "-1x"):
        with refused("InvalidRequest", 400):
            upload.complete(ChecksumSHA256=wrong)
    upload.complete()
    wire.request("POST", object_path(bucket, "k"), [("uploads", "")], {"x-amz-checksum-type": "FULL_OBJECT"}).expect(
        400, "InvalidRequest")


def test_a_part_tells_the_checksum_that_it_came_with(s3, wire, bucket):
    """The whole is summed up all the same."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")
    place = object_path(bucket, "k")
    query = [("partNumber", "1"), ("uploadId", upload["UploadId"])]
    sums = lambda answer: {name for name in answer.headers if name.startswith("x-amz-checksum")}
    header = {"x-amz-checksum-crc64nvme": checksum("CRC64NVME", b"v")}
    assert sums(wire.request("PUT", place, query, header, b"v").expect(200)) == set(header)
    part = wire.request("PUT", place, query, body=b"v").expect(200)
    assert sums(part) == set()
    whole = s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"ETag": part.etag, "PartNumber": 1}]})
    assert whole["ChecksumCRC64NVME"] == checksum("CRC64NVME", b"v")


def test_an_abort_may_say_when_the_upload_began(s3, bucket):
    upload = Upload(s3, bucket)
    began = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
    with refused("PreconditionFailed", 412):
        s3.abort_multipart_upload(**upload.where, IfMatchInitiatedTime=began - datetime.timedelta(days=1))
    assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    s3.abort_multipart_upload(**upload.where, IfMatchInitiatedTime=began)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("kind, other", [("COMPOSITE", "FULL_OBJECT"), ("FULL_OBJECT", "COMPOSITE")])
def test_a_completion_names_the_checksum_type_of_its_upload(s3, bucket, kind, other):
    upload = Upload(s3, bucket, ChecksumAlgorithm="CRC32", ChecksumType=kind)
    upload.part(1, b"v", ChecksumAlgorithm="CRC32")
    with refused("BadDigest", 400):
        upload.complete(ChecksumType=other)
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="k")
    assert upload.complete(ChecksumType=kind)["ChecksumType"] == kind


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_full_object_checksums(s3, bucket, algorithm):
    bodies = [content(PART, "one"), content(PART + 3, "two"), content(1, "three")]
    upload = Upload(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    for number, body in enumerate(bodies, 1):
        upload.part(number, body, ChecksumAlgorithm=algorithm)
    wanted = checksum(algorithm, b"".join(bodies))
    with refused("BadDigest", 400):
        upload.complete(ChecksumType="FULL_OBJECT", **{f"Checksum{algorithm}": checksum(algorithm, b"other")})
    done = upload.complete(ChecksumType="FULL_OBJECT", **{f"Checksum{algorithm}": wanted})
    assert (done[f"Checksum{algorithm}"], done["ChecksumType"]) == (wanted, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (wanted, "FULL_OBJECT")
    answer = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert answer["Body"].read() == b"".join(bodies)


def test_a_wrong_checksum_of_a_part_writes_no_part(s3, bucket):
    upload = Upload(s3, bucket)
    with refused("BadDigest", 400):
        upload.part(1, b"v", ChecksumCRC32="AAAAAA==")
    assert "Parts" not in s3.list_parts(**upload.where)
    upload.abort()


def test_the_transfer_manager_of_the_sdk(s3, bucket, tmp_path):
    """The path that most programs take: a file up and down in concurrent parts."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content(64 * MIB + 12345, "file"))
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=6)
    s3.upload_file(str(source), bucket, "file", Config=config)
    s3.download_file(bucket, "file", str(back), Config=config)
    assert back.read_bytes() == source.read_bytes()
    assert s3.head_object(Bucket=bucket, Key="file")["ETag"].endswith('-9"')


def test_many_parts(basalt, s3, bucket):
    """300 parts from 6 threads; only the last one may be small, so the completion is refused whole first."""
    upload = Upload(s3, bucket)
    body = content(20000, "small")

    def some(start):
        for number in range(start, 301, 6):
            upload.part(number, body)

    threads = [threading.Thread(target=some, args=(n,), daemon=True) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with refused("EntityTooSmall", 400):
        upload.complete()
    assert sum(len(p["Parts"]) for p in s3.get_paginator("list_parts").paginate(**upload.where)) == 300
    upload.abort()


def test_a_completion_with_a_checksum_of_another_kind_is_refused_and_not_ignored(s3, bucket):
    upload = Upload(s3, bucket, ChecksumAlgorithm="SHA256")
    upload.part(1, b"only", ChecksumAlgorithm="SHA256")
    with refused("InvalidRequest", 400):
        upload.complete(ChecksumCRC32C=checksum("CRC32C", b"only"))
    kept = upload.parts[1]
    upload.parts[1] = {"PartNumber": 1, "ETag": kept["ETag"], "ChecksumCRC32": checksum("CRC32", b"only")}
    with refused("InvalidPart", 400):
        upload.complete()
    upload.parts[1] = kept
    upload.complete()
    assert read(s3, bucket) == b"only"
