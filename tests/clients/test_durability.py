"""The promise: what was acknowledged is there after `kill -9`, byte for byte; what was not is absent or whole.

Clients write, overwrite and delete on several connections while the server is killed, again and again. Each
client keeps, for each of its keys, what the server acknowledged last and what was on its way when the
connection broke. After every restart each key must hold one of these, and a listing must agree.
"""
import http.client
import random
from contextlib import suppress

import pytest

from .content import MIB, content
from .test_multipart import PART
from .waiting import until
from .wire import object_path
from .writers import writing

BUCKET = "ledger"
GONE = None
SIZES = [0, 10, 900, 4096, 16384, 16385, 40000, 65457, 300000]
LARGE_SIZES = [MIB + 1, 3 * MIB, 9 * MIB]


class Ledger:
    """What one client knows of its keys: `settled[key]` is a version or GONE; `pending` is (key, version)."""

    def __init__(self, name, server, seed, keys=60, large=False):
        self.name, self.server = name, server
        self.dice = random.Random(seed)
        self.keys = [f"{name}/{n:03}" for n in range(keys)]
        self.sizes = LARGE_SIZES if large else SIZES
        self.settled = dict.fromkeys(self.keys, GONE)
        self.pending = None
        self.acknowledged = 0
        self.made = 0

    def body(self, version):
        size, name = version
        return content(size, name)

    def write_until_it_breaks(self):
        """One operation after the other, until the server is gone."""
        with suppress(OSError, http.client.HTTPException), self.server.wire() as wire:
            while True:
                self.one(wire)

    def one(self, wire):
        key = self.dice.choice(self.keys)
        if self.dice.random() < 0.2:
            version = GONE
        else:
            self.made += 1
            version = self.dice.choice(self.sizes), f"{self.name}/{self.made}"
        self.pending = key, version
        answer = wire.delete(BUCKET, key) if version is GONE else wire.put(BUCKET, key, self.body(version))
        assert answer.status in (200, 204), answer
        self.settled[key] = version
        self.pending = None
        self.acknowledged += 1

    def check(self, wire, listed):
        """Every key holds what was settled, or what was pending; afterwards that is settled."""
        for key in self.keys:
            allowed = [self.settled[key]]
            if self.pending and self.pending[0] == key:
                allowed.append(self.pending[1])
            answer = wire.get(BUCKET, key)
            assert answer.status in (200, 404), (key, answer.status, answer.body[:300])
            held = GONE if answer.status == 404 else answer.body
            fits = [v for v in allowed if held == (GONE if v is GONE else self.body(v))]
            assert fits, f"{key}: {len(held) if held is not None else 'nothing'} bytes, allowed {allowed}"
            self.settled[key] = fits[-1]
            size = listed.get(key)
            assert size == (None if fits[-1] is GONE else fits[-1][0]), f"{key} is listed with {size}"
        self.pending = None


def listing(server):
    pages = server.s3(attempts=3).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}


def one_life(server, ledgers, target):
    """Runs the clients until they have `target` acknowledgements more, kills the server under them, restarts it."""
    goal = sum(l.acknowledged for l in ledgers) + target
    with writing(server, ledgers) as wrong:
        until(lambda: wrong or sum(l.acknowledged for l in ledgers) >= goal, 120, f"{target} acknowledgements")
    server.start()


def check_all(server, ledgers):
    listed = listing(server)
    with server.wire() as wire:
        for ledger in ledgers:
            ledger.check(wire, listed)
    known = {key for ledger in ledgers for key in ledger.keys}
    assert set(listed) <= known, "nothing that nobody wrote"


def new_bucket(server):
    server.s3().create_bucket(Bucket=BUCKET)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_kill_in_a_loop(new_basalt, large):
    server = new_basalt().start()
    new_bucket(server)
    ledgers = [Ledger(f"client{n}", server, n, keys=12 if large else 60, large=large) for n in range(4)]
    dice = random.Random(11)
    for _ in range(6 if large else 12):
        one_life(server, ledgers, dice.randrange(5, 60) if large else dice.randrange(20, 1500))
        check_all(server, ledgers)
    server.stop().start()
    check_all(server, ledgers)


def test_kill_one_directory(new_basalt):
    """No redundancy at all, the same promise."""
    server = new_basalt(drives=1).start()
    new_bucket(server)
    ledgers = [Ledger(f"client{n}", server, n) for n in range(3)]
    for _ in range(4):
        one_life(server, ledgers, 400)
        check_all(server, ledgers)


def test_kill_while_starting(new_basalt):
    """A recovery that is itself cut off, at every stage it may be in, must leave the next one nothing worse."""
    server = new_basalt().start()
    new_bucket(server)
    ledgers = [Ledger(f"client{n}", server, 100 + n) for n in range(3)]
    for attempt in range(8):
        one_life(server, ledgers, 200)
        server.kill()
        for lines in range(1, 6):
            seen = len(server.text().splitlines())
            server.spawn()
            until(lambda: len(server.text().splitlines()) >= seen + lines or server.is_ready_or_dead(), 60, "a start-up line")
            server.kill()
        server.start()
        check_all(server, ledgers)
        if attempt == 3:
            server.stop().start()


def test_kill_through_a_full_turn_of_the_log(new_basalt):
    """Enough small writes that log segments are retired, packed and used again between the kills."""
    server = new_basalt(options=["--capacity", "1GiB", "--memory", "64MiB"]).start()
    new_bucket(server)
    kept = {f"kept/{n:05}": content(3000 + n % 12000, f"kept{n}") for n in range(3000)}
    with server.wire() as wire:
        for key, body in kept.items():
            wire.put(BUCKET, key, body).expect(200)
    ledgers = [Ledger(f"client{n}", server, n, keys=40) for n in range(4)]
    for _ in range(5):
        one_life(server, ledgers, 2500)
        with server.wire() as wire:
            for key, body in list(kept.items())[::7]:
                assert wire.get(BUCKET, key).body == body, key
    listed = listing(server)
    assert {k: s for k, s in listed.items() if k.startswith("kept/")} == {k: len(b) for k, b in kept.items()}
    with server.wire() as wire:
        for ledger in ledgers:
            ledger.check(wire, listed)
        for key, body in kept.items():
            assert wire.get(BUCKET, key).body == body, key


def test_multipart_uploads_survive_kills(new_basalt):
    """Acknowledged parts, aborts and completions stay; an upload goes on where it stood."""
    server = new_basalt().start()
    new_bucket(server)
    s3 = server.s3(attempts=3)
    where = dict(Bucket=BUCKET, Key="big", UploadId=s3.create_multipart_upload(Bucket=BUCKET, Key="big")["UploadId"])
    gone = dict(Bucket=BUCKET, Key="gone", UploadId=s3.create_multipart_upload(Bucket=BUCKET, Key="gone")["UploadId"])
    s3.upload_part(**gone, PartNumber=1, Body=b"v")
    parts = []
    for number in range(1, 5):
        body = content(PART + number, f"part{number}")
        parts.append({"PartNumber": number, "ETag": s3.upload_part(**where, PartNumber=number, Body=body)["ETag"]})
        if number == 2:
            s3.abort_multipart_upload(**gone)
        server.kill().start()
        s3 = server.s3(attempts=3)
        assert [p["PartNumber"] for p in s3.list_parts(**where)["Parts"]] == list(range(1, number + 1))
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["big"]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    server.kill().start()
    s3 = server.s3(attempts=3)
    whole = b"".join(content(PART + n, f"part{n}") for n in range(1, 5))
    assert s3.get_object(Bucket=BUCKET, Key="big")["Body"].read() == whole
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def test_buckets_and_copies_survive_kills(new_basalt):
    server = new_basalt().start()
    new_bucket(server)
    with server.wire() as wire:
        wire.request("PUT", "/short-lived").expect(200)
        wire.request("DELETE", "/short-lived").expect(204)
        wire.put(BUCKET, "from", content(5 * MIB)).expect(200)
        wire.request("PUT", object_path(BUCKET, "to"), headers={"x-amz-copy-source": f"{BUCKET}/from"}).expect(200)
        wire.delete(BUCKET, "from").expect(204)
    server.kill().start()
    with server.wire() as wire:
        assert wire.get(BUCKET, "to").body == content(5 * MIB)
        assert wire.get(BUCKET, "from").status == 404
        assert wire.request("HEAD", "/short-lived").status == 404


def test_space_of_broken_uploads_is_not_lost(new_basalt):
    """Chunks that were written when the server died belong to nobody afterwards."""
    server = new_basalt(drives=4, options=["--capacity", "768MiB"]).start()
    new_bucket(server)
    ledgers = [Ledger(f"client{n}", server, n, keys=3, large=True) for n in range(4)]
    for _ in range(5):
        one_life(server, ledgers, 25)
        check_all(server, ledgers)
    with server.wire() as wire:
        for ledger in ledgers:
            for key in ledger.keys:
                wire.delete(BUCKET, key).expect(204)

        def room():
            """Two thirds of what the drives can hold at 2+2, in one object after the other."""
            return all(wire.put(BUCKET, f"fill{n}", content(16 * MIB)).status == 200 for n in range(48))
        until(room, 120, "the space of all deleted and broken objects")
