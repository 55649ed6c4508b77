"""What the same disk and the same core do without us: fio with O_DIRECT, nginx with a static file."""
import json
import socket
import subprocess
import time
from pathlib import Path

import basalt

FILE_BYTES = 2 << 30


class Disk:
    """fio on one file beside the server's drives, pinned to the server's core."""

    def __init__(self, place):
        self.file = Path(place) / "fio.data"
        self.engine = None

    def prepare(self):
        """Writes the file once: reading extents never written would measure nothing."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        for engine in ("io_uring", "libaio", "psync"):
            if self.run("write", "1M", 8, size=FILE_BYTES, engine=engine, fill=True) is not None:
                self.engine = engine
                return
        raise SystemExit("fio can do no direct I/O here")

    def run(self, kind, block, depth, seconds=5, size=FILE_BYTES, engine=None, fill=False, sync=False):
        """MiB/s and operations a second of one pattern; None when fio refuses it."""
        words = ["taskset", "-c", basalt.SERVER_CORE, "fio", "--name=yardstick", f"--filename={self.file}", f"--rw={kind}",
                 f"--bs={block}", f"--iodepth={depth}", f"--size={size}", "--direct=1", "--output-format=json",
                 f"--ioengine={engine or self.engine}", "--thread"]
        words += ["--end_fsync=1"] if fill else [f"--runtime={seconds}", "--time_based"]
        words += ["--sync=dsync"] if sync else []
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            return None
        job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
        side = job["write" if "write" in kind else "read"]
        return {"MiBps": side["bw_bytes"] / (1 << 20), "rps": side["iops"]}


class Nginx:
    """One worker on the server's core, one file in memory, no log."""

    CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000000; default_type application/octet-stream;
  client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
  uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;
  server {{ listen 127.0.0.1:{port}; root {place}/files; }}
}}
"""

    def __init__(self, place, program):
        self.place, self.program, self.port = Path(place) / "nginx", program, basalt.free_port()
        self.process = None

    def start(self, sizes):
        files = self.place / "files"
        files.mkdir(parents=True, exist_ok=True)
        for at in (self.place, files):
            at.chmod(0o755)
        for size in sizes:
            (files / str(size)).write_bytes(b"n" * size)
            (self.place / f"urls-{size}").write_text(f"/{size}\n")
        configuration = self.place / "nginx.conf"
        configuration.write_text(self.CONFIGURATION.format(place=self.place, port=self.port))
        words = ["taskset", "-c", basalt.SERVER_CORE, self.program, "-p", str(self.place), "-c", str(configuration)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"nginx did not start, see {self.place}/nginx.log")
            time.sleep(0.02)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def run(self, size, connections, seconds):
        endpoint = f"http://127.0.0.1:{self.port}"
        return basalt.load(endpoint, self.place / f"urls-{size}", "GET", size, connections, seconds)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
