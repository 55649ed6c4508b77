"""Fixtures: the shared server of the S3 suites, servers of one test alone, buckets, and the name resolution
that virtual-host style needs (every name under `localhost` is the loopback address).

After each test the log of its servers is read: a panic fails the test, whatever the client saw.
"""
import itertools
import os
import shutil
import socket

import pytest

from . import recorder
from .identities import account
from .process import BINARY, Basalt


def pytest_configure(config):
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is not built: cargo build --release", returncode=2)
    if os.environ.get(recorder.WHERE):
        recorder.start(config)


@pytest.fixture(scope="session", autouse=True)
def localhost_names():
    """Resolvers differ on names below localhost; here they are all this machine."""
    real = socket.getaddrinfo

    def resolve(host, *rest, **more):
        below = isinstance(host, str) and host.endswith(".localhost")
        return real("127.0.0.1" if below else host, *rest, **more)

    socket.getaddrinfo = resolve
    yield
    socket.getaddrinfo = real


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Four directories at 2+2, for all tests that only speak S3."""
    yield from serve(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def basalt(shared):
    yield from watched(shared)


@pytest.fixture(scope="session")
def shared_open(tmp_path_factory):
    """Like `shared`, with new buckets on which ACLs count and nothing public is blocked."""
    yield from serve(tmp_path_factory.mktemp("open"), options=["--new-buckets", "open"])


@pytest.fixture
def open_basalt(shared_open):
    yield from watched(shared_open)


def serve(base, **settings):
    server = Basalt([base / f"d{n}" for n in range(4)], base / "log", **settings).start()
    yield server
    server.kill()
    shutil.rmtree(base, ignore_errors=True)


def watched(server):
    yield server
    assert server.process.poll() is None, f"the shared server ended:\n{server.tail()}"
    server.check_log()


@pytest.fixture
def one(open_basalt):
    """An account of this test alone, and `two` another one."""
    return account(open_basalt)


@pytest.fixture
def two(open_basalt):
    return account(open_basalt)


@pytest.fixture
def new_basalt(tmp_path):
    """Makes servers of this test alone: `new_basalt(drives=4, parity=2, options=[...])`, not yet started."""
    made = []

    def make(drives=4, **more):
        at = tmp_path / f"pool{len(made)}"
        at.mkdir()
        places = [at / f"d{n}" for n in range(drives)] if isinstance(drives, int) else drives
        server = Basalt(places, at / "log", **more)
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()
    for server in made:
        server.check_log()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def new_small(new_basalt):
    """Like `new_basalt`, with drives small enough to be overwritten from one end to the other."""
    return lambda options=(), **more: new_basalt(options=["--capacity", "1GiB", *options], **more)


@pytest.fixture(scope="session")
def s3(shared):
    return shared.s3()


@pytest.fixture
def wire(basalt):
    with basalt.wire() as wire:
        yield wire


_numbers = itertools.count()


@pytest.fixture
def bucket(basalt, s3):
    """A bucket of this test alone."""
    name = f"b{next(_numbers)}-{os.getpid()}"
    s3.create_bucket(Bucket=name)
    return name
