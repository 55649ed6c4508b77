"""Checksums: every algorithm, in a header and in a trailer, right and wrong. A wrong one leaves nothing behind."""
import base64
import concurrent.futures
import hashlib
import random
import zlib

import pytest
from awscrt import checksums as crt

from .content import MIB, content
from .errors import refused
from .wire import STREAM, STREAM_TRAILER, STREAM_UNSIGNED_TRAILER, object_path

ALGORITHMS = {
    "CRC32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "CRC32C": lambda body: crt.crc32c(body).to_bytes(4, "big"),
    "CRC64NVME": lambda body: crt.crc64nvme(body).to_bytes(8, "big"),
    "SHA1": lambda body: hashlib.sha1(body).digest(),
    "SHA256": lambda body: hashlib.sha256(body).digest(),
    "SHA512": lambda body: hashlib.sha512(body).digest(),
    "MD5": lambda body: hashlib.md5(body).digest(),
    "XXHASH64": crt.XXHash.compute_xxhash64,
    "XXHASH3": crt.XXHash.compute_xxhash3_64,
    "XXHASH128": crt.XXHash.compute_xxhash3_128,
}
# What boto3 has no code for is sent by hand alone.
OF_THE_SDK = [name for name in ALGORITHMS if name != "MD5"]
SIZES = [0, 5, 16384, 16385, 200000, 3 * MIB + 1]
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def checksum(algorithm, body):
    return base64.b64encode(ALGORITHMS[algorithm](body)).decode()


def header_of(algorithm):
    return f"x-amz-checksum-{algorithm.lower()}"


def absent(wire, bucket, key="k"):
    assert wire.request("HEAD", object_path(bucket, key)).status == 404


@pytest.mark.parametrize("algorithm", OF_THE_SDK)
def test_the_sdk_sends_and_verifies_it(s3, bucket, algorithm):
    for size in SIZES:
        body = content(size)
        put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
        assert put[f"Checksum{algorithm}"] == checksum(algorithm, body)
        for answer in (
            s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED"),
            s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED"),
        ):
            assert answer[f"Checksum{algorithm}"] == checksum(algorithm, body)
            assert answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
            if "Body" in answer:
                assert answer["Body"].read() == body
        assert f"Checksum{algorithm}" not in s3.head_object(Bucket=bucket, Key="k")


@each_algorithm
def test_a_right_header_is_accepted_and_a_wrong_one_writes_nothing(wire, bucket, algorithm):
    for size in SIZES:
        body = content(size)
        wire.put(bucket, f"ok{size}", body, {header_of(algorithm): checksum(algorithm, body)}).expect(200)
        wrong = checksum(algorithm, body + b"!")
        wire.put(bucket, "k", body, {header_of(algorithm): wrong}).expect(400, "BadDigest")
        absent(wire, bucket)
    for senseless in ("AAAA", "not base64!", ""):
        answer = wire.put(bucket, "k", b"v", {header_of(algorithm): senseless})
        assert answer.status == 400 and answer.code in ("InvalidRequest", "InvalidDigest", "BadDigest"), answer
        absent(wire, bucket)


@pytest.mark.parametrize("payload", [STREAM_UNSIGNED_TRAILER, STREAM_TRAILER])
@each_algorithm
def test_a_trailer_is_verified(wire, bucket, algorithm, payload):
    for size in SIZES:
        body = content(size)
        good = [(header_of(algorithm), checksum(algorithm, body))]
        wire.stream(object_path(bucket, "ok"), body, payload, good).expect(200)
        assert wire.get(bucket, "ok").body == body
        head = wire.request("HEAD", object_path(bucket, "ok"), headers={"x-amz-checksum-mode": "ENABLED"})
        assert head.headers[header_of(algorithm)] == checksum(algorithm, body)
        assert head.headers.get("content-encoding", "") == "", "aws-chunked is not stored"
        wrong = [(header_of(algorithm), checksum(algorithm, body + b"!"))]
        wire.stream(object_path(bucket, "k"), body, payload, wrong).expect(400, "BadDigest")
        absent(wire, bucket)


def test_a_signed_stream_without_trailer(wire, bucket):
    for size in SIZES:
        for chunk in (8192, 65536, 100000):
            body = content(size)
            wire.stream(object_path(bucket, "k"), body, STREAM, size=chunk).expect(200)
            assert wire.get(bucket, "k").body == body


@pytest.mark.parametrize("payload", [STREAM, STREAM_TRAILER, STREAM_UNSIGNED_TRAILER])
def test_only_the_last_chunk_may_be_small(wire, bucket, payload):
    trailers = lambda body: [] if payload == STREAM else [("x-amz-checksum-crc32", checksum("CRC32", body))]
    for size, chunk in ((8191, 8191), (8192, 8192), (16383, 8192), (1, 1)):
        body = content(size)
        wire.stream(object_path(bucket, "k"), body, payload, trailers(body), size=chunk).expect(200)
        assert wire.get(bucket, "k").body == body
    for size, chunk in ((8192, 8191), (30000, 1000), (2, 1)):
        body = content(size)
        answer = wire.stream(object_path(bucket, "n"), body, payload, trailers(body), size=chunk)
        answer.expect(400, "InvalidChunkSizeError")
        assert f"<Chunk>1</Chunk><BadChunkSize>{chunk}</BadChunkSize>".encode() in answer.body
        absent(wire, bucket, "n")


def test_an_encoding_beside_aws_chunked_is_kept(wire, bucket):
    wire.stream(object_path(bucket, "k"), b"v" * 9000, STREAM, headers={"content-encoding": "gzip,aws-chunked"}).expect(200)
    assert wire.get(bucket, "k").headers["content-encoding"] == "gzip"


def test_a_tampered_chunk_writes_nothing(wire, bucket):
    body = content(200000)
    for place in (200, 100000, 199000):
        def flip(framed):
            return framed[:place] + bytes([framed[place] ^ 1]) + framed[place + 1:]
        for payload, trailers in ((STREAM, ()), (STREAM_TRAILER, [("x-amz-checksum-crc32", checksum("CRC32", body))])):
            answer = wire.stream(object_path(bucket, "k"), body, payload, trailers, mangle=flip)
            assert answer.status in (400, 403) and answer.code in ("SignatureDoesNotMatch", "BadDigest"), answer
            absent(wire, bucket)


def test_a_tampered_trailer_signature_writes_nothing(wire, bucket):
    body = content(20000)
    trailers = [("x-amz-checksum-crc32", checksum("CRC32", body))]
    mangle = lambda framed: framed.replace(b"x-amz-trailer-signature:", b"x-amz-trailer-signature:0")
    answer = wire.stream(object_path(bucket, "k"), body, STREAM_TRAILER, trailers, mangle=mangle)
    assert answer.status in (400, 403), answer
    absent(wire, bucket)


def test_a_trailer_that_was_promised_must_come(wire, bucket):
    body = content(20000)
    answer = wire.stream(
        object_path(bucket, "k"), body, STREAM_UNSIGNED_TRAILER, headers={"x-amz-trailer": "x-amz-checksum-crc32"})
    assert answer.status == 400, answer
    absent(wire, bucket)


def test_the_digest_of_the_signature_is_verified(wire, bucket):
    for size in SIZES:
        body = content(size)
        wire.put(bucket, "ok", body, payload=hashlib.sha256(body).hexdigest()).expect(200)
        other = hashlib.sha256(body + b"!").hexdigest()
        wire.put(bucket, "k", body, payload=other).expect(400, "XAmzContentSHA256Mismatch")
        absent(wire, bucket)


def test_content_md5_is_verified(wire, bucket):
    for size in SIZES:
        body = content(size)
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        wire.put(bucket, "ok", body, {"content-md5": md5}).expect(200)
        wrong = base64.b64encode(hashlib.md5(body + b"!").digest()).decode()
        wire.put(bucket, "k", body, {"content-md5": wrong}).expect(400, "BadDigest")
        absent(wire, bucket)
    wire.put(bucket, "k", b"v", {"content-md5": "nonsense"}).expect(400, "InvalidDigest")
    absent(wire, bucket)


def test_a_refused_write_leaves_the_old_object(wire, bucket):
    wire.put(bucket, "k", b"old").expect(200)
    for size in SIZES:
        wrong = {"x-amz-checksum-crc32": checksum("CRC32", b"other")}
        wire.put(bucket, "k", content(size), wrong).expect(400, "BadDigest")
        assert wire.get(bucket, "k").body == b"old"


def test_two_checksums_are_one_too_many(wire, bucket):
    headers = {header_of(a): checksum(a, b"v") for a in ("CRC32", "SHA256")}
    answer = wire.put(bucket, "k", b"v", headers)
    assert answer.status == 400, answer
    absent(wire, bucket)


def test_the_attributes_of_an_object(s3, wire, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", ChecksumAlgorithm="SHA256")
    answer = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
    assert answer["ObjectSize"] == 1 and answer["Checksum"]["ChecksumSHA256"] == checksum("SHA256", b"v")
    wire.request("GET", object_path(bucket, "k"), [("attributes", "")]).expect(400, "InvalidRequest")
    wire.request("GET", object_path(bucket, "k"), [("attributes", "")], {"x-amz-object-attributes": "Colour"}).expect(
        400, "InvalidArgument")


def test_the_algorithm_is_listed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", ChecksumAlgorithm="SHA256")
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ChecksumAlgorithm"] == ["SHA256"]


def test_an_unknown_algorithm_is_refused(wire, bucket):
    answer = wire.put(bucket, "k", b"v", {"x-amz-sdk-checksum-algorithm": "CRC16", "x-amz-checksum-crc16": "AAA="})
    assert answer.status in (400, 501), answer
    absent(wire, bucket)


def test_a_checksum_is_of_the_algorithm_that_the_sdk_names(wire, bucket):
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    wire.put(bucket, "k", b"v").expect(200)

    def sent(named, data):
        return {"x-amz-sdk-checksum-algorithm": named, "x-amz-checksum-crc32": checksum("CRC32", data)}
    for named, code in (("SHA256", "BadDigest"), ("CRC16", "InvalidRequest")):
        wire.request("POST", f"/{bucket}", [("delete", "")], sent(named, body), body).expect(400, code)
        wire.put(bucket, "k", b"other", sent(named, b"other")).expect(400, code)
    assert wire.get(bucket, "k").body == b"v"
    wire.request("POST", f"/{bucket}", [("delete", "")], sent("crc32", body), body).expect(200)


def test_sdk_wide_refusal(s3, bucket):
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"v", ChecksumCRC32="AAAAAA==")


def test_a_part_has_the_checksum_it_came_with(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    bodies = [content(5 * MIB), b"rest"]
    parts = []
    for number, body in enumerate(bodies, 1):
        part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
    bare = [{k: v for k, v in part.items() if k != "ChecksumSHA256"} for part in parts]
    with refused("InvalidRequest", 400):
        s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": bare})
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    for number, body in enumerate(bodies, 1):
        for call in (s3.head_object, s3.get_object):
            found = call(Bucket=bucket, Key="k", PartNumber=number, ChecksumMode="ENABLED")
            assert found["ChecksumSHA256"] == checksum("SHA256", body)
        assert "ChecksumSHA256" not in s3.head_object(Bucket=bucket, Key="k", PartNumber=number)


def test_bodies_that_arrive_together_have_each_its_own_md5(s3, bucket):
    """More at a time than are hashed side by side, of lengths around the blocks and pieces that hashing goes by."""
    lengths = [near + offset for near in (0, 64, 4096, 65536, 262144, MIB) for offset in (0, 1, 55, 56, 63)]
    lengths += [random.Random("lengths").randrange(3 * MIB) for _ in range(30)]

    def put(number, length):
        body = content(length, f"together-{number}")
        etag = s3.put_object(Bucket=bucket, Key=f"k{number}", Body=body)["ETag"]
        return etag == f'"{hashlib.md5(body).hexdigest()}"'

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        right = list(pool.map(put, range(len(lengths)), lengths))
    assert all(right), [length for length, is_right in zip(lengths, right) if not is_right]
