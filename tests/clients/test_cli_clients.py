"""The tools people already have, on real files: aws-cli, s3cmd, rclone and restic.

The files are what this machine has: the Rust toolchain's libraries, the sources of our dependencies, Python's
own library. Nothing is made up, so names, sizes and depths are those of real trees.
"""
import filecmp
import hashlib
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from .content import GIB, MIB
from .process import DOMAIN, REGION

FILES = 2500
TREE_BYTES_MAX = 400 * MIB
TOOL_SECONDS = 200


def require(tool):
    """In CI a missing tool is a failure; elsewhere the scenario says that it did not run."""
    if shutil.which(tool) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{tool} is not installed")
        pytest.skip(f"{tool} is not installed")


def sources():
    """Directories of real files, the most interesting first."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    found = [Path(sysroot) / "lib/rustlib/etc", *sorted(cargo.glob("registry/src/*/*")), Path(sysconfig.get_path("stdlib"))]
    return [path for path in found if path.is_dir()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of a few thousand real files, from a shuffled choice of those directories."""
    root = tmp_path_factory.mktemp("tree")
    places, count, total = sources(), 0, 0
    random.Random(5).shuffle(places)
    for place in places:
        for path in sorted(p for p in place.rglob("*") if p.is_file() and not p.is_symlink()):
            size = path.stat().st_size
            if count == FILES or total + size > TREE_BYTES_MAX or "__pycache__" in path.parts:
                continue
            target = root / place.name / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            count, total = count + 1, total + size
    (root / "empty").touch()
    (root / "größe und + & name").write_text("odd name")
    assert count > 1000, f"only {count} real files on this machine"
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """2 GiB: the toolchain's own libraries, one after the other, again and again."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    libraries = sorted(Path(sysroot).glob("lib/*.so*")) or [Path(sys.executable).resolve()]
    path = tmp_path_factory.mktemp("large") / "libraries.bin"
    with open(path, "wb") as target:
        while target.tell() < 2 * GIB:
            for library in libraries:
                with open(library, "rb") as source:
                    shutil.copyfileobj(source, target, MIB)
    yield path
    path.unlink()


def environment(**more):
    """Ours, without what it says to the tools of other stores and of proxies."""
    foreign = ("AWS_", "RCLONE_", "RESTIC_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and not k.lower().endswith("_proxy")}
    return clean | more


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same(left, right):
    done = subprocess.run(["diff", "-r", str(left), str(right)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[:2000]


def run(words, environment, seconds=TOOL_SECONDS, cwd=None):
    done = subprocess.run(
        [str(w) for w in words], env=environment, capture_output=True, text=True, timeout=seconds, cwd=cwd)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


class Aws:
    """The command line of AWS, from this Python's environment."""

    START = "import sys; from awscli.clidriver import main; sys.exit(main())"
    # Below localhost every name is this machine; the tool's own process has to be told, as ours is.
    START_BY_HOST = """
import socket
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, **k: real("127.0.0.1" if str(host).endswith(".localhost") else host, *a, **k)
""" + START

    def __init__(self, server, home, style="path"):
        config = home / f"config-{style}"
        config.write_text(f"[default]\nregion = {REGION}\ns3 =\n  addressing_style = {style}\n")
        self.environment = environment(
            AWS_ACCESS_KEY_ID=server.access_key, AWS_SECRET_ACCESS_KEY=server.secret_key,
            AWS_CONFIG_FILE=str(config), AWS_MAX_ATTEMPTS="1", AWS_EC2_METADATA_DISABLED="true")
        self.start = self.START if style == "path" else self.START_BY_HOST
        host = "127.0.0.1" if style == "path" else DOMAIN
        self.endpoint = f"http://{host}:{server.port}"

    def __call__(self, *words, **more):
        return run([sys.executable, "-c", self.start, "--endpoint-url", self.endpoint, *words], self.environment, **more)


@pytest.fixture
def aws(basalt, tmp_path):
    return Aws(basalt, tmp_path)


def names_of(tree):
    return sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())


def test_aws_sync_there_and_back(aws, tree, tmp_path, bucket):
    place = f"s3://{bucket}/tree"
    aws("s3", "sync", "--no-progress", "--only-show-errors", tree, place)
    listed = [line.split(None, 3)[3] for line in aws("s3", "ls", "--recursive", place).splitlines()]
    assert sorted(listed) == sorted(f"tree/{n}" for n in names_of(tree))
    assert aws("s3", "sync", tree, place).strip() == "", "a second sync has nothing to do"
    aws("s3", "sync", "--quiet", place, tmp_path / "back")
    same(tree, tmp_path / "back")
    (tmp_path / "back/empty").unlink()
    aws("s3", "sync", "--quiet", "--delete", tmp_path / "back", place)
    assert "tree/empty" not in aws("s3", "ls", "--recursive", place)
    aws("s3", "rm", "--quiet", "--recursive", place)
    assert subprocess.run([sys.executable, "-c", aws.start, "--endpoint-url", aws.endpoint, "s3", "ls", place],
                          env=aws.environment, capture_output=True).stdout == b""


def test_aws_with_a_file_of_two_gibibytes(aws, large_file, tmp_path, bucket):
    place = f"s3://{bucket}/deep/libraries.bin"
    aws("s3", "cp", "--quiet", large_file, place)
    aws("s3", "mv", "--quiet", place, f"s3://{bucket}/moved.bin")
    assert [line.split()[2:] for line in aws("s3", "ls", f"s3://{bucket}/").splitlines()] == [
        [str(large_file.stat().st_size), "moved.bin"]]
    aws("s3", "cp", "--quiet", f"s3://{bucket}/moved.bin", tmp_path / "back")
    assert digest(tmp_path / "back") == digest(large_file)
    (tmp_path / "back").unlink()
    aws("s3", "rm", f"s3://{bucket}/moved.bin")
    aws("s3", "rb", f"s3://{bucket}")


def test_aws_by_host_name(basalt, tree, tmp_path):
    aws = Aws(basalt, tmp_path, "virtual")
    some = sorted(p for p in tree.iterdir() if p.is_dir())[0]
    aws("s3", "mb", "s3://by-its-name")
    aws("s3", "sync", "--quiet", some, "s3://by-its-name/some")
    aws("s3", "sync", "--quiet", "s3://by-its-name/some", tmp_path / "back")
    same(some, tmp_path / "back")
    aws("s3", "rb", "--force", "s3://by-its-name")


def test_aws_from_and_to_a_pipe(aws, tmp_path, bucket):
    body = os.urandom(20 * MIB)
    words = [sys.executable, "-c", aws.start, "--endpoint-url", aws.endpoint, "s3", "cp"]
    subprocess.run([*words, "-", f"s3://{bucket}/pipe"], input=body, env=aws.environment, check=True, timeout=60)
    done = subprocess.run([*words, f"s3://{bucket}/pipe", "-"], env=aws.environment, capture_output=True, timeout=60)
    assert done.stdout == body


@pytest.fixture
def s3cmd(basalt, tmp_path):
    require("s3cmd")
    config = tmp_path / "s3cfg"
    config.write_text(f"""[default]
access_key = {basalt.access_key}
secret_key = {basalt.secret_key}
host_base = 127.0.0.1:{basalt.port}
host_bucket = 127.0.0.1:{basalt.port}
use_https = False
bucket_location = {REGION}
multipart_chunk_size_mb = 5
""")
    return lambda *words: run(["s3cmd", "-c", config, "--no-progress", *words], environment())


def test_s3cmd(s3cmd, tree, tmp_path):
    some = sorted(p for p in tree.iterdir() if p.is_dir())[:3]
    s3cmd("mb", "s3://by-s3cmd")
    assert "s3://by-s3cmd" in s3cmd("ls")
    for part in some:
        s3cmd("sync", "--quiet", f"{part}/", f"s3://by-s3cmd/{part.name}/")
    listed = s3cmd("ls", "--recursive", "s3://by-s3cmd")
    assert len(listed.splitlines()) == sum(len(names_of(part)) for part in some)
    for part in some:
        s3cmd("sync", "--quiet", f"s3://by-s3cmd/{part.name}/", f"{tmp_path}/back-{part.name}/")
        same(part, tmp_path / f"back-{part.name}")
    large = tmp_path / "large"
    large.write_bytes(os.urandom(17 * MIB))
    s3cmd("put", large, "s3://by-s3cmd/large")
    s3cmd("cp", "s3://by-s3cmd/large", "s3://by-s3cmd/copy")
    s3cmd("get", "s3://by-s3cmd/copy", tmp_path / "copy")
    assert filecmp.cmp(large, tmp_path / "copy", shallow=False)
    assert "17825792" in s3cmd("info", "s3://by-s3cmd/copy").replace(" ", "")
    s3cmd("del", "--recursive", "--force", "s3://by-s3cmd")
    s3cmd("rb", "s3://by-s3cmd")


@pytest.fixture
def rclone(basalt):
    require("rclone")
    settings = environment(
        RCLONE_CONFIG_B_TYPE="s3", RCLONE_CONFIG_B_PROVIDER="Other", RCLONE_CONFIG_B_REGION=REGION,
        RCLONE_CONFIG_B_ENDPOINT=basalt.endpoint, RCLONE_CONFIG_B_ACCESS_KEY_ID=basalt.access_key,
        RCLONE_CONFIG_B_SECRET_ACCESS_KEY=basalt.secret_key, RCLONE_RETRIES="1")
    return lambda *words: run(["rclone", "--config", "/dev/null", *words], settings)


def test_rclone(rclone, tree, tmp_path, bucket):
    place = f"b:{bucket}/tree"
    rclone("sync", "--transfers", "8", tree, place)
    rclone("check", tree, place)
    rclone("sync", "--transfers", "8", place, tmp_path / "back")
    same(tree, tmp_path / "back")
    assert len(rclone("lsf", "--recursive", "--files-only", place).splitlines()) == len(names_of(tree))
    rclone("copyto", f"{place}/empty", f"{place}/empty too")
    rclone("moveto", f"{place}/empty too", f"{place}/moved")
    large = tmp_path / "large"
    large.write_bytes(os.urandom(70 * MIB))
    rclone("copy", "--s3-upload-cutoff", "20M", "--s3-chunk-size", "6M", large, f"b:{bucket}/large")
    rclone("check", "--download", tmp_path, f"b:{bucket}/large", "--include", "/large")
    rclone("purge", f"b:{bucket}/tree")
    assert rclone("lsf", f"b:{bucket}") == "large/\n"


def test_restic(basalt, tree, tmp_path):
    require("restic")
    settings = environment(
        RESTIC_REPOSITORY=f"s3:{basalt.endpoint}/backups/of-this", RESTIC_PASSWORD="columns",
        AWS_ACCESS_KEY_ID=basalt.access_key, AWS_SECRET_ACCESS_KEY=basalt.secret_key,
        RESTIC_CACHE_DIR=str(tmp_path / "cache"), AWS_DEFAULT_REGION=REGION)

    def restic(*words):
        return run(["restic", "--quiet", *words], settings)

    restic("init")
    restic("backup", tree)
    changed = tree / "größe und + & name"
    changed.write_text("odd name, second edition")
    restic("backup", tree)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "back")
    same(tree, tmp_path / "back" / tree.relative_to("/"))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check")
