#!/usr/bin/env python3
"""Writes and checks docs/S3.md: every operation of the API model, whether it is there, and the test that shows it.

    tests/operations.py --write RECORD...   writes the table from records of the suites (see clients/recorder.py)
    tests/operations.py --check RECORD...   fails unless the table says exactly what those records show
    tests/operations.py --check             without a record: what can be seen from the sources alone

An operation is supported when a test calls it through boto3 with success; which one that was stands in the record of a
run of the suites, so that no word here can claim it. All others must be refused: `clients/test_operations.py` sends each
of them to the server. The names in the server's own tables must agree with both.
"""
import ast
import json
import re
import sys
from pathlib import Path

from botocore.loaders import Loader
from botocore.model import ServiceModel

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/S3.md"
CLIENTS = ROOT / "tests/clients"
SERVICES = {"s3": "S3", "iam": "IAM", "sts": "STS"}
REFUSALS = "test_operations.py::test_what_is_not_built_is_refused_by_name"
# The old names of operations; on the wire they are the same request.
OLD_NAMES = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
# S3 tells it from ListBuckets by the host alone, and here there is one host.
SAME_REQUEST = {"ListDirectoryBuckets": "ListBuckets"}
# Reads of what nobody can set here, as long as that is so; the answer is always that there is none.
NEVER_SET = {"GetBucketReplication", "GetBucketLifecycleConfiguration", "GetBucketWebsite"}
UNSET = "test_operations.py::test_what_nobody_can_set_is_not_set"
# Served, and no operation of the model: shown by tests that speak HTTP themselves.
OUTSIDE = {"PostObject": "test_post_object.py::test_a_form_stores_its_file",
           "Preflight": "test_bucket_cors.py", "Website": "test_website.py"}
# They show that something is off, which it is everywhere; another test, if there is one, says more.
WEAK = {"test_bucket_settings.py::test_what_is_off_is_said"}
# Names in the server's table that are no operation of S3.
INTERNAL = {"Other", "Operator", "IamQuery"}

HEAD = """# The operations of S3, IAM and STS

Made by `tests/operations.py` from botocore's model, from a run of the client suites and from the server's own tables;
`tests/run` fails when it is not true. *Supported*: the named test in `tests/clients/` calls the operation through boto3 and
it succeeds. *Refused*: `NotImplemented`, or `InvalidAction` of IAM and STS, and nothing is changed;
`{refusals}` sends every one of them, those of
IAM and STS too, which have no rows. *Never set*: what is read there nobody can set, so the answer is that there is none.

"""


def main(arguments):
    mode, *records = arguments or [""]
    if mode not in ("--write", "--check") or mode == "--write" and not records:
        sys.exit(__doc__)
    record = [line for path in records for line in json.loads(Path(path).read_text())] if records else None
    if mode == "--write":
        DOCUMENT.write_text(document(record))
    told = problems(record)
    if told:
        sys.exit("docs/S3.md is not true:\n" + "\n".join(f"  {one}" for one in told)
                 + "\nAfter a whole tests/run: tests/operations.py --write target/shown.json")
    print("docs/S3.md is true")


# ---- The model, the sources, the table ----

def operations(service):
    """The operations of a service, in order."""
    return sorted(ServiceModel(Loader().load_service_model(service, "service-2")).operation_names)


def routed():
    """What the server's own tables name: {service: names}."""
    route = (ROOT / "src/s3/route.rs").read_text()
    names = re.search(r"^operations! \{\n(.*?)^\}", route, re.S | re.M)[1]
    found = {"s3": set(re.findall(r"\w+", names)) - INTERNAL, "iam": set(), "sts": set()}
    for path in sorted((ROOT / "src/s3/query").glob("*.rs")):
        for service, name in re.findall(r'\("(iam|sts)", "(\w+)"\) =>', path.read_text()):
            found[service].add(name)
    return found


def tests():
    """`file::test` of all client tests."""
    found = set()
    for path in CLIENTS.glob("test_*.py"):
        found.add(path.name)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.name}::{node.name}")
    return found


def table():
    """What the document says: {service: {operation: (state, test)}}."""
    said = {service: {} for service in SERVICES}
    service = None
    for line in DOCUMENT.read_text().splitlines() if DOCUMENT.exists() else []:
        if line.startswith("## "):
            service = next((key for key, title in SERVICES.items() if line == f"## {title}"), None)
        row = re.fullmatch(r"\| (\w+) \| (\w[\w ]*) \| (?:`([\w.:]*)` )?\|", line)
        if row and service and row[1] != "Operation":
            said[service][row[1]] = (row[2], row[3] or REFUSALS)
    return said


def refused():
    """What the document calls refused, by service, or does not name of IAM and STS; the suites send all of it."""
    return {service: [name for name in operations(service) if rows.get(name, ("refused", ""))[0] == "refused"]
            for service, rows in table().items()}


# ---- Writing ----

def document(record):
    shown = by_operation(record)
    before = table()
    text = HEAD.format(refusals=REFUSALS)
    for service, title in SERVICES.items():
        names = operations(service)
        rows = [(name, *state_of(service, name, shown, before)) for name in names]
        served = sum(state != "refused" for _, state, _ in rows)
        text += f"## {title}\n\nThere: {served} of {len(names)} operations.\n\n"
        rows += [(name, "supported", test) for name, test in OUTSIDE.items() if service == "s3"]
        text += "| Operation | State | Shown by |\n|---|---|---|\n"
        text += "".join(row(*one) for one in rows if service == "s3" or one[1] != "refused") + "\n"
    return text.rstrip("\n") + "\n"


def row(name, state, test):
    return f"| {name} | {state} | `{test}` |\n" if state != "refused" else f"| {name} | refused | |\n"


def state_of(service, name, shown, before):
    """The test that stood there stays as long as it shows it, so that the table changes only with the truth."""
    if service == "s3" and name in SAME_REQUEST:
        return f"answered as {SAME_REQUEST[name]}", best(service, SAME_REQUEST[name], shown, before)
    meant = OLD_NAMES.get(name, name) if service == "s3" else name
    test = best(service, meant, shown, before)
    if test is None and service == "s3" and meant in NEVER_SET:
        return "never set", UNSET
    if test is None:
        return "refused", REFUSALS
    return ("supported" if meant == name else f"old name of {meant}"), test


def best(service, name, shown, before):
    tests = shown.get((service, name), set())
    old = before[service].get(name, ("", ""))[1]
    key = lambda test: (test in WEAK, weight(service, name, test), test)
    return old if old in tests - WEAK else min(tests, key=key, default=None)


def weight(service, name, test):
    """Tests that are about the operation come first: those that show little else, by their file's name."""
    words = [word.lower() for word in re.findall(r"[A-Z][a-z]+", name)]
    return -sum(word.rstrip("s") in test for word in words)


def by_operation(record):
    shown = {}
    for service, name, test in record:
        if test.startswith("test_") and "::" in test and test != REFUSALS:
            shown.setdefault((service, name), set()).add(test)
    return shown


# ---- Checking ----

def problems(record):
    said, known, built = table(), tests(), routed()
    told = []
    for service in SERVICES:
        rows, names = said[service], operations(service)
        extra = set(OUTSIDE) if service == "s3" else set()
        told += [f"{service} {name} has no row" for name in names if service == "s3" and name not in rows]
        told += [f"{service} {name} is no operation" for name in rows if name not in names and name not in extra]
        told += [f"{service} {name}: there is no test {test}" for name, (_, test) in rows.items() if test not in known]
        told += against_sources(service, rows, built[service])
        if record is not None:
            told += against_record(service, rows, by_operation(record))
    return told


def against_sources(service, rows, built):
    # A setting that nothing obeys yet has a place in the server and is refused there.
    told = [f"{service} {name} is refused, and the table of the server has it"
            for name in sorted(built) if rows.get(name, ("refused", ""))[0] == "refused"
            and not name.startswith("PutBucket")]
    there = ("supported", "never set")
    return told + [f"{service} {name} is {state} and the table of the server does not know it"
                   for name, (state, _) in rows.items()
                   if state in there and name not in built and name not in OLD_NAMES]


def against_record(service, rows, shown):
    told = []
    for name, (state, test) in rows.items():
        tests = shown.get((service, name), set())
        if state == "supported" and name not in OUTSIDE and test not in tests:
            told.append(f"{service} {name}: {test} did not call it with success")
        if state in ("refused", "never set") and tests:
            told.append(f"{service} {name} is {state}, and succeeded in {min(tests)}")
    return told + [f"{service} {name} succeeded and has no row" for (of, name) in shown if of == service and name not in rows]


if __name__ == "__main__":
    main(sys.argv[1:])
