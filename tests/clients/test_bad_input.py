"""Hostile bytes on the socket: the answer is an S3 error or a closed connection, in bounded time, and nothing
of a request that did not finish is left behind.
"""
import random
import socket
import threading

import pytest

from .content import MIB, content
from .waiting import until
from .wire import STREAM, STREAM_UNSIGNED_TRAILER, chunked, object_path

ANSWER_SECONDS = 30


def converse(server, *pieces, end=False):
    """Sends the pieces and reads until the server closes or says nothing more that matters: what it said."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_SECONDS) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def read_all(connection):
    answer = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return answer
        if not more:
            return answer
        answer += more


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def head_bytes(wire, method, path, headers=(), payload="UNSIGNED-PAYLOAD", length=None, **signing):
    target, signed, signer = wire.head(method, path, (), dict(headers), payload, **signing)
    lines = [f"{method} {target} HTTP/1.1"] + [f"{k}: {v}" for k, v in signed.items()]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n", signer


def healthy(server):
    assert server.health("ready") == 200
    server.check_log()


@pytest.mark.parametrize("sent", [
    b"\x00" * 100, b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET / HTTP/1.1\nhost a\n\n",
    b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", b"G" * 70000, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    b"PUT /b/k HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
    b"GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /b/%ff%fe HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", b"GET http://a/b HTTP/1.1\r\nhost: c\r\n\r\n",
], ids=lambda sent: repr(sent[:40]))
def test_nonsense_is_answered_or_closed(basalt, sent):
    answer = converse(basalt, sent, end=True)
    assert not answer or 400 <= status_of(answer) < 600, answer[:200]
    assert status_of(answer) != 500, answer[:400]
    healthy(basalt)


@pytest.mark.parametrize("hosts", [
    b"", b"host: a\r\nhost: b\r\n", b"host: a\r\nHost: a\r\n", b"host: \xff\r\n"])
def test_a_request_names_one_host(basalt, hosts):
    for method in (b"GET", b"PUT", b"OPTIONS"):
        answer = converse(basalt, method + b" /b HTTP/1.1\r\n" + hosts + b"content-length: 0\r\n\r\n", end=True)
        assert status_of(answer) == 400 and b"<Code>InvalidRequest</Code>" in answer, answer[:400]
    # Before HTTP/1.1 there were no such headers.
    old = converse(basalt, b"GET / HTTP/1.0\r\n\r\n", end=True)
    assert status_of(old) == 403, old[:200]
    healthy(basalt)


def test_random_bytes_and_random_damage(basalt, wire, bucket):
    dice = random.Random(7)
    good, _ = head_bytes(wire, "PUT", object_path(bucket, "k"), length=10)
    for _ in range(150):
        damaged = bytearray(good + b"0123456789")
        for _ in range(dice.randrange(1, 6)):
            damaged[dice.randrange(len(good))] = dice.randrange(256)
        answer = converse(basalt, bytes(damaged), end=True)
        assert status_of(answer) != 500, (bytes(damaged), answer[:300])
        converse(basalt, dice.randbytes(dice.randrange(1, 2000)), end=True)
    healthy(basalt)


def test_headers_are_bounded(basalt, wire, bucket):
    many = b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(5000)) + b"\r\n"
    huge = b"GET / HTTP/1.1\r\nhost: a\r\nx-huge: " + b"y" * (4 * MIB) + b"\r\n\r\n"
    endless = [b"GET / HTTP/1.1\r\nhost: a\r\n"] + [b"x-%d: %s\r\n" % (n, b"z" * 1000) for n in range(4000)]
    for pieces in ([many], [huge], endless):
        answer = converse(basalt, *pieces)
        assert not answer or status_of(answer) in (400, 431), answer[:200]
    healthy(basalt)


def test_a_slow_head_is_given_up(new_basalt):
    """Slowloris: the connection ends by the server's clock, not by the client's patience."""
    server = new_basalt(options=["--header-timeout", "1"]).start()
    for sent in (b"", b"GET / HTTP/1.1\r\nhost: a\r\n"):
        answer = converse(server, sent) if sent else None
        assert not answer or status_of(answer) in (400, 408), answer
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as connection:
        def closed():
            """One more header byte each time it is asked, for ever."""
            try:
                connection.sendall(b"x")
                return connection.recv(1000) == b""
            except TimeoutError:
                return False
            except OSError:
                return True
        until(closed, ANSWER_SECONDS, "the end of a head that never ends")
    healthy(server)


def test_a_connection_without_a_request_is_closed_in_the_time_that_was_said(new_basalt):
    server = new_basalt(options=["--idle-timeout", "1"]).start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_SECONDS) as connection:
        for _ in range(2):
            connection.sendall(b"GET /-/health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b"live" in connection.recv(4000)
        # The server closes it; this end would wait for much longer.
        assert connection.recv(4000) == b""
    healthy(server)


def test_a_slow_body_is_given_up_and_leaves_nothing(new_basalt):
    server = new_basalt().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="slow")
    with server.wire() as wire:
        head, _ = head_bytes(wire, "PUT", "/slow/k", length=10 * MIB)
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as connection:
            connection.sendall(head)

            def closed():
                try:
                    connection.sendall(b"y")
                    return connection.recv(1000) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True
            until(closed, 90, "the end of a body that trickles")
    assert "Contents" not in s3.list_objects_v2(Bucket="slow")
    healthy(server)


def test_many_slow_clients_do_not_keep_others_out(basalt, s3, bucket):
    slow = [socket.create_connection(("127.0.0.1", basalt.port)) for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nhost:")
        s3.put_object(Bucket=bucket, Key="k", Body=content(100000))
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content(100000)
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("direction", ["uploads", "downloads"])
def test_slow_transfers_do_not_keep_the_memory_of_others(new_basalt, direction):
    """Clients that trickle, but fast enough to be borne, hold memory of transfers. Others who need it wait for a
    while and not for ever."""
    server = new_basalt(options=["--memory", "64MiB", "--read-cache", "0"]).start()
    stop, slow = threading.Event(), []

    def trickle(connection):
        connection.settimeout(1)
        while not stop.wait(0.5):
            try:
                connection.sendall(b"y" * 2000) if direction == "uploads" else connection.recv(2000)
            except OSError:
                return

    with server.wire() as wire:
        wire.request("PUT", "/slow").expect(200)
        wire.put("slow", "large", content(64 * MIB)).expect(200)
        wire.put("slow", "mine", content(MIB)).expect(200)
        for n in range(24):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            head = head_bytes(wire, "PUT", f"/slow/{n}", length=64 * MIB) if direction == "uploads" else head_bytes(wire, "GET", "/slow/large")
            connection.sendall(head[0] + b"y" * 20000 * (direction == "uploads"))
            slow.append(threading.Thread(target=trickle, args=(connection,), daemon=True))
        for thread in slow:
            thread.start()
        try:
            if direction == "uploads":
                until(lambda: server.metrics()["basalt_queue_depth"]['{queue="buffer"}'] > 0, 30, "slow uploads to take memory")
            wire.put("slow", "other", content(300_000)).expect(200)
            assert wire.get("slow", "mine").body == content(MIB)
        finally:
            stop.set()
            for thread in slow:
                thread.join()
    healthy(server)


def test_connections_are_bounded(new_basalt):
    server = new_basalt(options=["--connections-max", "20"]).start()
    held = []
    for _ in range(60):
        held.append(socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_SECONDS))
    over = [c for c in held if is_closed(c)]
    assert len(over) >= 20, f"{len(over)} of 60 were closed"
    for connection in held:
        connection.close()
    until(server.is_ready, ANSWER_SECONDS, "room for new connections")


def is_closed(connection):
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


BAD_CHUNKS = {
    "no framing": lambda framed: b"x" * len(framed),
    "a size that is no number": lambda framed: b"zz" + framed[2:],
    "a size too large": lambda framed: b"ffffffffff" + framed,
    "an endless line": lambda framed: b"1" * 100000 + framed,
    "no end": lambda framed: framed[:framed.rindex(b"0;chunk") if b"0;chunk" in framed else framed.rindex(b"0\r\n")],
    "half of it": lambda framed: framed[:len(framed) // 2],
    "twice": lambda framed: framed + framed,
    "no line ends": lambda framed: framed.replace(b"\r\n", b""),
}


@pytest.mark.parametrize("damage", BAD_CHUNKS)
def test_bad_chunks_write_nothing(basalt, wire, bucket, damage):
    body = content(70000)
    for payload, trailers in ((STREAM, ()), (STREAM_UNSIGNED_TRAILER, [("x-amz-checksum-crc32", "AAAAAA==")])):
        answer = wire.stream(object_path(bucket, "k"), body, payload, trailers, mangle=BAD_CHUNKS[damage])
        assert 400 <= answer.status < 500, (payload, answer)
        if damage in ("a size that is no number", "no end", "half of it"):
            answer.expect(400, "IncompleteBody")
        assert wire.request("HEAD", object_path(bucket, "k")).status == 404
    healthy(basalt)


def test_the_decoded_length_must_be_true(wire, bucket):
    body = content(70000)
    for claimed in ("69999", "70001", "0", "-1", "x", str(1 << 62)):
        headers = {"x-amz-decoded-content-length": claimed}
        answer = wire.stream(object_path(bucket, "k"), body, STREAM, headers=headers)
        assert 400 <= answer.status < 500, (claimed, answer)
        assert wire.request("HEAD", object_path(bucket, "k")).status == 404


def test_trailers_are_bounded(wire, bucket):
    mangle = lambda framed: framed[:-2] + b"".join(b"x-%d:%s\r\n" % (n, b"y" * 100) for n in range(10000)) + b"\r\n"
    answer = wire.stream(object_path(bucket, "k"), b"v", STREAM_UNSIGNED_TRAILER, mangle=mangle)
    assert 400 <= answer.status < 500, answer
    assert wire.request("HEAD", object_path(bucket, "k")).status == 404


@pytest.mark.parametrize("size", [1000, 100000, 20 * MIB])
@pytest.mark.parametrize("chunks", [False, True])
def test_a_client_that_leaves_mid_upload_leaves_nothing(basalt, wire, s3, bucket, size, chunks):
    body = content(size)
    for _ in range(5):
        if chunks:
            head, signer = head_bytes(
                wire, "PUT", object_path(bucket, "k"), payload=STREAM, length=size * 2,
                headers={"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(size)})
            sent = head + chunked(signer, STREAM, body)[:size - 100]
        else:
            head, _ = head_bytes(wire, "PUT", object_path(bucket, "k"), length=size)
            sent = head + body[:size - 1]
        with socket.create_connection(("127.0.0.1", basalt.port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    # Their space is the matter of test_full: figures count only what a record owns.
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    healthy(basalt)


def test_a_client_that_leaves_mid_download_harms_nobody(basalt, wire, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=content(30 * MIB))
    head, _ = head_bytes(wire, "GET", object_path(bucket, "k"))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", basalt.port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(head)
            assert connection.recv(10000).startswith(b"HTTP/1.1 200")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content(30 * MIB)
    healthy(basalt)


def test_pipelined_and_kept_alive_requests_are_answered_in_order(basalt, wire, bucket):
    for n in range(5):
        wire.put(bucket, f"k{n}", b"body%d" % n).expect(200)
    heads = [head_bytes(wire, "GET", object_path(bucket, f"k{n}"))[0] for n in range(5)]
    last = heads[-1].replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    answer = converse(basalt, b"".join(heads[:-1]) + last)
    places = [answer.index(b"body%d" % n) for n in range(5)]
    assert places == sorted(places) and answer.count(b"HTTP/1.1 200") == 5


def test_expect_continue(basalt, wire, bucket):
    head, _ = head_bytes(wire, "PUT", object_path(bucket, "k"), length=5)
    head = head.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    with socket.create_connection(("127.0.0.1", basalt.port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"12345")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    refused, _ = head_bytes(wire, "PUT", object_path(bucket, "n"), length=5, secret_key="wrong")
    refused = refused.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    with socket.create_connection(("127.0.0.1", basalt.port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(refused)
        assert connection.recv(1000).startswith(b"HTTP/1.1 403"), "refused before the body is sent"


def test_xml_bodies_are_bounded(wire, bucket):
    for path, query in ((f"/{bucket}", [("delete", "")]), (f"/{bucket}/k", [("uploadId", "x")])):
        answer = wire.request("POST", path, query, body=b"<Delete>" + b"<" * (9 * MIB))
        assert 400 <= answer.status < 500, answer
        nested = b"<a>" * 200000
        answer = wire.request("POST", path, query, body=nested)
        assert 400 <= answer.status < 500, answer
