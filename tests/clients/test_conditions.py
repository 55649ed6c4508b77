"""Conditional requests, everywhere S3 has them: reads, writes, copies, completions and deletions."""
import datetime
import email.utils
import threading

from .content import MIB, content
from .errors import refused
from .wire import object_path

WRONG = '"00000000000000000000000000000000"'


def http_date(days):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return email.utils.format_datetime(at.replace(microsecond=0), usegmt=True)


PAST, FUTURE = http_date(-2), http_date(+2)


def test_reads_answer_by_condition(wire, bucket):
    etag = wire.put(bucket, "k", b"v").headers["etag"]
    table = [
        ({"if-match": etag}, 200), ({"if-match": etag.strip('"')}, 200), ({"if-match": "*"}, 200),
        ({"if-match": f"{WRONG}, {etag}"}, 200), ({"if-match": WRONG}, 412),
        ({"if-none-match": WRONG}, 200), ({"if-none-match": etag}, 304), ({"if-none-match": "*"}, 304),
        ({"if-modified-since": PAST}, 200), ({"if-modified-since": http_date(0)}, 304),
        ({"if-unmodified-since": FUTURE}, 200), ({"if-unmodified-since": PAST}, 412),
        # An entity tag that decides leaves the date without a say.
        ({"if-match": etag, "if-unmodified-since": PAST}, 200),
        ({"if-none-match": etag, "if-modified-since": PAST}, 304),
        ({"if-match": WRONG, "if-unmodified-since": FUTURE}, 412),
        ({"if-none-match": WRONG, "if-modified-since": PAST}, 200),
    ]
    for headers, status in table:
        for method in ("GET", "HEAD"):
            answer = wire.request(method, object_path(bucket, "k"), headers=headers)
            assert answer.status == status, (method, headers, answer)
            if status == 304:
                assert answer.body == b"" and answer.headers["etag"] == etag
            if status == 412 and method == "GET":
                assert answer.code == "PreconditionFailed"


def test_a_range_may_be_conditional(wire, bucket):
    etag = wire.put(bucket, "k", b"0123456789").headers["etag"]
    good = wire.get(bucket, "k", {"range": "bytes=2-4", "if-match": etag})
    assert (good.status, good.body) == (206, b"234")
    assert wire.get(bucket, "k", {"range": "bytes=2-4", "if-match": WRONG}).status == 412


def test_a_write_may_ask_that_nothing_is_there(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=content(3 * MIB), IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    s3.delete_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfNoneMatch="*")


def test_a_write_may_ask_for_what_it_replaces(s3, bucket):
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="k", Body=b"0", IfMatch=WRONG)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=WRONG)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def race(basalt, count, act):
    """`count` threads act at once, each on a connection of its own; their answers."""
    gate, answers = threading.Barrier(count), []

    def one(number):
        with basalt.wire() as wire:
            gate.wait()
            answers.append(act(wire, number))

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_many_first_writers_one_wins(basalt, wire, bucket):
    for size in (10, 20000, 300000):
        key = f"k{size}"
        act = lambda wire, n: (n, wire.put(bucket, key, content(size, str(n)), {"if-none-match": "*"}))
        answers = race(basalt, 12, act)
        won = [n for n, answer in answers if answer.status == 200]
        assert len(won) == 1, answers
        assert all(a.status in (200, 409, 412) for _, a in answers), answers
        assert wire.get(bucket, key).body == content(size, str(won[0]))


def test_a_counter_of_conditional_writes_loses_no_count(basalt, wire, bucket):
    """Compare and swap: each of 8 clients adds 10 by If-Match, retrying on 412."""
    wire.put(bucket, "n", b"0")

    def add(client, _):
        for _ in range(10):
            while True:
                now = client.get(bucket, "n")
                put = client.put(bucket, "n", str(int(now.body) + 1).encode(), {"if-match": now.headers["etag"]})
                if put.status == 200:
                    break
                assert put.status in (409, 412), put

    race(basalt, 8, add)
    assert wire.get(bucket, "n").body == b"80"


def test_copies_answer_by_condition_on_their_source(s3, bucket):
    source = {"Bucket": bucket, "Key": "from"}
    etag = s3.put_object(Bucket=bucket, Key="from", Body=b"v")["ETag"]
    table = [
        (dict(CopySourceIfMatch=etag), True), (dict(CopySourceIfMatch=WRONG), False),
        (dict(CopySourceIfNoneMatch=WRONG), True), (dict(CopySourceIfNoneMatch=etag), False),
        (dict(CopySourceIfModifiedSince=PAST), True), (dict(CopySourceIfUnmodifiedSince=PAST), False),
        (dict(CopySourceIfUnmodifiedSince=FUTURE), True),
        (dict(CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=PAST), True),
        (dict(CopySourceIfNoneMatch=etag, CopySourceIfModifiedSince=PAST), False),
    ]
    for number, (conditions, passes) in enumerate(table):
        if passes:
            s3.copy_object(Bucket=bucket, Key=f"to{number}", CopySource=source, **conditions)
        else:
            with refused("PreconditionFailed", 412):
                s3.copy_object(Bucket=bucket, Key=f"to{number}", CopySource=source, **conditions)
            with refused(None, 404):
                s3.head_object(Bucket=bucket, Key=f"to{number}")


def test_copies_answer_by_condition_on_their_target(s3, bucket):
    source = {"Bucket": bucket, "Key": "from"}
    s3.put_object(Bucket=bucket, Key="from", Body=b"v")
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=bucket, Key="to", CopySource=source, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=bucket, Key="to", CopySource=source, IfMatch=WRONG)


def test_a_completion_may_be_conditional(s3, bucket):
    def upload(**conditions):
        made = dict(Bucket=bucket, Key="k", UploadId=s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"])
        part = s3.upload_part(**made, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return s3.complete_multipart_upload(**made, MultipartUpload=parts, **conditions)

    first = upload(IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        upload(IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        upload(IfMatch=WRONG)
    upload(IfMatch=first["ETag"])


def test_a_deletion_may_be_conditional(s3, wire, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"v")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=bucket, Key="k", IfMatch=WRONG)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    with refused(None, 404):
        s3.head_object(Bucket=bucket, Key="k")


def test_a_deletion_may_ask_for_size_and_time(s3, wire, bucket):
    def put(key="k"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"12345")
        return s3.head_object(Bucket=bucket, Key=key)["LastModified"]

    at, second = put(), datetime.timedelta(seconds=1)
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    for conditions in (
        dict(IfMatchSize=4), dict(IfMatchSize=0), dict(IfMatchLastModifiedTime=at - second),
        dict(IfMatchLastModifiedTime=at + second), dict(IfMatchSize=5, IfMatchLastModifiedTime=at + second),
        dict(IfMatchSize=4, IfMatchLastModifiedTime=at), dict(IfMatch=etag, IfMatchSize=4),
        dict(IfMatch=WRONG, IfMatchSize=5, IfMatchLastModifiedTime=at),
    ):
        with refused("PreconditionFailed", 412):
            s3.delete_object(Bucket=bucket, Key="k", **conditions)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"12345", conditions
    for name, value in (("x-amz-if-match-size", "five"), ("x-amz-if-match-size", "-5"),
                        ("x-amz-if-match-last-modified-time", "today")):
        wire.request("DELETE", object_path(bucket, "k"), headers={name: value}).expect(400, "InvalidArgument")
    for which in ("size", "time", "all"):
        at = put()
        all = dict(IfMatch=etag, IfMatchSize=5, IfMatchLastModifiedTime=at)
        some = {"size": ["IfMatchSize"], "time": ["IfMatchLastModifiedTime"], "all": all}[which]
        s3.delete_object(Bucket=bucket, Key="k", **{name: all[name] for name in some})
        with refused(None, 404):
            s3.head_object(Bucket=bucket, Key="k")
        # What is not there has no size that differs.
        s3.delete_object(Bucket=bucket, Key="k", IfMatchSize=5, IfMatchLastModifiedTime=at)


def test_a_batch_deletion_may_ask_for_size_and_time(s3, bucket):
    second = datetime.timedelta(seconds=1)
    for key in "abcdef":
        s3.put_object(Bucket=bucket, Key=key, Body=b"12345")
    at = {o["Key"]: o["LastModified"].replace(microsecond=0) for o in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    objects = [
        {"Key": "a", "Size": 5}, {"Key": "b", "Size": 6}, {"Key": "c", "LastModifiedTime": at["c"]},
        {"Key": "d", "LastModifiedTime": at["d"] - second}, {"Key": "e", "Size": 5, "LastModifiedTime": at["e"]},
        {"Key": "f", "Size": 5, "LastModifiedTime": at["f"], "ETag": WRONG}, {"Key": "absent", "Size": 5},
    ]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [d["Key"] for d in answer["Deleted"]] == ["a", "c", "e", "absent"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [(key, "PreconditionFailed") for key in "bdf"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b", "d", "f"]


def test_a_batch_deletion_may_be_conditional(s3, bucket):
    etags = {k: s3.put_object(Bucket=bucket, Key=k, Body=k.encode())["ETag"] for k in ("a", "b")}
    objects = [{"Key": "a", "ETag": etags["a"]}, {"Key": "b", "ETag": WRONG}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [d["Key"] for d in answer["Deleted"]] == ["a"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("b", "PreconditionFailed")]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b"]
