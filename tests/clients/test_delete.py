"""Deletion: one, many, of what is not there, and what the batch call says of each."""
import base64
import hashlib

from .content import MIB, content
from .errors import refused
from .waiting import until
from .wire import object_path


def test_a_deleted_object_is_gone(s3, bucket):
    for size in (0, 100, 16385, 3 * MIB):
        s3.put_object(Bucket=bucket, Key="k", Body=content(size))
        assert s3.delete_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204
        with refused("NoSuchKey", 404):
            s3.get_object(Bucket=bucket, Key="k")
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_deleting_what_is_not_there_is_fine(s3, bucket):
    assert s3.delete_object(Bucket=bucket, Key="never")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_only_the_named_key_goes(s3, bucket):
    for key in ("a", "a/", "a/b", "ab"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"v")
    s3.delete_object(Bucket=bucket, Key="a/")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a", "a/b", "ab"]


def test_a_thousand_at_once(wire, s3, bucket):
    keys = [f"{n:04}<&>'\" é" for n in range(1000)]
    for key in keys[:200]:
        wire.put(bucket, key, b"v")
    wire.put(bucket, "stays", b"v")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in keys]})
    assert sorted(d["Key"] for d in answer["Deleted"]) == keys and "Errors" not in answer
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["stays"]


def test_a_quiet_batch_says_nothing(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "no"}], "Quiet": True})
    assert "Deleted" not in answer and "Errors" not in answer
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def batch(wire, bucket, body):
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return wire.request("POST", f"/{bucket}", [("delete", "")], {"content-md5": md5}, body)


def test_batches_that_cannot_be(wire, s3, bucket):
    wire.put(bucket, "k", b"v")
    one = "<Object><Key>k</Key></Object>"
    for text in ("", "<Delete>", "<Delete></Delete>", "<Other/>", f"<Delete>{one * 1001}</Delete>",
                 "<Delete><Object></Object></Delete>", f"<!DOCTYPE d [<!ENTITY e 'k'>]><Delete>{one[:13]}&e;</Delete>"):
        answer = batch(wire, bucket, text.encode())
        assert answer.status == 400 and answer.code in ("MalformedXML", "InvalidArgument"), (text[:60], answer)
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 1


def test_a_batch_may_have_a_namespace_and_spaces(wire, s3, bucket):
    wire.put(bucket, "a b", b"v")
    text = """<?xml version="1.0" encoding="UTF-8"?>
    <Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <!-- one --> <Object><Key>a&#32;b</Key></Object> <Quiet>false</Quiet>
    </Delete>"""
    assert batch(wire, bucket, text.encode()).expect(200).body.count(b"<Deleted>") == 1
    assert wire.request("HEAD", object_path(bucket, "a b")).status == 404


def test_a_batch_with_a_wrong_digest_deletes_nothing(wire, bucket):
    wire.put(bucket, "k", b"v")
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    headers = {"content-md5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    wire.request("POST", f"/{bucket}", [("delete", "")], headers, body).expect(400, "BadDigest")
    assert wire.get(bucket, "k").body == b"v"


def test_space_of_deleted_objects_comes_back(basalt, s3, bucket):
    before = basalt.used_bytes()
    for n in range(6):
        s3.put_object(Bucket=bucket, Key=f"k{n}", Body=content(10 * MIB, str(n)))
    until(lambda: basalt.used_bytes() >= before + 60 * MIB, 10, "the metrics to show what is used")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"k{n}"} for n in range(6)]})
    until(lambda: basalt.used_bytes() < before + 30 * MIB, 60, "the space of the deleted objects")


def test_space_of_overwritten_objects_comes_back(basalt, s3, bucket):
    before = basalt.used_bytes()
    for n in range(15):
        s3.put_object(Bucket=bucket, Key="k", Body=content(10 * MIB, str(n)))
    until(lambda: basalt.used_bytes() < before + 80 * MIB, 60, "the space of the overwritten objects")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content(10 * MIB, "14")
