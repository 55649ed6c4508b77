"""Correctly signed requests with spoiled content, over every operation: what gets past the signature must be
refused with an S3 error or served, in bounded time, and a refusal changes nothing.

The requests come from `operations`, the damage from a seed (`FUZZ_SEED`, `FUZZ_ROUNDS` for longer runs), so that a
failure can be repeated. Each failing request is printed whole. Between two requests that were served, everything the
buckets hold must stay the same.
"""
import hashlib
import os
import random
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from . import spoil
from .content import content
from .operations import REQUESTS, md5, post_names
from .process import Basalt
from .wire import STREAM, STREAM_TRAILER, STREAM_UNSIGNED_TRAILER, UNSIGNED, canonical_query, object_path

SEED = int(os.environ.get("FUZZ_SEED", "1"))
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "500"))
ANSWER_SECONDS = 20
BUCKET, LOCKED = "fuzzed", "fuzzed-locked"
LOGS = "fuzzed-logs"
#: The settings of the two buckets. Each holds what the table sets, and after a request that was served holds it again.
SETTINGS = ["acl", "ownershipControls", "publicAccessBlock", "policy", "lifecycle", "cors", "website", "tagging", "encryption", "logging", "notification",
            "requestPayment", "inventory", "versioning", "object-lock"]


KEYS = ["a/1", "a/2", "b/c/1", "key", *(f"spare/{n}" for n in range(10))]
WHO_AM_I = next(request for request in REQUESTS if b"GetCallerIdentity" in request.body)


class Place:
    """A server with something of everything in it, and a look at all of it."""

    def __init__(self, server):
        self.server = server
        self.wire = server.wire(timeout=ANSWER_SECONDS)
        self.made = {}
        self.owner = ElementTree.fromstring(self.wire.request("GET", "/").body).find("./{*}Owner/{*}ID").text
        self.account = re.search(r"\d{12}", self.send(WHO_AM_I).body.decode())[0]
        self.furnish()
        for sub in SETTINGS:
            self.set(sub)
        self.standard, self.known = self.settings(), self.look()

    def furnish(self):
        """Everything the requests name is there (again)."""
        wire = self.wire
        for name, headers in ((BUCKET, {}), (LOGS, {}), (LOCKED, {"x-amz-bucket-object-lock-enabled": "true"})):
            if wire.request("HEAD", f"/{name}").status == 404:
                wire.request("PUT", f"/{name}", headers=headers).expect(200)
        for name in KEYS:
            if wire.request("HEAD", object_path(BUCKET, name)).status == 404:
                self.made["etag"] = wire.put(BUCKET, name, content(100, "object")).expect(200).etag
        if self.version_is_gone():
            self.made["version"] = wire.put(LOCKED, "key", b"locked").expect(200).headers["x-amz-version-id"]
        where = object_path(BUCKET, "upload")
        if wire.request("GET", where, [("uploadId", self.made.get("upload", "none"))]).status == 404:
            answer = wire.request("POST", where, [("uploads", "")]).expect(200)
            self.made["upload"] = ElementTree.fromstring(answer.body).find("{*}UploadId").text
            wire.request("PUT", where, [("partNumber", "1"), ("uploadId", self.made["upload"])], body=content(100, "object")).expect(200)
        page = wire.request("GET", f"/{BUCKET}", [("list-type", "2"), ("max-keys", "1"), ("encoding-type", "url")]).expect(200)
        self.made["token"] = ElementTree.fromstring(page.body).find("{*}NextContinuationToken").text
        self.known = self.look()

    def is_furnished(self):
        """As far as the last look tells."""
        objects, _, locked, _, parts = self.known
        return all(f"<Key>{name}</Key>".encode() in objects for name in KEYS) and parts and self.made["version"].encode() in locked

    def version_is_gone(self):
        version = self.made.get("version")
        return not version or self.wire.request("HEAD", object_path(LOCKED, "key"), [("versionId", version)]).status != 200

    def names(self):
        keys = self.server.access_key, self.server.secret_key
        return {"bucket": BUCKET, "locked": LOCKED, "logs": LOGS, "key": "key", "owner": self.owner, "account": self.account, **post_names(*keys), **self.made}

    def look(self):
        """What both buckets hold, as the listings tell it: bytes that compare."""
        seen = []
        for name in (BUCKET, LOCKED):
            for sub in ("versions", "uploads"):
                page = self.wire.request("GET", f"/{name}", [(sub, ""), ("encoding-type", "url")]).expect(200).body
                assert b"<IsTruncated>false" in page, "the place stays small enough for one page"
                seen.append(page)
        parts = self.wire.request("GET", object_path(BUCKET, "upload"), [("uploadId", self.made["upload"])])
        return [*seen, parts.body if parts.status == 200 else b""]

    def settings(self):
        return [(answer.status, answer.body if answer.status == 200 else b"") for name in (BUCKET, LOCKED) for sub in SETTINGS
                for answer in [self.wire.request("GET", f"/{name}", [(sub, "")])]]

    def send(self, request):
        if request.service is None:
            target = request.path + ("?" + canonical_query(request.query) if request.query else "")
            return self.wire.send(request.method, target, {"host": self.wire.host, **request.headers}, request.body)
        payload = UNSIGNED if request.service == "s3" else hashlib.sha256(request.body).hexdigest()
        return self.wire.request(request.method, request.path, request.query, request.headers, request.body, payload, service=request.service)

    def try_out(self, request):
        """Sends it and holds the answer against what every answer must be. True when it was served."""
        try:
            served = was_served(request, self.send(request))
            if served:
                self.settle(request)
            else:
                assert not difference(self.known, self.look()), "a refused request changed something"
            return served
        except Exception as error:
            raise AssertionError(f"{error}\n{request}") from error

    def settle(self, request):
        """After a request that may have changed something: its setting is taken back, what it removed is there again."""
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        for sub in {name for name, _ in request.query} & set(SETTINGS):
            self.set(sub)
        self.known = self.look()
        if len(self.known[0]) > 200_000:
            self.tidy_up()
        if not self.is_furnished():
            self.furnish()

    def set(self, sub):
        """What the table says of this setting."""
        for request in REQUESTS:
            if request.method == "PUT" and request.path.count("/") == 1 and (sub, "") in request.query:
                self.send(sealed(request.fitted(self.names())))

    def tidy_up(self):
        """What served requests have left behind goes, before it is more than a page."""
        for sub, tag in (("versions", "Version"), ("versions", "DeleteMarker")):
            page = self.wire.request("GET", f"/{BUCKET}", [(sub, ""), ("encoding-type", "url")]).body
            for found in ElementTree.fromstring(page).findall("{*}" + tag):
                path = f"/{BUCKET}/" + found.findtext("{*}Key").replace("+", "%20")
                self.wire.request("DELETE", path, [("versionId", found.findtext("{*}VersionId"))])


def difference(before, after):
    """What stands in only one of two looks, element by element."""
    left, right = (set(re.split(rb"(?<=>)(?=<(?:Version|DeleteMarker|Upload|Part)>)", b"".join(look))) for look in (before, after))
    return left ^ right


def was_served(request, answer):
    """Holds an answer against what every answer must be; False for an error."""
    assert answer.status < 500 or answer.status == 501, (answer.status, answer.body[:500])
    if request.path.startswith("/-/"):
        return False
    assert "x-amz-request-id" in answer.headers, answer
    if answer.status == 304 or request.method == "HEAD":
        assert answer.body == b"", answer
        return answer.status < 300
    if answer.status >= 300:
        assert answer.headers["content-type"] == "application/xml", answer
        root = ElementTree.fromstring(answer.body)
        code, message = root.find(".//{*}Code"), root.find(".//{*}Message")
        assert code is not None and re.fullmatch("[A-Za-z0-9.]+", code.text) and message.text, answer
        assert code.text != "InternalError", answer
        return False
    if answer.headers.get("content-type") == "application/xml" and answer.body and "etag" not in answer.headers:
        # Of keys with control characters a listing is what S3 makes of it: no XML, but for those who ask for `url`.
        root = ElementTree.fromstring(re.sub(rb"&#x(.|1.);", b"", answer.body))
        return not root.tag.endswith("Error")
    return True


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    base = tmp_path_factory.mktemp("fuzz")
    server = Basalt([base / f"d{n}" for n in range(4)], base / "log", options=["--memory", "64MiB"]).start()
    yield Place(server)
    server.kill()


@pytest.fixture(autouse=True)
def unharmed(place):
    """After each test: alive, no panic, and every setting as the table says, since what was accepted was set back."""
    yield
    server = place.server
    assert server.process.poll() is None, server.tail()
    server.check_log()
    panics = {name: sum(values.values()) for name, values in server.metrics().items() if "panic" in name}
    assert panics and not any(panics.values()), panics
    assert server.health("ready") == 200
    assert place.settings() == place.standard, "a refused request changed a setting"


def fitted(place, request):
    """The request of the table for this place, its digest still to be filled in."""
    return request.fitted(place.names())


def sealed(request):
    """`content-md5` is true of the body, spoiled or not: else nothing behind it would ever be reached."""
    digests = {"{md5}": md5(request.body), "{crc32}": spoil.crc32(request.body)}
    headers = {k: digests.get(v, v) for k, v in request.headers.items()}
    return replace(request, headers=headers)


def test_the_table_names_every_operation(place):
    """And each request of it reaches its operation, as the server counts them."""
    for request in REQUESTS:
        place.try_out(sealed(fitted(place, request)))
    counted = place.server.metrics()["basalt_requests_total"]
    reached = {re.search('operation="(\\w+)"', labels)[1] for labels, count in counted.items() if count}
    assert {request.name for request in REQUESTS} <= reached, {request.name for request in REQUESTS} - reached


def test_most_requests_of_the_table_are_served_as_they_are(place):
    """A table of requests that are refused anyway would test nothing."""
    refused = [request.name for request in REQUESTS if not place.try_out(sealed(fitted(place, request)))]
    print(refused)
    assert len(refused) < len(REQUESTS) / 3, refused


@pytest.mark.parametrize("what", ["document", "query", "headers", "path", "everything"])
def test_spoiled_requests(place, what):
    dice = random.Random(f"{what}/{SEED}")
    ways = [spoil.document, spoil.query, spoil.headers, spoil.path] if what == "everything" else [getattr(spoil, what)]
    table = [r for r in REQUESTS if what != "document" or r.body]
    served = 0
    for _ in range(ROUNDS):
        request = fitted(place, dice.choice(table))
        for way in dice.sample(ways, dice.randrange(1, len(ways) + 1)):
            request = way(dice, request)
        served += place.try_out(sealed(request))
    assert 0 < served < ROUNDS


@pytest.mark.parametrize("payload", [STREAM, STREAM_TRAILER, STREAM_UNSIGNED_TRAILER])
def test_spoiled_framing(place, payload):
    """Chunks, sizes, signatures and trailers of an aws-chunked body: either what was signed is stored, or nothing."""
    dice = random.Random(f"{payload}/{SEED}")
    for turn in range(ROUNDS // 3):
        size = dice.choice([0, 1, 100, 5000, 70000, 140000])
        body, key = content(size, f"framed{turn}"), f"framed{turn % 7}"
        trailers = [("x-amz-checksum-crc32", spoil.crc32(body))] if payload != STREAM else []
        headers = spoil.framing_headers(dice, size) if dice.random() < 0.3 else {}
        said = spoil.Said()
        before = place.wire.get(BUCKET, key)
        answer = place.wire.stream(
            object_path(BUCKET, key), body, payload, trailers, headers, size=dice.choice([8192, 65536]),
            mangle=lambda framed: said.keep(spoil.framing(dice, framed) if dice.random() < 0.9 else framed))
        after = place.wire.get(BUCKET, key)
        if was_served(REQUESTS[0], answer):
            assert after.body == body or payload == STREAM_UNSIGNED_TRAILER and said.sent != said.framed, (headers, said)
        else:
            assert (after.status, after.headers.get("etag")) == (before.status, before.headers.get("etag")), said
    place.known = place.look()


def test_spoiled_heads(place):
    """Raw bytes of a signed request: lengths that contradict, lines that are folded, twice or cut."""
    dice = random.Random(f"heads/{SEED}")
    path = object_path(BUCKET, "smuggled")
    for _ in range(ROUNDS // 2):
        target, headers, _ = place.wire.head("PUT", path, (), {"x-amz-meta-a": "b"})
        head = spoil.head(dice, [f"PUT {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())], b"0123456789")
        answers = spoil.converse(place.server.port, head, ANSWER_SECONDS)
        for answer in answers:
            assert answer.status < 500 or answer.status == 501, (head, answer)
            if answer.status >= 400 and answer.body:
                assert ElementTree.fromstring(answer.body).findtext("Code"), (head, answer)
        stored = place.wire.get(BUCKET, "smuggled")
        # The body is not signed, so a byte of it may be another; what follows the request is never part of it.
        assert stored.status == 404 or len(stored.body) <= 10, (head, stored)
        assert b"HTTP/1.1 200" not in stored.body
    place.known = place.look()
