"""Notifications when the server and its webhook are killed, again and again, while many write.

Each writer keeps what it did to each of its keys, in order; what was under way when the server died is settled
by what the next start shows. In the end the webhook has heard of every change that took place, of nothing else,
and of the changes of each key in their order (what is told twice counts when it came first).
"""
import http.client
import json
import random
import subprocess
import sys
from contextlib import suppress
from urllib.parse import unquote_plus

from .process import free_port
from .test_notifications import configure, queued, rule
from .waiting import until
from .webhook import Webhook
from .writers import writing

BUCKET = "told"
GONE = None

# Keeps what it is told in a file, then answers; of some requests the answer is lost, but not of the event that tries
# whether there is anybody: without its answer there is no configuration.
RECEIVER = """
import http.server, os, random, sys
file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        chance = 1 if b"s3:TestEvent" in body else random.random()
        if chance < 0.01:
            self.close_connection = True
            return
        os.write(file, body + b"\\n")
        if chance < 0.02:
            self.close_connection = True
            return
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Receiver:
    """A webhook in a process of its own, which can be killed."""

    def __init__(self, place):
        self.port, self.file, self.process = free_port(), place / "told.jsonl", None

    def open(self):
        words = [sys.executable, "-c", RECEIVER, str(self.port), str(self.file)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        return self

    def events(self):
        """(sequencer, event, size) by key, in the order in which they came first; a line cut off by a kill is none."""
        seen, found = set(), {}
        for line in self.file.read_bytes().splitlines() if self.file.exists() else []:
            with suppress(ValueError):
                for record in json.loads(line).get("Records", []):
                    what = record["s3"]["object"]
                    key, sequencer = unquote_plus(what["key"]), what["sequencer"]
                    if (key, sequencer) not in seen:
                        seen.add((key, sequencer))
                        found.setdefault(key, []).append((sequencer, record["eventName"], what.get("size")))
        return found


class Writer:
    """Puts and deletes a few keys of its own, each put one byte longer than any before."""

    def __init__(self, name, server):
        self.server, self.dice = server, random.Random(name)
        self.history = {f"{name} key+{n}": [] for n in range(4)}
        self.pending, self.size = None, 0

    def write_until_it_breaks(self):
        with suppress(OSError, http.client.HTTPException), self.server.wire() as wire:
            while True:
                key = self.dice.choice(list(self.history))
                there = self.history[key] and self.history[key][-1] is not GONE
                self.size += 1
                self.pending = key, GONE if there and self.dice.random() < 0.4 else self.size
                if self.pending[1] is GONE:
                    wire.delete(BUCKET, key).expect(204)
                else:
                    wire.put(BUCKET, key, b"x" * self.size).expect(200)
                self.history[key].append(self.pending[1])
                self.pending = None

    def settle(self, wire):
        """Whether what was pending took place; and what is there must be what was written last."""
        for key, done in self.history.items():
            answer = wire.request("HEAD", f"/{BUCKET}/{key.replace(' ', '%20').replace('+', '%2B')}")
            assert answer.status in (200, 404), answer
            size = GONE if answer.status == 404 else int(answer.headers["content-length"])
            last = done[-1] if done else GONE
            if self.pending and self.pending[0] == key and size == self.pending[1]:
                done.append(size)
            else:
                assert size == last, (key, size, last)
        self.pending = None


def one_life(server, writers, dice, acts):
    """Writers write; after a while each of `acts` happens, and then the server is killed."""
    def changes():
        return sum(len(done) for writer in writers for done in writer.history.values())

    with writing(server, writers) as wrong:
        for act in [*acts, server.kill]:
            goal = changes() + dice.randrange(5, 300)
            until(lambda: wrong or changes() >= goal, 60, f"{goal} changes")
            act()


def missing_and_more(receiver, writers):
    """What was done and not told, and the other way round, by key."""
    told = receiver.events()
    wrong = {}
    for writer in writers:
        for key, done in writer.history.items():
            heard = [size for _, _, size in told.pop(key, [])]
            if heard != done:
                wrong[key] = done, heard
    return wrong, told


def kill_in_a_loop(new_basalt, place, lives, seed):
    receiver = Receiver(place).open()
    try:
        option = ["--webhook", f"hook=http://127.0.0.1:{receiver.port}/", "--memory", "64MiB"]
        server = new_basalt(options=option).start()
        server.s3().create_bucket(Bucket=BUCKET)
        until(lambda: is_open(receiver), 30, "the receiver")
        configure(server.s3(), BUCKET, [rule(Webhook(), ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"])])
        dice = random.Random(seed)
        writers = [Writer(f"w{n}", server) for n in range(4)]
        for _ in range(lives):
            one_life(server, writers, dice, dice.choice([[], [receiver.kill, receiver.open], [receiver.kill]]))
            if receiver.process.poll() is not None:
                receiver.open()
            server.start()
            with server.wire() as wire:
                for writer in writers:
                    writer.settle(wire)
        until(lambda: queued(server) == 0, 90, "the queue to be empty")
        wrong, more = missing_and_more(receiver, writers)
        assert not wrong, {key: [d for d in done if d not in heard] or (done, heard) for key, (done, heard) in wrong.items()}
        assert not more, "nothing is told of what nobody wrote"
        for events in receiver.events().values():
            sequencers = [sequencer for sequencer, _, _ in events]
            assert sequencers == sorted(sequencers)
            assert all((name == "ObjectRemoved:Delete") == (size is GONE) for _, name, size in events)
        return sum(len(done) for writer in writers for done in writer.history.values())
    finally:
        receiver.kill()


def is_open(receiver):
    """Whether it answers; a connection alone may be one that the kernel has made with itself."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_server_and_webhook_are_killed(new_basalt, tmp_path):
    kill_in_a_loop(new_basalt, tmp_path, 8, 3)
