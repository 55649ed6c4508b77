"""The work nobody waits for, seen from outside: it happens while clients write, it ends when the server is
told to, and nothing that was acknowledged is lost by it.

Small drives, little memory and keys of nearly full length make flushes, merges and packing happen within a few
thousand objects.
"""
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
    """Puts small objects one after the other until the server is gone, and counts what was acknowledged."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.server, self.writer, self.acknowledged = server, name, 0

    def run(self):
        try:
            with self.server.wire() as wire:
                while wire.put(BUCKET, key_of(self.writer, self.acknowledged),
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
