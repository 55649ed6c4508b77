"""Access logs: who may be their target, what stands in a line, where and when lines are delivered, and where not.

Lines are read as those who evaluate logs of AWS read them: by the expression that AWS documents for it.
"""
import http.client
import itertools
import re
import socket
import urllib.parse

import pytest

from .errors import refused
from .identities import account, allow, anonymous, deny, objects, policy, statement
from .waiting import until

SERVICE = {"Service": "logging.s3.amazonaws.com"}
FIELDS = ("owner bucket time ip requester request_id operation key uri status error sent size total turn referer agent "
          "version host_id signature cipher auth host tls access_point acl").split()
LINE = re.compile(
    r'([^ ]+) ([^ ]+) \[([^\]]+)\] ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) "([^"]*)" (-|\d+) ([^ ]+) (-|\d+) (-|\d+) (-|\d+) '
    r'(-|\d+) "([^"]*)" "([^"]*)" ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)')
WAIT = 60
_names = itertools.count()


class Line:
    def __init__(self, text):
        found = LINE.fullmatch(text)
        assert found, text
        vars(self).update(zip(FIELDS, found.groups()))
        self.text = text

    def __repr__(self):
        return self.text


class Logged:
    """A bucket with a log, and the bucket where that goes."""

    def __init__(self, basalt, s3=None, lets_in=True, logging=None, target=None):
        self.basalt, self.s3 = basalt, s3 or basalt.s3()
        number = next(_names)
        self.name, self.target = f"source{number}", target or f"logs{number}"
        self.s3.create_bucket(Bucket=self.name)
        if not target:
            self.s3.create_bucket(Bucket=self.target)
        if lets_in:
            self.let_in()
        self.log(**(logging or {}))

    def let_in(self, **condition):
        rule = statement("Allow", "s3:PutObject", objects(self.target), Principal=SERVICE)
        self.s3.put_bucket_policy(Bucket=self.target, Policy=policy({**rule, **condition}))

    def log(self, prefix="log/", **more):
        target = {"TargetBucket": self.target, "TargetPrefix": prefix, **more}
        self.s3.put_bucket_logging(Bucket=self.name, BucketLoggingStatus={"LoggingEnabled": target})

    def keys(self, prefix="log/"):
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=self.target, Prefix=prefix).get("Contents", [])]

    def lines(self, prefix="log/"):
        bodies = [self.s3.get_object(Bucket=self.target, Key=key)["Body"].read() for key in self.keys(prefix)]
        assert all(body.endswith(b"\n") for body in bodies), bodies
        return [Line(text) for body in bodies for text in body.decode("ascii").splitlines()]

    def wait(self, operation, count=1, prefix="log/", **fields):
        """The lines of an operation, when there are that many."""
        def found():
            lines = [line for line in self.lines(prefix) if line.operation == operation
                     and all(getattr(line, name) == value for name, value in fields.items())]
            return lines if len(lines) >= count else None
        lines = until(found, WAIT, f"{count} lines of {operation} {fields}")
        assert len(lines) == count, lines
        return lines

    def one(self, operation, **fields):
        return self.wait(operation, **fields)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from .conftest import serve
    yield from serve(tmp_path_factory.mktemp("logs"), options=["--access-log-seconds", "1", "--new-buckets", "open"])


@pytest.fixture
def basalt(server):
    from .conftest import watched
    yield from watched(server)


@pytest.fixture
def logged(basalt):
    return Logged(basalt)


@pytest.fixture
def bucket(basalt):
    name = f"plain{next(_names)}"
    basalt.s3().create_bucket(Bucket=name)
    return name


def lines_by_outcome(basalt, outcome):
    samples = basalt.metrics()["basalt_access_log_lines_total"]
    return sum(value for labels, value in samples.items() if f'outcome="{outcome}"' in labels)


# ---- Setting it up ----

def test_a_configuration_comes_back_and_goes(basalt):
    made = Logged(basalt)
    s3, name = made.s3, made.name
    owner = s3.list_buckets()["Owner"]["ID"]
    grants = [{"Grantee": {"Type": "CanonicalUser", "ID": owner}, "Permission": "FULL_CONTROL"},
              {"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}, "Permission": "READ"}]
    for more in ({}, {"TargetGrants": grants}, {"TargetObjectKeyFormat": {"SimplePrefix": {}}},
                 {"TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}},
                 {"TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}}}):
        made.log(prefix="", **more)
        found = s3.get_bucket_logging(Bucket=name)["LoggingEnabled"]
        assert found == {"TargetBucket": made.target, "TargetPrefix": "", **more}
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=name)


def test_who_may_not_be_a_target(basalt, bucket):
    s3, other = basalt.s3(), account(basalt)
    theirs = f"theirs{next(_names)}"
    other.s3.create_bucket(Bucket=theirs)

    def put(code, target, **more):
        with refused(code, 400):
            enabled = {"TargetBucket": target, "TargetPrefix": "p", **more}
            s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": enabled})

    put("InvalidTargetBucketForLogging", "not-there-at-all")
    put("InvalidTargetBucketForLogging", theirs)
    # ACLs count here, and neither they nor a policy lets logs in.
    put("InvalidTargetBucketForLogging", bucket)
    s3.put_bucket_acl(Bucket=bucket, ACL="log-delivery-write")
    put("InvalidArgument", bucket, TargetPrefix="p" * 801)
    nobody = {"Grantee": {"Type": "CanonicalUser", "ID": "nobody"}, "Permission": "READ"}
    put("InvalidArgument", bucket, TargetGrants=[nobody])
    closed = f"closed{next(_names)}"
    s3.create_bucket(Bucket=closed, ObjectOwnership="BucketOwnerEnforced")
    someone = {"Grantee": {"Type": "CanonicalUser", "ID": other.canonical}, "Permission": "READ"}
    put("AccessControlListNotSupported", closed, TargetGrants=[someone])
    with refused("NoSuchBucket", 404):
        enabled = {"TargetBucket": bucket, "TargetPrefix": "p"}
        s3.put_bucket_logging(Bucket="not-there-at-all", BucketLoggingStatus={"LoggingEnabled": enabled})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "p"}})


def test_who_may_not_set_it_up(basalt, logged):
    user = account(basalt).user(allow("s3:*"))
    with refused("AccessDenied", 403):
        user.s3.put_bucket_logging(Bucket=logged.name, BucketLoggingStatus={})
    with refused("AccessDenied", 403):
        user.s3.get_bucket_logging(Bucket=logged.name)
    line = logged.one("REST.PUT.LOGGING_STATUS", status="403")
    assert (line.error, line.requester) == ("AccessDenied", user.arn)


# ---- What stands in a line ----

def test_every_field(basalt, logged):
    s3, name = logged.s3, logged.name
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=name, Key="a b/ü\n", Body=b"x" * 100)["VersionId"]
    key = "a%20b/%C3%BC%0A"
    owner = s3.list_buckets()["Owner"]["ID"]
    with basalt.wire() as wire:
        headers = {"range": "bytes=0-9", "referer": "http://from/", "user-agent": 'an "agent" 1'}
        answer = wire.request("GET", f"/{name}/{key}", [("versionId", version)], headers)
        assert answer.status == 206
    line = logged.one("REST.GET.OBJECT")
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", line.time)
    assert (line.owner, line.bucket, line.ip, line.requester) == (owner, name, "127.0.0.1", owner)
    assert (line.key, line.uri) == (key, f"GET /{name}/{key}?versionId={version} HTTP/1.1")
    assert (line.status, line.error, line.sent, line.size) == ("206", "-", "10", "100")
    assert int(line.total) >= int(line.turn) >= 0
    assert (line.referer, line.agent, line.version) == ("http://from/", "an %22agent%22 1", version)
    assert (line.request_id, line.host_id) == (answer.headers["x-amz-request-id"], answer.headers["x-amz-id-2"])
    assert (line.signature, line.auth, line.host) == ("SigV4", "AuthHeader", f"127.0.0.1:{basalt.port}")
    assert (line.cipher, line.tls, line.access_point, line.acl) == ("-",) * 4
    put = logged.one("REST.PUT.OBJECT")
    assert (put.key, put.size, put.version, put.sent, put.status) == (key, "100", version, "-", "200")
    assert logged.one("REST.PUT.VERSIONING").key == "-"


def test_the_operations(logged):
    s3, name = logged.s3, logged.name
    assert s3.get_bucket_logging(Bucket=name)["LoggingEnabled"]["TargetBucket"] == logged.target
    s3.put_object(Bucket=name, Key="k", Body=b"body")
    s3.head_object(Bucket=name, Key="k")
    s3.list_objects_v2(Bucket=name)
    s3.get_object_tagging(Bucket=name, Key="k")
    s3.get_bucket_location(Bucket=name)
    upload = s3.create_multipart_upload(Bucket=name, Key="m")["UploadId"]
    part = s3.upload_part(Bucket=name, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    s3.delete_object(Bucket=name, Key="k")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=name, Key="k")
    assert logged.one("REST.GET.OBJECT").error == "NoSuchKey"
    head = logged.one("REST.HEAD.OBJECT")
    assert (head.key, head.size, head.sent) == ("k", "4", "-")
    for operation, key in (("REST.GET.BUCKET", "-"), ("REST.GET.OBJECT_TAGGING", "k"), ("REST.GET.LOCATION", "-"),
                           ("REST.POST.UPLOADS", "m"), ("REST.PUT.PART", "m"), ("REST.POST.UPLOAD", "m"),
                           ("REST.DELETE.OBJECT", "k"), ("REST.PUT.OBJECT", "k")):
        line = logged.one(operation)
        assert (line.key, line.error) == (key, "-"), line
    assert int(logged.one("REST.GET.BUCKET").sent) > 100


def test_a_large_answer_is_logged_at_its_end(logged):
    size = 3 << 20
    logged.s3.put_object(Bucket=logged.name, Key="large", Body=bytes(size))
    assert len(logged.s3.get_object(Bucket=logged.name, Key="large")["Body"].read()) == size
    line = logged.one("REST.GET.OBJECT")
    assert (line.sent, line.size) == (str(size), str(size))
    assert logged.one("REST.PUT.OBJECT").size == str(size)


def test_an_answer_that_is_broken_off(basalt, logged):
    size = 64 << 20
    logged.s3.put_object(Bucket=logged.name, Key="large", Body=bytes(size))
    url = logged.s3.generate_presigned_url("get_object", Params={"Bucket": logged.name, "Key": "large"})
    with socket.create_connection(("127.0.0.1", basalt.port), timeout=60) as raw:
        path = url[url.index(f"/{logged.name}"):]
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{basalt.port}\r\n\r\n".encode())
        assert raw.recv(1 << 16).startswith(b"HTTP/1.1 200")
    line = logged.one("REST.GET.OBJECT")
    assert (line.status, line.size) == ("200", str(size)) and 0 < int(line.sent) < size


def test_what_has_not_changed_is_no_error(logged):
    s3, name = logged.s3, logged.name
    etag = s3.put_object(Bucket=name, Key="k", Body=b"v")["ETag"]
    with refused(None, 304):
        s3.get_object(Bucket=name, Key="k", IfNoneMatch=etag)
    line = logged.one("REST.GET.OBJECT")
    assert (line.status, line.error, line.sent) == ("304", "-", "-")


def test_a_batch_has_a_line_for_each_key(logged):
    s3, name = logged.s3, logged.name
    keys = [f"k{n}" for n in range(100)] + ["ü ü"]
    s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in keys]})
    lines = logged.wait("BATCH.DELETE.OBJECT", len(keys))
    assert {line.key for line in lines} == {urllib.parse.quote(key) for key in keys}
    assert {line.status for line in lines} == {"204"}
    whole = logged.one("REST.POST.MULTI_OBJECT_DELETE")
    assert (whole.key, whole.status) == ("-", "200")
    assert {line.request_id for line in lines} == {whole.request_id}
    user = account(logged.basalt).user(allow("s3:*"))
    s3.put_bucket_policy(Bucket=name, Policy=policy(
        allow("s3:DeleteObject", f"arn:aws:s3:::{name}/may/*", Principal={"AWS": user.arn})))
    user.s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "may/x"}, {"Key": "not/x"}]})
    denied = logged.one("BATCH.DELETE.OBJECT", status="403")
    assert (denied.key, denied.error, denied.requester) == ("not/x", "AccessDenied", user.arn)
    logged.one("BATCH.DELETE.OBJECT", key="may/x", status="204")


def test_a_copy_is_also_in_the_log_of_its_source(basalt, logged, bucket):
    s3, source = logged.s3, {"Bucket": logged.name, "Key": "from"}
    s3.put_object(Bucket=logged.name, Key="from", Body=b"0123456789")
    # Whether the other bucket has a log does not matter.
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source)
    line = logged.one("REST.COPY.OBJECT_GET")
    assert (line.bucket, line.key, line.size, line.status) == (logged.name, "from", "10", "200")
    assert f"PUT /{bucket}/to" in line.uri
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    s3.upload_part_copy(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, CopySource=source)
    assert logged.one("REST.COPY.PART_GET").key == "from"
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={**source, "Key": "missing"})
    assert logged.one("REST.COPY.OBJECT_GET", key="missing").error == "NoSuchKey"
    s3.put_object(Bucket=logged.name, Key="tagged", Body=b"v", Tagging="a=b")
    reader = account(basalt).user(allow("s3:*"))
    s3.put_bucket_policy(Bucket=logged.name, Policy=policy(
        allow("s3:GetObject", f"arn:aws:s3:::{logged.name}/*", Principal={"AWS": reader.arn})))
    reader.s3.create_bucket(Bucket="of-the-reader")
    with refused("AccessDenied", 403):
        reader.s3.copy_object(Bucket="of-the-reader", Key="to", CopySource={**source, "Key": "tagged"})
    assert logged.one("REST.COPY.OBJECT_GET", key="tagged").error == "AccessDenied"
    s3.copy_object(Bucket=logged.name, Key="here", CopySource=source)
    line = logged.one("REST.COPY.OBJECT")
    assert (line.key, line.size, line.error) == ("here", "10", "-")
    logged.wait("REST.COPY.OBJECT_GET", 2, key="from")


def test_how_requests_are_signed(basalt, logged):
    s3, name = logged.s3, logged.name
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    with basalt.wire() as wire:
        assert wire.presigned("GET", f"/{name}/k").status == 200
        assert wire.request("GET", f"/{name}/k", secret_key="wrong").code == "SignatureDoesNotMatch"
        assert wire.request("GET", f"/{name}/k", access_key="AKIANOBODY0000000000").code == "InvalidAccessKeyId"
        assert wire.request("BREW", f"/{name}/k").status == 405
        assert wire.request("OPTIONS", f"/{name}/k").status == 400
    with refused("AccessDenied", 403):
        anonymous(basalt).get_object(Bucket=name, Key="k")
    assert logged.one("REST.GET.OBJECT", auth="QueryString").status == "200"
    for error in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied"):
        line = logged.one("REST.GET.OBJECT", error=error)
        assert (line.status, line.requester, line.signature, line.auth) == ("403", "-", "-", "-")
    assert logged.one("REST.BREW.OBJECT").error == "MethodNotAllowed"
    assert logged.one("REST.OPTIONS.PREFLIGHT").error == "BadRequest"


def test_a_form(logged):
    s3, name = logged.s3, logged.name
    post = s3.generate_presigned_post(name, "formed")
    parts = [f'--x\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
             for field, value in post["fields"].items()]
    parts.append('--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbody\r\n--x--\r\n')
    connection = http.client.HTTPConnection("127.0.0.1", logged.basalt.port, timeout=60)
    connection.request("POST", f"/{name}", "".join(parts), {"Content-Type": "multipart/form-data; boundary=x"})
    assert connection.getresponse().status == 204
    connection.close()
    line = logged.one("REST.POST.OBJECT")
    assert (line.key, line.size, line.requester) == ("formed", "4", s3.list_buckets()["Owner"]["ID"])


def test_a_site(basalt, logged):
    s3, name = logged.s3, logged.name
    s3.put_bucket_website(Bucket=name, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
    s3.put_bucket_policy(Bucket=name, Policy=policy(allow("s3:GetObject", objects(name), Principal="*")))
    s3.put_object(Bucket=name, Key="index.html", Body=b"hello")
    connection = http.client.HTTPConnection("127.0.0.1", basalt.port, timeout=60)
    for path, status in (("/", 200), ("/%C3%BC%20b", 403)):
        connection.request("GET", path, headers={"Host": f"{name}.s3-website.localhost"})
        answer = connection.getresponse()
        assert answer.read() and answer.status == status
    connection.close()
    line = logged.one("WEBSITE.GET.OBJECT", status="200")
    assert line.key == "index.html"
    assert (line.uri, line.sent, line.requester, line.auth) == ("GET / HTTP/1.1", "5", "-", "-")
    assert line.host == f"{name}.s3-website.localhost"
    denied = logged.one("WEBSITE.GET.OBJECT", status="403")
    assert (denied.key, denied.error) == ("%C3%BC%20b", "AccessDenied")


def test_whether_an_acl_was_needed(basalt, logged):
    s3, name = logged.s3, logged.name
    for key in ("by-acl", "by-policy"):
        s3.put_object(Bucket=name, Key=key, Body=b"v", ACL="public-read")
    s3.put_bucket_policy(Bucket=name, Policy=policy(
        allow("s3:GetObject", f"arn:aws:s3:::{name}/by-policy", Principal="*")))
    for key in ("by-acl", "by-policy"):
        anonymous(basalt).get_object(Bucket=name, Key=key)
    assert logged.one("REST.GET.OBJECT", key="by-acl").acl == "Yes"
    assert logged.one("REST.GET.OBJECT", key="by-policy").acl == "-"
    assert logged.one("REST.PUT.OBJECT", key="by-acl").acl == "-"


def test_no_client_writes_a_line_of_its_own(basalt, logged):
    forged = 'x" 200 - - - - - "-" "-"'
    with basalt.wire() as wire:
        path = "/" + logged.name + "/" + urllib.parse.quote("k\nOWNER bucket [now] forged", safe="")
        wire.request("PUT", path, headers={"user-agent": forged, "referer": forged + "\t"}, body=b"v")
    line = logged.one("REST.PUT.OBJECT")
    assert line.key == "k%0AOWNER%20bucket%20%5Bnow%5D%20forged"
    assert line.agent == forged.replace('"', "%22") and line.referer == line.agent


# ---- Where and when it is delivered ----

def test_log_objects(logged):
    s3 = logged.s3
    s3.head_bucket(Bucket=logged.name)
    logged.one("REST.HEAD.BUCKET")
    for key in logged.keys():
        assert re.fullmatch(r"log/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}", key), key
        found = s3.head_object(Bucket=logged.target, Key=key)
        assert found["ContentType"] == "text/plain"
        acl = s3.get_object_acl(Bucket=logged.target, Key=key)
        assert acl["Owner"]["ID"] == s3.list_buckets()["Owner"]["ID"]
        assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"]


@pytest.mark.parametrize("source", ["EventTime", "DeliveryTime"])
def test_partitioned_keys(basalt, source):
    other = account(basalt)
    form = {"PartitionedPrefix": {"PartitionDateSource": source}}
    logged = Logged(basalt, other.s3, logging={"TargetObjectKeyFormat": form})
    other.s3.head_bucket(Bucket=logged.name)
    logged.one("REST.HEAD.BUCKET")
    clock = "00-00-00" if source == "EventTime" else r"\d\d-\d\d-\d\d"
    for key in logged.keys():
        place = rf"log/{other.id}/us-east-1/{logged.name}/(\d{{4}})/(\d\d)/(\d\d)/(\d{{4}})-(\d\d)-(\d\d)-{clock}-[0-9A-F]{{16}}"
        found = re.fullmatch(place, key)
        assert found and found.groups()[:3] == found.groups()[3:], key


def test_grants_of_log_objects(basalt):
    other = account(basalt)
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": other.canonical}, "Permission": "READ"}
    logged = Logged(basalt, logging={"TargetGrants": [grant]})
    logged.s3.head_bucket(Bucket=logged.name)
    logged.one("REST.HEAD.BUCKET")
    key = logged.keys()[0]
    assert b"REST." in other.s3.get_object(Bucket=logged.target, Key=key)["Body"].read()
    with refused("AccessDenied", 403):
        account(basalt).s3.get_object(Bucket=logged.target, Key=key)


def test_an_acl_lets_logs_in(basalt):
    s3 = basalt.s3()
    target = f"by-acl{next(_names)}"
    s3.create_bucket(Bucket=target, ACL="log-delivery-write")
    logged = Logged(basalt, lets_in=False, target=target)
    s3.head_bucket(Bucket=logged.name)
    logged.one("REST.HEAD.BUCKET")


def test_nothing_is_delivered_without_permission(basalt):
    s3 = basalt.s3()
    target = f"closed{next(_names)}"
    s3.create_bucket(Bucket=target, ObjectOwnership="BucketOwnerEnforced")
    denied = lines_by_outcome(basalt, "denied")
    logged = Logged(basalt, lets_in=False, target=target)
    s3.list_objects_v2(Bucket=logged.name)
    until(lambda: lines_by_outcome(basalt, "denied") > denied, WAIT, "lines to be denied")
    assert logged.keys("") == []
    assert "may not be delivered" in basalt.text() and target in basalt.text()
    # From now on they may: for this bucket of this account alone.
    about = {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{logged.name}"},
             "StringEquals": {"aws:SourceAccount": account_of(s3, basalt)}, "Bool": {"aws:SecureTransport": "true"}}
    logged.let_in(Condition=about)
    s3.head_bucket(Bucket=logged.name)
    logged.one("REST.HEAD.BUCKET")
    assert not [line for line in logged.lines() if line.operation == "REST.GET.BUCKET"]
    stranger = Logged(basalt, lets_in=False, target=target, logging={"prefix": "other/"})
    denied = lines_by_outcome(basalt, "denied")
    s3.head_bucket(Bucket=stranger.name)
    until(lambda: lines_by_outcome(basalt, "denied") > denied, WAIT, "lines to be denied")
    assert stranger.keys("other/") == []


def account_of(s3, basalt):
    import boto3
    sts = boto3.client("sts", endpoint_url=basalt.endpoint, region_name="us-east-1",
                       aws_access_key_id=basalt.access_key, aws_secret_access_key=basalt.secret_key)
    return sts.get_caller_identity()["Account"]


def test_a_deny_and_a_bucket_of_somebody_else(basalt, logged):
    s3 = logged.s3
    s3.head_bucket(Bucket=logged.name)
    logged.one("REST.HEAD.BUCKET")
    s3.put_bucket_policy(Bucket=logged.target, Policy=policy(
        allow("s3:PutObject", objects(logged.target), Principal=SERVICE),
        deny("s3:PutObject", objects(logged.target), Principal="*")))
    denied = lines_by_outcome(basalt, "denied")
    s3.list_objects_v2(Bucket=logged.name)
    until(lambda: lines_by_outcome(basalt, "denied") > denied, WAIT, "lines to be denied")
    for key in logged.keys(""):
        s3.delete_object(Bucket=logged.target, Key=key)
    s3.delete_bucket(Bucket=logged.target)
    other = account(basalt)
    other.s3.create_bucket(Bucket=logged.target)
    other.s3.put_bucket_policy(Bucket=logged.target, Policy=policy(
        allow("s3:PutObject", objects(logged.target), Principal=SERVICE)))
    denied = lines_by_outcome(basalt, "denied")
    s3.list_objects_v2(Bucket=logged.name)
    until(lambda: lines_by_outcome(basalt, "denied") > denied, WAIT, "lines to be denied")
    assert "Contents" not in other.s3.list_objects_v2(Bucket=logged.target)


def test_a_bucket_may_log_into_itself(basalt):
    s3 = basalt.s3()
    name = f"itself{next(_names)}"
    s3.create_bucket(Bucket=name, ACL="log-delivery-write")
    enabled = {"TargetBucket": name, "TargetPrefix": "log/"}
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={"LoggingEnabled": enabled})
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    logged = Logged(basalt, lets_in=False, target=name, logging={"prefix": "other/"})
    puts = lambda: [line for line in logged.lines("log/") if line.operation == "REST.PUT.OBJECT"]
    until(puts, WAIT, "the line of the PUT")
    # Deliveries are no requests: no log of them is kept.
    assert [line.key for line in puts()] == ["k"]


def test_turned_off(logged):
    s3, name = logged.s3, logged.name
    s3.head_bucket(Bucket=name)
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={})
    s3.list_objects_v2(Bucket=name)
    # What came before goes where it was sent.
    logged.one("REST.HEAD.BUCKET")
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    other = Logged(logged.basalt, target=logged.target, logging={"prefix": "other/"})
    s3.head_bucket(Bucket=other.name)
    other.one("REST.HEAD.BUCKET", prefix="other/")
    assert not [line for line in logged.lines() if line.operation in ("REST.GET.BUCKET", "REST.PUT.OBJECT")]


def test_a_stop_delivers(new_basalt):
    server = new_basalt(drives=1).start()
    logged = Logged(server)
    for _ in range(20):
        with server.wire() as wire:
            wire.get(logged.name, "nothing").expect(404, "NoSuchKey")
    assert server.metrics()["basalt_access_log_buffered_bytes"][""] > 0
    assert logged.keys() == []
    server.stop()
    server.start()
    logged.s3 = server.s3()
    logged.wait("REST.GET.OBJECT", 20)


def test_many_lines_do_not_wait(new_basalt):
    few = ["--memory", "128MiB", "--cores", "1", "--access-log-seconds", "86400"]
    server = new_basalt(drives=1, options=few).start()
    logged = Logged(server)
    with server.wire() as wire:
        for _ in range(200):
            wire.request("GET", f"/{logged.name}/nothing", [("x-long", "q" * 8000)]).expect(404, "NoSuchKey")
    until(lambda: len(logged.keys()) >= 3, WAIT, "full log objects")
    lines = logged.lines()
    assert lines and all(line.status in ("404", "200") for line in lines)
    metrics = server.metrics()
    assert metrics["basalt_access_log_objects_total"][""] >= 3
    # Nothing was lost on the way: what was not delivered is waiting.
    assert lines_by_outcome(server, "dropped") == 0 and lines_by_outcome(server, "delivered") == len(lines)


def test_values_that_cannot_work(new_basalt):
    for bad in ("0", "86401", "x"):
        status, said = new_basalt(drives=1, options=["--access-log-seconds", bad]).refused()
        assert status == 2 and "access-log-seconds" in said


def test_what_lifecycle_removes_is_logged(new_basalt):
    server = new_basalt(options=["--access-log-seconds", "1", "--lifecycle-day", "1"]).start()
    logged, quiet = Logged(server), f"quiet{next(_names)}"
    s3, name = logged.s3, logged.name
    s3.create_bucket(Bucket=quiet)
    s3.put_object(Bucket=name, Key="plain", Body=b"12345")
    s3.put_object(Bucket=name, Key="stays", Body=b"12345")
    s3.create_multipart_upload(Bucket=name, Key="upload")
    rules = [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 1}} for prefix in ("plain", "ver")]
    rules[1] |= {"ID": "b", "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    rules.append({"ID": "c", "Status": "Enabled", "Filter": {"Prefix": "up"},
                  "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})
    for bucket in (name, quiet):
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    removed, aborted = logged.one("S3.EXPIRE.OBJECT"), logged.one("S3.DELETE.UPLOAD")
    assert (removed.key, removed.size, removed.version) == ("plain", "5", "-")
    assert (aborted.key, aborted.size) == ("upload", "-")
    for line in (removed, aborted):
        assert (line.requester, line.ip, line.uri, line.status, line.total, line.host) == ("AmazonS3", "-", "-", "-", "-", "-")
        assert line.bucket == name and line.request_id != "-"
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=name, Key="versioned", Body=b"123")["VersionId"]
    marked = logged.one("S3.CREATE.DELETEMARKER")
    assert (marked.key, marked.size) == ("versioned", "-") and marked.version not in ("-", version)
    assert logged.one("S3.EXPIRE.OBJECT", key="versioned", version=version).size == "3"
    marker = logged.one("S3.EXPIRE.OBJECT", key="versioned", version=marked.version)
    assert marker.size == "-", "the marker goes when it is alone"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=name)["Contents"]] == ["stays"]
