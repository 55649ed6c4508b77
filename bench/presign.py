#!/usr/bin/env python3
"""Signs targets for `load.lua`, a million in some seconds.

    presign.py ENDPOINT ACCESS_KEY SECRET_KEY BUCKET METHOD PREFIX COUNT [REGION]

writes `path?query` a line for the objects PREFIX0000000 and on. As a module: `objects` and `listings`.
"""
import datetime
import hashlib
import hmac
import multiprocessing
import sys
import urllib.parse
from dataclasses import dataclass

SECONDS = 24 * 3600
OBJECTS_A_CHUNK = 20000


@dataclass(frozen=True)
class Access:
    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    @property
    def host(self):
        return urllib.parse.urlparse(self.endpoint).netloc


class Signer:
    """One moment, one scope, many targets."""

    def __init__(self, access, method):
        self.access, self.method = access, method
        self.stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.stamp[:8]}/{access.region}/s3/aws4_request"
        self.key = ("AWS4" + access.secret_key).encode()
        for word in self.scope.split("/"):
            self.key = hmac.digest(self.key, word.encode(), "sha256")
        self.fixed = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", f"{access.access_key}/{self.scope}"),
            ("X-Amz-Date", self.stamp), ("X-Amz-Expires", str(SECONDS)), ("X-Amz-SignedHeaders", "host")]

    def target(self, path, query=()):
        """`path` is percent-encoded already."""
        line = "&".join(f"{k}={urllib.parse.quote(v, safe='')}" for k, v in sorted([*self.fixed, *query]))
        return self.sign(path, line)

    def sign(self, path, query):
        request = f"{self.method}\n{path}\n{query}\nhost:{self.access.host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.stamp}\n{self.scope}\n{digest}"
        return f"{path}?{query}&X-Amz-Signature={hmac.digest(self.key, text.encode(), 'sha256').hex()}"


def _chunk(job):
    access, method, bucket, prefix, numbers = job
    signer = Signer(access, method)
    query = "&".join(f"{k}={urllib.parse.quote(v, safe='')}" for k, v in signer.fixed)
    return "".join(signer.sign(f"/{bucket}/{prefix}{n:07d}", query) + "\n" for n in numbers)


def objects(access, method, bucket, prefix, count, file):
    """Writes `count` targets, in order."""
    starts = range(0, count, OBJECTS_A_CHUNK)
    jobs = [(access, method, bucket, prefix, range(at, min(at + OBJECTS_A_CHUNK, count))) for at in starts]
    if len(jobs) == 1:
        file.write(_chunk(jobs[0]))
        return
    with multiprocessing.Pool() as pool:
        for text in pool.imap(_chunk, jobs):
            file.write(text)


def listings(access, bucket, prefix, count, file, step=977):
    """Pages of 1,000 keys from many places among `count` objects."""
    signer = Signer(access, "GET")
    for at in range(0, max(count - 1000, 1), step):
        after = f"{prefix}{at:07d}"
        query = [("list-type", "2"), ("max-keys", "1000"), ("prefix", prefix), ("start-after", after)]
        file.write(signer.target(f"/{bucket}", query) + "\n")


if __name__ == "__main__":
    endpoint, access_key, secret_key, bucket, method, prefix, count = sys.argv[1:8]
    access = Access(endpoint, access_key, secret_key, *sys.argv[8:9])
    objects(access, method, bucket, prefix, int(count), sys.stdout)
