"""The work nobody waits for, seen from outside: it happens while clients write, it ends when the server is
told to, and nothing that was acknowledged is lost by it.

Small drives, little memory and keys of nearly full length make flushes, merges and packing happen within a few
thousand objects.
"""
import random
import signal
import socket
import threading

from .content import MIB, content
from .test_bad_input import head_bytes
from .waiting import until
from .wire import object_path

BUCKET = "upkeep"
OPTIONS = ["--capacity", "1GiB", "--memory", "64MiB", "--drain-seconds", "2"]
STOP_SECONDS = 30
WRITERS = 4


def key_of(writer, number):
    return f"{number % 97:02}/" + f"{writer}-{number:06}-" + "x" * 880


def body_of(writer, number):
    return content(16000 if number % 2 else 200, f"{writer}/{number}")


class Writer(threading.Thread):
    """Puts small objects one after the other until it is told to stop or the server is gone, and counts what was
    acknowledged."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.server, self.writer, self.acknowledged = server, name, 0
        self.stop = threading.Event()

    def run(self):
        try:
            with self.server.wire() as wire:
                while not self.stop.is_set() and wire.put(
                        BUCKET, key_of(self.writer, self.acknowledged),
                        body_of(self.writer, self.acknowledged)).status == 200:
                    self.acknowledged += 1
        except OSError:
            pass
        except Exception as broken:
            assert "Disconnected" in type(broken).__name__ or "Status" in type(broken).__name__, broken


def jobs(server):
    """Jobs done so far, by kind."""
    done = server.metrics().get("basalt_background_jobs_total", {})
    return {kind: sum(n for labels, n in done.items() if f'"{kind}"' in labels) for kind in ("flush", "merge", "pack")}


def stop_within(server, seconds):
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(seconds) == 0, server.tail()


def check(server, writers):
    """Every acknowledged object is listed; every 23rd is read."""
    listed = set()
    for page in server.s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        listed |= {entry["Key"] for entry in page.get("Contents", [])}
    with server.wire() as wire:
        for writer in writers:
            for number in range(writer.acknowledged):
                key = key_of(writer.writer, number)
                assert key in listed, (writer.writer, number, writer.acknowledged)
                if number % 23 == 0:
                    assert wire.get(BUCKET, key).body == body_of(writer.writer, number), key


def test_a_stop_during_heavy_upkeep_is_prompt_and_loses_nothing(new_basalt):
    server = new_basalt(drives=3, parity=1, options=OPTIONS).start()
    server.s3().create_bucket(Bucket=BUCKET)
    with server.wire() as wire:
        wire.put(BUCKET, "large", content(64 * MIB)).expect(200)
    writers = [Writer(server, name) for name in range(WRITERS)]
    for writer in writers:
        writer.start()
    until(lambda: all(jobs(server).values()) or server.process.poll() is not None, 240, "flushes, merges and packing")
    # A client that does not take what it asked for keeps a reader in place, which retiring a log segment waits for.
    with server.wire() as wire:
        head, _ = head_bytes(wire, "GET", object_path(BUCKET, "large"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
        slow.sendall(head)
        assert slow.recv(12) == b"HTTP/1.1 200"
        stop_within(server, STOP_SECONDS)
    for writer in writers:
        writer.join(60)
    server.start()
    check(server, writers)
    stop_within(server, STOP_SECONDS)


def test_a_stop_after_many_objects_is_prompt_and_the_next_start_serves_them(new_basalt):
    server = new_basalt(drives=2, parity=1, options=[*OPTIONS, "--cores", "1"]).start()
    server.s3().create_bucket(Bucket=BUCKET)
    writers = [Writer(server, name) for name in range(WRITERS)]
    for writer in writers:
        writer.start()
    until(lambda: jobs(server)["pack"] >= 2 or server.process.poll() is not None, 240, "several turns of the log")
    stop_within(server, STOP_SECONDS)
    for writer in writers:
        writer.join(60)
    for _ in range(2):
        server.start()
        check(server, writers)
        assert not server.metrics()["basalt_recovery_records"][""], "everything was in runs"
        stop_within(server, STOP_SECONDS)


class Ledger:
    """What became of each object: there, going (asked, not answered), gone."""

    def __init__(self, writers):
        self.states = {(writer.writer, n): "there" for writer in writers for n in range(writer.acknowledged)}
        self.broken = []

    def check(self, wire, name):
        """Reads one object, which must be what the answers before and during the read allow."""
        before = self.states[name]
        found = wire.get(BUCKET, key_of(*name))
        after = self.states[name]
        is_whole = found.status == 200 and found.body == body_of(*name)
        allowed = {"there": is_whole, "gone": found.status == 404}.get(before if before == after else "going")
        if not (is_whole or found.status == 404 if allowed is None else allowed):
            self.broken.append((name, before, after, found.status, len(found.body)))

    def read(self, server, seed, stop):
        dice, names = random.Random(seed), list(self.states)
        with server.wire() as wire:
            while not stop.is_set():
                self.check(wire, dice.choice(names))

    def delete(self, server, names):
        with server.wire() as wire:
            for name in names:
                self.states[name] = "going"
                wire.delete(BUCKET, key_of(*name)).expect(204)
                self.states[name] = "gone"


def test_small_objects_deleted_at_random_beside_readers_give_their_space_back(new_basalt):
    """Few objects of each pack stay, so that packs are compacted under the readers."""
    server = new_basalt(drives=3, parity=1, options=OPTIONS).start()
    server.s3().create_bucket(Bucket=BUCKET)
    writers = [Writer(server, name) for name in range(WRITERS)]
    for writer in writers:
        writer.start()
    until(lambda: server.used_bytes() >= 40 * MIB, 240, "objects to be packed")
    for writer in writers:
        writer.stop.set()
        writer.join(60)
    ledger, stop, dice = Ledger(writers), threading.Event(), random.Random(7)
    going = [name for name in ledger.states if dice.random() < 0.95]
    # Two chunks with data and one with parity; packs take at most twice the bytes of what is in them.
    bound = 2 * 1.5 * sum(len(body_of(*name)) for name in set(ledger.states) - set(going)) + 8 * MIB
    assert server.used_bytes() > bound
    dice.shuffle(going)
    readers = [threading.Thread(target=ledger.read, args=(server, n, stop), daemon=True) for n in range(2)]
    deleters = [threading.Thread(target=ledger.delete, args=(server, going[n::2])) for n in range(2)]
    for thread in readers + deleters:
        thread.start()
    for thread in deleters:
        thread.join()
    until(lambda: server.used_bytes() < bound or ledger.broken, 120, "the space of the deleted objects")
    stop.set()
    for thread in readers:
        thread.join(60)
    assert not ledger.broken and "going" not in ledger.states.values()
    server.kill().start()
    with server.wire() as wire:
        for name in ledger.states:
            ledger.check(wire, name)
    assert not ledger.broken
