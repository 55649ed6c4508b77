"""What clients can make the server hold: silent connections, half requests, uploads that never end, answers that nobody
reads. Each is tried by many at once against a server with little memory; what the process takes meanwhile stays
within `--memory`, what is counted comes back when they go, and somebody honest is served while they are there.
"""
import base64
import hashlib
import socket
import threading

import pytest

from .content import KIB, MIB
from .test_bad_input import ANSWER_SECONDS, head_bytes, read_all, status_of
from .waiting import until

MEMORY = ["--memory", "64MiB", "--cores", "2"]
# What the program itself takes, and what the allocator keeps of what was freed.
SLACK_BYTES = 48 * MIB


@pytest.fixture
def small(new_basalt):
    """A server with as little memory as it takes, with a bucket and an object."""
    server = new_basalt(options=MEMORY).start()
    with server.wire() as wire:
        wire.request("PUT", "/memory").expect(200)
        wire.put("memory", "k", b"x" * 5000).expect(200)
    return server


class Crowd:
    """Connections that are there at the same time; a few at a time are made, as the server takes them over."""

    def __init__(self, server, count, first=lambda number: b"", receive=None):
        self.server, self.held = server, []
        self.before = process_bytes(server, "VmRSS")
        forget_peak(server)
        for number in range(count):
            connection = socket.socket()
            if receive:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(("127.0.0.1", server.port))
            self.held.append(connection)
            try:
                connection.sendall(first(number))
            except OSError:
                pass  # refused: that is a bound
            if number % 100 == 99:
                until(lambda: server.health("live") == 200, ANSWER_SECONDS, "the crowd to be taken over")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.held:
            connection.close()

    def statuses(self):
        """What was answered so far, of all that say something within a moment."""
        found = []
        for connection in self.held:
            connection.settimeout(0.001)
            try:
                said = connection.recv(4096)
            except OSError:
                continue
            if said.startswith(b"HTTP/1.1 "):
                found.append(status_of(said))
        return found

    def all_answered(self):
        """Whether there is something to read on every connection, or it has ended; nothing is read."""
        for connection in self.held:
            connection.settimeout(0.001)
            try:
                connection.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                return False
            except OSError:
                pass
        return True

    def closed(self):
        """How many of them the server has given up without a word."""
        count = 0
        for connection in self.held:
            connection.settimeout(0.001)
            try:
                count += connection.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                count += 1
        return count

    def grown(self):
        """Bytes of memory that the process took more than before, at the worst."""
        return process_bytes(self.server, "VmHWM") - self.before


def process_bytes(server, name):
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) * KIB for line in status if line.startswith(name))


def forget_peak(server):
    with open(f"/proc/{server.pid}/clear_refs", "w") as clear:
        clear.write("5")


def taken(server, what):
    """Memory of connections or documents that is accounted for, and the most it can be."""
    metrics = server.metrics()
    label = f'{{queue="{what}"}}'
    return metrics["basalt_queue_depth"][label], metrics["basalt_queue_limit"][label]


def serves(server):
    """Somebody who comes now is served, on a connection of their own."""
    with server.wire(timeout=ANSWER_SECONDS) as wire:
        wire.put("memory", "mine", b"y" * 3000).expect(200)
        assert wire.get("memory", "mine").expect(200).body == b"y" * 3000


def comes_back(server, what):
    # Whoever asks has a connection too.
    until(lambda: taken(server, what)[0] <= 64 * KIB, ANSWER_SECONDS, f"the memory of a {what} to come back")
    assert server.health("ready") == 200
    server.check_log()


def test_silent_connections_take_next_to_nothing(small):
    """Before a request, and some time behind one, a connection is a socket: it had 29 KiB of buffers once."""
    with small.wire() as wire:
        head, _ = head_bytes(wire, "GET", "/memory/k")
    with Crowd(small, 800) as crowd:
        assert taken(small, "connection")[0] <= 64 * KIB
        assert crowd.grown() < 800 * 8 * KIB, crowd.grown()
        for connection in crowd.held:
            connection.sendall(head)
        for connection in crowd.held:
            assert b"200 OK" in connection.recv(4096)
        comes_back(small, "connection")
        # They are still there, and can go on.
        for connection in crowd.held[:20]:
            connection.recv(65536)
            connection.sendall(head)
            assert b"200 OK" in connection.recv(4096)
        serves(small)


@pytest.mark.parametrize("length", [1, 31_000], ids=["short", "long"])
def test_half_heads_are_bounded_and_make_way(small, length):
    """3,000 half heads of 31 KB took 320 MiB. Long ones are refused where there is no memory for them, and short ones
    when others wait."""
    text = b"GET /memory/k HTTP/1.1\r\nhost: x\r\nx-long: " + b"y" * length
    with Crowd(small, 800, lambda number: text) as crowd:
        used, most = taken(small, "connection")
        assert 0 < used <= most
        serves(small)
        until(lambda: 503 in crowd.statuses(), ANSWER_SECONDS, "half heads to be refused")
        assert crowd.grown() < most + SLACK_BYTES / 2, crowd.grown()
    comes_back(small, "connection")


def test_a_head_of_full_length_is_read_in_pieces(small):
    """Where there is memory, a long head may come as slowly as its time allows."""
    with small.wire() as wire:
        head, _ = head_bytes(wire, "GET", "/memory/k", {f"x-pad-{n}": "y" * 1000 for n in range(30)})
    with Crowd(small, 1) as crowd:
        for at in range(0, len(head), 700):
            crowd.held[0].sendall(head[at:at + 700])
        assert b"200 OK" in crowd.held[0].recv(4096)


def test_uploads_that_never_end_are_bounded(small):
    """Each sends as fast as it may. Too many are told to slow down, so that short requests find room."""
    with small.wire() as wire:
        heads = [head_bytes(wire, "PUT", f"/memory/u{n}", length=64 * MIB)[0] for n in range(300)]
    with Crowd(small, 300, lambda number: heads[number]) as crowd:
        pump(crowd.held, 200 * KIB)
        serves(small)
        assert 503 in crowd.statuses()
        assert crowd.grown() < 64 * MIB, crowd.grown()
    comes_back(small, "connection")


def pump(connections, most):
    """Sends so much to each, as far as it is taken without waiting."""
    block = b"z" * (64 * KIB)
    for _ in range(most // len(block)):
        for connection in connections:
            connection.setblocking(False)
            try:
                connection.send(block)
            except OSError:
                pass


def test_listings_that_nobody_reads_are_bounded(small):
    """A page of 1,000 keys of full length, all of it escaped, is 5 MB: 600 clients that did not read theirs took
    1.9 GiB. What they do not take is memory for documents, and who finds none is told to try again."""
    make_long_keys(small, 400)
    with small.wire() as wire:
        target, headers, _ = wire.head("GET", "/memory", [("list-type", "2")])
        lines = [f"GET {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers.items()]
        ask = "\r\n".join(lines).encode() + b"\r\n\r\n"
    with Crowd(small, 80, lambda number: ask * 4, receive=4096) as crowd:
        until(lambda: taken(small, "document")[0] > 0, ANSWER_SECONDS, "listings to be under way")
        serves(small)
        until(crowd.all_answered, ANSWER_SECONDS, "each listing to begin or to be refused")
        assert crowd.grown() < 16 * MIB + SLACK_BYTES, crowd.grown()
    comes_back(small, "document")
    with small.wire() as wire:
        assert wire.request("GET", "/memory", [("list-type", "2")]).expect(200).body.count(b"<Key>") > 400


def make_long_keys(server, count):
    def put(first):
        with server.wire() as wire:
            for number in range(first, count, 4):
                wire.put("memory", f"{number:05}" + "&" * 1019, b"x").expect(200)

    threads = [threading.Thread(target=put, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_new_connection_takes_the_place_of_the_most_silent(new_basalt):
    """Silent connections cannot keep others out: the oldest of a core goes for each that comes when there are enough,
    and nobody else."""
    server = new_basalt(options=["--connections-max", "20"]).start()
    with Crowd(server, 20) as first, Crowd(server, 30) as second:
        assert server.health("ready") == 200
        until(lambda: first.closed() >= 10, ANSWER_SECONDS / 3, "the first to make way")
        assert server.health("ready") == 200
        assert first.closed() + second.closed() <= 32


def test_many_who_have_something_to_do_take_turns(small):
    """More connections with requests than there is memory for at once: each is served in turn, none refused."""
    with small.wire() as wire:
        head, _ = head_bytes(wire, "GET", "/memory/k")
    last = head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with Crowd(small, 400, lambda number: head * 2 + last) as crowd:
        for connection in crowd.held:
            connection.settimeout(ANSWER_SECONDS)
            assert read_all(connection).count(b"200 OK") == 3
    comes_back(small, "connection")


def test_settings_of_all_buckets_together_are_bounded(small):
    """Settings are in memory whole: 10,000 buckets with 1,000 rules each would have taken 10 GiB. One that is there can
    still be replaced by a smaller one, and taking some away makes room."""
    rules = "".join(
        f"<Rule><ID>{n:05}{'x' * 240}</ID><Filter><Prefix>{'y' * 120}{n}</Prefix></Filter><Status>Enabled</Status>"
        "<Expiration><Days>3</Days></Expiration></Rule>" for n in range(1000))
    body = f"<LifecycleConfiguration>{rules}</LifecycleConfiguration>".encode()
    one = b"<LifecycleConfiguration>" + rules.split("</Rule>")[0].encode() + b"</Rule></LifecycleConfiguration>"
    statuses = []
    with small.wire() as wire:
        def put(number, document):
            digest = base64.b64encode(hashlib.md5(document).digest()).decode()
            return wire.request("PUT", f"/rules{number}", [("lifecycle", "")], {"content-md5": digest}, document)

        for number in range(24):
            wire.request("PUT", f"/rules{number}").expect(200)
            statuses.append(put(number, body).status)
        assert statuses[0] == 200 and statuses[-1] == 400, statuses
        put(23, body).expect(400, "TooManyConfigurations")
        put(0, one).expect(200)
        put(23, body).expect(200)
