"""Refusals at a glance: each one sentence that names what it is about, what is wrong with it, and what to do.

Every case is what an operator sees on the terminal: the last line of the command, and its exit code.
"""
import os
import shutil
import subprocess

import pytest

from .process import BINARY, Basalt, free_port

MIB = 1 << 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("refusals")


@pytest.fixture(scope="module")
def pool(place):
    """A stopped pool of four drives."""
    server = Basalt([place / f"d{n}" for n in range(4)], place / "pool.log", options=["--capacity", "512MiB"])
    server.start().s3().create_bucket(Bucket="kept")
    return server.stop()


def said(*words, environment=None):
    """Exit code and the last thing said of a command that must end by itself."""
    given = Basalt([], "/dev/null").environment() | (environment or {})
    done = subprocess.run([str(BINARY), *map(str, words)], env=given, capture_output=True, text=True, timeout=60)
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
