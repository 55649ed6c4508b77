"""The rows of the table: what is measured, against what, and in which order.

    bench/run                    all rows
    bench/run put4k get4k        rows whose name begins so
    bench/run --list             their names
    bench/run --full             also 5 million objects at --memory 256MiB

A row is measured three times and its median run is shown. Yardsticks (fio, nginx) run in the same run, right
beside the rows that are compared with them. Nothing here passes or fails but the load itself: an error
answered by the server ends with status 1.
"""
import argparse
import json
import shutil
import signal
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import basalt
import presign
from yardsticks import Disk, Nginx

KIB, MIB = 1 << 10, 1 << 20
RUNS = 3
MILLION = 1_000_000
SMALL_BYTES = KIB
NO_CACHE = ["--read-cache", "0"]
# Room for everything the cached rows read, so that they measure memory and nothing else.
CACHED = ["--read-cache", "512MiB", "--memory", "1GiB"]


@dataclass(frozen=True)
class Load:
    """One pattern of requests. `keys` objects of `size` bytes; `unit` is rps or MiBps, the figure that counts."""
    name: str
    title: str
    method: str
    size: int
    connections: int
    keys: int
    unit: str
    required: float = None
    cpu_us_max: float = None
    cached: bool = False
    yardstick: str = None
    yardstick_ratio: float = None


LOADS = [
    Load("put4k-16", "PUT 4 KiB durable, c=16", "PUT", 4 * KIB, 16, 20000, "rps", 14000, 60),
    Load("put4k-64", "PUT 4 KiB durable, c=64", "PUT", 4 * KIB, 64, 40000, "rps", 20000, 60),
    Load("put64k", "PUT 64 KiB, c=16", "PUT", 64 * KIB, 16, 4000, "rps"),
    Load("put1m", "PUT 1 MiB, c=8", "PUT", MIB, 8, 600, "MiBps", 300),
    Load("put10m", "PUT 10 MiB, c=4", "PUT", 10 * MIB, 4, 60, "MiBps", 300),
    Load("get4k-drive", "GET 4 KiB from the drive, c=16", "GET", 4 * KIB, 16, 20000, "rps", 20000),
    Load("get64k-drive", "GET 64 KiB from the drive, c=16", "GET", 64 * KIB, 16, 4000, "rps"),
    Load("get1m-drive", "GET 1 MiB from the drive, c=8", "GET", MIB, 8, 600, "MiBps", None, 600, False, "fio-1m", 0.8),
    Load("get10m-drive", "GET 10 MiB from the drive, c=4", "GET", 10 * MIB, 4, 60, "MiBps", None, 6000, False, "fio-10m", 0.8),
    Load("get4k-memory", "GET 4 KiB from memory, c=16", "GET", 4 * KIB, 16, 2000, "rps", 35000, None, True, "nginx-4k", 0.5),
    Load("get64k-few", "GET 64 KiB, few objects (not cached), c=16", "GET", 64 * KIB, 16, 1000, "rps", None, None, False, "nginx-64k"),
    Load("get1m-few", "GET 1 MiB, few objects (not cached), c=8", "GET", MIB, 8, 60, "MiBps", None, None, False, "nginx-1m"),
]
YARDSTICKS = {"fio-1m": ("1M", 8), "fio-10m": ("10M", 4), "nginx-4k": (4 * KIB, 16), "nginx-64k": (64 * KIB, 16),
              "nginx-1m": (MIB, 8)}


@dataclass
class Line:
    """A line of the table."""
    title: str
    value: float
    unit: str
    required: float = None
    at_most: bool = False
    detail: dict = None
    note: str = ""

    def ratio(self):
        if not self.required:
            return ""
        ratio = self.required / self.value if self.at_most else self.value / self.required
        return f"{ratio:.2f}{'' if ratio >= 1 else ' MISSED'}"


class Bench:
    def __init__(self, arguments):
        self.chosen = arguments.rows
        self.full = arguments.full
        self.seconds = arguments.seconds
        self.place = Path(arguments.place).resolve()
        self.server = basalt.Basalt(arguments.binary, self.place / "pool")
        self.disk = Disk(self.place)
        self.nginx = Nginx(self.place, shutil.which("nginx") or "/usr/sbin/nginx")
        self.lines, self.yardsticks, self.errors = [], {}, 0

    def wants(self, name):
        return not self.chosen or any(name.startswith(c) for c in self.chosen)

    def run(self):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        try:
            self.loads()
            if self.wants("idle"):
                self.idle()
            if any(self.wants(n) for n in ("million", "list", "start", "lifecycle")):
                self.million()
            if self.full:
                self.five_million()
        finally:
            self.server.remove()
            self.nginx.stop()
            shutil.rmtree(self.place, ignore_errors=True)

    def loads(self):
        """All rows without cache on one server, then the cached ones on the same data."""
        rows = [r for r in LOADS if self.wants(r.name)]
        if not rows:
            return
        self.measure_yardsticks({r.yardstick for r in rows if r.yardstick})
        for cached, options in ((False, NO_CACHE), (True, CACHED)):
            some = [r for r in rows if r.cached == cached]
            if some:
                self.server.start(options)
                self.server.make_bucket()
                for row in some:
                    self.load(row)
                self.server.stop()
        self.server.remove()

    def load(self, row):
        if row.method == "GET":
            self.fill(row)
        urls = self.urls(row.method, row.size, row.keys)
        order = "walk" if row.method == "PUT" else "random"
        runs = []
        if row.cached:
            self.server.load(urls, row.method, row.size, row.connections, self.seconds, "walk")
        for _ in range(RUNS):
            runs.append(self.server.load(urls, row.method, row.size, row.connections, self.seconds, order))
            self.say(row.name, runs[-1])
        self.errors += sum(r["errors"] for r in runs)
        median = sorted(runs, key=lambda r: r[row.unit])[len(runs) // 2]
        self.add_load(row, median)

    def add_load(self, row, median):
        value, yardstick = median[row.unit], self.yardsticks.get(row.yardstick)
        self.lines.append(Line(row.title, value, row.unit, row.required, detail=median))
        if row.cpu_us_max:
            self.lines.append(Line("  processor time a request", median["cpu_us"], "us", row.cpu_us_max, True))
        if yardstick:
            wanted = row.yardstick_ratio and row.yardstick_ratio * yardstick
            note = f"{value / yardstick:.2f} of {yardstick:,.0f}"
            self.lines.append(Line(f"  against {row.yardstick}", value, row.unit, wanted, note=note))

    def urls(self, method, size, keys):
        path = self.place / f"urls-{method}-{size}-{keys}"
        with open(path, "w") as file:
            presign.objects(self.server.access, method, basalt.BUCKET, f"s{size}/o", keys, file)
        return path

    def fill(self, row):
        """Every object of the row is there, each written once."""
        urls = self.urls("PUT", row.size, row.keys)
        done = self.server.load(urls, "PUT", row.size, row.connections, 600, "once")
        self.errors += done["errors"]

    def measure_yardsticks(self, names):
        if any(n.startswith("fio") for n in names):
            self.disk.prepare()
        if any(n.startswith("nginx") for n in names):
            self.nginx.start([4 * KIB, 64 * KIB, MIB])
        for name in sorted(names):
            runs = [self.yardstick(name) for _ in range(RUNS)]
            unit = "MiBps" if name in ("fio-1m", "fio-10m", "nginx-1m") else "rps"
            self.yardsticks[name] = statistics.median(r[unit] for r in runs)
            self.lines.append(Line(f"yardstick {name}", self.yardsticks[name], unit))
            print(f"{name}: {self.yardsticks[name]:,.0f} {unit}", flush=True)
        self.nginx.stop()

    def yardstick(self, name):
        first, second = YARDSTICKS[name]
        if name.startswith("fio"):
            return self.disk.run("randread", first, second, self.seconds)
        return self.nginx.run(first, second, self.seconds)

    def idle(self):
        figures = []
        for _ in range(RUNS):
            self.server.remove()
            self.server.start([])
            figures.append(self.server.settled_mib())
            print(f"idle: {figures[-1]:.1f} MiB", flush=True)
        self.lines.append(Line("idle memory, defaults", statistics.median(figures), "MiB", 64, True))
        self.server.remove()

    def million(self):
        self.server.start([])
        self.server.make_bucket()
        self.fill_many(MILLION)
        memory = self.server.settled_mib()
        self.lines.append(Line("memory, 1 million objects written", memory, "MiB", 300, True))
        if self.wants("list"):
            self.list_rows(MILLION)
            memory = self.server.settled_mib()
            self.lines.append(Line("memory, 1 million objects written and listed", memory, "MiB", 300, True))
        if self.wants("lifecycle"):
            self.lifecycle()
        for name, how in (("kill -9", signal.SIGKILL), ("a clean stop", signal.SIGTERM)):
            times = []
            for _ in range(RUNS):
                self.server.stop(how)
                times.append(self.server.start())
                print(f"start-up after {name}: {times[-1]:.3f} s", flush=True)
            self.lines.append(Line(f"start-up, 1 million objects, after {name}", statistics.median(times), "s", 2, True))
        self.lines.append(Line("memory, 1 million objects, started anew", self.server.settled_mib(), "MiB", 300, True))
        self.server.remove()

    def fill_many(self, count):
        urls = self.place / "urls-many"
        with open(urls, "w") as file:
            presign.objects(self.server.access, "PUT", basalt.BUCKET, "o", count, file)
        done = self.server.load(urls, "PUT", SMALL_BYTES, 64, 24 * 3600, "once")
        urls.unlink()
        self.say(f"write {count:,} objects", done)
        self.errors += done["errors"]
        self.lines.append(Line(f"PUT 1 KiB, {count:,} fresh keys, c=64", done["rps"], "rps", detail=done))

    def list_rows(self, count):
        urls = self.place / "urls-list"
        with open(urls, "w") as file:
            presign.listings(self.server.access, basalt.BUCKET, "o", count, file)
        runs = []
        for _ in range(RUNS):
            runs.append(self.server.load(urls, "GET", 0, 4, self.seconds))
            self.say("list", runs[-1])
        self.errors += sum(r["errors"] for r in runs)
        median = sorted(runs, key=lambda r: r["rps"])[RUNS // 2]
        title = f"LIST, {count:,} keys, pages of 1,000, c=4"
        self.lines.append(Line(title, median["rps"] * 1000, "keys/s", 200_000, detail=median))

    def lifecycle(self):
        """Passes over a million versions of which none is due: alone, and without pause beside readers of small
        objects. Runs with and without passes take turns, so that a busy machine is the same to both."""
        self.server.stop()
        self.server.start([*self.server.options, "--lifecycle-day", "1"])
        self.server.set_rule()
        alone = self.server.lifecycle_pass(MILLION)
        print(f"lifecycle alone: {alone}", flush=True)
        self.lines.append(Line("lifecycle, 1 million versions, no clients", alone["seconds"], "s", 10, True))
        self.lines.append(Line("  time its thread was busy", alone["busy"], "s", 10, True))
        with open(self.place / "urls-read", "w") as file:
            presign.objects(self.server.access, "GET", basalt.BUCKET, "o", 2000, file)
        read = lambda: self.server.load(self.place / "urls-read", "GET", SMALL_BYTES, 16, self.seconds)
        read()
        runs = {True: [], False: []}
        for turn in range(4 * RUNS):
            passes = turn % 2 == 1
            self.server.set_rule(passes)
            runs[passes].append(read())
            self.say("read beside passes" if passes else "read without passes", runs[passes][-1])
        without, beside = (sorted(runs[passes], key=lambda r: r["p99ms"])[RUNS] for passes in (False, True))
        self.lines.append(Line("GET 1 KiB, c=16, p99", without["p99ms"], "ms", detail=without))
        title = "  the same beside passes without pause"
        self.lines.append(Line(title, beside["p99ms"], "ms", 1.2 * without["p99ms"], True, detail=beside))
        self.server.stop()
        self.server.start([])

    def five_million(self):
        self.server.start(["--memory", "256MiB"])
        self.server.make_bucket()
        self.fill_many(5 * MILLION)
        title = "memory, 5 million objects, --memory 256MiB"
        self.lines.append(Line(title, self.server.settled_mib(), "MiB", 290, True))
        self.list_rows(5 * MILLION)
        self.server.stop(signal.SIGKILL)
        self.lines.append(Line("start-up, 5 million objects, after kill -9", self.server.start(), "s"))
        self.server.remove()

    def say(self, name, run):
        """The line the peers' figures were made with, and what it cost us."""
        shown = {k: run[k] for k in ("size", "reqs", "secs", "rps", "MiBps", "p50ms", "p99ms", "p999ms", "errors")}
        fields = " ".join(f"{k}={v:g}" for k, v in shown.items())
        print(f"{name} RESULT method={run['method']} {fields} cpu_us_per_req={run['cpu_us']:.0f} "
              f"drive_kib_per_req={run['drive_kib']:.1f} rss_mb={run['rss_mib']:.0f}", flush=True)


def table(lines):
    heads = ["row", "measured", "required", "ratio", "CPU us", "drive KiB", "p50 / p99 ms", "RSS MiB"]
    cells = [heads] + [cells_of(line) for line in lines]
    widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    text = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in cells]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text)


def cells_of(line):
    figure = lambda v: f"{v:,.0f}" if v >= 100 else f"{v:,.2f}"
    detail = line.detail or {}
    bound = "" if not line.required else ("<= " if line.at_most else ">= ") + figure(line.required)
    return [
        line.title, f"{figure(line.value)} {line.unit}", bound, line.ratio() + (f" ({line.note})" if line.note else ""),
        f"{detail['cpu_us']:,.0f}" if detail else "", f"{detail['drive_kib']:,.1f}" if detail else "",
        f"{detail['p50ms']:.2f} / {detail['p99ms']:.2f}" if detail else "", f"{detail['rss_mib']:.0f}" if detail else ""]


def main():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", help="beginnings of names of rows; default: all")
    parser.add_argument("--full", action="store_true", help="also 5 million objects at --memory 256MiB")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of one run (default 5)")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--place", default="target/bench", help="where drives and yardstick files go; emptied first")
    parser.add_argument("--json", metavar="FILE", help="write the lines as JSON too")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join([r.name for r in LOADS] + ["idle", "million", "list", "lifecycle", "start"]))
        return 0
    bench = Bench(arguments)
    bench.run()
    print("\n" + table(bench.lines))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([vars(line) for line in bench.lines], indent=1))
    if bench.errors:
        print(f"\n{bench.errors:.0f} requests failed")
    return 1 if bench.errors else 0


if __name__ == "__main__":
    sys.exit(main())
