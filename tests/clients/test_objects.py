"""Objects: bytes of every awkward size go in and come out, whole and in ranges; headers, metadata, keys."""
import datetime
import hashlib
import random
import threading

import pytest

from .content import BLOCK_PAYLOAD_BYTES, LARGE_SIZES, MIB, SIZES, STRIPE_BYTES_AT_TWO, content
from .errors import refused
from .wire import object_path

ODD_KEYS = [
    "a", "a/b", "a/b/c", "a//b", "a/./b", "a/../b", "/", "//", "/leading", "trailing/", ".", "..", "./x", "../x", "-",
    "-/health/ready", " ", "a b", "a+b", "a%2Bb", "a%b", "%", "100%", "a&b=c", "a?b", "a#b", "a;b", "a:b", "a@b", "a$b",
    "a'b\"c", "a<b>c", "a\\b", "a|b^c`d", "{a}[b]", "~*!()", "tab\tnew\nline\r", "\x01\x7f", "ä", "a\u0308", "日本語/キー",
    "🦀/🪨", "\ufeffbom", "\uffff", "k" * 1024, "é" * 512, "uploads", "x" * 300 + "/" + "y" * 300,
]


@pytest.mark.parametrize("size", SIZES + LARGE_SIZES)
def test_what_goes_in_comes_out(basalt, s3, bucket, size):
    body = content(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert answer["ContentLength"] == size and answer["AcceptRanges"] == "bytes"
    assert answer["Body"].read() == body
    s3.delete_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("size", [1, 4096, 16384, 16385, BLOCK_PAYLOAD_BYTES + 1, MIB, STRIPE_BYTES_AT_TWO + 1, 10 * MIB])
def test_a_range_returns_what_it_names(wire, bucket, size):
    body = content(size)
    wire.put(bucket, "k", body).expect(200)
    for first, last in ranges_of(size):
        answer = wire.get(bucket, "k", {"range": f"bytes={first}-{last}"})
        stop = min(last, size - 1)
        assert answer.status == 206, (first, last, answer)
        assert answer.headers["content-range"] == f"bytes {first}-{stop}/{size}"
        assert answer.body == body[first:stop + 1], (first, last)
    for count in (1, min(size, 4097), size, size + 1):
        answer = wire.get(bucket, "k", {"range": f"bytes=-{count}"})
        assert (answer.status, answer.body) == (206, body[-count:]), count
    open_end = wire.get(bucket, "k", {"range": f"bytes={size // 2}-"})
    assert (open_end.status, open_end.body) == (206, body[size // 2:])


def ranges_of(size):
    """Pairs at the edges of blocks and stripes, and some by chance."""
    edges = [0, 4096, BLOCK_PAYLOAD_BYTES, 2 * BLOCK_PAYLOAD_BYTES, STRIPE_BYTES_AT_TWO, size - 1]
    near = sorted({e + d for e in edges for d in (-1, 0, 1) if 0 <= e + d < size})
    dice = random.Random(size)
    pairs = [(first, dice.choice([last for last in near if last >= first])) for first in near]
    pairs += [(p, p) for p in near] + [(0, size + 5)]
    return pairs + [tuple(sorted((dice.randrange(size), dice.randrange(size)))) for _ in range(20)]


def test_a_range_outside_is_refused_and_a_senseless_one_ignored(wire, bucket):
    body = content(5000)
    wire.put(bucket, "k", body)
    wire.put(bucket, "empty", b"")
    for asked in ("bytes=5000-", "bytes=5000-6000", "bytes=99999999999-", "bytes=-0"):
        answer = wire.get(bucket, "k", {"range": asked}).expect(416, "InvalidRange")
        assert answer.headers.get("content-range", "bytes */5000") == "bytes */5000"
    wire.get(bucket, "empty", {"range": "bytes=0-0"}).expect(416, "InvalidRange")
    for asked in ("bytes=9-3", "chars=0-1", "bytes=", "bytes=a-b", "0-5"):
        answer = wire.get(bucket, "k", {"range": asked})
        assert (answer.status, answer.body) == (200, body), asked


def test_head_knows_ranges(wire, bucket):
    wire.put(bucket, "k", content(70000))
    answer = wire.request("HEAD", f"/{bucket}/k", headers={"range": "bytes=100-199"})
    assert (answer.status, answer.headers["content-length"]) == (206, "100")
    assert answer.headers["content-range"] == "bytes 100-199/70000"
    assert wire.request("HEAD", f"/{bucket}/k", headers={"range": "bytes=70000-"}).status == 416


def test_keys_are_bytes_as_they_were_sent(s3, wire, bucket):
    for key in ODD_KEYS:
        answer = wire.put(bucket, key, key.encode())
        assert answer.status == 200, (key, answer)
    for key in ODD_KEYS:
        answer = wire.get(bucket, key)
        assert (answer.status, answer.body) == (200, key.encode()), key
    found = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket) for o in page["Contents"]]
    assert found == sorted(ODD_KEYS, key=str.encode)
    for key in ODD_KEYS:
        assert wire.delete(bucket, key).status == 204
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_boto_keys_round_trip(s3, bucket):
    """The SDK's own escaping, which differs from ours in what it leaves alone."""
    for key in ["a//b", "a/./b", "a b+c%20d", "日本/ü~*()'!", "é" * 512]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def test_a_key_too_long_is_refused(wire, bucket):
    wire.put(bucket, "k" * 1025, b"v").expect(400, "KeyTooLongError")
    wire.put(bucket, "é" * 512 + "x", b"v").expect(400, "KeyTooLongError")


def test_headers_and_metadata_come_back(s3, bucket):
    sent = dict(
        ContentType="text/x-rust; charset=utf-8", CacheControl="max-age=60, public",
        ContentDisposition='attachment; filename="a b.txt"', ContentEncoding="gzip", ContentLanguage="de-CH",
        Expires=datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc))
    metadata = {"plain": "value", "with-dash": "a, b; c", "empty": "", "spaces": "a  b"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata=metadata, **sent)
    for answer in (s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")):
        assert {name: answer[name] for name in sent if name != "Expires"} == {n: v for n, v in sent.items() if n != "Expires"}
        assert "2031" in answer.get("ExpiresString", str(answer.get("Expires")))
        assert answer["Metadata"] == metadata | {"spaces": answer["Metadata"]["spaces"]}


def test_the_default_type_is_the_one_of_s3(wire, s3, bucket):
    wire.put(bucket, "k", b"v")
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"


def test_a_new_object_forgets_the_headers_of_the_old_one(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", Metadata={"old": "1"}, CacheControl="no-store")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {} and "CacheControl" not in head


def test_metadata_over_the_limit_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="fits", Body=b"v", Metadata={"m": "x" * 2047})
    with refused("MetadataTooLarge", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata={"m": "x" * 2048})
    with refused(None, 404):
        s3.head_object(Bucket=bucket, Key="k")


def test_a_reader_may_override_headers(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", ContentType="text/plain")
    answer = s3.get_object(
        Bucket=bucket, Key="k", ResponseContentType="image/png", ResponseContentDisposition="inline",
        ResponseCacheControl="no-cache", ResponseContentLanguage="fr", ResponseContentEncoding="br")
    assert answer["ContentType"] == "image/png" and answer["ContentDisposition"] == "inline"
    assert answer["CacheControl"] == "no-cache" and answer["ContentLanguage"] == "fr"
    assert answer["ContentEncoding"] == "br"
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "text/plain"


def test_last_modified_is_the_time_of_the_write(s3, bucket):
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    written = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert before <= written <= datetime.datetime.now(datetime.timezone.utc)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["LastModified"]
    assert listed.replace(microsecond=0) == written


def test_a_missing_object_is_missing(s3, wire, bucket):
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="k")
    with refused(None, 404):
        s3.head_object(Bucket=bucket, Key="k")
    wire.get(bucket, "a/b").expect(404, "NoSuchKey")


def test_a_write_is_seen_at_once_by_every_connection(basalt, s3, bucket):
    """Read after write and list after write, from other connections than the writer's, whichever core they are on."""
    readers = [basalt.wire() for _ in range(8)]
    for round_ in range(60):
        body = content(100 + round_ * 700, f"round{round_}")
        s3.put_object(Bucket=bucket, Key="k", Body=body)
        for reader in readers:
            assert reader.get(bucket, "k").body == body
        assert str(len(body)).encode() in readers[round_ % 8].request("GET", f"/{bucket}", [("list-type", "2")]).body
        s3.delete_object(Bucket=bucket, Key="k")
        for reader in readers:
            assert reader.get(bucket, "k").status == 404


@pytest.mark.parametrize("size", [900, 40000, 3 * MIB])
def test_of_concurrent_writers_one_wins_whole(basalt, bucket, size):
    """Readers see one whole object all the time, never a mixture."""
    bodies = {content(size + n, f"writer{n}") for n in range(4)}
    digests = {hashlib.sha256(b).digest() for b in bodies}
    with basalt.wire() as first:
        first.put(bucket, "k", next(iter(bodies))).expect(200)
    wrong, done = [], threading.Event()

    def write(body):
        with basalt.wire() as wire:
            for _ in range(8):
                if wire.put(bucket, "k", body).status != 200:
                    wrong.append("a write failed")

    def read():
        with basalt.wire() as wire:
            while not done.is_set():
                answer = wire.get(bucket, "k")
                if answer.status != 200 or hashlib.sha256(answer.body).digest() not in digests:
                    wrong.append((answer.status, len(answer.body)))

    writers = [threading.Thread(target=write, args=(b,), daemon=True) for b in bodies]
    readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not wrong, wrong[:5]


def test_a_body_needs_a_length(wire, bucket):
    target, headers, _ = wire.head("PUT", f"/{bucket}/k")
    wire.connection.putrequest("PUT", target, skip_host=True, skip_accept_encoding=True)
    for name, value in {**headers, "transfer-encoding": "chunked"}.items():
        wire.connection.putheader(name, value)
    wire.connection.endheaders(b"3\r\nabc\r\n0\r\n\r\n")
    answer = wire.connection.getresponse()
    assert answer.status == 411 and b"MissingContentLength" in answer.read()


def test_a_put_too_large_is_refused_before_its_body(wire, bucket):
    target, headers, _ = wire.head("PUT", object_path(bucket, "k"))
    answer = wire.send("PUT", target, {**headers, "content-length": str(5 * 1024 ** 3 + 1)})
    answer.expect(400, "EntityTooLarge")


@pytest.mark.parametrize("given, kept", [
    ("deflate, gzip", "deflate, gzip"), ("gzip, aws-chunked", "gzip"), ("aws-chunked, gzip", "gzip"), ("aws-chunked", None)])
def test_aws_chunked_is_no_encoding_of_an_object(s3, wire, bucket, given, kept):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", ContentEncoding=given)
    found = s3.get_object(Bucket=bucket, Key="k")
    assert (found.get("ContentEncoding"), found["Body"].read()) == (kept, b"v")
    if "aws-chunked" in given:
        headers = {"content-encoding": given, "x-amz-decoded-content-length": "1"}
        wire.put(bucket, "k", b"1\r\nw\r\n0\r\n\r\n", headers).expect(400, "InvalidRequest")
