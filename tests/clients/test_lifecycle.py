"""A server's life as its operator sees it: first start, credentials, restart, drain, pages, commands."""
import json
import os
import signal
import socket
import stat
import subprocess
import threading

import pytest

from .content import MIB, content
from .process import BINARY
from .test_bad_input import head_bytes
from .waiting import until


def test_a_first_start_makes_random_credentials_and_says_how_to_use_them(new_basalt):
    first, second = new_basalt(drives=1, keys=None), new_basalt(drives=1, keys=None)
    secrets = []
    for server in (first, second):
        server.start()
        path = server.drives[0] / "credentials"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server.access_key, server.secret_key = read_credentials(path)
        assert "aws" in server.text() and server.endpoint in server.text()
        assert "redundancy" in server.text(), "one directory protects against nothing, and it says so"
        server.s3().create_bucket(Bucket="mine")
        secrets.append(server.secret_key)
    assert secrets[0] != secrets[1] and len(secrets[0]) >= 32
    said = len(first.text())
    first.stop()
    first.access_key = None
    first.start()
    first.access_key, first.secret_key = read_credentials(first.drives[0] / "credentials")
    assert [b["Name"] for b in first.s3().list_buckets()["Buckets"]] == ["mine"]
    assert first.secret_key not in first.text()[said:], "printed once"


def read_credentials(path):
    """The form of an AWS credentials file."""
    values = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    values = {k.strip(): v.strip() for k, v in values.items()}
    return values["aws_access_key_id"], values["aws_secret_access_key"]


def test_data_outlives_a_stop_and_a_start(new_basalt):
    server = new_basalt().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="kept")
    for size in (0, 100, 20000, 5 * MIB):
        s3.put_object(Bucket="kept", Key=f"k{size}", Body=content(size), Metadata={"m": str(size)})
    for _ in range(3):
        server.stop().start()
        s3 = server.s3()
        for size in (0, 100, 20000, 5 * MIB):
            answer = s3.get_object(Bucket="kept", Key=f"k{size}")
            assert answer["Body"].read() == content(size) and answer["Metadata"] == {"m": str(size)}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_what_is_in_flight(new_basalt, sent):
    server = new_basalt().start()
    server.s3().create_bucket(Bucket="drain")
    body = content(8 * MIB)
    with server.wire() as wire:
        head, _ = head_bytes(wire, "PUT", "/drain/k", length=len(body))
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as upload:
        upload.sendall(head + body[:MIB])
        until(lambda: in_flight(server) >= 1, 30, "the upload to be in flight")
        server.process.send_signal(sent)
        until(lambda: refuses_connections(server), 30, "the end of accepting")
        assert server.process.poll() is None, "it waits for the upload"
        upload.sendall(body[MIB:])
        assert upload.recv(4096).startswith(b"HTTP/1.1 200")
    assert server.process.wait(60) == 0
    server.start()
    assert server.s3().get_object(Bucket="drain", Key="k")["Body"].read() == body


def in_flight(server):
    return sum(server.metrics().get("basalt_requests_in_flight", {}).values())


def refuses_connections(server):
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as probe:
            probe.sendall(b"GET /-/health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            return not probe.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return True


def test_a_stop_does_not_wait_for_ever(new_basalt):
    server = new_basalt(options=["--drain-seconds", "1"]).start()
    server.s3().create_bucket(Bucket="drain")
    with server.wire() as wire:
        head, _ = head_bytes(wire, "PUT", "/drain/k", length=MIB)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as upload:
        upload.sendall(head + b"x")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    server.start()
    assert "Contents" not in server.s3().list_objects_v2(Bucket="drain")


def test_idle_connections_do_not_hold_a_stop(new_basalt):
    server = new_basalt().start()
    with server.wire() as wire:
        assert wire.request("GET", "/").status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_health_and_metrics(basalt, s3, bucket):
    assert basalt.health("live") == 200 and basalt.health("ready") == 200
    before = basalt.metrics()
    for n in range(20):
        s3.put_object(Bucket=bucket, Key=f"k{n}", Body=content(30000))
        s3.get_object(Bucket=bucket, Key=f"k{n}")["Body"].read()
    requests = lambda samples: sum(samples.get("basalt_requests_total", {}).values())
    until(lambda: requests(basalt.metrics()) >= requests(before) + 40, 10, "the requests to be counted")
    after = basalt.metrics()
    assert all(name.startswith("basalt_") for name in after), sorted(after)
    assert len(after["basalt_drive_used_bytes"]) == 4 and sum(after["basalt_drive_used_bytes"].values()) > 0
    healthy = [v for labels, v in after["basalt_drive_state"].items() if 'state="healthy"' in labels]
    assert healthy == [1, 1, 1, 1]


def test_operators_pages_are_not_buckets(basalt, wire):
    assert wire.send("PUT", "/-/health/ready", {"host": wire.host}, b"x").status in (400, 403, 404, 405)
    assert wire.send("GET", "/-/nothing", {"host": wire.host}).status in (400, 403, 404)


def command(*words, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BASALT_", "AWS_"))} | environment
    return subprocess.run([str(BINARY), *map(str, words)], env=clean, capture_output=True, text=True, timeout=60)


def test_inspect_reads_a_stopped_drive_and_changes_nothing(new_basalt):
    server = new_basalt().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="seen")
    for n in range(50):
        s3.put_object(Bucket="seen", Key=f"some-key-{n}", Body=content(n * 1000))
    server.stop()
    before = {p: p.read_bytes() for p in server.drives[0].rglob("*") if p.is_file() and p.stat().st_size < 64 * MIB}
    for more in ([], ["--segments"], ["--log"], ["--catalog"]):
        done = command("inspect", server.drives[0], *more)
        assert done.returncode == 0 and done.stdout.strip(), (more, done)
    assert before == {p: p.read_bytes() for p in before}
    server.start()
    assert server.s3().get_object(Bucket="seen", Key="some-key-49")["Body"].read() == content(49000)


def test_inspect_says_what_is_not_a_drive(tmp_path):
    done = command("inspect", tmp_path)
    assert done.returncode != 0 and str(tmp_path) in done.stderr, done
    assert command("inspect", tmp_path / "nothing").returncode != 0


def test_status_asks_a_running_server(basalt):
    keys = dict(BASALT_ACCESS_KEY=basalt.access_key, BASALT_SECRET_KEY=basalt.secret_key)
    done = command("status", "--endpoint", basalt.endpoint, **keys)
    assert done.returncode == 0 and "d0" in done.stdout, done
    asked = command("status", "--endpoint", basalt.endpoint, "--json", **keys)
    assert asked.returncode == 0 and json.loads(asked.stdout), asked
    assert command("status", "--endpoint", "http://127.0.0.1:1", **keys).returncode == 1


def test_help_and_wrong_words(tmp_path):
    asked = command("serve", "--help")
    assert asked.returncode == 0 and all(w in asked.stdout for w in ("--parity", "--capacity", "--memory", "Default"))
    for words in (["serve"], ["serve", tmp_path, "--memory", "lots"], ["serve", tmp_path, "--nonsense"], ["dance"],
                  ["serve", tmp_path, "--parity", "1"]):
        done = command(*words)
        assert done.returncode != 0 and done.stderr.strip(), (words, done)


def test_a_file_and_the_environment_configure_too(new_basalt, tmp_path):
    file = tmp_path / "basalt.toml"
    file.write_text('region = "eu-central-1"\nmemory = "128MiB"\n')
    server = new_basalt(drives=1, options=["--config", str(file)]).start()
    s3 = server.s3(region="eu-central-1")
    s3.create_bucket(Bucket="there", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert s3.get_bucket_location(Bucket="there")["LocationConstraint"] == "eu-central-1"
    file.write_text("no-such-key = 1\n")
    server.stop()
    status, said = server.refused()
    assert status == 2 and "no-such-key" in said


def test_another_number_of_cores_at_the_next_start(new_basalt):
    """Shards are dealt out anew; no data is rewritten or lost."""
    server = new_basalt(options=["--cores", "2"]).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="cores")
    bodies = {f"k{n}": content(n * 331, str(n)) for n in range(200)}
    for key, body in bodies.items():
        s3.put_object(Bucket="cores", Key=key, Body=body)
    for cores, end in (("1", server.stop), ("2", server.kill), ("1", server.kill)):
        end()
        server.options = ["--cores", cores]
        server.start()
        s3 = server.s3()
        for key, body in bodies.items():
            assert s3.get_object(Bucket="cores", Key=key)["Body"].read() == body
        assert len(s3.list_objects_v2(Bucket="cores")["Contents"]) == len(bodies)
        s3.put_object(Bucket="cores", Key="k0", Body=cores.encode())
        bodies["k0"] = cores.encode()


def test_a_port_in_use_is_named(new_basalt, basalt):
    server = new_basalt(drives=1)
    server.port = basalt.port
    status, said = server.refused()
    assert status != 0 and str(basalt.port) in said


def test_both_cores_serve(basalt, bucket):
    """Whichever core takes a connection, the answer is the same."""
    failures = []

    def use(number):
        with basalt.wire() as wire:
            for n in range(50):
                key, body = f"{number}/{n}", content(n * 997, f"{number}/{n}")
                if wire.put(bucket, key, body).status != 200 or wire.get(bucket, key).body != body:
                    failures.append(key)

    threads = [threading.Thread(target=use, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
