"""The release server under measurement: four directories at 2+2, pinned to core 0, and what it costs.

`Basalt` starts, stops and asks the kernel for processor time, memory and bytes read from drives; `load` drives
any server with wrk from core 1 and returns the fields of the RESULT line of `load.lua` as numbers.
"""
import base64
import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import presign

HERE = Path(__file__).resolve().parent
SERVER_CORE, CLIENT_CORE = "0", "1"
BUCKET = "bench"
ACCESS_KEY, SECRET_KEY = "BENCHBENCHBENCHBENCH", "bench/bench/bench/bench/bench/bench/benc"
START_SECONDS = 120
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load(endpoint, urls, method, size, connections, seconds, order="random"):
    """One run of wrk."""
    environment = os.environ | {"URLS": str(urls), "METHOD": method, "SIZE": str(size), "ORDER": order,
                                "CONNECTIONS": str(connections)}
    words = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s",
             "-s", str(HERE / "load.lua"), endpoint]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    line = next((l for l in done.stdout.splitlines() if l.startswith("RESULT")), None)
    if line is None:
        raise SystemExit(f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    fields = dict(f.split("=") for f in line.split()[1:])
    return {k: v if k == "method" else float(v) for k, v in fields.items()}


class Basalt:
    def __init__(self, binary, place, options=()):
        self.binary, self.place, self.options = Path(binary), Path(place), list(options)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.access = presign.Access(self.endpoint, ACCESS_KEY, SECRET_KEY)
        self.process = None
        self.wrapper = []

    def start(self, options=None):
        """Returns the seconds until it was ready."""
        if options is not None:
            self.options = list(options)
        self.place.mkdir(parents=True, exist_ok=True)
        drives = [str(self.place / f"d{n}") for n in range(4)]
        words = ["taskset", "-c", SERVER_CORE, *self.wrapper, str(self.binary), "serve", *drives, "--parity", "2",
                 "--listen", f"127.0.0.1:{self.port}", *self.options]
        environment = os.environ | {"BASALT_ACCESS_KEY": ACCESS_KEY, "BASALT_SECRET_KEY": SECRET_KEY}
        with open(self.place / "log", "ab") as log:
            begin = time.monotonic()
            self.process = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > begin + START_SECONDS:
                raise SystemExit(f"the server did not start, see {self.place / 'log'}")
            time.sleep(0.002)
        return time.monotonic() - begin

    def is_ready(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/-/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def make_bucket(self):
        target = presign.Signer(self.access, "PUT").target(f"/{BUCKET}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", target)
        status = connection.getresponse().status
        if status not in (200, 409):
            raise SystemExit(f"the bucket could not be made: {status}")
        connection.close()

    def set_rule(self, on=True):
        """Everything expires, and nothing of it soon; or there is no rule."""
        body = (b"<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>"
                b"<Expiration><Days>1000000</Days></Expiration></Rule></LifecycleConfiguration>") if on else b""
        method = "PUT" if on else "DELETE"
        target = presign.Signer(self.access, method).target(f"/{BUCKET}", [("lifecycle", "")])
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        connection.request(method, target, body=body, headers={"Content-MD5": digest} if on else {})
        status = connection.getresponse().status
        if status not in (200, 204):
            raise SystemExit(f"the rule was not set: {status}")
        connection.close()
        while not on and self.figure("lifecycle_running"):
            time.sleep(0.05)

    def figure(self, name, labels=""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/-/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(rf"^basalt_{name}{re.escape(labels)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def lifecycle_pass(self, versions):
        """Waits for a pass over so many versions: its seconds, and how long its thread was busy."""
        def figures():
            kind = '{kind="lifecycle"}'
            return self.figure("lifecycle_examined_total"), self.figure("background_busy_seconds_total", kind)
        while True:
            before, passes = figures(), self.figure("lifecycle_passes_total")
            while self.figure("lifecycle_passes_total") == passes:
                time.sleep(0.01)
            after = figures()
            if after[0] - before[0] >= versions * 0.99:
                return {"seconds": self.figure("lifecycle_last_pass_seconds"), "busy": after[1] - before[1]}

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(120)

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.place, ignore_errors=True)

    def proc(self, name):
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def cpu_us(self):
        """Processor time of all its threads so far."""
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK_US

    def resident_mib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", self.proc("status"))[1]) / 1024

    def settled_mib(self, seconds=20):
        """Resident memory once it stands still for a second, or after `seconds`."""
        deadline, last, since = time.monotonic() + seconds, self.resident_mib(), time.monotonic()
        while time.monotonic() < deadline and time.monotonic() < since + 1:
            now = self.resident_mib()
            if abs(now - last) > 0.25:
                last, since = now, time.monotonic()
            time.sleep(0.05)
        return self.resident_mib()

    def drive_read_bytes(self):
        return int(re.search(r"^read_bytes: (\d+)", self.proc("io"), re.M)[1])

    def load(self, urls, method, size, connections, seconds, order="random"):
        """wrk against this server, with what a request cost it in time and in bytes from the drives."""
        cpu, read = self.cpu_us(), self.drive_read_bytes()
        result = load(self.endpoint, urls, method, size, connections, seconds, order)
        count = max(result["reqs"], 1)
        result["cpu_us"] = (self.cpu_us() - cpu) / count
        result["drive_kib"] = (self.drive_read_bytes() - read) / 1024 / count
        result["rss_mib"] = self.resident_mib()
        return result
