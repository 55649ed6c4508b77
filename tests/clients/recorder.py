"""What the suites show: which operation was called with success through a stock client, and in which test.

`tests/operations.py` makes docs/S3.md of it. Nothing is recorded unless BASALT_SHOWN names a file; only tests that
pass count, since a run that fails is thrown away with its record.
"""
import json
import os
from pathlib import Path

from botocore.client import BaseClient

WHERE = "BASALT_SHOWN"


def start():
    """From now on each call that succeeds is noted; gives what to call at the end."""
    shown = set()
    real = BaseClient._make_api_call

    def noted(client, operation, parameters):
        answer = real(client, operation, parameters)
        shown.add((client.meta.service_model.service_name, operation, current_test()))
        return answer

    def finish():
        BaseClient._make_api_call = real
        Path(os.environ[WHERE]).write_text(json.dumps(sorted(shown), indent=0))

    BaseClient._make_api_call = noted
    return finish


def current_test():
    """`test_x.py::test_y`, without parameters and phase."""
    name = os.environ.get("PYTEST_CURRENT_TEST", "").split(" (")[0].split("[")[0]
    return name.rsplit("/", 1)[-1]
