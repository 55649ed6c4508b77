"""Buckets as web sites: index and error documents, redirects by the whole site, by rules and by objects, and who may read.

The client is a plain one that names the site in `Host`, as browsers do; what sets sites up is boto3.
"""
import http.client
import itertools
import json

import pytest

from .errors import refused
from .identities import OPEN, allow, objects, policy

DOMAIN = "s3-website.localhost"
PAGES = {"IndexDocument": {"Suffix": "index.html"}}
WITH_ERROR = {**PAGES, "ErrorDocument": {"Key": "error.html"}}
_names = itertools.count()


class Site:
    """A public bucket that is a site."""

    def __init__(self, basalt, website, public=True, listed=False):
        self.basalt, self.s3, self.name = basalt, basalt.s3(), f"site{next(_names)}"
        self.s3.create_bucket(Bucket=self.name)
        if public:
            self.s3.put_public_access_block(Bucket=self.name, PublicAccessBlockConfiguration=OPEN)
            statements = [allow("s3:GetObject", objects(self.name), Principal="*")]
            if listed:
                statements.append(allow("s3:ListBucket", f"arn:aws:s3:::{self.name}", Principal="*"))
            self.s3.put_bucket_policy(Bucket=self.name, Policy=policy(*statements))
        if website:
            self.s3.put_bucket_website(Bucket=self.name, WebsiteConfiguration=website)

    @property
    def host(self):
        return f"{self.name}.{DOMAIN}:{self.basalt.port}"

    def put(self, key, body=None, **more):
        self.s3.put_object(Bucket=self.name, Key=key, Body=key.encode() if body is None else body,
                           ContentType="text/html", **more)

    def ask(self, path, method="GET", host=None, headers=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.basalt.port, timeout=60)
        try:
            connection.request(method, path, body, {"Host": host or self.host, **(headers or {})})
            answer = connection.getresponse()
            return Seen(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


class Seen:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def page(self, status, code, *lines):
        """It is an error page of S3's shape."""
        assert (self.status, self.headers["x-amz-error-code"]) == (status, code), (self.status, self.body)
        assert self.headers["content-type"].startswith("text/html")
        reason = http.client.responses[status]
        for line in (f"<title>{status} {reason}</title>", f"<h1>{status} {reason}</h1>", f"<li>Code: {code}</li>",
                     "<li>RequestId: ", *lines):
            assert line in self.body.decode(), (line, self.body)

    def to(self, status, place):
        """It is a redirect without a body."""
        assert (self.status, self.headers.get("location"), self.body) == (status, place, b"")


@pytest.fixture
def site(basalt):
    made = Site(basalt, WITH_ERROR, listed=True)
    for key in ("index.html", "a.html", "photos/index.html", "error.html", "ü b/index.html"):
        made.put(key)
    return made


def test_a_configuration_comes_back_and_goes(s3, bucket):
    with refused("NoSuchWebsiteConfiguration", 404):
        s3.get_bucket_website(Bucket=bucket)
    rules = [{"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": "documents/"}}]
    for website in (PAGES, {**WITH_ERROR, "RoutingRules": rules}, {"RedirectAllRequestsTo": {"HostName": "example.com"}}):
        s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=website)
        found = s3.get_bucket_website(Bucket=bucket)
        del found["ResponseMetadata"]
        assert found == website
    with refused("InvalidArgument", 400):
        s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "a/b"}})
    assert "RedirectAllRequestsTo" in s3.get_bucket_website(Bucket=bucket)
    s3.delete_bucket_website(Bucket=bucket)
    s3.delete_bucket_website(Bucket=bucket)
    with refused("NoSuchWebsiteConfiguration", 404):
        s3.get_bucket_website(Bucket=bucket)


def test_index_documents(site):
    for path, key in (("/", "index.html"), ("", "index.html"), ("/?list-type=2&versionId=x", "index.html"),
                      ("/a.html", "a.html"), ("/photos/", "photos/index.html"), ("/%C3%BC%20b/", "ü b/index.html")):
        seen = site.ask(path)
        assert (seen.status, seen.body) == (200, key.encode()), path
        assert seen.headers["content-type"] == "text/html" and "etag" in seen.headers
    seen = site.ask("/", "HEAD")
    assert (seen.status, seen.headers["content-length"], seen.body) == (200, "10", b"")


def test_a_folder_is_asked_for_again_with_its_slash(site):
    site.ask("/photos").to(302, "/photos/")
    site.ask("/%C3%BC%20b", "HEAD").to(302, "/%C3%BC%20b/")
    site.put("photos", b"an object of that name counts")
    assert site.ask("/photos").body == b"an object of that name counts"
    assert site.ask("/photos/").body == b"photos/index.html"
    assert site.ask("/nothing").status == 404


def test_a_folder_where_the_public_may_not_list(basalt):
    site = Site(basalt, PAGES)
    site.put("photos/index.html")
    site.ask("/photos").to(302, "/photos/")
    site.ask("/nothing").page(403, "AccessDenied")


def test_the_error_document_has_the_status_of_the_error(site):
    seen = site.ask("/nothing")
    assert (seen.status, seen.body, seen.headers["content-type"]) == (404, b"error.html", "text/html")
    assert seen.headers["x-amz-error-code"] == "NoSuchKey"
    assert site.ask("/nothing", headers={"Range": "bytes=0-1", "If-None-Match": "*"}).body == b"error.html"
    head = site.ask("/nothing", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (404, "10", b"")
    site.s3.delete_object(Bucket=site.name, Key="error.html")
    site.ask("/nothing%3Cx%3E").page(
        404, "NoSuchKey", "<li>Key: nothing&lt;x&gt;</li>", "<li>Key: error.html</li>",
        "An Error Occurred While Attempting to Retrieve a Custom Error Document")
    site.s3.delete_object(Bucket=site.name, Key="index.html")
    site.ask("/").page(404, "NoSuchKey", "<li>Key: index.html</li>")


def test_only_reading(site):
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        seen = site.ask("/a.html", method, body=b"x")
        seen.page(405, "MethodNotAllowed", f"<li>Method: {method}</li>", "<li>ResourceType: OBJECT</li>")
        assert "GET" in seen.headers["allow"]
    assert site.ask("/a.html").body == b"a.html"


def test_ranges_and_conditions(site):
    seen = site.ask("/a.html", headers={"Range": "bytes=2-3"})
    assert (seen.status, seen.body, seen.headers["content-range"]) == (206, b"ht", "bytes 2-3/6")
    etag = seen.headers["etag"]
    seen = site.ask("/a.html", headers={"If-None-Match": etag})
    assert (seen.status, seen.body, seen.headers["etag"]) == (304, b"", etag)
    assert site.ask("/a.html", headers={"If-Match": '"other"'}).status == 412
    assert site.ask("/a.html", headers={"Range": "bytes=9-"}).status == 416
    large = bytes(range(256)) * 4096
    site.put("large", large)
    assert site.ask("/large").body == large


def test_what_is_not_there(basalt):
    site = Site(basalt, None)
    site.ask("/").page(404, "NoSuchWebsiteConfiguration", f"<li>BucketName: {site.name}</li>")
    host = f"not-there-at-all.{DOMAIN}"
    site.ask("/", host=host).page(404, "NoSuchBucket", "<li>BucketName: not-there-at-all</li>")
    head = site.ask("/", "HEAD", host=host)
    assert (head.status, head.headers["x-amz-error-code"], head.body) == (404, "NoSuchBucket", b"")
    site.s3.put_bucket_website(Bucket=site.name, WebsiteConfiguration=PAGES)
    site.ask("/%ff").page(400, "InvalidURI")
    site.ask("/" + "k" * 1025).page(400, "KeyTooLongError")


def test_a_private_bucket_shows_nothing(basalt):
    site = Site(basalt, WITH_ERROR, public=False)
    site.put("index.html")
    site.put("error.html")
    site.put("moved", WebsiteRedirectLocation="/index.html")
    for path in ("/", "/moved", "/nothing", "/error.html"):
        site.ask(path).page(403, "AccessDenied", "Custom Error Document")
    # A signature would not help: nobody is asked for one.
    presigned = site.s3.generate_presigned_url("get_object", Params={"Bucket": site.name, "Key": "index.html"})
    site.ask("/index.html?" + presigned.split("?")[1]).page(403, "AccessDenied")


def test_acls_let_in(open_basalt, one):
    name = f"site{next(_names)}-acl"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_bucket_website(Bucket=name, WebsiteConfiguration=PAGES)
    one.s3.put_object(Bucket=name, Key="index.html", Body=b"open", ACL="public-read")
    one.s3.put_object(Bucket=name, Key="closed", Body=b"closed")
    site = Site(open_basalt, None)
    host = f"{name}.{DOMAIN}"
    assert site.ask("/", host=host).body == b"open"
    site.ask("/closed", host=host).page(403, "AccessDenied")


def test_whoever_asks_pays_nothing_on_a_site(basalt):
    site = Site(basalt, PAGES)
    site.put("index.html")
    site.s3.put_bucket_request_payment(Bucket=site.name, RequestPaymentConfiguration={"Payer": "Requester"})
    site.ask("/").page(403, "AccessDenied")


@pytest.mark.parametrize("public", [True, False])
def test_all_requests_elsewhere(basalt, public):
    site = Site(basalt, {"RedirectAllRequestsTo": {"HostName": "example.com"}}, public)
    site.ask("/").to(301, "http://example.com/")
    site.ask("/a%20b/c?d=e&f").to(301, "http://example.com/a%20b/c?d=e&f")
    secure = {"RedirectAllRequestsTo": {"HostName": "example.com", "Protocol": "https"}}
    site.s3.put_bucket_website(Bucket=site.name, WebsiteConfiguration=secure)
    site.ask("/x", "HEAD").to(301, "https://example.com/x")


def rules(*rules):
    return {**PAGES, "RoutingRules": list(rules)}


def test_rules_about_a_prefix(basalt):
    site = Site(basalt, rules(
        {"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": "documents/"}},
        {"Condition": {"KeyPrefixEquals": "images/"}, "Redirect": {"ReplaceKeyWith": "gone.html", "HttpRedirectCode": "302"}},
        {"Condition": {"KeyPrefixEquals": "secure/"}, "Redirect": {"Protocol": "https"}},
        {"Condition": {"KeyPrefixEquals": "away/"},
         "Redirect": {"HostName": "example.com", "Protocol": "https", "ReplaceKeyPrefixWith": "r?key="}},
    ), listed=True)
    for key in ("index.html", "docs/x", "other"):
        site.put(key)
    name = site.host.split(":")[0]
    assert site.ask("/").status == 200 and site.ask("/other").status == 200
    # Before anything is read: there is such an object.
    site.ask("/docs/x").to(301, f"http://{site.host}/documents/x")
    site.ask("/docs/").to(301, f"http://{site.host}/documents/")
    site.ask("/docs/a%20b").to(301, f"http://{site.host}/documents/a%20b")
    site.ask("/images/a/b").to(302, f"http://{site.host}/gone.html")
    site.ask("/secure/x").to(301, f"https://{name}/secure/x")
    site.ask("/away/p.jpg").to(301, "https://example.com/r?key=p.jpg")
    site.ask("/nothing").page(404, "NoSuchKey")


def test_rules_about_an_error(basalt):
    on_missing = {"HttpErrorCodeReturnedEquals": "404"}
    report = {"HostName": "report.example.com", "ReplaceKeyPrefixWith": "report-404/"}
    site = Site(basalt, rules({"Condition": on_missing, "Redirect": report}), listed=True)
    for key in ("index.html", "x"):
        site.put(key)
    assert site.ask("/x").status == 200
    site.ask("/nothing").to(301, "http://report.example.com/report-404/nothing")
    both = {"Condition": {**on_missing, "KeyPrefixEquals": "images/"}, "Redirect": report}
    site.s3.put_bucket_website(Bucket=site.name, WebsiteConfiguration=rules(both))
    site.ask("/images/x").to(301, "http://report.example.com/report-404/x")
    site.ask("/x/nothing").page(404, "NoSuchKey")
    denied = {"Condition": {"HttpErrorCodeReturnedEquals": "403"}, "Redirect": {"ReplaceKeyWith": "login"}}
    site.s3.put_bucket_website(Bucket=site.name, WebsiteConfiguration=rules(denied))
    site.ask("/nothing").page(404, "NoSuchKey")
    site.s3.delete_bucket_policy(Bucket=site.name)
    site.ask("/x").to(301, f"http://{site.host}/login")


def test_an_object_that_is_elsewhere(site):
    s3, name = site.s3, site.name
    site.put("moved", WebsiteRedirectLocation="/a.html")
    s3.put_object(Bucket=name, Key="far", Body=b"x", WebsiteRedirectLocation="https://example.com/y?z=1")
    s3.copy_object(Bucket=name, Key="copied", CopySource={"Bucket": name, "Key": "a.html"}, WebsiteRedirectLocation="/c")
    upload = s3.create_multipart_upload(Bucket=name, Key="parts", WebsiteRedirectLocation="/p")["UploadId"]
    part = s3.upload_part(Bucket=name, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    s3.complete_multipart_upload(Bucket=name, Key="parts", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    form(site, "formed", {"x-amz-website-redirect-location": "/f"})
    for key, place in (("moved", "/a.html"), ("far", "https://example.com/y?z=1"), ("copied", "/c"), ("parts", "/p"),
                       ("formed", "/f")):
        site.ask(f"/{key}").to(301, place)
        site.ask(f"/{key}", "HEAD").to(301, place)
        # The S3 API gives the object, and says the place.
        assert s3.get_object(Bucket=name, Key=key)["WebsiteRedirectLocation"] == place


def form(site, key, fields):
    """Posts a form as a browser does."""
    conditions = [{name: value} for name, value in fields.items()]
    post = site.s3.generate_presigned_post(site.name, key, Fields=dict(fields), Conditions=conditions)
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
             for name, value in post["fields"].items()]
    parts.append('--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbody\r\n--x--\r\n')
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    seen = site.ask(f"/{site.name}", "POST", f"127.0.0.1:{site.basalt.port}", headers, "".join(parts).encode())
    assert seen.status == 204, seen.body


def test_cross_origin_rules_hold_on_a_site(site):
    rule = {"AllowedOrigins": ["http://a.example"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
    site.s3.put_bucket_cors(Bucket=site.name, CORSConfiguration={"CORSRules": [rule]})
    origin = {"Origin": "http://a.example"}
    assert site.ask("/", headers=origin).headers["access-control-allow-origin"] == "http://a.example"
    preflight = {**origin, "Access-Control-Request-Method": "GET"}
    assert site.ask("/a.html", "OPTIONS", headers=preflight).status == 200
    assert "access-control-allow-origin" not in site.ask("/", headers={"Origin": "http://b.example"}).headers
    assert site.ask("/a.html", "OPTIONS", headers={**preflight, "Origin": "http://b.example"}).status == 403


def test_the_operators_pages_are_not_on_a_site(site):
    assert site.ask("/-/metrics").status == 404
    site.put("-/metrics")
    assert site.ask("/-/metrics").body == b"-/metrics"


def test_domains_of_ones_own(new_basalt):
    options = ["--website-domain", "web.example.com", "--website-domain", "www.example.org"]
    server = new_basalt(drives=1, options=options).start()
    site = Site(server, PAGES)
    site.put("index.html")
    assert site.ask("/", host=f"{site.name.upper()}.WEB.example.com").body == b"index.html"
    # A domain itself is the site of the bucket that has its name.
    site.ask("/", host="www.example.org").page(404, "NoSuchBucket", "<li>BucketName: www.example.org</li>")
    site.name = "www.example.org"
    site.s3.create_bucket(Bucket=site.name)
    site.s3.put_bucket_website(Bucket=site.name, WebsiteConfiguration={"RedirectAllRequestsTo": {"HostName": "example.org"}})
    site.ask("/x", host="www.example.org:80").to(301, "http://example.org/x")
    # What was the default is no website domain any more.
    assert site.ask("/", host=f"{site.name}.{DOMAIN}").headers["content-type"] == "application/xml"
    requests = server.metrics()["basalt_requests_total"]
    assert any('operation="Website"' in labels for labels in requests), requests


def test_a_website_survives_a_restart(new_basalt):
    server = new_basalt(drives=1).start()
    site = Site(server, WITH_ERROR, listed=True)
    site.put("error.html")
    server.stop()
    server.start()
    seen = site.ask("/")
    assert (seen.status, seen.body) == (404, b"error.html")
    assert json.loads(server.s3().get_bucket_policy(Bucket=site.name)["Policy"])["Statement"]
