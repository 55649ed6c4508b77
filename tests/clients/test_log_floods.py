"""What goes wrong with every operation is said about once a second and not every time: a log that fills a disk is
an outage of its own. Nothing is hidden: how many lines were left out is said, and the metrics count all of it.
"""
import collections
import os
import random
import re
import threading
import time

from .content import content
from .test_drives import BUCKET, files_of
from .waiting import until

# Lines that one place may write at once (src/base/limits.rs), and what a slow machine adds.
AT_ONCE = 256
SLACK = 8
SIZE = 200_000
COUNT = 80


def places(text):
    """Lines by the words that do not change: what one place in the code says."""
    known = collections.Counter()
    for line in text.splitlines():
        words = re.sub(r"\x1b\[[0-9;]*m", "", line)
        found = re.match(r"\S+\s+(INFO|WARN|ERROR) ([^=]*)", words)
        if found:
            known[re.sub(r"\S+$|\d+", "", found[2]).strip()] += 1
    return known


def damage(drive):
    """A byte of every page of the data, so that no block is right, while headers of segments stay as they are."""
    path = next(path for path in files_of(drive) if path.name == "basalt.data")
    with open(path, "r+b") as file:
        end = os.fstat(file.fileno()).st_size
        # Behind the page of the header of a segment.
        for at in range(0, end, 4096):
            if at % (8 << 20) == 0:
                continue
            file.seek(at + 100)
            byte = file.read(1)
            if byte != b"\0":
                file.seek(at + 100)
                file.write(bytes([byte[0] ^ 0x55]))


def put_all(server):
    server.s3().create_bucket(Bucket=BUCKET)
    with server.wire() as wire:
        for n in range(COUNT):
            wire.put(BUCKET, f"k{n}", content(SIZE, f"k{n}")).expect(200)


def read_often(server, turns, statuses):
    """Every object in each of some turns, by some clients at once."""
    def read(seed):
        dice = random.Random(seed)
        with server.wire() as wire:
            for _ in range(turns * COUNT // 4):
                statuses.append(wire.get(BUCKET, f"k{dice.randrange(COUNT)}").status)

    threads = [threading.Thread(target=read, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check_calm(text, seconds):
    for place, lines in places(text).items():
        assert lines <= AT_ONCE + SLACK + seconds, (place, lines, seconds)


def test_damage_in_every_block_is_said_about_once_a_second(new_small):
    server = new_small(options=["--read-cache", "0"]).start()
    put_all(server)
    seen, begun = len(server.text()), time.monotonic()
    damage(server.drives[0])
    damage(server.drives[1])
    statuses = []
    read_often(server, 6, statuses)
    assert set(statuses) == {200}
    until(lambda: sum(server.metrics()["basalt_drive_corrupt_blocks_total"].values()) >= COUNT, 30, "the damage to be counted")
    text = server.text()[seen:]
    assert "damaged block" in text, text[-2000:]
    check_calm(text, int(time.monotonic() - begun))


def test_objects_that_cannot_be_read_are_said_about_once_a_second(new_small):
    """A client that tries again and again gets its error each time, and the log a line a second."""
    server = new_small(options=["--read-cache", "0"]).start()
    put_all(server)
    seen, begun = len(server.text()), time.monotonic()
    for n in (0, 1, 2):
        damage(server.drives[n])
    statuses = []
    read_often(server, 12, statuses)
    failed = sum(status != 200 for status in statuses)
    assert failed > 2 * AT_ONCE, collections.Counter(statuses)
    seconds = int(time.monotonic() - begun)
    text = server.text()[seen:]
    check_calm(text, seconds)
    assert "cannot be read" in text
    # The next line of the place says how many were left out before it.
    with server.wire() as wire:
        def is_said():
            for n in range(COUNT):
                wire.get(BUCKET, f"k{n}")
            return re.search(r"left out.*lines=[1-9]", re.sub(r"\x1b\[[0-9;]*m", "", server.text()[seen:]))

        until(is_said, 30, "the lines that were left out to be counted")
