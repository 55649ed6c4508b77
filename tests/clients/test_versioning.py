"""Versions as clients see them: the three states of a bucket, null versions, delete markers, reads, copies and
deletions of single versions, listings, and that nothing is lost or shown twice while others write.
"""
import threading

import pytest

from .content import MIB, content
from .errors import refused
from .test_multipart import PART, Upload
from .wire import object_path


def enable(s3, bucket, status="Enabled"):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


@pytest.fixture
def versioned(s3, bucket):
    enable(s3, bucket)
    return bucket


def put(s3, bucket, body, key="k", **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId")


def body_of(s3, bucket, key="k", **which):
    return s3.get_object(Bucket=bucket, Key=key, **which)["Body"].read()


def versions(s3, bucket, **query):
    """(key, id, newest, is a marker) from all pages; a page has versions before markers."""
    found = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, **query):
        found += [(v["Key"], v["VersionId"], v["IsLatest"], False) for v in page.get("Versions", [])]
        found += [(m["Key"], m["VersionId"], m["IsLatest"], True) for m in page.get("DeleteMarkers", [])]
    return found


def status_of(error):
    return error.value.response["ResponseMetadata"]


def test_a_bucket_says_its_state(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended", "Enabled", "Enabled"):
        enable(s3, bucket, status)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    with refused("MalformedXML", 400):
        enable(s3, bucket, "Disabled")


def test_a_bucket_that_was_never_versioned_tells_no_ids(s3, bucket):
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert "VersionId" not in answer
    assert "VersionId" not in s3.get_object(Bucket=bucket, Key="k")
    assert versions(s3, bucket) == [("k", "null", True, False)]
    assert body_of(s3, bucket, VersionId="null") == b"1"
    assert "DeleteMarker" not in s3.delete_object(Bucket=bucket, Key="k")
    assert versions(s3, bucket) == []


@pytest.mark.parametrize("size", [0, 5, 20000, 3 * MIB])
def test_every_version_reads_back(s3, versioned, size):
    bodies = [content(size + n, n) for n in range(5)]
    ids = [put(s3, versioned, body) for body in bodies]
    assert len(set(ids)) == 5 and None not in ids and "null" not in ids
    current = s3.get_object(Bucket=versioned, Key="k")
    assert (current["VersionId"], current["Body"].read()) == (ids[-1], bodies[-1])
    for id, body in zip(ids, bodies):
        assert body_of(s3, versioned, VersionId=id) == body
        head = s3.head_object(Bucket=versioned, Key="k", VersionId=id)
        assert (head["VersionId"], head["ContentLength"]) == (id, len(body))
        attributes = s3.get_object_attributes(Bucket=versioned, Key="k", VersionId=id, ObjectAttributes=["ObjectSize"])
        assert (attributes["VersionId"], attributes["ObjectSize"]) == (id, len(body))
    assert versions(s3, versioned) == [("k", id, id == ids[-1], False) for id in reversed(ids)]
    # The newest goes, and the one before it is the current one.
    for gone in range(4, 0, -1):
        answer = s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[gone])
        assert answer["VersionId"] == ids[gone] and "DeleteMarker" not in answer
        assert body_of(s3, versioned) == bodies[gone - 1]
        with refused("NoSuchVersion", 404):
            s3.get_object(Bucket=versioned, Key="k", VersionId=ids[gone])
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[0])
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=versioned, Key="k")
    assert versions(s3, versioned) == []


def test_a_deletion_leaves_a_marker_that_can_be_taken_away(s3, versioned):
    id = put(s3, versioned, b"1")
    made = s3.delete_object(Bucket=versioned, Key="k")
    assert made["DeleteMarker"] is True and made["VersionId"] != id
    with pytest.raises(s3.exceptions.NoSuchKey) as error:
        s3.get_object(Bucket=versioned, Key="k")
    headers = status_of(error)["HTTPHeaders"]
    assert headers["x-amz-delete-marker"] == "true" and headers["x-amz-version-id"] == made["VersionId"]
    with refused(None, 404):
        s3.head_object(Bucket=versioned, Key="k")
    with pytest.raises(Exception) as error:
        s3.get_object(Bucket=versioned, Key="k", VersionId=made["VersionId"])
    assert error.value.response["Error"]["Code"] == "MethodNotAllowed" and status_of(error)["HTTPStatusCode"] == 405
    assert status_of(error)["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    assert status_of(error)["HTTPHeaders"]["allow"] == "DELETE"
    with refused(None, 405):
        s3.head_object(Bucket=versioned, Key="k", VersionId=made["VersionId"])
    assert body_of(s3, versioned, VersionId=id) == b"1"
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)
    assert sorted(versions(s3, versioned)) == sorted([("k", id, False, False), ("k", made["VersionId"], True, True)])
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=versioned)
    taken = s3.delete_object(Bucket=versioned, Key="k", VersionId=made["VersionId"])
    assert (taken["DeleteMarker"], taken["VersionId"]) == (True, made["VersionId"])
    assert body_of(s3, versioned) == b"1"


def test_markers_stand_on_each_other_and_where_nothing_was(s3, versioned):
    ids = [s3.delete_object(Bucket=versioned, Key="never")["VersionId"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert versions(s3, versioned) == [("never", id, id == ids[-1], True) for id in reversed(ids)]
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=versioned)
    for id in ids:
        s3.delete_object(Bucket=versioned, Key="never", VersionId=id)
    s3.delete_bucket(Bucket=versioned)


def test_an_object_from_before_is_the_null_version(s3, bucket):
    put(s3, bucket, b"before")
    enable(s3, bucket)
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    id = put(s3, bucket, b"after")
    assert body_of(s3, bucket) == b"after" and body_of(s3, bucket, VersionId="null") == b"before"
    assert versions(s3, bucket) == [("k", id, True, False), ("k", "null", False, False)]
    answer = s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert answer["VersionId"] == "null"
    assert versions(s3, bucket) == [("k", id, True, False)]


@pytest.mark.parametrize("before", [True, False])
def test_a_suspended_bucket_has_one_null_version_a_key(s3, bucket, before):
    if before:
        put(s3, bucket, b"before")
    enable(s3, bucket)
    ids = [put(s3, bucket, str(n).encode()) for n in range(3)]
    enable(s3, bucket, "Suspended")
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == ids[-1]
    for n in range(3):
        assert put(s3, bucket, f"null {n}".encode()) in ("null", None)
        assert body_of(s3, bucket) == f"null {n}".encode() == body_of(s3, bucket, VersionId="null")
        expected = [("k", "null", True, False)] + [("k", id, False, False) for id in reversed(ids)]
        assert versions(s3, bucket) == expected
    made = s3.delete_object(Bucket=bucket, Key="k")
    assert (made["DeleteMarker"], made["VersionId"]) == (True, "null")
    with refused("MethodNotAllowed", 405):
        s3.get_object(Bucket=bucket, Key="k", VersionId="null")
    assert ("k", "null", True, True) in versions(s3, bucket) and len(versions(s3, bucket)) == 4
    enable(s3, bucket)
    newest = put(s3, bucket, b"again")
    assert [line[:3] for line in versions(s3, bucket) if not line[3]] == [
        ("k", id, id == newest) for id in [newest, *reversed(ids)]]
    enable(s3, bucket, "Suspended")
    put(s3, bucket, b"null again")
    assert len(versions(s3, bucket)) == 5 and body_of(s3, bucket, VersionId="null") == b"null again"
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert body_of(s3, bucket) == b"again"
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="k", VersionId="null")


def test_ids_that_name_nothing(s3, versioned):
    id, other = put(s3, versioned, b"1"), put(s3, versioned, b"2", key="other")
    for operation in (s3.get_object, s3.get_object_tagging):
        # In capitals too: policies compare ids letter by letter.
        for bad in ("x", "0" * 32, id[:-1], id.upper(), "3HL4kqtJlcpXroDTDmJ-rmSpXd3dIbrHY-MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo"):
            with refused("InvalidArgument", 400):
                operation(Bucket=versioned, Key="k", VersionId=bad)
        with refused("NoSuchVersion", 404) as fields:
            operation(Bucket=versioned, Key="k", VersionId=other)
        assert (fields["Key"], fields["VersionId"]) == ("k", other)
        with refused("NoSuchVersion", 404):
            operation(Bucket=versioned, Key="k", VersionId="null")
    with refused("InvalidArgument", 400):
        s3.delete_object(Bucket=versioned, Key="k", VersionId="x")
    # What is not there can be deleted, and takes nothing along.
    s3.delete_object(Bucket=versioned, Key="k", VersionId=other)
    s3.delete_object(Bucket=versioned, Key="k", VersionId="null")
    assert len(versions(s3, versioned)) == 2


def test_an_empty_id_and_one_where_none_belongs(s3, wire, versioned):
    wire.request("GET", object_path(versioned, "k"), query=[("versionId", "")]).expect(400, "InvalidArgument")
    wire.request("PUT", object_path(versioned, "k"), query=[("versionId", "null")], body=b"v").expect(400, "InvalidArgument")


def test_a_batch_deletes_versions_and_makes_markers(s3, versioned):
    ids = {key: put(s3, versioned, b"1", key=key) for key in "abc"}
    objects = [{"Key": "a"}, {"Key": "b", "VersionId": ids["b"]}, {"Key": "never"},
               {"Key": "c", "VersionId": "garbage"}, {"Key": "c", "VersionId": ids["a"]}]
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": objects})
    assert [(e["Key"], e["VersionId"], e["Code"]) for e in answer["Errors"]] == [("c", "garbage", "InvalidArgument")]
    a, b, never, c = answer["Deleted"]
    assert a["DeleteMarker"] and a["DeleteMarkerVersionId"] and "VersionId" not in a
    assert b == {"Key": "b", "VersionId": ids["b"]} and c == {"Key": "c", "VersionId": ids["a"]}
    assert never["DeleteMarker"]
    again = s3.delete_objects(Bucket=versioned, Delete={"Objects": [
        {"Key": "a", "VersionId": a["DeleteMarkerVersionId"]}]})["Deleted"][0]
    assert again["DeleteMarker"] and again["VersionId"] == again["DeleteMarkerVersionId"] == a["DeleteMarkerVersionId"]
    assert body_of(s3, versioned, "a") == b"1" and body_of(s3, versioned, "c") == b"1"


def test_an_older_version_is_copied_and_restored(s3, versioned):
    first, second = put(s3, versioned, b"1", Metadata={"n": "1"}), put(s3, versioned, b"2", Metadata={"n": "2"})
    source = {"Bucket": versioned, "Key": "k", "VersionId": first}
    copy = s3.copy_object(Bucket=versioned, Key="to", CopySource=source)
    assert copy["CopySourceVersionId"] == first and copy["VersionId"] not in (first, second)
    assert body_of(s3, versioned, "to") == b"1"
    restored = s3.copy_object(Bucket=versioned, Key="k", CopySource=source)
    current = s3.get_object(Bucket=versioned, Key="k")
    assert (current["VersionId"], current["Body"].read(), current["Metadata"]) == (restored["VersionId"], b"1", {"n": "1"})
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=versioned, Key="k", CopySource={"Bucket": versioned, "Key": "k"})
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=versioned, Key="to", CopySource={"Bucket": versioned, "Key": "k"})
    for id, code, status in ((marker, "InvalidRequest", 400), ("x", "InvalidArgument", 400),
                             (copy["VersionId"], "NoSuchVersion", 404)):
        with refused(code, status):
            s3.copy_object(Bucket=versioned, Key="to", CopySource={"Bucket": versioned, "Key": "k", "VersionId": id})
    assert len(versions(s3, versioned)) == 5


def test_parts_of_an_older_version_make_a_new_one(s3, versioned):
    body = content(PART, "old")
    first = put(s3, versioned, body)
    put(s3, versioned, b"new")
    upload = Upload(s3, versioned, "k")
    part = s3.upload_part_copy(
        Bucket=versioned, Key="k", UploadId=upload.id, PartNumber=1,
        CopySource={"Bucket": versioned, "Key": "k", "VersionId": first})
    assert part["CopySourceVersionId"] == first
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    done = s3.complete_multipart_upload(
        Bucket=versioned, Key="k", UploadId=upload.id, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == done["VersionId"]
    assert body_of(s3, versioned) == body and len(versions(s3, versioned)) == 3


def test_multipart_versions_keep_their_parts_apart(s3, versioned):
    ids = []
    for n in range(3):
        upload = Upload(s3, versioned, "k")
        upload.part(1, content(PART, f"{n}a"))
        upload.part(2, content(100 + n, f"{n}b"))
        ids.append(upload.complete()["VersionId"])
    for gone in (1, 2):
        s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[gone])
        for n in {0, 1, 2} - set(range(1, gone + 1)):
            assert body_of(s3, versioned, VersionId=ids[n]) == content(PART, f"{n}a") + content(100 + n, f"{n}b")
    part = s3.get_object(Bucket=versioned, Key="k", PartNumber=2, VersionId=ids[0])
    assert part["Body"].read() == content(100, "0b")


def test_conditions_see_a_marker_as_nothing(s3, versioned):
    put(s3, versioned, b"1")
    with refused("PreconditionFailed", 412):
        put(s3, versioned, b"2", IfNoneMatch="*")
    s3.delete_object(Bucket=versioned, Key="k")
    with refused("NoSuchKey", 404):
        put(s3, versioned, b"2", IfMatch="*")
    id = put(s3, versioned, b"2", IfNoneMatch="*")
    etag = s3.head_object(Bucket=versioned, Key="k")["ETag"]
    put(s3, versioned, b"3", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        put(s3, versioned, b"4", IfMatch=etag)
    upload = Upload(s3, versioned, "k")
    part = s3.upload_part(Bucket=versioned, Key="k", UploadId=upload.id, PartNumber=1, Body=b"p")
    done = dict(Bucket=versioned, Key="k", UploadId=upload.id,
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    for condition in (dict(IfMatch=etag), dict(IfNoneMatch="*")):
        with refused("PreconditionFailed", 412):
            s3.complete_multipart_upload(**done, **condition)
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=versioned, Key="k", IfMatch=etag)
    # A version is judged by itself.
    s3.delete_object(Bucket=versioned, Key="k", VersionId=id, IfMatch=etag)
    s3.complete_multipart_upload(**done, IfMatch=s3.head_object(Bucket=versioned, Key="k")["ETag"])
    assert body_of(s3, versioned) == b"p"


def test_reads_of_a_version_take_ranges_and_conditions(s3, versioned):
    id = put(s3, versioned, b"0123456789")
    put(s3, versioned, b"new")
    answer = s3.get_object(Bucket=versioned, Key="k", VersionId=id, Range="bytes=2-4")
    assert (answer["Body"].read(), answer["VersionId"], answer["ContentRange"]) == (b"234", id, "bytes 2-4/10")
    etag = s3.head_object(Bucket=versioned, Key="k", VersionId=id)["ETag"]
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket=versioned, Key="k", IfMatch=etag)
    s3.get_object(Bucket=versioned, Key="k", VersionId=id, IfMatch=etag)


def test_pages_of_versions_add_up(s3, versioned):
    keys = ["a", "a/1", "a/2", "b", "c/x/1", "c/y", "d"]
    for n in range(3):
        for key in keys:
            put(s3, versioned, str(n).encode(), key=key)
    for key in ("a", "c/y"):
        s3.delete_object(Bucket=versioned, Key=key)
    whole = s3.list_object_versions(Bucket=versioned)
    ids = [v["VersionId"] for v in whole["Versions"]] + [m["VersionId"] for m in whole["DeleteMarkers"]]
    assert len(ids) == 23 and sum(v["IsLatest"] for v in whole["Versions"]) == 5
    for limit in (1, 2, 3, 7, 22, 23):
        pages, found = {}, []
        while True:
            page = s3.list_object_versions(Bucket=versioned, MaxKeys=limit, **pages)
            lines = page.get("Versions", []) + page.get("DeleteMarkers", [])
            assert len(lines) == limit or not page["IsTruncated"]
            found += [line["VersionId"] for line in lines]
            if not page["IsTruncated"]:
                break
            pages = dict(KeyMarker=page["NextKeyMarker"], VersionIdMarker=page["NextVersionIdMarker"])
        assert sorted(found) == sorted(ids), limit
    page = s3.list_object_versions(Bucket=versioned, Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["a/", "c/"]
    assert {v["Key"] for v in page["Versions"]} == {"a", "b", "d"}
    page = s3.list_object_versions(Bucket=versioned, Prefix="c/", Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["c/x/"] and len(page["Versions"]) == 3
    page = s3.list_object_versions(Bucket=versioned, KeyMarker="b")
    assert {v["Key"] for v in page["Versions"]} == {"c/x/1", "c/y", "d"}
    newest = next(v["VersionId"] for v in whole["Versions"] if v["Key"] == "b" and v["IsLatest"])
    page = s3.list_object_versions(Bucket=versioned, Prefix="b", KeyMarker="b", VersionIdMarker=newest)
    assert [v["IsLatest"] for v in page["Versions"]] == [False, False]
    assert s3.list_object_versions(Bucket=versioned, MaxKeys=0).get("Versions") is None
    with refused("InvalidArgument", 400):
        s3.list_object_versions(Bucket=versioned, VersionIdMarker=newest)
    with refused("InvalidArgument", 400):
        s3.list_object_versions(Bucket=versioned, KeyMarker="b", VersionIdMarker="garbage")


def test_listings_skip_what_is_deleted(s3, versioned):
    for n in range(40):
        for _ in range(n % 7 + 1):
            put(s3, versioned, b"v", key=f"k/{n:02}")
    gone = set(range(0, 40, 3))
    for n in gone:
        s3.delete_object(Bucket=versioned, Key=f"k/{n:02}")
    expected = [f"k/{n:02}" for n in range(40) if n not in gone]
    for limit in (1, 3, 10, 1000):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=versioned, PaginationConfig={"PageSize": limit})
        assert [o["Key"] for page in pages for o in page.get("Contents", [])] == expected
    for n in set(range(40)) - gone:
        s3.delete_object(Bucket=versioned, Key=f"k/{n:02}")
    page = s3.list_objects_v2(Bucket=versioned, Delimiter="/")
    assert "CommonPrefixes" not in page and page["KeyCount"] == 0
    assert s3.list_object_versions(Bucket=versioned, Delimiter="/")["CommonPrefixes"] == [{"Prefix": "k/"}]


def test_listings_are_exact_while_others_write(s3, versioned):
    """Keys that exist throughout are in every listing once, though their versions come and go."""
    steady = [f"s/{n:03}" for n in range(120)]
    for key in steady:
        put(s3, versioned, b"v", key=key)
    stop, failures = threading.Event(), []

    def churn(seed):
        turn = 0
        try:
            while not stop.is_set():
                key = steady[(seed * 37 + turn * 11) % len(steady)]
                newer = put(s3, versioned, b"w", key=key)
                older = [v for v in s3.list_object_versions(Bucket=versioned, Prefix=key)["Versions"]
                         if v["VersionId"] != newer]
                for version in older:
                    s3.delete_object(Bucket=versioned, Key=key, VersionId=version["VersionId"])
                s3.delete_object(Bucket=versioned, Key=f"s/{turn % 120:03}-gone")
                turn += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(1)]
    [thread.start() for thread in threads]
    try:
        for limit in (7, 50, 1000) * 4:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=versioned, PaginationConfig={"PageSize": limit})
            assert [o["Key"] for page in pages for o in page.get("Contents", [])] == steady
            pages = s3.get_paginator("list_object_versions").paginate(
                Bucket=versioned, PaginationConfig={"PageSize": limit})
            ids = [(v["Key"], v["VersionId"]) for page in pages for v in page.get("Versions", [])]
            assert len(ids) == len(set(ids)) and {key for key, _ in ids} == set(steady)
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert not failures, failures


def test_versions_outlive_the_process(new_basalt):
    server = new_basalt(drives=3, parity=1).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="kept")
    put(s3, "kept", b"before")
    enable(s3, "kept")
    ids = {put(s3, "kept", content(size, "v")): size for size in (0, 100, 20000, 2 * MIB)}
    marker = s3.delete_object(Bucket="kept", Key="k")["VersionId"]
    enable(s3, "kept", "Suspended")
    put(s3, "kept", b"null", key="n")
    expected = versions(s3, "kept")
    server.kill()
    server.start()
    s3 = server.s3()
    assert s3.get_bucket_versioning(Bucket="kept")["Status"] == "Suspended"
    assert versions(s3, "kept") == expected and ("k", marker, True, True) in expected
    for id, size in ids.items():
        assert body_of(s3, "kept", VersionId=id) == content(size, "v")
    assert body_of(s3, "kept", VersionId="null") == b"before"
    put(s3, "kept", b"null 2", key="n")
    assert [line for line in versions(s3, "kept") if line[0] == "n"] == [("n", "null", True, False)]
