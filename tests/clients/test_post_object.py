"""PostObject: browsers' forms with policies, signed by SigV4 and by SigV2, and what is refused of them."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
from urllib.parse import parse_qs, urlparse
from xml.etree import ElementTree

import pytest

from .errors import refused
from .wire import Signer, utc_now

BOUNDARY = "----form7"


def form(fields, body=b"bytes of the file", filename="name.txt", kind="text/plain"):
    out = b""
    for name, value in fields:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        out += head.encode() + str(value).encode() + b"\r\n"
    if body is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n' \
               f"Content-Type: {kind}\r\n\r\n"
        out += head.encode() + body + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


class Poster:
    def __init__(self, wire, bucket):
        self.wire, self.bucket = wire, bucket

    def policy(self, allowed, minutes=10, **changes):
        expires = (utc_now() + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = {"expiration": expires, "conditions": [{"bucket": self.bucket}, *allowed], **changes}
        return base64.b64encode(json.dumps({k: v for k, v in document.items() if v is not None}).encode()).decode()

    def v4(self, fields, allowed, **policy):
        signer = Signer(**self.wire.signing)
        signer.start()
        named = [("x-amz-algorithm", "AWS4-HMAC-SHA256"), ("x-amz-credential", f"{signer.access_key}/{signer.scope()}"),
                 ("x-amz-date", signer.stamp)]
        text = self.policy([*allowed, *({k: v} for k, v in named)], **policy)
        signature = hmac.new(signer.key(), text.encode(), hashlib.sha256).hexdigest()
        return [*fields, *named, ("policy", text), ("x-amz-signature", signature)]

    def v2(self, fields, allowed, **policy):
        text = self.policy(allowed, **policy)
        key = self.wire.signing["secret_key"].encode()
        signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha1).digest()).decode()
        return [*fields, ("AWSAccessKeyId", self.wire.signing["access_key"]), ("policy", text), ("signature", signature)]

    def post(self, fields, kind=f"multipart/form-data; boundary={BOUNDARY}", **file):
        return self.send(form(fields, **file), kind)

    def send(self, body, kind=f"multipart/form-data; boundary={BOUNDARY}"):
        connection = http.client.HTTPConnection(self.wire.host, timeout=60)
        connection.request("POST", f"/{self.bucket}", body=body, headers={"Content-Type": kind})
        answer = connection.getresponse()
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()
        connection.close()
        self.status = answer.status
        return answer.status, self.code()

    def code(self):
        return ElementTree.fromstring(self.body).findtext("Code") if self.body else None


@pytest.fixture
def poster(wire, bucket):
    return Poster(wire, bucket)


KEY = [["starts-with", "$key", "up/"]]


@pytest.mark.parametrize("signed", ["v4", "v2"])
def test_a_form_stores_its_file(s3, poster, signed):
    fields = [("key", "up/${filename}"), ("Content-Type", "image/png"), ("x-amz-meta-a", "ü"), ("x-ignore-me", "1")]
    conditions = [*KEY, ["starts-with", "$Content-Type", "image/"], ["StArTs-WiTh", "$X-Amz-Meta-A", ""]]
    assert poster.post(getattr(poster, signed)(fields, conditions), filename="C:\\dir\\a b.png") == (204, None)
    found = s3.get_object(Bucket=poster.bucket, Key="up/a b.png")
    assert found["Body"].read() == b"bytes of the file"
    assert (found["ContentType"], found["ETag"]) == ("image/png", poster.headers["etag"])


def test_only_a_field_says_the_type_of_the_file(s3, poster):
    assert poster.post(poster.v4([("key", "up/k")], KEY)) == (204, None)
    assert s3.get_object(Bucket=poster.bucket, Key="up/k")["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize("size", [0, 1, 16 << 10, 5 << 20])
def test_files_of_any_size_and_bytes_like_a_boundary(s3, poster, size):
    body = (b"\r\n--" + BOUNDARY[:-1].encode()) * (size // 13 + 1)
    body = body[:size]
    assert poster.post(poster.v4([("key", "up/k")], KEY), body=body) == (204, None)
    assert s3.get_object(Bucket=poster.bucket, Key="up/k")["Body"].read() == body


def test_what_is_answered_is_what_was_asked_for(poster):
    def asked(name, value):
        return poster.post(poster.v4([("key", "up/k &"), (name, value)], [*KEY, ["starts-with", f"${name}", ""]]))

    assert asked("success_action_status", "200") == (200, None)
    assert asked("success_action_status", "404") == (204, None)
    asked("success_action_status", "201")
    document = ElementTree.fromstring(poster.body)
    assert (poster.status, document.tag) == (201, "PostResponse")
    assert [document.findtext(name) for name in ("Bucket", "Key")] == [poster.bucket, "up/k &"]
    assert document.findtext("ETag") == poster.headers["etag"]
    place = f"http://{poster.wire.host}/{poster.bucket}/up%2Fk%20%26"
    assert document.findtext("Location") == poster.headers["location"] == place
    assert asked("success_action_redirect", "http://localhost:1/done?x=1") == (303, None)
    query = parse_qs(urlparse(poster.headers["location"]).query)
    assert query == {"x": ["1"], "bucket": [poster.bucket], "key": ["up/k &"], "etag": [poster.headers["etag"]]}


def test_the_file_has_the_length_that_the_policy_says(poster):
    def post(*limits):
        return poster.post(poster.v4([("key", "up/k")], [*KEY, ["content-length-range", *limits]]))

    assert post(1, 17) == (204, None)
    assert post(1, 16) == (400, "EntityTooLarge")
    assert post(18, 100) == (400, "EntityTooSmall")
    assert post(0) == (400, "InvalidPolicyDocument")
    assert post(-1, 0) == (400, "InvalidPolicyDocument")


def test_a_policy_is_obeyed_to_the_letter(s3, poster):
    denied, invalid = (403, "AccessDenied"), (400, "InvalidPolicyDocument")
    fields = [("key", "up/k")]
    assert poster.post(poster.v4([("key", "other/k")], KEY)) == denied
    assert poster.post(poster.v4([*fields, ("acl", "private")], KEY)) == denied, "a field no condition names"
    assert poster.post(poster.v4(fields, [*KEY, ["starts-with", "$x-amz-meta-a", ""]])) == denied, "a field left out"
    assert poster.post(poster.v4(fields, [*KEY, ["eq", "$x-amz-meta-a", ""]])) == (204, None)
    assert poster.post(poster.v4(fields, [*KEY, {"bucket": "another"}])) == denied
    assert poster.post(poster.v4(fields, KEY, minutes=-1)) == denied
    assert poster.post(poster.v4(fields, KEY, expiration=None)) == invalid
    assert poster.post(poster.v4(fields, KEY, conditions=None)) == invalid
    assert poster.post(poster.v4(fields, KEY, conditions=[{}])) == invalid
    assert poster.post(poster.v4(fields, KEY, expiration="2099-01-01 00:00:00")) == invalid
    assert poster.post(poster.v4(fields, KEY, EXPIRATION="x")) == invalid
    keys = s3.list_objects_v2(Bucket=poster.bucket)["KeyCount"]
    assert keys == 1


@pytest.mark.parametrize("signed", ["v4", "v2"])
def test_signatures_are_checked(poster, signed):
    good = getattr(poster, signed)([("key", "up/k")], KEY)

    def post(change):
        return poster.post([pair for pair in (change(*pair) for pair in good) if pair])

    last = good[-1][0]
    wrong = {"v4": "0" * 64, "v2": base64.b64encode(b"0" * 20).decode()}[signed]
    assert post(lambda name, value: (name, wrong if name == last else value)) == (403, "SignatureDoesNotMatch")
    assert post(lambda name, value: (name, value) if name != last else None) == (400, "InvalidArgument")
    other = {"v4": "x-amz-credential", "v2": "AWSAccessKeyId"}[signed]
    key = poster.wire.signing["access_key"]
    unknown = lambda name, value: (name, value.replace(key, "AKNOTTHERE0000000000") if name == other else value)
    assert post(unknown) == (403, "InvalidAccessKeyId")
    assert post(lambda name, value: (name, value) if name != "policy" else None) == (400, "InvalidArgument")
    assert post(lambda name, value: (name, value)) == (204, None)


def test_nobody_may_post_where_nobody_was_let_in(poster):
    assert poster.post([("key", "k")]) == (403, "AccessDenied")


def test_anybody_may_where_the_acl_says_so(open_basalt):
    s3 = open_basalt.s3()
    s3.create_bucket(Bucket="anybody-posts", ACL="public-read-write")
    with open_basalt.wire() as wire:
        poster = Poster(wire, "anybody-posts")
        assert poster.post([("key", "k"), ("Content-Type", "text/plain")]) == (204, None)
    assert s3.get_object(Bucket="anybody-posts", Key="k")["Body"].read() == b"bytes of the file"


def test_tags_come_with_a_form(s3, poster):
    tags = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag></TagSet></Tagging>"
    allowed = [*KEY, ["starts-with", "$tagging", ""]]
    bad = poster.post(poster.v4([("key", "up/k"), ("tagging", tags)], allowed))
    assert bad == (400, "InvalidTag")
    fields = poster.v4([("key", "up/k"), ("tagging", tags.replace("&amp;", "-"))], allowed)
    assert poster.post(fields) == (204, None)
    assert s3.get_object_tagging(Bucket=poster.bucket, Key="up/k")["TagSet"] == [{"Key": "a b", "Value": "1-2"}]


@pytest.mark.parametrize("field, digest", [("x-amz-checksum-sha256", hashlib.sha256), ("Content-MD5", hashlib.md5)])
def test_checksums_of_a_form(s3, poster, field, digest):
    def post(value):
        fields = [("key", "up/k"), (field, value)]
        return poster.post(poster.v4(fields, [*KEY, ["starts-with", f"${field}", ""]]))

    def of(body):
        return base64.b64encode(digest(body).digest()).decode()

    assert post(of(b"other bytes")) == (400, "BadDigest")
    assert post("nonsense")[0] == 400
    with refused("404", 404):
        s3.head_object(Bucket=poster.bucket, Key="up/k")
    assert post(of(b"bytes of the file")) == (204, None)


def test_what_is_no_form(poster):
    good = poster.v4([("key", "up/k")], KEY)
    assert poster.post(good, kind="application/x-www-form-urlencoded") == (412, "PreconditionFailed")
    assert poster.post(good, kind="multipart/form-data") == (412, "PreconditionFailed")
    assert poster.post(good, body=None) == (400, "InvalidArgument")
    assert poster.post([pair for pair in good if pair[0] != "key"]) == (400, "InvalidArgument")
    whole = form(good)
    assert poster.send(whole[: whole.index(b"bytes of the file") + 5]) == (400, "MalformedPOSTRequest")
    assert poster.send(b"nothing like it") == (400, "MalformedPOSTRequest")
    assert poster.send(b"--" + BOUNDARY.encode() + b"xx") == (400, "MalformedPOSTRequest")
    much = poster.post([*good, ("x-ignore-much", "x" * 40_000)])
    assert much == (400, "MaxPostPreDataLengthExceededError")
    assert poster.post(poster.v4([("key", "up/" + "k" * 1100)], KEY)) == (400, "KeyTooLongError")


def test_a_checksum_needs_no_leave(s3, poster):
    digest = base64.b64encode(hashlib.sha256(b"v").digest()).decode()
    fields = poster.v4([("key", "up/k")], KEY)
    assert poster.post([*fields, ("x-amz-checksum-sha256", digest)], body=b"w") == (400, "BadDigest")
    assert poster.post([*fields, ("x-amz-checksum-sha256", digest)], body=b"v") == (204, None)
    assert s3.head_object(Bucket=poster.bucket, Key="up/k", ChecksumMode="ENABLED")["ChecksumSHA256"] == digest
