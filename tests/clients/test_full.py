"""Full drives: a clear refusal of writes, reads and deletions that go on, and space that comes back."""
import socket

from .content import KIB, MIB, content
from .test_bad_input import head_bytes
from .waiting import until

CAPACITY = ["--capacity", "512MiB"]
BUCKET = "full"


def fill(wire, size, start=0):
    """Writes objects until one is refused: how many there are, and the refusal."""
    number, refusal = fill_some(wire, size, start, 1_000_000 - start)
    assert refusal, "a full drive was never full"
    return number, refusal


def fill_some(wire, size, start, most):
    """As `fill`, and no more than so many, with no refusal then."""
    for number in range(start, start + most):
        answer = wire.put(BUCKET, f"{size}/{number:06}", content(size, f"{size}/{number}"))
        if answer.status != 200:
            return number, answer
    return start + most, None


def check_refusal(answer):
    assert answer.status in (503, 507) and answer.code, answer


def test_full_of_large_objects(new_basalt):
    server = new_basalt(options=CAPACITY).start()
    server.s3().create_bucket(Bucket=BUCKET)
    with server.wire() as wire:
        count, refusal = fill(wire, 8 * MIB)
        check_refusal(refusal)
        assert count * 8 * MIB > 512 * MIB, f"half of the raw 2 GiB less the log, not {count * 8} MiB"
        check_full_but_alive(server, wire, 8 * MIB, count)
        server.kill().start()
        wire.close()
        check_full_but_alive(server, wire, 8 * MIB, count - 1)
        for number in range(0, count, 2):
            wire.delete(BUCKET, f"{8 * MIB}/{number:06}").expect(204)
        until(lambda: wire.put(BUCKET, "room", content(32 * MIB)).status == 200, 60, "room after deleting half")
        assert wire.get(BUCKET, f"{8 * MIB}/000001").body == content(8 * MIB, f"{8 * MIB}/1")


def check_full_but_alive(server, wire, size, count):
    """Reads, listings and deletions go on."""
    for number in (0, count // 2, count - 2):
        assert wire.get(BUCKET, f"{size}/{number:06}").body == content(size, f"{size}/{number}")
    wire.request("GET", f"/{BUCKET}", [("list-type", "2")]).expect(200)
    wire.delete(BUCKET, f"{size}/{count - 1:06}").expect(204)
    assert wire.get(BUCKET, f"{size}/{count - 1:06}").status == 404
    assert server.health("live") == 200


def is_deleted(wire, key):
    """A core that begins its log in the last of the room may have to wait for it, and says so with what clients obey."""
    answer = wire.delete(BUCKET, key)
    assert answer.status == 204 or (answer.status, answer.code) == (503, "SlowDown"), answer
    return answer.status == 204


def test_full_of_small_objects(new_basalt):
    """Small objects live in the log first: its segments must not run out for good, and each start begins new ones."""
    server = new_basalt(options=CAPACITY).start()
    server.s3().create_bucket(Bucket=BUCKET)
    size = 15 * KIB
    with server.wire() as wire:
        large, refusal = fill(wire, 8 * MIB)
        check_refusal(refusal)
        count, refusal = fill(wire, size)
        check_refusal(refusal)
        if count > 2:
            check_full_but_alive(server, wire, size, count)
        tiny, refusal = fill(wire, 2000)
        check_refusal(refusal)
    for turn in range(6):
        server.kill() if turn % 2 else server.stop()
        server.spawn()
        until(lambda: server.health("live") == 200, 60, "the server to answer")
        with server.wire() as wire:
            for number in range(20):
                wire.put(BUCKET, f"perhaps/{turn}/{number}", content(5000))
            until(lambda: is_deleted(wire, f"{size}/{turn:06}"), 20, "a delete")
            if tiny:
                assert wire.get(BUCKET, f"2000/{tiny - 1:06}").body == content(2000, f"2000/{tiny - 1}")
    with server.wire() as wire:
        for number in range(large):
            until(lambda: is_deleted(wire, f"{8 * MIB}/{number:06}"), 20, "a delete")
        until(lambda: wire.put(BUCKET, "room", content(64 * MIB)).status == 200, 60, "room after deleting")
        for number in range(200):
            wire.put(BUCKET, f"small{number}", content(size, str(number))).expect(200)
    server.kill().start()
    with server.wire() as wire:
        assert wire.get(BUCKET, "room").body == content(64 * MIB)
        assert wire.get(BUCKET, "small199").body == content(size, "199")


def fill_to_the_last_hole(server, wire):
    """Objects of ever smaller sizes, and then of the log until that is nearly full too: what was acknowledged."""
    stored = []
    for size in (5 * MIB, MIB, 230_000, 90_000, 30_000, 20_480, 17_000, 16_000):
        at, refused = 0, 0
        while refused < 60 and not (size == 16_000 and segments_of_log(server) >= 7):
            count, refusal = fill(wire, size, at) if size > 16_000 else fill_some(wire, size, at, 25)
            check_refusal(refusal) if refusal else None
            stored += [(size, number) for number in range(at, count)]
            refused = refused + 1 if count == at else 0
            # A refused name is not tried again: it might be there in the end.
            at = count + 1
    return stored


def segments_of_log(server):
    return sum(server.metrics()["basalt_log_segments"].values())


def test_drives_full_to_the_last_hole_start_again(new_basalt):
    """With eight shards, each of which has something in the log that is not in its catalog; and each start deletes
    a little, which frees nothing."""
    server = new_basalt(drives=1, options=["--capacity", "2GiB"]).start()
    server.s3().create_bucket(Bucket=BUCKET)
    with server.wire() as wire:
        stored = fill_to_the_last_hole(server, wire)
    for stop in (server.kill, server.stop, *[server.kill] * 6):
        stop()
        server.spawn()
        until(lambda: server.health("live") == 200, 60, "the server to answer")
        with server.wire() as wire:
            for size, number in stored[::97]:
                answer = wire.get(BUCKET, f"{size}/{number:06}")
                assert answer.body == content(size, f"{size}/{number}"), answer
            for size, number in [stored.pop() for _ in range(4)]:
                until(lambda: is_deleted(wire, f"{size}/{number:06}"), 20, "a delete")
    with server.wire() as wire:
        for size, number in stored:
            until(lambda: is_deleted(wire, f"{size}/{number:06}"), 20, "a delete")
        until(lambda: wire.put(BUCKET, "room", content(128 * MIB)).status == 200, 60, "room after deleting")


def test_the_same_space_is_used_again_and_again(new_basalt):
    """Ten times the capacity goes through a server that holds little at any moment."""
    server = new_basalt(options=CAPACITY).start()
    server.s3().create_bucket(Bucket=BUCKET)
    with server.wire() as wire:
        for turn in range(320):
            body = content(16 * MIB, str(turn % 3))
            until(lambda: wire.put(BUCKET, f"k{turn % 8}", body).status == 200, 60, "space of overwritten objects")
        for turn in range(312, 320):
            assert wire.get(BUCKET, f"k{turn % 8}").body == content(16 * MIB, str(turn % 3))


def test_broken_uploads_give_their_space_back(new_basalt):
    """More bytes than the drives hold, in uploads that end early: a running server keeps nothing of them."""
    server = new_basalt(options=CAPACITY).start()
    server.s3().create_bucket(Bucket=BUCKET)
    body = content(32 * MIB)
    with server.wire() as wire:
        for number in range(48):
            head, _ = head_bytes(wire, "PUT", f"/{BUCKET}/broken{number}", length=len(body))
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as upload:
                upload.sendall(head + body[:-1])
        until(lambda: wire.put(BUCKET, "room", content(64 * MIB)).status == 200, 60, "the space of broken uploads")
        assert wire.request("HEAD", f"/{BUCKET}/broken0").status == 404
