"""The same server without io_uring, as in a container that denies it: the same promises, and it says so."""
import subprocess
import sys

import pytest

from .sandbox import deny_io_uring
from .test_drives import everything_works, fill, remove, verify
from .test_durability import Ledger, check_all, new_bucket, one_life

THREADS = ["--io", "threads"]


def test_objects_on_threads(new_basalt):
    server = new_basalt(options=THREADS).start()
    assert "threads" in server.text()
    bodies = fill(server)
    everything_works(server, bodies, "again")
    server.kill()
    remove(server.drives[0])
    server.start()
    everything_works(server, bodies, "degraded")


def test_kills_on_threads(new_basalt):
    server = new_basalt(options=THREADS).start()
    new_bucket(server)
    ledgers = [Ledger(f"client{n}", server, n) for n in range(3)]
    for _ in range(3):
        one_life(server, ledgers, 300)
        check_all(server, ledgers)


def test_one_pool_under_both(new_basalt):
    """What one wrote, the other reads."""
    server = new_basalt(options=THREADS).start()
    bodies = fill(server)
    for kind in ("auto", "threads", "auto"):
        server.kill()
        server.options = ["--io", kind]
        server.start()
        verify(server, bodies)


@pytest.fixture
def sandbox():
    done = subprocess.run([sys.executable, "-c", "pass"], preexec_fn=deny_io_uring)
    if done.returncode != 0:
        pytest.skip("no seccomp here")
    return deny_io_uring


def test_where_io_uring_is_denied_auto_takes_threads_and_says_so(new_basalt, sandbox):
    server = new_basalt(confine=sandbox).start()
    assert "threads" in server.text()
    assert any('io="threads"' in labels for labels in server.metrics()["basalt_io_info"])
    bodies = fill(server)
    server.kill().start()
    everything_works(server, bodies, "again")


def test_where_io_uring_is_denied_uring_is_refused(new_basalt, sandbox):
    status, said = new_basalt(confine=sandbox, options=["--io", "uring"]).refused()
    assert status != 0 and "io_uring" in said
