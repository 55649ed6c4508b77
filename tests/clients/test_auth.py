"""Who may speak: signatures by header and by query, right, wrong, late, early, tampered with and missing."""
import datetime
import hashlib
import json
import urllib.request

import boto3
import pytest
from botocore.config import Config

from .content import content
from .errors import refused
from .test_objects import ODD_KEYS
from .spoil import crc32
from .wire import STREAM_TRAILER, STREAM_UNSIGNED_TRAILER, Signer, object_path, utc_now


def minutes(count):
    return utc_now() + datetime.timedelta(minutes=count)


def test_a_wrong_secret_is_refused(basalt, s3, bucket):
    wrong = basalt.s3(keys=(basalt.access_key, "wrong" * 8))
    with refused("SignatureDoesNotMatch", 403):
        wrong.put_object(Bucket=bucket, Key="k", Body=b"v")
    with refused("SignatureDoesNotMatch", 403):
        wrong.list_buckets()
    with refused(None, 403):
        wrong.head_bucket(Bucket=bucket)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_unknown_key_is_refused(basalt, bucket):
    with refused("InvalidAccessKeyId", 403):
        basalt.s3(keys=("AKIANOBODY", basalt.secret_key)).list_objects_v2(Bucket=bucket)


def test_nobody_may_do_nothing(wire, bucket):
    wire.put(bucket, "k", b"v")
    host = {"host": wire.host}
    for method, target in (("GET", "/"), ("GET", f"/{bucket}"), ("GET", f"/{bucket}/k"), ("PUT", f"/{bucket}/n"),
                           ("DELETE", f"/{bucket}/k"), ("POST", f"/{bucket}?delete"), ("PUT", "/new-bucket")):
        wire.send(method, target, host).expect(403, "AccessDenied")
    assert wire.get(bucket, "k").body == b"v"
    assert wire.request("HEAD", object_path(bucket, "n")).status == 404


def test_the_clock_of_the_client_must_be_near(wire, bucket):
    for away in (-14, 14):
        assert wire.put(bucket, "k", b"v", at=minutes(away)).status == 200
    for away in (-16, 16, -60 * 24 * 400, 60 * 24 * 400):
        wire.put(bucket, "k", b"w", at=minutes(away)).expect(403, "RequestTimeTooSkewed")
    assert wire.get(bucket, "k").body == b"v"


def test_a_year_that_no_clock_here_holds_is_far_away(wire, bucket):
    wire.put(bucket, "k", b"w", at=datetime.datetime(9999, 7, 7)).expect(403, "RequestTimeTooSkewed")


def test_region_and_service_are_part_of_the_scope(wire, bucket):
    wire.get(bucket, "k", region="eu-central-1").expect(400, "AuthorizationHeaderMalformed")
    answer = wire.get(bucket, "k", service="sqs")
    assert answer.status in (400, 403), answer


def test_everything_signed_is_protected(wire, bucket):
    """One change after signing, anywhere, and the request is refused."""
    wire.put(bucket, "k", b"v")
    target, headers, _ = wire.head("GET", f"/{bucket}/k", [("response-content-type", "a/b")], {"x-amz-meta-a": "1"})
    assert wire.send("GET", target, headers).status == 200
    changes = [
        ("HEAD", target, headers), ("GET", target.replace("/k", "/l"), headers), ("GET", target + "&x=1", headers),
        ("GET", target.replace("a%2Fb", "a%2Fc"), headers), ("GET", target, headers | {"x-amz-meta-a": "2"}),
        ("GET", target, headers | {"host": "other.example"}),
        ("GET", target, headers | {"x-amz-content-sha256": "0" * 64}),
    ]
    for method, changed, sent in changes:
        answer = wire.send(method, changed, sent)
        assert answer.status == 403 and (method == "HEAD" or answer.code == "SignatureDoesNotMatch"), (changed, sent, answer)


def test_headers_that_must_be_signed(wire, bucket):
    """An x-amz- header that the signature does not cover could be added by anyone on the way."""
    target, headers, _ = wire.head("PUT", object_path(bucket, "k"))
    answer = wire.send("PUT", target, headers | {"x-amz-meta-added": "1"}, b"v")
    assert answer.status in (400, 403), answer
    assert wire.request("HEAD", object_path(bucket, "k")).status == 404


@pytest.mark.parametrize("value", [
    "", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 nonsense", "Basic dXNlcjpwYXNz", "AWS AKIA:sig", "Bearer x",
    "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00",
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/s3/aws4_request, SignedHeaders=, Signature=",
    "AWS4-HMAC-SHA256 Credential=" + "/" * 500 + ", SignedHeaders=" + ";" * 500 + ", Signature=" + "é" * 100,
])
def test_nonsense_is_refused(wire, bucket, value):
    headers = {"host": wire.host, "authorization": value, "x-amz-date": utc_now().strftime("%Y%m%dT%H%M%SZ"),
               "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    answer = wire.send("GET", f"/{bucket}", headers)
    assert answer.status in (400, 403) and answer.code, answer


def test_a_presigned_url_is_enough(basalt, s3, bucket):
    """As a browser would use it: no header of ours."""
    put = s3.generate_presigned_url("put_object", Params=dict(Bucket=bucket, Key="a b/ü"), ExpiresIn=60)
    body = content(100000)
    with urllib.request.urlopen(urllib.request.Request(put, data=body, method="PUT")) as answer:
        assert answer.status == 200
    asked = dict(Bucket=bucket, Key="a b/ü", ResponseContentType="image/png")
    with urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=asked)) as answer:
        assert answer.read() == body and answer.headers["content-type"] == "image/png"
    by_host = basalt.s3(style="virtual").generate_presigned_url("get_object", Params=asked)
    with urllib.request.urlopen(by_host) as answer:
        assert answer.read() == body


def test_presigned_urls_expire(wire, bucket):
    path = object_path(bucket, "k")
    wire.put(bucket, "k", b"v")
    assert wire.presigned("GET", path, seconds=3600, at=minutes(-59)).status == 200
    wire.presigned("GET", path, seconds=3600, at=minutes(-61)).expect(403, "AccessDenied")
    wire.presigned("GET", path, seconds=60, at=minutes(30)).expect(403, "AccessDenied")
    for seconds in (604801, 0, -1, "x"):
        wire.presigned("GET", path, seconds=seconds).expect(400, "AuthorizationQueryParametersError")
    assert wire.presigned("GET", path, seconds=604800).status == 200


def test_presigned_urls_hold_for_what_they_name(wire, bucket):
    path = object_path(bucket, "k")
    target = wire.signer().presigned("PUT", wire.host, path, headers={"content-type": "text/x"})
    host = {"host": wire.host}
    wire.send("PUT", target, host | {"content-type": "text/y"}, b"v").expect(403, "SignatureDoesNotMatch")
    wire.send("DELETE", target, host | {"content-type": "text/x"}).expect(403, "SignatureDoesNotMatch")
    wire.send("PUT", target.replace("/k?", "/l?"), host | {"content-type": "text/x"}, b"v").expect(403, "SignatureDoesNotMatch")
    assert wire.send("PUT", target, host | {"content-type": "text/x"}, b"v").status == 200
    missing = target.replace("&X-Amz-Signature=", "&X-Other=")
    answer = wire.send("PUT", missing, host, b"v")
    assert answer.status in (400, 403), answer


def test_presigned_urls_of_another_secret(wire, bucket):
    wire.presigned("GET", f"/{bucket}", secret_key="wrong").expect(403, "SignatureDoesNotMatch")
    wire.presigned("GET", f"/{bucket}", access_key="AKIANOBODY").expect(403, "InvalidAccessKeyId")
    wire.presigned("GET", f"/{bucket}", region="eu-west-1").expect(400, "AuthorizationQueryParametersError")


def test_two_signatures_are_one_too_many(wire, bucket):
    target = wire.signer().presigned("GET", wire.host, f"/{bucket}")
    _, headers, _ = wire.head("GET", f"/{bucket}")
    answer = wire.send("GET", target, headers)
    assert answer.status == 400, answer


def test_every_key_can_be_presigned(wire, bucket):
    for key in ODD_KEYS:
        path = object_path(bucket, key)
        assert wire.presigned("PUT", path, body=key.encode()).status == 200, key
        assert wire.presigned("GET", path).body == key.encode(), key


def test_a_query_is_signed_in_its_canonical_order(wire, bucket):
    wire.put(bucket, "k", b"v")
    signer = Signer(**wire.signing)
    query = [("response-content-type", "a/b c"), ("response-cache-control", "x=1&y"), ("response-content-language", "é")]
    headers = {"host": wire.host}
    path = object_path(bucket, "k")
    signer.header("GET", path, query, headers, "UNSIGNED-PAYLOAD")
    shuffled = "response-content-language=%C3%A9&response-content-type=a%2Fb%20c&response-cache-control=x%3D1%26y"
    assert wire.send("GET", f"{path}?{shuffled}", headers).headers["content-type"] == "a/b c"


def test_words_that_sign_nothing(wire, bucket):
    for value, status, code in [
            ("", 403, "AccessDenied"), ("Bogus", 400, "InvalidArgument"), ("Bearer abc", 400, "InvalidArgument"),
            ("AWS AKIA", 400, "InvalidArgument"), ("AWS AKIA:abc", 403, "AccessDenied")]:
        wire.send("GET", f"/{bucket}", {"host": wire.host, "authorization": value}).expect(status, code)


def test_headers_moved_into_a_presigned_url_count(wire, bucket):
    """Signers of URLs put `x-amz-` headers into the query, and with them the checksum of a body that they lack."""
    path = object_path(bucket, "k")
    query = [("x-amz-meta-colour", "dark red"), ("x-amz-tagging", "a=1&b=2"), ("x-amz-checksum-crc32", "AAAAAA=="),
             ("x-amz-sdk-checksum-algorithm", "CRC32"), ("x-id", "PutObject")]
    assert wire.presigned("PUT", path, query, body=b"v").status == 200
    got = wire.get(bucket, "k")
    assert (got.body, got.headers["x-amz-meta-colour"], got.headers["x-amz-tagging-count"]) == (b"v", "dark red", "2")
    wire.presigned("PUT", path, [("x-amz-server-side-encryption", "aws:kms")], body=b"w").expect(501, "NotImplemented")
    wire.presigned("PUT", path, [("x-amz-acl", "nonsense")], body=b"w").expect(400, "InvalidArgument")
    assert wire.presigned("PUT", object_path(bucket, "c"), [("x-amz-copy-source", f"{bucket}/k")]).status == 200
    # What the URL says of the body counts, and a header that nobody signed may not say something else.
    signer, said = wire.signer(), {"x-amz-content-sha256": hashlib.sha256(b"y").hexdigest()}
    for query, status in (([], 403), ([("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")], 400)):
        target = signer.presigned("PUT", wire.host, path, query)
        assert wire.send("PUT", target, {"host": wire.host, **said}, b"x").status == status
    assert wire.get(bucket, "c").headers["x-amz-meta-colour"] == "dark red"
    assert wire.request("PUT", path, [("x-amz-meta-colour", "red")], body=b"x").status == 200
    assert "x-amz-meta-colour" not in wire.get(bucket, "k").headers, "only in presigned URLs"


def test_trailers_with_empty_lines_around_them(wire, bucket):
    """A client that ends trailer lines in LF and adds CR LF: one empty line too many, which S3 does not mind."""
    path, body = object_path(bucket, "k"), content(100_000)
    trailers = [("x-amz-checksum-crc32", crc32(body))]
    spread = lambda framed: framed.replace(crc32(body).encode() + b"\r\n", crc32(body).encode() + b"\n\r\n")
    for payload in (STREAM_TRAILER, STREAM_UNSIGNED_TRAILER):
        assert wire.stream(path, body, payload, trailers, mangle=spread).status == 200, payload
        assert wire.get(bucket, "k").body == body
        more = lambda framed: spread(framed) + b"\r\n\r\n"
        wire.stream(path, body, payload, trailers, mangle=more).expect(400, "IncompleteBody")


def old_client(basalt, style="path", secret=None):
    """Speaks Signature Version 2, as boto3 presigns for an endpoint when nobody names a version."""
    config = Config(signature_version="s3", s3={"addressing_style": style}, retries={"total_max_attempts": 1})
    keys = dict(aws_access_key_id=basalt.access_key, aws_secret_access_key=secret or basalt.secret_key)
    return boto3.client("s3", endpoint_url=basalt.endpoint_of(style), region_name="us-east-1", config=config, **keys)


@pytest.mark.parametrize("date, code", [
    ("Bad Date", "AccessDenied"), ("", "AccessDenied"), ("Tue, 07 Jul 1950 21:53:04 GMT", "AccessDenied"),
    ("Wed, 07 Jul 2010 21:53:04 GMT", "RequestTimeTooSkewed"), ("Wed, 07 Jul 9999 21:53:04 GMT", "RequestTimeTooSkewed")])
def test_the_old_signature_is_of_now(basalt, bucket, date, code):
    old = old_client(basalt, "path")
    old.meta.events.register("before-call.s3.PutObject", lambda params, **_: params["headers"].update({"x-amz-date": date}))
    with refused(code, 403):
        old.put_object(Bucket=bucket, Key="k", Body=b"v")


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_the_old_signature_by_header(basalt, s3, bucket, style):
    old = old_client(basalt, style)
    for key in ODD_KEYS:
        old.put_object(Bucket=bucket, Key=key, Body=key.encode(), ContentType="a/b", Metadata={"a": " 1  2 "})
        assert old.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode(), key
    assert len(old.list_objects_v2(Bucket=bucket, Prefix="")["Contents"]) == len(ODD_KEYS)
    upload = old.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = old.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    old.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)
    old.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "m"}]})
    assert old.get_bucket_acl(Bucket=bucket)["Owner"]
    assert bucket in [b["Name"] for b in old.list_buckets()["Buckets"]]
    with refused("SignatureDoesNotMatch", 403):
        old_client(basalt, style, secret="wrong").put_object(Bucket=bucket, Key="n", Body=b"v")


def test_the_old_signature_in_urls(basalt, wire, bucket):
    old = old_client(basalt)
    put = old.generate_presigned_url("put_object", Params=dict(
        Bucket=bucket, Key="a b", Metadata={"a": "1"}, ContentType="x/y", Tagging="c=d"))
    assert "AWSAccessKeyId=" in put
    target, host = put.split(wire.host, 1)[1], {"host": wire.host}
    wire.send("PUT", target, {**host, "content-type": "x/z"}, b"v").expect(403, "SignatureDoesNotMatch")
    wire.send("PUT", target, {**host, "x-amz-acl": "private"}, b"v").expect(403, "SignatureDoesNotMatch")
    wire.send("DELETE", target, host).expect(403, "SignatureDoesNotMatch")
    assert wire.send("PUT", target, {**host, "content-type": "x/y"}, b"v").status == 200
    asked = dict(Bucket=bucket, Key="a b", ResponseContentDisposition="attachment; filename=a")
    get = old.generate_presigned_url("get_object", Params=asked).split(wire.host, 1)[1]
    got = wire.send("GET", get, host)
    assert (got.status, got.body, got.headers["x-amz-meta-a"], got.headers["content-type"]) == (200, b"v", "1", "x/y")
    assert (got.headers["x-amz-tagging-count"], got.headers["content-disposition"]) == ("1", "attachment; filename=a")
    wire.send("GET", get.replace("filename", "filenome"), host).expect(403, "SignatureDoesNotMatch")
    wire.send("GET", get + "&versionId=null", host).expect(403, "SignatureDoesNotMatch")
    wire.send("GET", get.replace("a%20b", "a%20c"), host).expect(403, "SignatureDoesNotMatch")
    over = old.generate_presigned_url("get_object", Params=dict(Bucket=bucket, Key="a b"), ExpiresIn=-5)
    wire.send("GET", over.split(wire.host, 1)[1], host).expect(403, "AccessDenied")
    wire.send("GET", f"/{bucket}/a%20b?AWSAccessKeyId={basalt.access_key}", host).expect(403, "AccessDenied")


def test_a_policy_may_want_the_new_signature(basalt, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*",
            "Condition": {"StringNotEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    with refused("AccessDenied", 403):
        old_client(basalt).get_object(Bucket=bucket, Key="k")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
