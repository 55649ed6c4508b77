"""Cross-origin requests: the configuration, preflights, and what answers tell, errors among them."""
import http.client

import pytest

from .errors import refused
from .wire import object_path

RULES = [
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["http://*.suffix"], "ExposeHeaders": ["ETag", "x-amz-meta-a"]},
    {"ID": "put", "AllowedMethods": ["PUT", "POST"], "AllowedOrigins": ["*"], "AllowedHeaders": ["X-Amz-*", "etag"],
     "MaxAgeSeconds": 600},
]


@pytest.fixture
def open_origins(s3, bucket):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    return bucket


def plain(wire, method, path, headers):
    """A request that nobody signed."""
    connection = http.client.HTTPConnection(wire.host, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_a_configuration_comes_and_goes(s3, open_origins):
    found = s3.get_bucket_cors(Bucket=open_origins)["CORSRules"]
    assert [sorted(rule.items()) for rule in found] == [sorted(rule.items()) for rule in RULES]
    for bad in ({"AllowedMethods": ["PATCH"]}, {"AllowedOrigins": ["*.*"]}, {"ExposeHeaders": ["x-*"]},
                {"ExposeHeaders": ["x y"]}, {"AllowedHeaders": ["*-*"]}, {"AllowedHeaders": ["x-ok", "x y"]}):
        with refused("InvalidRequest", 400):
            s3.put_bucket_cors(Bucket=open_origins, CORSConfiguration={"CORSRules": [{**RULES[0], **bad}]})
    s3.delete_bucket_cors(Bucket=open_origins)
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=open_origins)


def preflight(wire, bucket, origin, method, headers=None):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return plain(wire, "OPTIONS", object_path(bucket, "k"), {k: v for k, v in asked.items() if v})


def test_preflights_tell_what_a_rule_allows(wire, open_origins):
    status, headers, _ = preflight(wire, open_origins, "http://a.suffix", "GET")
    assert (status, headers["access-control-allow-origin"]) == (200, "http://a.suffix")
    assert headers["access-control-allow-methods"] == "GET"
    assert headers["access-control-expose-headers"] == "ETag, x-amz-meta-a"
    assert headers["access-control-allow-credentials"] == "true" and "Origin" in headers["vary"]
    status, headers, _ = preflight(wire, open_origins, "http://b", "PUT", "X-Amz-Date, ETag")
    assert (status, headers["access-control-allow-origin"]) == (200, "*")
    assert headers["access-control-allow-headers"] == "x-amz-date, etag"
    assert headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in headers


def test_preflights_that_no_rule_allows(wire, s3, open_origins):
    for origin, method, asked, status in [
        ("http://b", "GET", None, 403),
        ("http://a.suffix", "DELETE", None, 403),
        ("http://b", "PUT", "x-amz-date, range", 403),
        ("http://b", None, None, 400),
        (None, "PUT", None, 400),
        ("http://b", "FLY", None, 400),
        ("http://b", "PUT", "x-amz-date, x(custom)", 400),
        ("http://b", "PUT", "x-amz-däte", 400),
    ]:
        found, headers, body = preflight(wire, open_origins, origin, method, asked)
        assert found == status and "access-control-allow-origin" not in headers, (origin, method, body)
    s3.delete_bucket_cors(Bucket=open_origins)
    found, _, body = preflight(wire, open_origins, "http://a.suffix", "GET")
    assert found == 403 and b"CORS is not enabled" in body


def test_answers_say_what_their_page_may_see_and_errors_too(wire, s3, open_origins):
    s3.put_object(Bucket=open_origins, Key="k", Body=b"v")
    for key, status in (("k", 200), ("absent", 404)):
        answer = wire.request("GET", object_path(open_origins, key), headers={"origin": "http://a.suffix"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "http://a.suffix")
    status, headers, _ = plain(wire, "PUT", object_path(open_origins, "k"), {"Origin": "http://b", "Content-Length": "0"})
    assert (status, headers["access-control-allow-origin"]) == (403, "*")
    for headers in ({"origin": "http://b"}, {}):
        answer = wire.request("GET", object_path(open_origins, "k"), headers=headers)
        assert answer.status == 200 and "access-control-allow-origin" not in answer.headers
