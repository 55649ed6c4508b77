#!/usr/bin/env python3
"""Writes sigv4.json: requests signed by botocore, the oracle of tests/codec_oracle.rs.

Needs `pip install botocore`. Two sources: a real S3 client whose requests are caught before they
are sent, and botocore's signers fed with targets that no client would build. The clock, the
credentials and the region are fixed, so a second run gives the same file.
"""

import base64
import datetime
import io
import json
import pathlib
from urllib.parse import urlsplit

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

ACCESS_KEY, SECRET, REGION = "AKIDBASALTTEST", "secret/with+odd=characters", "eu-central-1"
NOW = datetime.datetime(2026, 2, 28, 23, 59, 58, tzinfo=datetime.timezone.utc)
botocore.auth.get_current_datetime = lambda *_, **__: NOW.replace(tzinfo=None)

KEYS = [
    "plain", "with space", "a+b", "a//b", "//lead", "a/./b/../c", "trailing/", "ümlaut/日本語/🎉", "100%25",
    "~tilde*star'quote(paren)!", "semi;colon:comma,", "equals=amp&hash#ask?at@dollar$", "new\nline\ttab",
    '"double"<xml>&amp;', "back\\slash|pipe^caret`tick{brace}[bracket]",
]
out = []


def record(name, method, url, headers, body=b"", token=None):
    parts = urlsplit(url)
    target = url[url.index(parts.netloc) + len(parts.netloc):]
    path, _, query = target.partition("?")
    text = lambda v: v.decode("utf-8") if isinstance(v, bytes) else str(v)
    # These say which machine made the file, or are random; none is signed.
    unsigned = ("user-agent", "amz-sdk-invocation-id", "amz-sdk-request")
    pairs = [[k.lower(), text(v)] for k, v in headers if k.lower() not in unsigned]
    if not any(k == "host" for k, _ in pairs):
        pairs.append(["host", parts.netloc])
    body = body.read() if hasattr(body, "read") else body or b""
    out.append({
        "name": name, "method": method, "path": path or "/", "query": query, "headers": pairs,
        "body": base64.b64encode(body).decode(), "session_token": token,
    })


def client(**options):
    session = botocore.session.Session()
    options.setdefault("endpoint_url", "http://127.0.0.1:9000")
    config = Config(signature_version=options.pop("version", "s3v4"), s3={"addressing_style": options.pop("style", "path")})
    made = session.create_client(
        "s3", region_name=REGION, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET,
        aws_session_token=options.pop("token", None), config=config, **options)
    return made


class Caught(Exception):
    pass


def catch(made, name, call, token=None):
    def before_send(request, **_):
        record(name, request.method, request.url, request.headers.items(), request.body, token)
        raise Caught
    made.meta.events.register("before-send.s3", before_send)
    try:
        call(made)
    except Caught:
        pass
    made.meta.events.unregister("before-send.s3", before_send)


def from_clients():
    plain, tls = client(), client(endpoint_url="https://s3.example.org")
    token = client(token="session/token+with=odd")
    for key in KEYS:
        catch(plain, f"get {key!r}", lambda c: c.get_object(Bucket="bucket", Key=key))
    for key in KEYS[:8]:
        url = plain.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": key}, ExpiresIn=3600)
        record(f"presigned put {key!r}", "PUT", url, [])
    for key in KEYS[5:]:
        catch(plain, f"list {key!r}", lambda c: c.list_objects_v2(Bucket="bucket", Prefix=key, Delimiter="/"))
    catch(plain, "put bytes", lambda c: c.put_object(Bucket="bucket", Key="k", Body=b"hello"))
    catch(plain, "put stream", lambda c: c.put_object(Bucket="bucket", Key="k", Body=io.BytesIO(b"hello stream")))
    catch(tls, "put stream over tls", lambda c: c.put_object(Bucket="bucket", Key="k", Body=io.BytesIO(b"x" * 3000)))
    catch(tls, "put sha256 trailer", lambda c: c.put_object(
        Bucket="bucket", Key="k", Body=io.BytesIO(b"y" * 2000), ChecksumAlgorithm="SHA256"))
    catch(plain, "put metadata", lambda c: c.put_object(
        Bucket="bucket", Key="k", Body=b"", Metadata={"folded": "a  b   c", "plain": "v"}, ContentType="text/plain; charset=utf-8",
        CacheControl="max-age=1", StorageClass="STANDARD", Tagging="a=b&c=d%20e"))
    catch(plain, "copy", lambda c: c.copy_object(Bucket="bucket", Key="k", CopySource={"Bucket": "other", "Key": "ü +&"}))
    catch(plain, "delete objects", lambda c: c.delete_objects(
        Bucket="bucket", Delete={"Objects": [{"Key": "a&b"}, {"Key": "ü", "VersionId": "null"}]}))
    catch(plain, "range", lambda c: c.get_object(Bucket="bucket", Key="k", Range="bytes=0-9", IfMatch='"etag"'))
    catch(plain, "upload part", lambda c: c.upload_part(Bucket="bucket", Key="k", UploadId="u+/=~", PartNumber=7, Body=b"p"))
    catch(plain, "complete", lambda c: c.complete_multipart_upload(
        Bucket="bucket", Key="k", UploadId="u", MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"e"'}]}))
    catch(plain, "create bucket", lambda c: c.create_bucket(
        Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION}))
    catch(plain, "list buckets", lambda c: c.list_buckets(MaxBuckets=3))
    catch(client(endpoint_url="http://s3.example.org", style="virtual"), "virtual host",
          lambda c: c.get_object(Bucket="bucket", Key="a b"))
    catch(token, "session token", lambda c: c.head_object(Bucket="bucket", Key="k"), "session/token+with=odd")
    url = token.generate_presigned_url("get_object", {
        "Bucket": "bucket", "Key": "k", "ResponseContentDisposition": 'attachment; filename="a b+ü.txt"'}, ExpiresIn=60)
    record("presigned with token", "GET", url, [], token="session/token+with=odd")
    url = tls.generate_presigned_url("list_objects_v2", {"Bucket": "bucket", "Prefix": "a b/"}, ExpiresIn=604800)
    record("presigned list", "GET", url, [])


def from_signers():
    credentials = Credentials(ACCESS_KEY, SECRET)
    base = "http://127.0.0.1:9000/bucket/"
    targets = [
        "k?acl", "k?acl=", "k?b=2&a=1", "k?a=2&a=1&a=", "k?a=1&A=2&a-b=3&a.b=4&a%2Fb=5", "k?a=b=c", "k?prefix=a+b",
        "k?prefix=a%2bb", "k?x=/raw/slash", "k?x=%7Etilde", "raw+plus", "lower%2fhex%c3%bc", "raw!$&'()*,;=:@",
        "", "?",
    ]
    for target in targets:
        request = AWSRequest(method="GET", url=base + target)
        botocore.auth.S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
        record(f"signed {target!r}", "GET", request.url, request.headers.items())
    for target in targets[:6]:
        request = AWSRequest(method="GET", url=base + target)
        botocore.auth.S3SigV4QueryAuth(credentials, "s3", REGION, expires=60).add_auth(request)
        record(f"presigned {target!r}", "GET", request.url, request.headers.items())
    headers = [
        ("x-amz-meta-spaces", "  lead  and   trail  "), ("x-amz-meta-tab", "a\t\tb"), ("x-amz-meta-empty", ""),
        ("x-amz-meta-many", "one"), ("x-amz-meta-many", " two "), ("x-amz-meta-utf8", "grün"), ("Content-Type", "A/B"),
    ]
    request = AWSRequest(method="PUT", url=base + "headers")
    for name, value in headers:
        request.headers.add_header(name, value)
    botocore.auth.S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
    record("odd headers", "PUT", request.url, request.headers.items())
    request = AWSRequest(method="GET", url=base + "dated", headers={"Date": "x"})
    botocore.auth.S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
    record("date header", "GET", request.url, request.headers.items())


from_clients()
from_signers()
document = {
    "access_key": ACCESS_KEY, "secret": SECRET, "region": REGION, "now": int(NOW.timestamp()), "requests": out,
}
target = pathlib.Path(__file__).with_name("sigv4.json")
target.write_text(json.dumps(document, indent=1, ensure_ascii=True, sort_keys=True) + "\n")
print(len(out), "requests")
