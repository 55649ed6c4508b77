"""A file system that can only be read any more, as ext4 makes itself after an error: its drive takes no writes and
still gives what it holds, also to the next start. Nothing acknowledged is lost when the other drives fail then.
"""
import os
import shutil
import subprocess

import pytest

from .content import KIB, MIB, content
from .test_full_filesystem import mount
from .test_repair import ask, rebuilt
from .waiting import until

BUCKET = "read-only"
SIZES = {"inline": 2 * KIB, "packed": 12 * KIB, "chunks": 300 * KIB, "large": 5 * MIB}


@pytest.fixture
def disks(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    made = [tmp_path / f"disk{n}" for n in range(2)]
    try:
        for place in made:
            if not mount("ext4", place):
                pytest.skip("no ext4 can be mounted here")
        yield made
    finally:
        for place in made:
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True)


def put_all(server, round):
    with server.wire() as wire:
        for kind, size in SIZES.items():
            for n in range(5):
                key = f"{round}/{kind}/{n}"
                wire.put(BUCKET, key, content(size, key)).expect(200)


def check_all(server, *rounds):
    with server.wire() as wire:
        for round in rounds:
            for kind, size in SIZES.items():
                for n in range(5):
                    key = f"{round}/{kind}/{n}"
                    assert wire.get(BUCKET, key).expect(200).body == content(size, key), key


def is_latched(server, number):
    states = server.metrics()["basalt_drive_state"]
    return any(f'drive="{number}"' in label and 'state="latched"' in label and on for label, on in states.items())


def test_a_drive_that_can_only_be_read_is_still_read(new_basalt, disks):
    server = new_basalt(drives=[disk / "drive" for disk in disks], options=["--capacity", "600MiB"]).start()
    server.s3().create_bucket(Bucket=BUCKET)
    put_all(server, "before")
    # What ext4 does with `errors=remount-ro` when it finds an error.
    subprocess.run(["mount", "-o", "remount,abort", str(disks[0])], check=True)
    put_all(server, "meanwhile")
    until(lambda: is_latched(server, 0), 10, "the latch")
    check_all(server, "before", "meanwhile")
    server.kill().start()
    assert is_latched(server, 0), "it can be read, so it is not missing"
    check_all(server, "before", "meanwhile")
    put_all(server, "after")
    status, said = ask(server, "drive", "readmit", "0")
    assert status == 1 and "start the server again" in said, said
    server.stop()
    for disk in disks:
        subprocess.run(["umount", str(disk)], check=True)
        subprocess.run(["mount", "-o", "loop", str(disk.with_suffix(".image")), str(disk)], check=True)
    server.start()
    status, said = ask(server, "drive", "readmit", "0")
    assert status == 0 and "back in service" in said, said
    rebuilt(server)
    assert not is_latched(server, 0)
    check_all(server, "before", "meanwhile", "after")
    server.stop()
    shutil.rmtree(disks[1] / "drive")
    server.start()
    check_all(server, "before", "meanwhile", "after")


def test_what_only_it_can_give_is_read_from_it(new_basalt, disks):
    server = new_basalt(drives=[disk / "drive" for disk in disks], options=["--capacity", "600MiB"]).start()
    server.s3().create_bucket(Bucket=BUCKET)
    put_all(server, "before")
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(disks[0])], check=True)
    server.start()
    assert is_latched(server, 0)
    data = disks[1] / "drive" / "basalt.data"
    with open(data, "r+b") as other:
        for _ in range(0, data.stat().st_size, MIB):
            other.write(bytes(MIB))
        os.fsync(other.fileno())
    check_all(server, "before")
