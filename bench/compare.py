"""What a request costs in instructions, in two builds of the server side by side.

    bench/compare OLD NEW              all rows
    bench/compare OLD NEW put get4k    rows whose name begins so

Each build serves under callgrind, which counts every instruction of all its threads outside the kernel; a row is
the count while the load ran, over the requests that were answered. Upkeep that falls into that time is in it.
Valgrind emulates a processor without SHA and wide vector instructions, so what digests and codes cost is too high;
it is so for both. The rows are small for that reason: the path of a request is what is compared.
"""
import argparse
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import basalt
import presign

RUNS = 3
KIB = 1 << 10
LISTED = 20_000
# Row: method, size of the objects, connections, objects, whether the cache of objects is on.
ROWS = {
    "put4k-16": ("PUT", 4 * KIB, 16, 4000, False),
    "put4k-64": ("PUT", 4 * KIB, 64, 4000, False),
    "get4k-drive": ("GET", 4 * KIB, 16, 4000, False),
    "get4k-memory": ("GET", 4 * KIB, 16, 500, True),
    "get64k-drive": ("GET", 64 * KIB, 8, 500, False),
    "list": ("LIST", 0, 4, LISTED, False),
}


class Counted(basalt.Basalt):
    """A server under callgrind."""
    def start(self, options=None):
        self.profile = self.place.parent / "callgrind.out"
        self.wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.profile}"]
        return super().start(options)

    def count(self):
        """Instructions since the last count."""
        before = set(self.profile.parent.glob("callgrind.out.*"))
        subprocess.run(["callgrind_control", "--dump", str(self.process.pid)], check=True, capture_output=True)
        new = set(self.profile.parent.glob("callgrind.out.*")) - before
        total = sum(int(re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M)[1]) for file in new)
        if not total:
            raise SystemExit("callgrind wrote no profile")
        return total


def measure(binary, rows, place, seconds):
    """Instructions a request, by row."""
    found = {}
    for cached in (False, True):
        some = [name for name in rows if ROWS[name][4] == cached]
        if not some:
            continue
        shutil.rmtree(place, ignore_errors=True)
        server = Counted(binary, place / "pool")
        try:
            server.start(["--read-cache", "64MiB" if cached else "0"])
            server.make_bucket()
            for name in some:
                found[name] = row(server, place, name, seconds)
                print(f"{Path(binary).name}: {name}: {found[name]:,.0f} instructions", flush=True)
        finally:
            server.remove()
            shutil.rmtree(place, ignore_errors=True)
    return found


def row(server, place, name, seconds):
    method, size, connections, keys, _ = ROWS[name]
    urls = place / f"urls-{name}"

    def write(what):
        with open(urls, "w") as file:
            presign.objects(server.access, what, basalt.BUCKET, f"{name}/o", keys, file)
    write("PUT")
    if method != "PUT":
        server.load(urls, "PUT", size, connections, 600, "once")
    if method == "GET":
        write("GET")
    if method == "LIST":
        with open(urls, "w") as file:
            presign.listings(server.access, basalt.BUCKET, f"{name}/o", keys, file)
    runs = []
    for _ in range(RUNS):
        server.count()
        done = server.load(urls, method.replace("LIST", "GET"), size, connections, seconds, "walk")
        if done["errors"]:
            raise SystemExit(f"{name}: {done['errors']:.0f} requests failed")
        runs.append(server.count() / done["reqs"])
    return statistics.median(runs)


def main():
    parser = argparse.ArgumentParser(prog="bench/compare", description=__doc__.split("\n")[0])
    parser.add_argument("old", help="a release binary")
    parser.add_argument("new", help="another one")
    parser.add_argument("rows", nargs="*", help=f"beginnings of names of rows, of {', '.join(ROWS)}; default: all")
    parser.add_argument("--seconds", type=int, default=6, help="seconds of one run (default 6)")
    parser.add_argument("--place", default="target/compare", help="where drives and profiles go; emptied first")
    arguments = parser.parse_args()
    rows = [n for n in ROWS if not arguments.rows or any(n.startswith(r) for r in arguments.rows)]
    place = Path(arguments.place).resolve()
    old, new = (measure(binary, rows, place, arguments.seconds) for binary in (arguments.old, arguments.new))
    print(f"\n| row | {Path(arguments.old).name} | {Path(arguments.new).name} | ratio |\n|---|---|---|---|")
    for name in rows:
        print(f"| {name} | {old[name]:,.0f} | {new[name]:,.0f} | {new[name] / old[name]:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
