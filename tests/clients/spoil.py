"""Damage to requests, from dice: documents, queries, headers, paths, framing, raw heads.

Each function takes the dice and what it spoils and gives it back spoiled once or a few times; it never looks at the
server. What stands in the lists has hurt some parser somewhere.
"""
import base64
import re
import socket
import zlib
from dataclasses import dataclass, replace

from .wire import Answer, quoted

VALUES = [
    "", " ", "0", "-0", "-1", "+1", "1", "01", "1.5", "1e9", "0x10", "NaN", "1001", "10001", "2147483648", "4294967296",
    "9223372036854775808", "18446744073709551615", "18446744073709551616", "9" * 40, "null", "None", "true", "TRUE", "yes",
    "*", "**", "?", "$", "{}", "[]", "\"", "'", "\"\"", "W/\"a\"", "\"a\",\"b\"", "a,b", ",", ";", "=", "&", "%", "%00", "%zz",
    "%25", "/", "//", "..", "../..", "\\", "|", "a" * 255, "a" * 1025, "b" * 3000, "ü", "\u00ff", "日本", "\U0001f600", "e\u0301", "\u202e",
    "bytes=", "bytes=-", "bytes=0-", "bytes=-0", "bytes=5-2", "bytes=0-0,2-3", "bytes=99999999999999999999-", "bytes=0-18446744073709551615",
    "bytes =0-1", "bits=0-1", "bytes=a-b", "bytes=-18446744073709551616",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 31 Feb 2026 00:00:00 GMT", "Sat, 21 Nov 2026 25:61:61 GMT", "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-02-30T00:00:00.000Z", "2026-11-21", "20261121T000000Z",
    "2026-11-21T00:00:00+99:99", "AES256", "aws:kms", "STANDARD", "GLACIER", "ON", "OFF", "GOVERNANCE", "COMPLIANCE", "Enabled", "Suspended",
    "COPY", "REPLACE", "public-read-write", "CRC32", "MD5", "arn:aws:iam::1:root", "arn:aws:s3:::", "arn:", "aaaa====", "AAAAAA==", "====",
    "https://*", "http://a b/", "id=\"x\"", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"", "url", "a=b&c=d", "a=b&a=c", "=", "a=" + "b" * 300,
    "/fuzzed/a/1", "fuzzed/a/1?versionId=null", "/fuzzed/", "fuzzed", "/nobody/x", "%2Ffuzzed%2Fa%2F1", "/fuzzed/a/1?versionId=", "fuzzed/a/1?x=y",
]
NAMES = [
    "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "content-md5", "content-type", "content-encoding",
    "content-language", "content-disposition", "cache-control", "expires", "origin", "x-amz-acl", "x-amz-grant-read", "x-amz-grant-full-control",
    "x-amz-storage-class", "x-amz-tagging", "x-amz-tagging-directive", "x-amz-metadata-directive", "x-amz-copy-source",
    "x-amz-copy-source-range", "x-amz-copy-source-if-none-match", "x-amz-copy-source-if-modified-since", "x-amz-checksum-crc32",
    "x-amz-checksum-sha256", "x-amz-checksum-crc64nvme", "x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-checksum-algorithm",
    "x-amz-sdk-checksum-algorithm", "x-amz-trailer", "x-amz-decoded-content-length", "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold", "x-amz-bypass-governance-retention", "x-amz-mfa",
    "x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key",
    "x-amz-website-redirect-location", "x-amz-request-payer", "x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner",
    "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership", "x-amz-mp-object-size", "x-amz-object-attributes", "x-amz-max-parts",
    "x-amz-part-number-marker", "x-amz-if-match-size", "x-amz-if-match-last-modified-time", "x-amz-if-match-initiated-time", "x-amz-meta-a",
    "x-amz-meta-", "x-amz-write-offset-bytes", "x-amz-bucket-region", "x-amz-unknown", "x-amz-optional-object-attributes", "x-http-method-override",
    "x-amz-security-token", "x-forwarded-for", "te", "upgrade", "accept-encoding",
]
PARAMETERS = [
    "prefix", "delimiter", "marker", "max-keys", "encoding-type", "start-after", "continuation-token", "fetch-owner", "key-marker",
    "version-id-marker", "upload-id-marker", "max-uploads", "max-parts", "part-number-marker", "partNumber", "uploadId", "versionId",
    "versions", "uploads", "tagging", "acl", "attributes", "retention", "legal-hold", "policy", "location", "list-type", "delete", "id",
    "response-content-type", "response-expires", "response-cache-control", "response-content-disposition", "x-id", "restore", "select",
    "torrent", "append", "max-buckets", "bucket-region", "allow-unordered", "X-Amz-Nonsense", "AWSAccessKeyId", "Signature", "Expires",
    "website", "cors", "lifecycle", "notification", "replication", "logging", "encryption", "object-lock", "versioning",
]


def document(dice, request):
    """The body of the request: as a tree, as text, as bytes."""
    body = request.body
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        body = dice.choice([_tree, _tree, _tree, _text, _text, _bytes])(dice, body)
    return replace(request, body=body[:300_000])


def _tree(dice, body):
    """Elements that are missing, twice, swapped, empty, elsewhere, many."""
    starts = [m.start() for m in re.finditer(rb"<\w", body[:20_000])]
    spans = [(start, _end_of(body, start)) for start in dice.sample(starts, min(len(starts), 4))]
    spans = [(start, end) for start, end in spans if end]
    if not spans:
        return _bytes(dice, body)
    start, end = dice.choice(spans)
    element = body[start:end]
    name = re.match(rb"<(\w+)", element)[1]
    other = slice(*dice.choice(spans))
    fresh = dice.choice([
        b"", element * 2, element * dice.choice([11, 101, 1001]), b"<" + name + b"/>", b"<" + name + b"></" + name + b">", body[other],
        element + body[other], b"<x>" + element + b"</x>", element.replace(name, b"Unknown"), element.replace(name, name.lower()),
        b"<!-- c -->" + element, b"<![CDATA[" + element + b"]]>", b"<?pi x?>" + element, b"text" + element, b"<a:" + element[1:],
        b"<" + name + b">" + dice.choice(VALUES).encode() + b"</" + name + b">", (b"<" + name + b">") * 3000])
    return body[:start] + fresh + body[end:]


def _end_of(body, start):
    """Behind the first end of an element of this name: with one of its kind inside, that is a cut across both."""
    tag = b"</" + re.match(rb"<(\w+)", body[start:start + 100])[1] + b">"
    end = body.find(tag, start)
    return end + len(tag) if end > start else None


def _text(dice, body):
    """The text between two tags, or a value of JSON."""
    spots = [m.span(1) for m in re.finditer(rb">([^<>]*)<", body[:20_000])] + [m.span(1) for m in re.finditer(rb'"([^"]*)"', body[:20_000])]
    if not spots:
        return _bytes(dice, body)
    start, end = dice.choice(spots)
    value = dice.choice(VALUES).encode()
    return body[:start] + dice.choice([
        value, value.replace(b"<", b"&lt;").replace(b"&", b"&amp;"), b"&#0;", b"&#x1F600;", b"&#xFFFFFFFF;", b"&undefined;", b"&amp", b"\xff\xfe",
        b" " + body[start:end] + b"\n", body[start:end] * 50, b"\x00", b"\x01", b"]]>"]) + body[end:]


def _bytes(dice, body):
    at = dice.randrange(len(body) + 1)
    to = min(len(body), at + dice.choice([1, 1, 5, 100]))
    return dice.choice([
        body[:at], body[at:], body[:at] + body[to:], body[:at] + dice.randbytes(dice.choice([1, 1, 20])) + body[to:], body + body,
        b"\xef\xbb\xbf" + body, body.decode("latin-1").encode("utf-16"), b"<?xml version='1.1' encoding='latin1'?>" + body, b"", b" " * 5000 + body,
        b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d SYSTEM "file:///etc/passwd">]>' + body, body + b"<again/>", b"[" * 5000, b'{"a":' * 3000, body + b"\x00",
        body[:at] + b"<" + body[at:], body[:at] + b">" + body[at:], body[:at] + b"&" + body[at:], body[:at] + b'"' + body[at:]])


def query(dice, request):
    pairs = list(request.query)
    for _ in range(dice.choice([1, 1, 2, 3])):
        value = dice.choice(VALUES)
        if pairs and dice.random() < 0.6:
            at = dice.randrange(len(pairs))
            name, old = pairs[at]
            pairs[at:at + 1] = dice.choice([
                [(name, value)], [(name, value)], [(name, value)], [], [(name, old), (name, old)], [(name, old), (name, value)], [(name.upper(), old)],
                [(name, old + dice.choice("aZ0-_=%"))], [(name, old[:-1])], [(name, old[::-1])], [(name + " ", old)]])
        else:
            pairs.append((dice.choice(PARAMETERS), value))
    return replace(request, query=tuple(pairs))


def headers(dice, request):
    spoiled = dict(request.headers)
    for _ in range(dice.choice([1, 1, 2, 3])):
        value = dice.choice(VALUES)
        if spoiled and dice.random() < 0.5:
            name = dice.choice(sorted(spoiled))
            old = spoiled[name]
            spoiled[name] = dice.choice([value, value, value, old + ", " + old, old.upper(), old[:-1], old + "\t", f'"{old}"', old + value])
            if dice.random() < 0.1:
                del spoiled[name]
        else:
            spoiled[dice.choice(NAMES)] = value
    return replace(request, headers=spoiled)


def path(dice, request):
    """Names of buckets and keys: encoded otherwise, too long, not UTF-8, with dots."""
    bucket, _, key = request.path[1:].partition("/")
    raw = quoted(dice.choice(VALUES), safe="-_.~/")
    fresh = dice.choice([
        f"/{bucket}/{raw}", f"/{bucket}/{key}/{raw}", f"/{raw}/{key}", f"/{bucket}", "/", f"//{bucket}/{key}", f"/{bucket}//{key}", f"/{bucket}/%ff%fe",
        f"/{bucket}/%c0%af", f"/{bucket}/{key}%", f"/{bucket}/{'k' * 1024}", f"/{bucket}/{'%C3%BC' * 512}", f"/{bucket}/{'k' * 1025}", f"/{bucket}/./{key}",
        f"/{bucket}/../{key}", f"/{bucket.upper()}/{key}", f"/{bucket}%2F{key}", f"/{bucket}/{key}%00", f"/{bucket}/%0d%0a{key}", f"/-/{key}", f"/{bucket}/%01{key}"])
    return replace(request, path=fresh.replace("+", "%2B"))


# ---- aws-chunked ----

def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


@dataclass
class Said:
    """What went out, for the report of a failure, and whether it was what should have."""
    framed: bytes = b""
    sent: bytes = b""

    def keep(self, sent):
        self.sent = sent
        return sent


def framing_headers(dice, size):
    return dice.choice([
        {"x-amz-decoded-content-length": dice.choice(VALUES)}, {"x-amz-decoded-content-length": str(size + 1)},
        {"x-amz-decoded-content-length": str(max(size - 1, 0))}, {"content-encoding": "gzip,aws-chunked"}, {"content-encoding": "aws-chunked,aws-chunked"},
        {"content-encoding": dice.choice(VALUES)}, {"x-amz-checksum-crc32": "AAAAAA=="}, {"x-amz-sdk-checksum-algorithm": dice.choice(VALUES)}])


def framing(dice, framed):
    """Sizes, extensions, signatures, line ends, order and trailers."""
    lines = [m.span() for m in re.finditer(rb"(?m)^[0-9a-f]+(;[^\r\n]*)?\r\n", framed)]
    at = dice.randrange(len(framed))
    start, end = dice.choice(lines) if lines else (0, 1)
    line, rest = framed[start:end], framed[end:]
    size = re.match(rb"[0-9a-f]*", line)[0]
    fresh = dice.choice([
        line.replace(size, dice.choice(VALUES).encode("utf-8"), 1), line.replace(size, b"0" + size, 1), line.replace(size, size.upper(), 1),
        line.replace(size, b"0", 1), line.replace(size, size + b"0", 1), line.replace(size, b" " + size, 1), line.replace(size, b"0" * 300 + size, 1),
        line.replace(b"\r\n", b"\n"), line.replace(b"\r\n", b"\r"), line.replace(b"\r\n", b"\r\n\r\n"), line.replace(b"chunk-signature", b"chunk-Signature"),
        line.replace(b"\r\n", b";x=y\r\n"), line.replace(b";", b" ; "), line + line, line[:-3] + b"\r\n", b"", line.replace(b"a", b"b"), line.upper()])
    return dice.choice([
        framed[:start] + fresh + rest, framed[:start] + fresh + rest, framed[:start] + fresh + rest, framed[:at], framed[:at] + framed[at + 1:],
        framed[:at] + dice.randbytes(1) + framed[at:], framed + b"0\r\n\r\n", framed + framed, framed[:-2] + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        framed[:-2] + b"x-amz-meta-evil:1\r\n\r\n", framed[:-2] + b"no colon\r\n\r\n", framed[:-2], framed[:-2] + b"a:" + b"b" * 9000 + b"\r\n\r\n",
        framed.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-crc32 :"), framed.replace(b"x-amz-checksum-crc32", b"x-amz-checksum-sha1"),
        framed.replace(b"x-amz-trailer-signature:", b"x-amz-trailer-signature:0"), framed.replace(b"x-amz-trailer-signature", b"X-Amz-Trailer-Signature")])


# ---- the head, byte by byte ----

def head(dice, lines, body):
    """A request with contradictions in its head; `body` follows. Always with `connection: close`."""
    length = f"content-length: {len(body)}"
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    extra, sent = dice.choice([
        ([length], body), ([length, length], body), ([length, "content-length: 3"], body), ([length, "transfer-encoding: chunked"], framed),
        (["transfer-encoding: chunked"], framed), (["transfer-encoding: chunked, identity"], framed), (["transfer-encoding: identity"], body),
        (["transfer-encoding: xchunked", length], body), (["Transfer-Encoding : chunked"], framed), (["transfer-encoding: chunked", "transfer-encoding: chunked"], framed),
        ([f"content-length: +{len(body)}"], body), ([f"content-length: {len(body)}, {len(body)}"], body), ([" " + length], body), (["x-a: b\r\n folded"], body),
        (["content-length: 0x0a"], body), (["content-length:"], body), (["content-length: 010"], body), ([], body), ([length, "expect: 100-continue"], body),
        ([length, "expect: nonsense"], body), ([length, "upgrade: h2c", "http2-settings: x"], body), ([length, "host: other"], body),
        ([length, ": empty"], body), ([length, "x-\x00: b"], body), ([length, "x-a: \x01"], body), ([length, "no colon"], body),
        (["content-length: 5"], body), (["content-length: 100"], body), (["transfer-encoding: chunked"], b"a;ext=1\r\n" + body + b"\r\n0\r\ntrailer: x\r\n\r\n"),
        (["transfer-encoding: chunked"], b"ffffffffffffffff\r\n" + body), (["transfer-encoding: chunked"], b"-1\r\n" + body), (["transfer-encoding: chunked"], b"a\n" + body + b"\n0\n\n")])
    made = "\r\n".join([*lines, *extra, "connection: close"]).encode("latin-1") + b"\r\n\r\n" + sent
    if dice.random() < 0.3:
        at = dice.randrange(len(made))
        made = dice.choice([
            made[:at], made[:at] + dice.randbytes(1) + made[at + 1:], made.replace(b"\r\n", b"\n"), made.replace(b"\r\n", b"\r\n\t", 1), b"\r\n" + made,
            made.replace(b"HTTP/1.1", b"HTTP/1.0"), made.replace(b"HTTP/1.1", b"HTTP/2"), made.replace(b"PUT ", b"put "), made.replace(b"PUT ", b"PUT  ")])
    return made


def converse(port, sent, seconds):
    """Sends it, reads until the server closes: the answers that came, parsed as they are framed."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        said = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                said += more
        except ConnectionError:
            pass
    return list(_answers(said))


def _answers(said):
    while said:
        top, found, rest = said.partition(b"\r\n\r\n")
        assert found and top.startswith(b"HTTP/1."), said[:300]
        first, *lines = top.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(fields.get("content-length", "0"))
        yield Answer(int(first.split(" ")[1]), fields, rest[:length])
        said = rest[length:]
