"""Refusals at a glance: each one sentence that names what it is about, what is wrong with it, and what to do.

Every case is what an operator sees on the terminal: the last line of the command, and its exit code.
"""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from .process import BINARY, Basalt, free_port

MIB = 1 << 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("refusals")
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def pool(place):
    """A stopped pool of four drives."""
    server = Basalt([place / f"d{n}" for n in range(4)], place / "pool.log", options=["--capacity", "512MiB"])
    server.start().s3().create_bucket(Bucket="kept")
    return server.stop()


def said(*words, environment=None, **process):
    """Exit code and the last thing said of a command that must end by itself."""
    given = Basalt([], "/dev/null").environment() | (environment or {})
    done = subprocess.run([str(BINARY), *map(str, words)], env=given, capture_output=True, text=True, timeout=60, **process)
    return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


def serve(*words):
    return said("serve", *words, "--listen", f"127.0.0.1:{free_port()}")


def refused(answer, code, *parts):
    assert answer[0] == code, answer
    for part in parts:
        assert str(part) in answer[1], (part, answer[1])


def test_too_few_drives_names_each_and_what_is_wrong_with_it(pool, place):
    d0, d1, d2, d3 = pool.drives
    lost, empty, spoilt = place / "lost", place / "empty", place / "spoilt"
    empty.mkdir()
    shutil.copytree(d3, spoilt)
    (spoilt / "basalt.meta").write_bytes(os.urandom(8 * MIB))
    before = (d0 / "basalt.meta").read_bytes()
    answer = serve(d0, lost, empty, spoilt)
    refused(answer, 3, "3 of 4 drives", "the loss of 2", "drive 1 is", "drive 2 is", "drive 3 is", "start again")
    refused(answer, 3, f"{lost} is empty", f"{empty} is empty (is its disk mounted?)", f"{spoilt} cannot be told for one")
    assert (d0 / "basalt.meta").read_bytes() == before, "nothing was changed"
    refused(serve(d0), 3, "drive 1 is missing: it is on none of the paths given", "name all drives of the pool")


def test_drives_that_do_not_belong_together(pool, place):
    d0, d1, d2, d3 = pool.drives
    other = Basalt([place / "o0"], place / "other.log", options=["--capacity", "512MiB"]).start().stop().drives[0]
    refused(serve(d0, other), 3, other, d0, "only drives of one pool")
    refused(serve(d0, d1, d1, d3), 3, d1, "given twice", "leave one out")
    refused(serve(d0, d1, f"{place}/./d1/", d3), 3, d1, "given twice", "leave one out")
    copy = place / "copy"
    shutil.copytree(d1, copy)
    refused(serve(d0, d1, copy, d3), 3, copy, d1, "both drive 1", "leave out the copy")
    refused(serve(d0, d1, d2, d3, "--parity", 1), 3, "2 parity chunks", "leave --parity out")


def test_places_that_cannot_be_drives(place):
    plain = place / "plain"
    plain.write_text("text")
    refused(serve(plain), 3, plain, "a file", "a directory or a block device")
    refused(serve("/dev/null"), 3, "/dev/null", "a directory or a block device")
    refused(serve("/proc/nowhere"), 3, "/proc/nowhere", "a directory or a block device", "read and write")
    refused(serve(place / "n0", "--capacity", "10MiB"), 2, "--capacity", "512MiB")
    refused(serve(place / "n0", place / "n1", "--parity", 3), 3, "needs at least 4 drives, and 2 are given")
    used = place / "used"
    used.mkdir()
    (used / "basalt.meta").write_bytes(os.urandom(MIB))
    refused(serve(used), 3, used, "new pool", "wipe it")


def with_version(page, version):
    """A superblock of the same content that says another version: docs/FORMAT.md, Superblock."""
    magic, _, length, _ = struct.unpack_from("<4I", page)
    head = struct.pack("<3I", magic, version, length)
    body = page[16:16 + length]
    return head + struct.pack("<I", crc32c(head + body)) + body + page[16 + length:]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_drive_of_a_newer_format(pool, place):
    """It was told to start with an empty drive in its place, by `inspect`."""
    d0, d1, d2, d3 = pool.drives
    newer = place / "newer"
    shutil.copytree(d3, newer)
    with open(newer / "basalt.meta", "r+b") as meta:
        for copy in range(4):
            meta.seek(copy * MIB)
            page = meta.read(4096)
            assert with_version(page, 1) == page, "the version that is written now, and its checksum"
            meta.seek(copy * MIB)
            meta.write(with_version(page, 7))
    before = {drive: (drive / "basalt.meta").read_bytes() for drive in (d0, newer)}
    for drives in ([newer], [d0, d1, d2, newer], [newer, d0, d1, d2]):
        answer = serve(*drives)
        refused(answer, 3, newer, "format version 7", "none above 1", "start it with the newer Basalt")
    answer = said("inspect", newer)
    refused(answer, 1, newer, "format version 7", "none above 1", "the newer Basalt")
    assert "--adopt" not in answer[1], answer
    for drive, meta in before.items():
        assert (drive / "basalt.meta").read_bytes() == meta, "nothing was changed"


@pytest.fixture
def oddities(place):
    """Things that are neither a directory nor a block device, and what each is called."""
    odd = place / "odd"
    odd.mkdir()
    os.mkfifo(odd / "fifo")
    (odd / "file").write_text("text")
    (odd / "link").symlink_to(odd / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(odd / "socket"))
        yield {
            odd / "fifo": "a FIFO", odd / "link": "a FIFO", odd / "socket": "a socket", odd / "file": "a file",
            "/dev/null": "a character device", "/dev/zero": "a character device", "/dev/tty": "a character device",
        }
    shutil.rmtree(odd)


def test_things_that_are_no_drives_are_called_by_their_names(oddities):
    """Opening a FIFO waits for somebody to write into it; `inspect` hung."""
    for thing, kind in oddities.items():
        refused(serve(thing), 3, thing, kind, "give a directory or a block device")
        refused(said("inspect", thing), 1, thing, kind, "name the directory or the device")


def test_names_that_lead_nowhere(place):
    around, gone = place / "around", place / "gone"
    around.symlink_to(around)
    gone.symlink_to(place / "was-never-there")
    for path, why in ((around, "symbolic links"), (gone, "leads nowhere"), (around / "below", "symbolic links")):
        refused(serve(path), 3, path, why)
        refused(said("inspect", path), 1, path, why)
    assert not (place / "was-never-there").exists()


@pytest.mark.parametrize("name", ["basalt.meta", "basalt.data"])
def test_a_fifo_in_the_place_of_a_file_of_a_drive(pool, place, name):
    """The drive is out, and the pool does without it."""
    around = place / f"piped-{name}"
    for drive in pool.drives:
        shutil.copytree(drive, around / drive.name)
    drives = [around / drive.name for drive in pool.drives]
    (drives[0] / name).unlink()
    os.mkfifo(drives[0] / name)
    code, text = serve(drives[0])
    assert code == 3 and (name == "basalt.data" or f"{drives[0]} cannot become a drive" in text), (code, text)
    code, text = said("inspect", drives[0])
    assert name == "basalt.data" or (code == 1 and f"{name} is a FIFO" in text), (code, text)
    server = Basalt(drives, place / f"{name}.log").start()
    try:
        assert f"{name} is a FIFO" in server.text(), server.text()
        out = [labels for labels, n in server.metrics()["basalt_drive_state"].items() if n and "healthy" not in labels]
        assert len(out) == 1 and "missing" in out[0], out
    finally:
        server.kill()


def test_a_directory_that_may_not_be_read(place):
    if os.geteuid() != 0:
        pytest.skip("what follows gives up the rights of root")
    # As somebody who may use the binary, and nothing of root's.
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        closed = Path(open_to_all) / "closed"
        closed.mkdir(mode=0o700)
        (closed / "drive").mkdir()
        for path in (closed, closed / "drive"):
            for words in (["serve", path, "--listen", f"127.0.0.1:{free_port()}"], ["inspect", path]):
                code, text = said(*words, user=65534, cwd="/")
                assert code == (3 if words[0] == "serve" else 1), (code, text)
                assert str(path) in text and "Permission denied" in text and "this user may read" in text, text


def test_what_is_in_use(pool, place):
    server = Basalt([place / "u0"], place / "used.log", options=["--capacity", "512MiB"]).start()
    try:
        refused(serve(server.drives[0]), 3, server.drives[0], "used by another server", "stop that first")
        refused(said("serve", place / "u1", "--listen", f"127.0.0.1:{server.port}"), 3, server.port, "another program", "--listen")
        assert not (place / "u1").exists(), "the port is asked for before a drive is touched"
        refused(said("inspect", server.drives[0]), 1, server.drives[0], "running server", "basalt status")
        endpoint = ["--endpoint", server.endpoint]
        refused(said("drive", "readmit", 7, *endpoint), 1, "no drive 7", "basalt status")
        refused(said("drive", "readmit", 0, *endpoint), 1, "in service")
        wrong = {"BASALT_SECRET_KEY": "w" * 40}
        for words in (["status"], ["scrub"], ["drive", "readmit", 0], ["admin", "account", "list"], ["admin", "bucket", "list"]):
            refused(said(*words, *endpoint, environment=wrong), 1, "root credentials", "--credentials")
        refused(said("admin", "bucket", "show", "nope", *endpoint), 1, "no such bucket")
    finally:
        server.kill()


def test_addresses_and_processors(pool):
    drives = pool.drives
    refused(said("serve", *drives, "--listen", "192.0.2.1:80"), 3, "192.0.2.1:80", "no such address", "--listen")
    code, text = said("serve", *drives, "--listen", "nowhere")
    assert code == 2, text
    refused(serve(*drives, "--cores", "0,777"), 3, "777", "--cores")


def test_asking_nobody_or_somebody_else(pool, place):
    nobody = f"http://127.0.0.1:{free_port()}"
    for words in (["status"], ["scrub"], ["drive", "readmit", 0], ["admin", "account", "list"], ["admin", "bucket", "list"]):
        refused(said(*words, "--endpoint", nobody), 1, nobody, "start it", "--endpoint")
        refused(said(*words, "--endpoint", "https://x"), 2, "https://x", "http://HOST:PORT")
    no_keys = {"BASALT_ACCESS_KEY": "", "BASALT_SECRET_KEY": ""}
    refused(said("status", "--credentials", place / "none", environment=no_keys), 1)
    refused(said("inspect", place / "nowhere"), 1, place / "nowhere", "is not there", "one drive")
    refused(said("inspect", place), 1, place, "not a Basalt drive", "one drive")


def test_files_of_the_configuration(place):
    refused(serve("--config", place / "none.toml"), 2, place / "none.toml", "--config")
    refused(serve("--config", place), 2, place, "directory", "--config")
    refused(said("serve"), 2, "no drives", "basalt serve ./data")
