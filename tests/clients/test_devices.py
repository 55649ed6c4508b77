"""Raw block devices, as loop devices over sparse files: made into a pool, killed, one wiped, started again."""
import os
import subprocess
import time
from pathlib import Path

import pytest

from .content import GIB, MIB, content
from .test_drives import BUCKET, everything_works, fill, verify
from .test_durability import Ledger, check_all, new_bucket, one_life
from .test_log_floods import check_calm, put_all, read_often


def losetup(*words):
    return subprocess.run(["losetup", *map(str, words)], capture_output=True, text=True)


def attach(path):
    done = losetup("--find", "--show", "--direct-io=on", path)
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.fixture
def devices(tmp_path):
    """Four devices of 1 GiB."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    made = []
    try:
        for n in range(4):
            path = tmp_path / f"disk{n}"
            path.touch()
            os.truncate(path, GIB)
            device = attach(path)
            if device is None:
                pytest.skip("no loop devices here")
            made.append(device)
        yield made
    finally:
        for device in made:
            losetup("--detach", device)


def zero(device, size=GIB):
    with open(device, "r+b") as disk:
        for _ in range(0, size, MIB):
            disk.write(bytes(MIB))
        os.fsync(disk.fileno())


def test_a_pool_of_devices(devices, new_basalt):
    server = new_basalt(drives=devices, parity=2).start()
    bodies = fill(server)
    server.stop().start()
    bodies |= everything_works(server, bodies, "again")
    server.kill()
    zero(devices[1])
    zero(devices[3])
    server.start()
    everything_works(server, bodies, "degraded")


def test_kills_on_devices(devices, new_basalt):
    server = new_basalt(drives=devices).start()
    new_bucket(server)
    ledgers = [Ledger(f"client{n}", server, n) for n in range(3)]
    for _ in range(4):
        one_life(server, ledgers, 400)
        check_all(server, ledgers)


def test_a_device_with_something_on_it_is_left_alone(devices, new_basalt):
    """A disk that is not ours and not empty must not be formatted by a mistyped name."""
    if subprocess.run(["mkfs.ext4", "-q", devices[0]], capture_output=True).returncode != 0:
        pytest.skip("no mkfs.ext4 here")
    with open(devices[0], "rb") as disk:
        before = disk.read(4 * MIB)
    server = new_basalt(drives=devices)
    status, said = server.refused()
    assert status != 0 and devices[0] in said, said
    with open(devices[0], "rb") as disk:
        assert disk.read(4 * MIB) == before


AT_THE_END = {
    "the copy of a GUID partition table": (GIB - 512, b"EFI PART"),
    "the same on sectors of 4 KiB": (GIB - 4096, b"EFI PART"),
    "mdraid 0.90": (GIB - 64 * 1024, b"\xfc\x4e\x2b\xa9"),
    "mdraid 1.0": (GIB - 8 * 1024, b"\xfc\x4e\x2b\xa9"),
    "a ZFS label": (GIB - 512 * 1024 + 128 * 1024, (0x00BAB10C).to_bytes(8, "little")),
    "a copy of a btrfs superblock": (64 * MIB + 64, b"_BHRfS_M"),
}


@pytest.mark.parametrize("what", AT_THE_END)
def test_a_device_with_something_at_its_end_alone_is_left_alone(devices, new_basalt, what):
    """Its beginning may have been wiped by mistake, and this is what it can be brought back from."""
    offset, magic = AT_THE_END[what]
    with open(devices[2], "r+b") as disk:
        disk.seek(offset)
        disk.write(magic)
        os.fsync(disk.fileno())
    status, said = new_basalt(drives=devices).refused()
    assert status == 3 and devices[2] in said and "something else is on it" in said and "wipefs" in said, said
    for device in devices:
        with open(device, "rb") as disk:
            assert not any(disk.read(MIB)), "nothing was written to any of them"
    zero(devices[2])
    new_basalt(drives=devices).start()


@pytest.mark.parametrize("make,called", [("mkfs.ext4 -q", "ext"), ("mkfs.xfs -q", "XFS"), ("mkfs.btrfs -q", "btrfs"), ("mkswap", "swap")])
def test_a_device_of_others_is_called_by_what_is_on_it(devices, new_basalt, make, called):
    try:
        if subprocess.run([*make.split(), devices[0]], capture_output=True).returncode != 0:
            pytest.skip(f"{make} does not work here")
    except FileNotFoundError:
        pytest.skip(f"no {make} here")
    status, said = new_basalt(drives=devices).refused()
    assert status == 3 and devices[0] in said and f"something else is on it: " in said and called in said, said


def test_a_device_that_became_smaller_is_passed_over_by_name(tmp_path, devices, new_basalt):
    """It was taken for sound, and what was to be written behind its end was silently stored with a chunk less."""
    server = new_basalt(drives=devices, parity=2).start()
    bodies = fill(server)
    server.stop()
    losetup("--detach", devices[2])
    os.truncate(tmp_path / "disk2", GIB // 2)
    assert losetup("--direct-io=on", devices[2], tmp_path / "disk2").returncode == 0
    seen = len(server.text())
    server.start()
    said = server.text()[seen:]
    assert f"{devices[2]}" in said and "smaller" in said, said
    states = server.metrics()["basalt_drive_state"]
    assert sum(count for labels, count in states.items() if 'state="missing"' in labels) == 1, states
    everything_works(server, bodies, "smaller")


def test_a_device_that_is_not_there_is_not_made(new_basalt):
    """A directory in its place would hold the pool in memory, and keep the device from coming back."""
    path = Path("/dev/basalt-is-not-there")
    status, said = new_basalt(drives=[path]).refused()
    assert status == 3 and str(path) in said and "No such device" in said, said
    assert not path.exists()


def test_a_device_that_fails_whatever_is_asked_of_it_is_said_about_once_a_second(tmp_path, devices, new_basalt):
    """Behind the end of its file a loop device gives nothing but errors."""
    server = new_basalt(drives=devices, parity=2, options=["--read-cache", "0"]).start()
    put_all(server)
    seen, begun, statuses = len(server.text()), time.monotonic(), []
    os.truncate(tmp_path / "disk1", 0)
    os.truncate(tmp_path / "disk2", 0)
    read_often(server, 6, statuses)
    assert set(statuses) == {200}
    failed = sum(server.metrics()["basalt_drive_errors_total"].values())
    assert failed > 0, server.metrics()["basalt_drive_errors_total"]
    check_calm(server.text()[seen:], int(time.monotonic() - begun))


def test_devices_fill_up_and_are_freed(devices, new_basalt):
    server = new_basalt(drives=devices).start()
    server.s3().create_bucket(Bucket=BUCKET)
    with server.wire() as wire:
        count = 0
        while (answer := wire.put(BUCKET, f"k{count}", content(32 * MIB))).status == 200:
            count += 1
            assert count < 64, "2 GiB of room cannot hold this"
        assert answer.status in (503, 507) and count > 32, (count, answer)
        for n in range(count):
            wire.delete(BUCKET, f"k{n}").expect(204)
    fill(server, "after", bucket=False)
    verify(server, {"after4096": content(4096, "after4096")})
