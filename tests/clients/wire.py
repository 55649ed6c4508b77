"""A client of our own that signs requests by hand: what the SDKs will not send, and fast enough for thousands.

It signs with SigV4 by header or in the query, and writes all forms of `aws-chunked` bodies. Every part of a
request can be made wrong on purpose: the time, the region, the secret, the digest, the framing. It shares
no code with the server, nor with botocore.
"""
import datetime
import hashlib
import hmac
import http.client
import socket
import urllib.parse
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
ALGORITHM = "AWS4-HMAC-SHA256"
STREAM = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAM_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAM_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def quoted(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


def object_path(bucket, key=None):
    return f"/{bucket}" if key is None else f"/{bucket}/{quoted(key, safe='-_.~/')}"


def _mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def code(self):
        """The S3 error code of the body, or None."""
        try:
            return ElementTree.fromstring(self.body).findtext("Code")
        except ElementTree.ParseError:
            return None

    @property
    def etag(self):
        return self.headers["etag"].strip('"')

    def expect(self, status, code=None):
        assert (self.status, self.code if code else None) == (status, code), (self.status, self.code, self.body[:400])
        return self


@dataclass
class Signer:
    """The secret and what it is bound to; `at` fixes the clock."""
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    service: str = "s3"
    at: datetime.datetime = None
    seed: str = field(default="", init=False)
    stamp: str = field(default="", init=False)

    def scope(self):
        return f"{self.stamp[:8]}/{self.region}/{self.service}/aws4_request"

    def key(self):
        key = ("AWS4" + self.secret_key).encode()
        for word in self.scope().split("/"):
            key = _mac(key, word)
        return key

    def start(self):
        self.stamp = (self.at or utc_now()).strftime("%Y%m%dT%H%M%SZ")

    def signature(self, method, path, query, headers, payload):
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
        request = "\n".join([method, path, canonical_query(query), lines, names, payload])
        digest = hashlib.sha256(request.encode()).hexdigest()
        self.seed = _mac(self.key(), "\n".join([ALGORITHM, self.stamp, self.scope(), digest])).hex()
        return names, self.seed

    def header(self, method, path, query, headers, payload):
        self.start()
        headers["x-amz-date"], headers["x-amz-content-sha256"] = self.stamp, payload
        names, signature = self.signature(method, path, query, headers, payload)
        credential = f"{self.access_key}/{self.scope()}"
        headers["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"

    def presigned(self, method, host, path, query=(), seconds=600, headers=None):
        """`path?query` with the signature in the query; `headers` are signed too and must be sent along."""
        self.start()
        headers = {"host": host, **(headers or {})}
        query = [*query, ("X-Amz-Algorithm", ALGORITHM), ("X-Amz-Credential", f"{self.access_key}/{self.scope()}"),
                 ("X-Amz-Date", self.stamp), ("X-Amz-Expires", str(seconds)),
                 ("X-Amz-SignedHeaders", ";".join(sorted(headers)))]
        _, signature = self.signature(method, path, query, headers, UNSIGNED)
        return f"{path}?{canonical_query(query)}&X-Amz-Signature={signature}"

    def chunk_signature(self, kind, *digests):
        """The next link of the chain of signatures over a chunked body."""
        self.seed = _mac(self.key(), "\n".join([kind, self.stamp, self.scope(), self.seed, *digests])).hex()
        return self.seed


def canonical_query(query):
    return "&".join(f"{k}={v}" for k, v in sorted((quoted(k), quoted(v)) for k, v in query))


def chunked(signer, payload, body, trailers=(), size=65536):
    """`body` framed as `aws-chunked` in the way `payload` names; `trailers` are (name, value)."""
    signed = payload != STREAM_UNSIGNED_TRAILER
    pieces = [body[at:at + size] for at in range(0, len(body), size)] + [b""]
    framed = []
    for piece in pieces:
        line = f"{len(piece):x}"
        if signed:
            digest = hashlib.sha256(piece).hexdigest()
            line += ";chunk-signature=" + signer.chunk_signature(ALGORITHM + "-PAYLOAD", EMPTY_SHA256, digest)
        framed.append(line.encode() + b"\r\n" + (piece + b"\r\n" if piece else b""))
    if payload != STREAM:
        for name, value in trailers:
            framed.append(f"{name}:{value}\r\n".encode())
        if signed:
            text = "".join(f"{name}:{value}\n" for name, value in trailers)
            digest = hashlib.sha256(text.encode()).hexdigest()
            signature = signer.chunk_signature(ALGORITHM + "-TRAILER", digest)
            framed.append(f"x-amz-trailer-signature:{signature}\r\n".encode())
    return b"".join(framed) + b"\r\n"


class Begun:
    """The rest of a request, to be sent later."""

    def __init__(self, port, method, target, headers, body):
        self.body, self.link = body, socket.create_connection(("127.0.0.1", port), timeout=30)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.link.sendall(f"{method} {target} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode())
        first = self.link.recv(4096)
        assert first.startswith(b"HTTP/1.1 100 "), first

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()

    def finish(self):
        """Sends the body; the status of the answer, and what came with it."""
        self.link.sendall(self.body)
        answer = self.link.recv(65536)
        return int(answer.split()[1]), answer


class Wire:
    """A kept-alive connection to one server."""

    def __init__(self, host, port, access_key, secret_key, timeout=60, **signing):
        self.host = f"{host}:{port}"
        self.signing = dict(access_key=access_key, secret_key=secret_key, **signing)
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def signer(self, **changes):
        return Signer(**{**self.signing, **changes})

    def head(self, method, path, query=(), headers=None, payload=UNSIGNED, host=None, **signing):
        """The target and the signed headers of a request, and the signer that goes on with its chunks."""
        signer = self.signer(**signing)
        headers = {"host": host or self.host, **{k.lower(): v for k, v in (headers or {}).items()}}
        signer.header(method, path, query, headers, payload)
        target = f"{path}?{canonical_query(query)}" if query else path
        return target, headers, signer

    def request(self, method, path, query=(), headers=None, body=b"", payload=UNSIGNED, **signing):
        """Signed by header. `path` is percent-encoded already; `payload` is what x-amz-content-sha256 says."""
        target, headers, _ = self.head(method, path, query, headers, payload, **signing)
        return self.send(method, target, headers, body)

    def begin(self, method, path, query=(), headers=None, body=b"", payload=UNSIGNED):
        """A request of which the server has the head, has judged it, and has asked for the body."""
        headers = {"expect": "100-continue", **(headers or {})}
        target, headers, _ = self.head(method, path, query, headers, payload)
        return Begun(self.connection.port, method, target, headers, body)

    def stream(self, path, body, payload, trailers=(), headers=None, size=65536, mangle=None, **signing):
        """PUT of a chunked body; `mangle` may change the framed bytes before they are sent."""
        headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(body)), **(headers or {})}
        if trailers:
            headers["x-amz-trailer"] = ",".join(name for name, _ in trailers)
        target, headers, signer = self.head("PUT", path, (), headers, payload, **signing)
        framed = chunked(signer, payload, body, trailers, size)
        return self.send("PUT", target, headers, mangle(framed) if mangle else framed)

    def presigned(self, method, path, query=(), headers=None, body=b"", seconds=600, **signing):
        target = self.signer(**signing).presigned(method, self.host, path, query, seconds, headers)
        return self.send(method, target, {"host": self.host, **(headers or {})}, body)

    def send(self, method, target, headers, body=b""):
        """Sends exactly this; a broken connection is closed, so that the next request opens another."""
        try:
            self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                self.connection.putheader(name, value.encode() if isinstance(value, str) else value)
            if body or method in ("PUT", "POST"):
                if "content-length" not in {n.lower() for n in headers}:
                    self.connection.putheader("content-length", str(len(body)))
            self.connection.endheaders()
            if body:
                self._send_body(body)
            answer = self.connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        except BaseException:
            self.connection.close()
            raise

    def _send_body(self, body):
        """A server may refuse a body before it has read it: then its answer counts, not the broken pipe."""
        try:
            self.connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def put(self, bucket, key, body, headers=None, **more):
        return self.request("PUT", object_path(bucket, key), headers=headers, body=body, **more)

    def get(self, bucket, key, headers=None, **more):
        return self.request("GET", object_path(bucket, key), headers=headers, **more)

    def delete(self, bucket, key, headers=None, **more):
        return self.request("DELETE", object_path(bucket, key), headers=headers, **more)
