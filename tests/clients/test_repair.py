"""Damage is repaired, drives come back, are replaced and are added, with the real binary on directories.

The measure: when the server says that it is done, any two of the other drives may go, and everything reads.
"""
import http.client
import os
import shutil
import struct
import subprocess

from .content import MIB, content
from .process import BINARY
from .test_drives import empty, everything_works, fill, remove, verify
from .waiting import until

PAGE = 4096
NO_CACHE = ["--read-cache", "0"]
#: Offset of the list of latched drives in the body of a superblock, docs/FORMAT.md.
LATCHED_AT = 93 - 16


def ask(server, *words):
    """A command of the operator to a running server: exit status and what it said."""
    done = subprocess.run(
        [str(BINARY), *words, "--endpoint", server.endpoint], env=server.environment(), capture_output=True,
        text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def figure(server, name):
    return sum(server.metrics()[name].values())


def scrub(server):
    """Asks for a full scrub and waits for its end."""
    before = figure(server, "basalt_scrub_passes_total")
    status, said = ask(server, "scrub")
    assert status == 0 and "scrub" in said, said
    until(lambda: figure(server, "basalt_scrub_passes_total") > before, 300, "a full scrub")


def rebuilt(server):
    until(lambda: figure(server, "basalt_drive_rebuilding") == 0, 300, "the drives to be whole again")


def without(server, lost, bodies):
    """Starts the stopped server without these drives and reads everything."""
    for n in lost:
        remove(server.drives[n])
    server.start()
    verify(server, bodies)


def blocks(file):
    """Offsets of the blocks of object data, page by page: the file may be larger than memory."""
    for at in range(0, os.fstat(file.fileno()).st_size, PAGE):
        file.seek(at)
        if file.read(4) == b"BBLK":
            yield at


def corrupt(drive):
    """Changes a byte in every block of object data; how many that were."""
    changed = 0
    with open(drive / "basalt.data", "r+b") as file:
        for at in blocks(file):
            changed += 1
            file.seek(at + 200)
            old = file.read(1)
            file.seek(at + 200)
            file.write(bytes([old[0] ^ 0x10]))
    return changed


def test_what_readers_and_a_scrub_find_is_repaired(new_small):
    server = new_small(options=NO_CACHE).start()
    bodies = fill(server)
    damaged = corrupt(server.drives[0]) + corrupt(server.drives[1])
    assert damaged > 10
    verify(server, bodies)
    until(lambda: figure(server, "basalt_scrub_blocks_repaired_total") > 0, 60, "what readers found to be repaired")
    scrub(server)
    assert figure(server, "basalt_scrub_blocks_repaired_total") >= damaged
    assert figure(server, "basalt_scrub_blocks_unrepairable_total") == 0
    before = figure(server, "basalt_scrub_blocks_damaged_total")
    scrub(server)
    assert figure(server, "basalt_scrub_blocks_damaged_total") == before
    server.stop()
    without(server, (2, 3), bodies)


def test_an_emptied_drive_is_replaced(new_small):
    server = new_small(options=NO_CACHE).start()
    bodies = fill(server)
    server.stop()
    empty(server.drives[1])
    server.start()
    assert "--adopt" in server.text(), "the remedy is named"
    ill = [labels for labels, v in server.metrics()["basalt_drive_state"].items() if v and "healthy" not in labels]
    assert len(ill) == 1, "nothing is adopted without a word"
    bodies |= everything_works(server, bodies, "degraded")
    server.stop()
    server.options.append("--adopt")
    server.start()
    verify(server, bodies)
    rebuilt(server)
    server.stop()
    server.options.remove("--adopt")
    without(server, (0, 2), bodies)
    everything_works(server, bodies, "after")


def test_a_pool_grows_and_uses_what_it_got(new_small):
    server = new_small(options=NO_CACHE).start()
    bodies = fill(server)
    server.stop()
    server.drives.append(server.drives[0].parent / "d4")
    server.options.append("--adopt")
    server.start()
    assert len([v for v in server.metrics()["basalt_drive_state"].values() if v]) == 5
    with server.wire() as wire:
        for n in range(20):
            key, body = f"grown{n}", content(MIB, f"grown{n}")
            wire.put("drives", key, body).expect(200)
            bodies[key] = body
    with open(server.drives[4] / "basalt.data", "rb") as file:
        assert next(blocks(file), None), "the new drive holds data"
    server.kill()
    server.options.remove("--adopt")
    server.start()
    verify(server, bodies)
    rebuilt(server)
    server.stop()
    without(server, (1, 4), bodies)


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def latch(server, drive):
    """Writes into all superblocks of a stopped server that a drive was latched."""
    for path in server.drives:
        with open(path / "basalt.meta", "r+b") as file:
            for copy in range(4):
                file.seek(copy * MIB)
                page = file.read(PAGE)
                length = struct.unpack_from("<I", page, 8)[0]
                body = page[16:16 + length]
                assert body[LATCHED_AT:LATCHED_AT + 2] == b"\0\0", "no drive is latched yet"
                body = body[:LATCHED_AT] + struct.pack("<HH", 1, drive) + body[LATCHED_AT + 2:]
                head = page[:8] + struct.pack("<I", len(body))
                sealed = head + struct.pack("<I", crc32c(head + body)) + body
                file.seek(copy * MIB)
                file.write(sealed.ljust(PAGE, b"\0"))


def state(server, n):
    states = server.metrics()["basalt_drive_state"]
    return next(labels for labels, v in states.items() if v and f'drive="{n}"' in labels)


def test_a_latched_drive_is_readmitted(new_small):
    server = new_small(options=NO_CACHE).start()
    bodies = fill(server)
    server.stop()
    latch(server, 1)
    server.start()
    assert "latched" in state(server, 1)
    bodies |= everything_works(server, bodies, "without")
    status, said = ask(server, "drive", "readmit", "2")
    assert status == 1 and "in service" in said, said
    status, said = ask(server, "drive", "readmit", "1")
    assert status == 0 and "back in service" in said, said
    assert "healthy" in state(server, 1)
    bodies |= everything_works(server, bodies, "with")
    rebuilt(server)
    status, said = ask(server, "status")
    assert status == 0 and "scrub" in said, said
    server.stop().start()
    assert "healthy" in state(server, 1)
    server.stop()
    without(server, (2, 3), bodies)


def test_with_more_than_m_drives_stale_it_is_not_ready_and_reads_what_it_can(new_small, tmp_path):
    """What a start with two of four drives stored stands on those two. One of them is away next time."""
    server = new_small(options=NO_CACHE).start()
    bodies = fill(server)
    server.stop()
    away = {n: tmp_path / f"away{n}" for n in (0, 1, 2)}
    for n in (0, 1):
        server.drives[n].rename(away[n])
    server.start()
    with server.wire() as wire:
        for n in range(8):
            wire.put("drives", f"since{n}", content(MIB, f"since{n}")).expect(200)
    server.stop()
    for n in (0, 1):
        remove(server.drives[n])
        away[n].rename(server.drives[n])
    server.drives[2].rename(away[2])
    server.spawn()
    until(lambda: server.health("live") == 200, 60, "it to serve")

    def is_unready():
        status, said = server.get("/-/health/ready")
        assert status == 503 and b"may lack what was stored" in said, (status, said)
        samples = server.metrics()
        assert samples["basalt_ready"][""] == 0
        assert samples["basalt_unready"] == {'{cause="drives_rebuilding"}': 1}
        status, said = ask(server, "status")
        assert status == 4 and "may lack what was stored" in said, (status, said)

    is_unready()
    verify(server, bodies)
    with server.wire() as wire:
        for n in range(8):
            answer = wire.get("drives", f"since{n}")
            assert answer.status in (500, 503), (n, answer.status)
        wire.put("drives", "now", b"now").expect(200)
    bodies["now"] = b"now"
    until(lambda: figure(server, "basalt_scrub_passes_total") > 0, 300, "a full scrub")
    is_unready()
    server.stop()
    remove(server.drives[2])
    away[2].rename(server.drives[2])
    server.start()
    assert server.metrics()["basalt_ready"][""] == 1 and "basalt_unready" not in server.metrics()
    rebuilt(server)
    bodies |= {f"since{n}": content(MIB, f"since{n}") for n in range(8)}
    server.stop()
    without(server, (1, 3), bodies)


def test_orders_want_the_root_signature(new_small):
    server = new_small().start()
    for path in ("/-/admin/v1/scrub", "/-/admin/v1/drives/1/readmit"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("POST", path)
        assert connection.getresponse().status == 403, path
        connection.close()
    done = subprocess.run(
        [str(BINARY), "scrub", "--endpoint", server.endpoint],
        env=server.environment() | {"BASALT_SECRET_KEY": "another-secret-key-0"}, capture_output=True, text=True)
    assert done.returncode == 1 and "root" in done.stderr, done.stderr


def test_a_drive_that_lost_its_directory_is_told_from_a_new_pool(new_small):
    """With more drives blank than may be lost there is nothing to adopt them into: nothing is formatted."""
    server = new_small().start()
    bodies = fill(server)
    server.stop()
    kept = {n: server.drives[n].with_name(f"kept{n}") for n in (0, 1, 2)}
    for n, place in kept.items():
        server.drives[n].rename(place)
    server.options.append("--adopt")
    status, said = server.refused()
    assert status != 0 and "missing" in said, said
    for n, place in kept.items():
        shutil.rmtree(server.drives[n], ignore_errors=True)
        place.rename(server.drives[n])
    server.options.remove("--adopt")
    server.start()
    verify(server, bodies)
