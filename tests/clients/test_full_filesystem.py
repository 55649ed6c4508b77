"""A file system that somebody else fills: the room that a drive was told it has is gone.

Each drive is a directory on a small file system of its own: one in memory, one that overwrites in place, and one that
writes elsewhere what is overwritten unless it is told not to. Writes are refused with a clear answer, reads and
deletions go on, also after restarts, which begin a log segment on each core; nothing acknowledged is lost; and all is
well again when the other one's file goes. Before drives held some space for themselves, every write and deletion after
such a restart waited for ever, and so did every write on a full btrfs before files were made to be overwritten in place.
"""
import errno
import os
import shutil
import subprocess

import pytest

from .content import KIB, MIB, content
from .waiting import until

BUCKET = "shared-disk"
DISK = 760 * MIB
# What makes a file system in an image of so many bytes: they keep room for themselves.
MADE = {"tmpfs": None, "ext4": ["mkfs.ext4", "-q", "-F"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}
IMAGE = 1100 * MIB


def mount(kind, place):
    """Whether a file system of this kind is there now."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    if kind != "tmpfs":
        image = place.with_suffix(".image")
        image.touch()
        os.truncate(image, IMAGE)
        if shutil.which(MADE[kind][0]) is None:
            return False
        subprocess.run([*MADE[kind], str(image)], check=True, capture_output=True)
        words = ["mount", "-t", kind, "-o", "loop", str(image), str(place)]
    return subprocess.run(words, capture_output=True).returncode == 0


@pytest.fixture
def disks(request, tmp_path):
    """Two file systems of the kind that the test names."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    made = [tmp_path / f"disk{n}" for n in range(2)]
    try:
        for place in made:
            if not mount(request.param, place):
                pytest.skip(f"no {request.param} can be mounted here")
        yield made
    finally:
        for place in made:
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True)


def take_all(disk):
    """Somebody else takes all that is left."""
    with open(disk / "other", "ab", buffering=0) as other:
        size, step = 0, 128 * MIB
        while step >= 4 * KIB:
            try:
                os.posix_fallocate(other.fileno(), size, step)
                size += step
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                step //= 2
        os.fsync(other.fileno())


def live(server):
    """Started, and not ready to be written to."""
    server.spawn()
    until(lambda: server.health("live") == 200, 60, "the server to answer")


def put_until_refused(wire, size, held, count):
    """The refusal, if one comes within `count` writes; `held` gets what was acknowledged."""
    for _ in range(count):
        key = f"{size}/{len(held)}"
        answer = wire.put(BUCKET, key, content(size, key))
        if answer.status != 200:
            return answer
        held[key] = size
    return None


def check(server, held):
    with server.wire() as wire:
        for key, size in held.items():
            assert wire.get(BUCKET, key).expect(200).body == content(size, key), key


@pytest.mark.parametrize("disks", MADE, indirect=True)
def test_another_one_fills_the_file_systems(new_basalt, disks):
    server = new_basalt(drives=[disk / "drive" for disk in disks], options=["--capacity", "700MiB"]).start()
    server.s3().create_bucket(Bucket=BUCKET)
    held = {}
    with server.wire() as wire:
        for size, count in ((4 * KIB, 100), (100 * KIB, 30), (MIB, 10)):
            assert put_until_refused(wire, size, held, count) is None
        for disk in disks:
            take_all(disk)
        for size in (8 * MIB, 100 * KIB, 12 * KIB):
            refusal = put_until_refused(wire, size, held, 5000)
            assert (refusal.status, refusal.code) == (507, "InsufficientStorage"), refusal
    check(server, held)
    for turn in range(4):
        server.kill() if turn % 2 else server.stop()
        live(server)
        check(server, held)
        with server.wire() as wire:
            for key in list(held)[turn::20]:
                wire.delete(BUCKET, key).expect(204)
                del held[key]
            refusal = put_until_refused(wire, 8 * MIB, held, 50)
            assert refusal is not None and refusal.status == 507, refusal
    states = server.metrics()["basalt_drive_state"]
    assert all(count == ('state="healthy"' in labels) for labels, count in states.items()), "full is not failed"
    for disk in disks:
        (disk / "other").unlink()
    with server.wire() as wire:
        for size in (8 * MIB, 4 * KIB):
            until(lambda: put_until_refused(wire, size, held, 1) is None, 60, "room again")
    until(server.is_ready, 30, "readiness")
    server.kill().start()
    check(server, held)


@pytest.mark.parametrize("disks", ["tmpfs"], indirect=True)
def test_directories_on_file_systems_of_their_own_have_them_alone(new_basalt, disks):
    """The default is most of what is free there, and not a share of it for each of the other drives."""
    server = new_basalt(drives=[disk / "drive" for disk in disks]).start()
    for capacity in server.metrics()["basalt_drive_capacity_bytes"].values():
        assert capacity > DISK * 8 // 10, capacity
