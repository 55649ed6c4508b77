"""Waiting for a condition, with a deadline.

The only place of the suites that lets time pass: everything else names what it waits for.
"""
import threading
import time


def until(condition, seconds, what):
    """Asks again and again until `condition()` is true; returns what it returned. Fails by name at the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        pause.wait(0.02)
