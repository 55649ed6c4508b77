"""What a bucket holds, as the operator sees it, and quotas: set with `basalt admin bucket quota`, met by clients as
403 QuotaExceeded, exact to the byte whoever writes at once, kept through restarts.
"""
import concurrent.futures
import json
import socket
import subprocess

from .content import KIB, MIB, content
from .errors import refused
from .identities import account
from .process import BINARY
from .test_bad_input import ANSWER_SECONDS, head_bytes
from .test_post_object import Poster
from .wire import object_path


def admin(server, *words, **changes):
    """Runs `basalt admin bucket ...`: status, what it printed, what it complained of."""
    done = subprocess.run([BINARY, "admin", "bucket", *words, "--endpoint", server.endpoint],
                          env=server.environment() | changes, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def ask(server, *words):
    status, out, complaint = admin(server, *words, "--json")
    assert status == 0, complaint
    return json.loads(out)


def held(server, bucket):
    """Objects, bytes, bytes of uploads."""
    found = ask(server, "show", bucket)
    return found["objects"], found["bytes"], found["uploading_bytes"]


def test_the_operator_sets_shows_and_clears(basalt, s3, bucket):
    assert ask(basalt, "quota", bucket)["quota"] == {"max_bytes": None, "max_objects": None}
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    assert ask(basalt, "quota", bucket, "--max-bytes", "10GiB")["quota"] == {"max_bytes": 10 << 30, "max_objects": None}
    found = ask(basalt, "quota", bucket, "--max-objects", "7")
    assert found["quota"] == {"max_bytes": 10 << 30, "max_objects": 7}, "a bound that is not named stays"
    assert (found["name"], found["objects"], found["bytes"], found["uploading_bytes"]) == (bucket, 1, 5, 0)
    status, text, _ = admin(basalt, "quota", bucket)
    assert status == 0 and "10.0 GiB" in text and "max objects   7" in text, text
    listed = {report["name"]: report for report in ask(basalt, "list")}
    assert listed[bucket] == found and list(listed) == sorted(listed)
    assert bucket in admin(basalt, "list")[1]
    assert ask(basalt, "quota", bucket, "--clear")["quota"] == {"max_bytes": None, "max_objects": None}


def test_only_the_operator_does(basalt, s3, bucket):
    status, _, complaint = admin(basalt, "quota", "no-such-bucket", "--max-objects", "1")
    assert status == 1 and "no such bucket" in complaint
    for words in (["--max-bytes", "much"], ["--max-objects", "-1"], ["--clear", "--max-objects", "1"]):
        assert admin(basalt, "quota", bucket, *words)[0] == 2, words
    someone = account(basalt)
    keys = {"BASALT_ACCESS_KEY": someone.access_key, "BASALT_SECRET_KEY": someone.secret_key}
    for words in (["show", bucket], ["quota", bucket, "--max-objects", "1"], ["quota", bucket, "--clear"], ["list"]):
        status, out, complaint = admin(basalt, *words, **keys)
        assert status == 1 and not out and "refused" in complaint, words
    assert basalt.get(f"/-/admin/v1/buckets/{bucket}")[0] == 403
    assert ask(basalt, "show", bucket)["quota"]["max_objects"] is None


def full():
    return refused("QuotaExceeded", 403)


def test_the_bound_is_exact_and_the_difference_counts(basalt, s3, bucket):
    ask(basalt, "quota", bucket, "--max-bytes", "1000")
    put(s3, bucket, a=600)
    with full():
        put(s3, bucket, b=401)
    put(s3, bucket, b=400, empty=0)
    put(s3, bucket, a=600)
    with full():
        put(s3, bucket, a=601)
    assert s3.head_object(Bucket=bucket, Key="a")["ContentLength"] == 600, "what was there stays"
    put(s3, bucket, a=100, c=500)
    with full():
        put(s3, bucket, d=1)
    s3.delete_object(Bucket=bucket, Key="c")
    put(s3, bucket, d=500)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    assert held(basalt, bucket) == (2, 500, 0)


def put(s3, bucket, **sizes):
    for key, size in sizes.items():
        s3.put_object(Bucket=bucket, Key=key, Body=b"x" * size)


def test_objects_are_counted_by_version_and_markers_not(basalt, s3, bucket):
    ask(basalt, "quota", bucket, "--max-objects", "2")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    put(s3, bucket, k=2)
    with full():
        put(s3, bucket, k=0)
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] and held(basalt, bucket) == (2, 3, 0)
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first)
    put(s3, bucket, k=5)
    assert held(basalt, bucket) == (2, 7, 0)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    with full():
        put(s3, bucket, k=1)
    ask(basalt, "quota", bucket, "--max-objects", "3")
    put(s3, bucket, k=1)
    put(s3, bucket, k=9)  # replaces the null version
    assert held(basalt, bucket) == (3, 16, 0)


def test_a_body_that_does_not_fit_is_refused_before_it_is_read(basalt, s3, wire, bucket):
    ask(basalt, "quota", bucket, "--max-bytes", "1MiB")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    for query in ((), (("partNumber", "1"), ("uploadId", upload))):
        target, headers, _ = wire.head("PUT", object_path(bucket, "k"), query, {})
        lines = [f"PUT {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()),
                 f"content-length: {MIB + 1}", "expect: 100-continue"]
        with socket.create_connection(("127.0.0.1", basalt.port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            answer = connection.recv(10000)
        assert answer.startswith(b"HTTP/1.1 403") and b"<Code>QuotaExceeded</Code>" in answer, answer
    for payload in ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
        answer = wire.stream(object_path(bucket, "k"), content(MIB + 1), payload)
        answer.expect(403, "QuotaExceeded")
        wire.stream(object_path(bucket, "k"), content(MIB), payload).expect(200)
        wire.delete(bucket, "k").expect(204)


def test_parts_count_until_they_are_an_object_or_go(basalt, s3, bucket):
    ask(basalt, "quota", bucket, "--max-bytes", "12MiB", "--max-objects", "1")
    large = content(5 * MIB)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etags = [s3.upload_part(PartNumber=n, Body=large, **part)["ETag"] for n in (1, 2)]
    assert held(basalt, bucket) == (0, 0, 10 * MIB)
    with full():
        s3.upload_part(PartNumber=3, Body=large, **part)
    s3.upload_part(PartNumber=3, Body=content(2 * MIB), **part)
    s3.upload_part(PartNumber=2, Body=large, **part)
    with full():
        put(s3, bucket, other=1)
    with full():
        s3.upload_part_copy(PartNumber=4, CopySource={"Bucket": source(s3, bucket), "Key": "s"}, **part)
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **part)
    assert held(basalt, bucket) == (1, 10 * MIB, 0), "the part that was not named has gone"
    upload = s3.create_multipart_upload(Bucket=bucket, Key="other")["UploadId"]
    part = {"Bucket": bucket, "Key": "other", "UploadId": upload}
    etag = s3.upload_part(PartNumber=1, Body=b"tail", **part)["ETag"]
    with full():  # one object more than there may be
        s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **part)
    s3.abort_multipart_upload(**part)
    assert held(basalt, bucket) == (1, 10 * MIB, 0)


def source(s3, bucket):
    name = f"{bucket}-source"
    s3.create_bucket(Bucket=name)
    put(s3, name, s=100)
    return name


def test_copies_and_forms_are_held_to_it(basalt, s3, wire, bucket):
    ask(basalt, "quota", bucket, "--max-bytes", "150")
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": source(s3, bucket), "Key": "s"})
    with full():
        s3.copy_object(Bucket=bucket, Key="d", CopySource={"Bucket": bucket, "Key": "c"})
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "c"}, MetadataDirective="REPLACE")
    poster = Poster(wire, bucket)
    signed = poster.v4([("key", "up/f")], [["starts-with", "$key", "up/"]])
    assert poster.post(signed, body=b"x" * 51) == (403, "QuotaExceeded")
    assert poster.post(signed, body=b"x" * 50)[0] == 204
    assert poster.post(signed, body=b"y" * 50)[0] == 204
    assert poster.post(signed, body=b"x" * 200 * KIB) == (403, "QuotaExceeded")
    assert held(basalt, bucket) == (2, 150, 0)


def test_many_at_once_fill_it_and_never_more(basalt, s3, bucket):
    ask(basalt, "quota", bucket, "--max-bytes", str(20 * 30_000))

    def one(number):
        try:
            return s3.put_object(Bucket=bucket, Key=f"{number}", Body=content(30_000))["ResponseMetadata"]["HTTPStatusCode"]
        except s3.exceptions.ClientError as error:
            return error.response["Error"]["Code"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(one, range(60)))
    assert outcomes.count(200) == 20 and outcomes.count("QuotaExceeded") == 40
    assert held(basalt, bucket) == (20, 600_000, 0)


def test_what_is_held_and_allowed_survives_the_process(new_basalt):
    server = new_basalt(options=["--bucket-metrics", "2"]).start()
    s3 = server.s3()
    for bucket, size in (("small", 1), ("middle", 100), ("large", 20_000)):
        s3.create_bucket(Bucket=bucket)
        put(s3, bucket, k=size, gone=size)
        s3.delete_object(Bucket=bucket, Key="gone")
    upload = s3.create_multipart_upload(Bucket="large", Key="u")["UploadId"]
    s3.upload_part(Bucket="large", Key="u", UploadId=upload, PartNumber=1, Body=b"part")
    ask(server, "quota", "large", "--max-bytes", "20004")
    for restart in (lambda: None, server.kill, server.stop):
        restart()
        if server.process.poll() is not None:
            server.start()
        assert held(server, "large") == (1, 20_000, 4)
        with full():
            put(server.s3(), "large", more=1)
        metrics = server.metrics()
        assert metrics["basalt_bucket_usage_bytes"] == {'{bucket="large"}': 20_000, '{bucket="middle"}': 100}
        assert metrics["basalt_bucket_usage_objects"]['{bucket="large"}'] == 1
        assert metrics["basalt_bucket_uploading_bytes"]['{bucket="large"}'] == 4
        assert metrics["basalt_bucket_quota_bytes"] == {'{bucket="large"}': 20_004}
    s3.delete_object(Bucket="large", Key="k")
    s3.delete_bucket(Bucket="large")  # with its upload
    s3.create_bucket(Bucket="large")
    assert held(server, "large") == (0, 0, 0) and ask(server, "show", "large")["quota"]["max_bytes"] is None


def test_names_are_not_in_the_metrics_unless_asked_for(basalt, s3, bucket):
    put(s3, bucket, k=5)
    assert "bucket_usage" not in "".join(basalt.metrics())
