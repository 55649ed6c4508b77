"""Drives that are lost, emptied, overwritten or not ours: with m of k+m bad everything goes on, with more it
stops cleanly, and what does not belong is refused by name.
"""
import os
import random
import shutil
import signal
import subprocess
import threading

import pytest

from .content import MIB, content
from .process import BINARY, Basalt
from .waiting import until

BUCKET = "drives"
SIZES = [0, 1, 900, 4096, 16384, 16385, 65457, 300000, MIB, 9 * MIB]


def fill(server, name="k", bucket=True):
    """Objects of every kind; returns what must be read back."""
    if bucket:
        server.s3().create_bucket(Bucket=BUCKET)
    bodies = {f"{name}{size}": content(size, f"{name}{size}") for size in SIZES}
    with server.wire() as wire:
        for key, body in bodies.items():
            wire.put(BUCKET, key, body).expect(200)
    return bodies


def verify(server, bodies):
    with server.wire() as wire:
        for key, body in bodies.items():
            answer = wire.get(BUCKET, key)
            assert answer.status == 200, (key, answer.status, answer.body[:300])
            assert answer.body == body, key
            if len(body) > 70000:
                some = wire.get(BUCKET, key, {"range": "bytes=65400-65500"})
                assert some.body == body[65400:65501], key
    listed = [o["Key"] for o in server.s3(attempts=3).list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert set(bodies) <= set(listed)


def everything_works(server, bodies, name):
    """Old objects read; new ones can be written, read, overwritten, listed and deleted."""
    verify(server, bodies)
    fresh = fill(server, name, bucket=False)
    verify(server, fresh)
    s3 = server.s3(attempts=3)
    s3.put_object(Bucket=BUCKET, Key=f"{name}1", Body=b"over")
    s3.delete_object(Bucket=BUCKET, Key=f"{name}0")
    fresh[f"{name}1"] = b"over"
    del fresh[f"{name}0"]
    verify(server, fresh)
    return fresh


def files_of(drive):
    return [p for p in drive.rglob("*") if p.is_file() and p.name != "credentials"]


def overwrite(drive, seed=1):
    """Every byte of the drive becomes another, in place, as a controller gone mad would write."""
    dice = random.Random(seed)
    block = dice.randbytes(MIB)
    for path in files_of(drive):
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            for at in range(0, size, MIB):
                file.write(block[:min(MIB, size - at)])


def remove(drive):
    shutil.rmtree(drive)


def empty(drive):
    """The mount point of a disk that did not come back."""
    remove(drive)
    drive.mkdir()


def unreadable(drive):
    """Files are there but short: everything behind their start is gone."""
    for path in files_of(drive):
        os.truncate(path, min(path.stat().st_size, 8192))


DAMAGES = {"removed": remove, "emptied": empty, "overwritten": overwrite, "cut short": unreadable}
each_damage = pytest.mark.parametrize("damage", DAMAGES)


@each_damage
@pytest.mark.parametrize("lost", [(0, 1), (1, 3)], ids=["first two", "two others"])
def test_any_two_of_four_may_be_lost_while_stopped(new_small, damage, lost):
    server = new_small().start()
    bodies = fill(server)
    server.stop() if lost == (0, 1) else server.kill()
    for n in lost:
        DAMAGES[damage](server.drives[n])
    server.start()
    bodies |= everything_works(server, bodies, "degraded")
    server.kill().start()
    bodies |= everything_works(server, bodies, "again")


@each_damage
def test_any_two_of_four_may_be_lost_while_serving(new_small, damage):
    """Clients are reading and writing while it happens, and none of them sees an error."""
    server = new_small(options=["--read-cache", "0"]).start()
    bodies = fill(server)
    wrong, stop = [], threading.Event()

    def use(number):
        with server.wire() as wire:
            turn = 0
            while not stop.is_set():
                turn += 1
                key, body = f"client{number}", content(SIZES[turn % len(SIZES)], f"{number}/{turn}")
                answers = wire.put(BUCKET, key, body), wire.get(BUCKET, key)
                if [a.status for a in answers] != [200, 200] or answers[1].body != body:
                    wrong.append((turn, [a.status for a in answers], [a.code for a in answers]))

    threads = [threading.Thread(target=use, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in (0, 2):
            DAMAGES[damage](server.drives[n])
            verify(server, bodies)
            bodies |= everything_works(server, bodies, f"without{n}-")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:5]
    server.kill().start()
    everything_works(server, bodies, "after")


def test_silent_damage_is_never_served(new_small):
    """Bits flip on two drives at places by chance; readers get the right bytes all the same."""
    server = new_small(options=["--read-cache", "0"]).start()
    bodies = fill(server)
    dice = random.Random(3)
    for n in (1, 2):
        for path in files_of(server.drives[n]):
            with open(path, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                for _ in range(max(20, size // 20000)):
                    at = dice.randrange(size)
                    file.seek(at)
                    old = file.read(1)
                    file.seek(at)
                    file.write(bytes([old[0] ^ (1 << dice.randrange(8))]))
    verify(server, bodies)
    server.kill().start()
    everything_works(server, bodies, "flipped")


def test_one_of_two_and_one_of_three(new_small):
    for count in (2, 3):
        server = new_small(drives=count).start()
        bodies = fill(server)
        server.kill()
        remove(server.drives[1])
        server.start()
        everything_works(server, bodies, "degraded")
        server.kill()


def test_drives_may_be_named_in_any_order(new_small):
    server = new_small().start()
    bodies = fill(server)
    server.stop()
    server.drives.reverse()
    server.start()
    everything_works(server, bodies, "reversed")


def test_one_drive_too_many_lost_is_refused_at_start(new_small):
    server = new_small().start()
    fill(server)
    server.stop()
    for n in (0, 1, 2):
        remove(server.drives[n])
    check_refused(server)


def check_refused(server):
    """Either it does not start and says why, or it starts and is not ready, and never serves wrong bytes."""
    server.spawn()
    until(lambda: server.process.poll() is not None or server.health("ready") == 503, 60, "a refusal")
    if server.process.poll() is not None:
        assert server.process.returncode != 0
        assert server.tail(), "it says why"
    with_new = [p for d in server.drives[:3] if d.exists() for p in files_of(d)]
    assert not any(p.stat().st_size > 0 and p.name != "lock" for p in with_new), "no new pool over the rest of the old one"


def test_one_drive_too_many_lost_while_serving_fails_clean(new_small):
    """Reads fail with an error of S3, writes get 503, nothing wrong is ever served, and the server lives."""
    server = new_small(options=["--read-cache", "0"]).start()
    bodies = fill(server)
    for n in (0, 1, 2):
        overwrite(server.drives[n])
    with server.wire() as wire:
        for key, body in bodies.items():
            answer = wire.get(BUCKET, key)
            assert answer.body == body if answer.status == 200 else answer.status in (500, 503), (key, answer)
    assert server.health("live") == 200


def test_a_drive_of_another_pool_is_refused_by_name(new_small):
    ours, other = new_small().start(), new_small().start()
    bodies = fill(ours)
    ours.stop()
    other.stop()
    home, ours.drives[2] = ours.drives[2], other.drives[2]
    status, said = ours.refused()
    assert status != 0 and str(other.drives[2]) in said, said
    ours.drives[2] = home
    ours.start()
    verify(ours, bodies)


def test_a_directory_with_other_things_in_it_is_left_alone(new_small, tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    server = new_small(drives=[place])
    server.spawn()
    until(server.is_ready_or_dead, 60, "a start or a refusal")
    assert (place / "thesis.txt").read_text() == "years of work"


def test_a_second_server_on_the_same_drives_is_refused(new_small, tmp_path):
    server = new_small().start()
    bodies = fill(server)
    second = Basalt(server.drives, tmp_path / "second.log")
    status, said = second.refused()
    assert status != 0 and said, said
    assert server.is_ready()
    everything_works(server, bodies, "still")


def test_too_little_room_is_refused_by_name(new_basalt):
    server = new_basalt(options=["--capacity", "16MiB"])
    status, said = server.refused()
    assert status != 0 and ("capacity" in said.lower() or "small" in said.lower()), said


def test_parity_is_part_of_the_pool(new_small):
    server = new_small(drives=5, parity=1).start()
    bodies = fill(server)
    server.kill()
    remove(server.drives[4])
    server.start()
    everything_works(server, bodies, "degraded")


def test_the_metrics_tell_of_a_lost_drive(new_small):
    server = new_small(options=["--read-cache", "0"]).start()
    bodies = fill(server)
    server.kill()
    remove(server.drives[3])
    server.start()
    verify(server, bodies)
    ill = {labels for labels, v in server.metrics()["basalt_drive_state"].items() if v and "healthy" not in labels}
    assert len(ill) == 1 and "d3" in ill.pop()


def ill(server):
    return [labels for labels, value in server.metrics()["basalt_drive_state"].items() if value and "healthy" not in labels]


def test_a_drive_deleted_while_serving_is_noticed(new_small):
    """Its files take writes as before, and are gone with the server: that is not storing anything."""
    server = new_small(options=["--read-cache", "0"]).start()
    bodies = fill(server)
    remove(server.drives[1])
    until(lambda: ill(server), 30, "the loss of a drive to be noticed")
    assert "latched" in ill(server)[0] and "d1" in ill(server)[0]
    assert "deleted" in server.text()
    bodies |= everything_works(server, bodies, "one less")
    for n in (2, 3):
        remove(server.drives[n])
    until(lambda: len(ill(server)) == 3, 30, "the loss of the others to be noticed")
    assert server.health("ready") == 503 and server.health("live") == 200
    with server.wire() as wire:
        wire.put(BUCKET, "unsafe", b"v").expect(503, "ServiceUnavailable")
    verify(server, bodies)


def bytes_at(path, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def test_a_superblock_written_over_while_serving_is_written_again(new_small):
    """Nobody reads it before the next start, which would miss the drive."""
    server = new_small().start()
    bodies = fill(server)
    places = [(server.drives[n] / "basalt.meta", copy * MIB) for n in (0, 1, 3) for copy in range(4)]
    magic = {bytes_at(*place, 8) for place in places}
    for path, offset in places:
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(os.urandom(4096))
    until(lambda: all(bytes_at(*place, 8) in magic for place in places), 60, "the superblocks to be written again")
    assert "superblocks were overwritten" in server.text()
    server.stop().start()
    assert not ill(server)
    everything_works(server, bodies, "after")


def doubtful(server):
    return [labels for labels, value in server.metrics()["basalt_drive_doubtful"].items() if value]


def test_drives_overwritten_while_serving_are_noticed_and_mended(new_small):
    """Nobody reads. Afterwards the other two may be lost, which held everything alone meanwhile."""
    server = new_small(options=["--read-cache", "0"]).start()
    bodies = fill(server)
    for n in (0, 1):
        overwrite(server.drives[n], seed=n)
    until(lambda: "drive is doubtful" in server.text(), 60, "the damage to be noticed")
    assert server.health("ready") == 200, "two may be lost"
    until(lambda: not doubtful(server) and "holds again" in server.text(), 120, "the drives to be mended")
    assert not ill(server)
    until(lambda: not server.metrics()["basalt_scrub_running"][""], 60, "the scrub to end")
    server.kill()
    for n in (2, 3):
        remove(server.drives[n])
    server.start()
    verify(server, bodies)


def test_with_one_overwritten_too_many_the_server_is_not_ready_and_says_why(new_small):
    server = new_small(options=["--read-cache", "0"]).start()
    fill(server)
    # At one moment, as far as the server can tell: a scrub that begins for the first would mend while the others go.
    os.kill(server.pid, signal.SIGSTOP)
    for n in (0, 1, 2):
        overwrite(server.drives[n], seed=n)
    os.kill(server.pid, signal.SIGCONT)
    until(lambda: server.health("ready") == 503, 60, "the server to say that it is not ready")
    assert server.health("live") == 200, "a restart helps nobody"
    reason = server.get("/-/health/ready")[1].decode()
    for n in (0, 1, 2):
        assert str(server.drives[n]) in reason, reason
        assert f"{server.drives[n]}" in "".join(doubtful(server))
        assert any("drive is doubtful" in line and str(server.drives[n]) in line for line in server.text().splitlines())
    assert "scrub" in reason and not ill(server), reason
    status = subprocess.run([str(BINARY), "status", "--endpoint", server.endpoint], env=server.environment(), capture_output=True, text=True)
    assert status.returncode == 4 and "NOT READY" in status.stdout and f"{server.drives[1]}" in status.stdout, status.stdout
    assert "WHAT TO DO" in status.stdout and "--adopt" in status.stdout
