"""One Basalt process: started on drives of its own, waited for, stopped or killed, its log kept.

A started server is asked for by `Basalt(...).start()`; `stop()` is the polite end (SIGTERM, status 0),
`kill()` the other one. Ports are free ones of the loopback address; keys are given by environment, so that
a server comes back with the same keys whatever happened to its drives.
"""
import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import boto3
from botocore.config import Config

from .waiting import until
from .wire import Wire

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BASALT_BINARY", REPOSITORY / "target/release/basalt"))
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
DOMAIN = "s3.localhost"
# How the clients of a run address buckets, where a test does not choose: `path` or `virtual`.
STYLE = os.environ.get("BASALT_STYLE", "path")
START_SECONDS = 60
STOP_SECONDS = 60
# Which of the processes among which pytest-xdist shares the tests out this is.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# Runs side by side begin with another port each.
_turns = itertools.count(os.getpid())


def free_port():
    """One of a thousand that this worker of pytest alone gives out, none of which an outgoing connection is given: it
    is free again when a server that was killed comes back."""
    for _ in range(1000):
        port = 10_000 + 1000 * WORKER + next(_turns) % 1000
        with socket.socket() as probe:
            # As the server does: connections that its predecessor closed do not keep the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("all ports are taken")


class Basalt:
    """A server on `drives` (directories or devices). `options` are further words of the command line;
    `confine` is called in the new process before it becomes the server."""

    def __init__(self, drives, log, options=(), parity=None, keys=(ACCESS_KEY, SECRET_KEY), confine=None):
        self.drives = [Path(d) for d in drives]
        self.log = Path(log)
        self.options = list(options)
        self.parity = parity
        self.confine = confine
        self.access_key, self.secret_key = keys or (None, None)
        self.port = free_port()
        self.process = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def endpoint_of(self, style):
        """What a client of this style is told: names of buckets are put before a name, not before an address."""
        return self.endpoint if style == "path" else f"http://{DOMAIN}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def command(self):
        parity = [] if self.parity is None else ["--parity", str(self.parity)]
        listen = ["--listen", f"127.0.0.1:{self.port}", "--domain", DOMAIN]
        return [str(BINARY), "serve", *map(str, self.drives), *parity, *listen, *self.options]

    def environment(self):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BASALT_", "AWS_"))}
        clean["RUST_BACKTRACE"] = "1"
        if self.access_key:
            clean |= {"BASALT_ACCESS_KEY": self.access_key, "BASALT_SECRET_KEY": self.secret_key}
        return clean

    def spawn(self):
        """Starts the process and does not wait for it to serve."""
        assert self.process is None or self.process.poll() is not None, "one process at a time"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self.confine)
        return self

    def start(self):
        self.spawn()
        until(self.is_ready_or_dead, START_SECONDS, "the server to be ready")
        assert self.process.poll() is None, f"the server ended at its start:\n{self.tail()}"
        return self

    def refused(self):
        """Starts a server that must not start: its exit status and what it said."""
        seen = len(self.text())
        self.spawn()
        status = self.process.wait(START_SECONDS)
        return status, self.text()[seen:]

    def is_ready_or_dead(self):
        return self.process.poll() is not None or self.is_ready()

    def is_ready(self):
        return self.health("ready") == 200

    def health(self, name):
        """The status of `/-/health/NAME`; None when nobody answers."""
        try:
            return self.get(f"/-/health/{name}")[0]
        except (OSError, http.client.HTTPException):
            return None

    def get(self, path):
        """An unsigned GET of the operator's pages."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def metrics(self):
        """All samples of `/-/metrics`: {name: {labels as text: value}}."""
        status, body = self.get("/-/metrics")
        assert status == 200, status
        samples = {}
        for line in body.decode().splitlines():
            found = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)", line)
            if found:
                samples.setdefault(found[1], {})[found[2] or ""] = float(found[3])
        return samples

    def used_bytes(self):
        """Bytes in use on all drives."""
        return sum(self.metrics()["basalt_drive_used_bytes"].values())

    def stop(self):
        """SIGTERM; the server must drain and end with 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        assert status == 0, f"SIGTERM ended with {status}:\n{self.tail()}"
        return self

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        return self

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines=40):
        return "\n".join(self.text().splitlines()[-lines:])

    def check_log(self):
        panics = [line for line in self.text().splitlines() if "panicked" in line]
        assert not panics, f"{self.log}:\n" + "\n".join(panics[:10]) + "\n" + self.tail(15)

    def wire(self, **options):
        """A raw connection that signs by itself."""
        return Wire("127.0.0.1", self.port, self.access_key, self.secret_key, **options)

    def s3(self, style=STYLE, keys=None, region=REGION, attempts=1, pool=40, timeout=60, **settings):
        """A boto3 client. `style` is `path` or `virtual`; nothing is retried unless `attempts` says so."""
        access_key, secret_key = keys or (self.access_key, self.secret_key)
        config = Config(
            signature_version="s3v4", s3={"addressing_style": style}, max_pool_connections=pool,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=10, read_timeout=timeout, **settings)
        return boto3.client(
            "s3", endpoint_url=self.endpoint_of(style), region_name=region, config=config,
            aws_access_key_id=access_key, aws_secret_access_key=secret_key)
