"""What the suites show: which operation was called with success through a stock client, and in which test.

`tests/operations.py` makes docs/S3.md of it. Nothing is recorded unless BASALT_SHOWN names a file; only tests that
pass count, since a run that fails is thrown away with its record.
"""
import json
import os
from pathlib import Path

import pytest
from botocore.client import BaseClient

WHERE = "BASALT_SHOWN"


def start(config):
    """From now on each call that succeeds is noted, until pytest ends."""
    shown = set()
    real = BaseClient._make_api_call

    def noted(client, operation, parameters):
        answer = real(client, operation, parameters)
        shown.add((client.meta.service_model.service_name, operation, current_test()))
        return answer

    BaseClient._make_api_call = noted
    config.pluginmanager.register(Record(shown), "shown")


class Record:
    """Of several processes each hands in what it has noted, and the one that dealt the tests out writes it."""

    def __init__(self, shown):
        self.shown = shown

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.shown |= {tuple(call) for call in getattr(node, "workeroutput", {}).get("shown", [])}

    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["shown"] = [list(call) for call in self.shown]

    def pytest_unconfigure(self, config):
        if not hasattr(config, "workeroutput"):
            Path(os.environ[WHERE]).write_text(json.dumps(sorted(self.shown), indent=0))


def current_test():
    """`test_x.py::test_y`, without parameters and phase."""
    name = os.environ.get("PYTEST_CURRENT_TEST", "").split(" (")[0].split("[")[0]
    return name.rsplit("/", 1)[-1]
