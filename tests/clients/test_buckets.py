"""Buckets: making, finding, listing and removing them, their names, and what is not built."""
import threading

import pytest
from botocore.exceptions import ClientError

from .errors import refused
from .process import DOMAIN, STYLE

GOOD_NAMES = ["abc", "a" * 63, "with-dashes-1", "with.dots.2", "0starts-with-digit"]
BAD_NAMES = ["ab", "a" * 64, "Upper", "under_score", "two..dots", "-dash", "dash-", ".dot", "192.168.0.1", "a.-b"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_bucket_comes_and_goes(basalt, s3, name):
    s3.create_bucket(Bucket=name)
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    assert s3.get_object(Bucket=name, Key="k")["Body"].read() == b"v"
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    with refused(None, 404):
        s3.head_bucket(Bucket=name)
    assert name not in [b["Name"] for b in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused(wire, name):
    wire.request("PUT", f"/{name}").expect(400, "InvalidBucketName")


def test_a_bucket_made_again_is_the_same_bucket(s3, bucket):
    """As in us-east-1; what becomes of its ACL is told in test_acl."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    s3.create_bucket(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"


def test_a_bucket_that_holds_something_stays(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"


def test_nothing_works_in_a_bucket_that_is_not_there(basalt, s3):
    missing = dict(Bucket="not-there")
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(**missing)
    with refused("NoSuchBucket", 404):
        s3.get_bucket_location(**missing)
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(**missing)
    with refused("NoSuchBucket", 404):
        s3.put_object(**missing, Key="k", Body=b"v")
    with refused("NoSuchBucket", 404):
        s3.get_object(**missing, Key="k")
    with refused("NoSuchBucket", 404):
        s3.delete_object(**missing, Key="k")
    with refused("NoSuchBucket", 404):
        s3.create_multipart_upload(**missing, Key="k")
    with refused(None, 404):
        s3.head_object(**missing, Key="k")


def test_location_is_the_region(s3, bucket):
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] in (None, "us-east-1")
    for place, code in (("eu-west-1", "IllegalLocationConstraintException"), ("nowhere", "InvalidLocationConstraint")):
        with refused(code, 400):
            s3.create_bucket(Bucket=bucket + "-far", CreateBucketConfiguration={"LocationConstraint": place})
    with refused(None, 404):
        s3.head_bucket(Bucket=bucket + "-far")


def test_a_client_in_the_wrong_region_finds_the_bucket(basalt, s3, bucket):
    """The SDK looks for the region in the document of an error, and where there is none, in a header."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    for call, more in (("head_object", {"Key": "k"}), ("head_bucket", {}), ("get_object", {"Key": "k"}), ("list_objects_v2", {})):
        lost = basalt.s3(region="eu-central-1")
        assert getattr(lost, call)(Bucket=bucket, **more)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_whoever_asks_for_a_bucket_is_told_its_region(basalt, s3, wire, bucket):
    region = lambda answer: (answer.status, answer.headers.get("x-amz-bucket-region"))
    host = {"host": wire.host}
    assert region(wire.send("HEAD", f"/{bucket}", host)) == (403, "us-east-1")
    assert region(wire.send("HEAD", f"/{bucket}-none", host)) == (404, None)
    for query in ([], [("list-type", "2")]):
        assert region(wire.request("GET", f"/{bucket}", query)) == (200, "us-east-1")


def test_buckets_are_listed_in_order_with_their_dates_and_owner(s3, bucket):
    for name in ("zz-last", "aa-first"):
        s3.create_bucket(Bucket=name)
    answer = s3.list_buckets()
    names = [b["Name"] for b in answer["Buckets"]]
    assert names == sorted(names) and {"zz-last", "aa-first", bucket} <= set(names)
    assert all(b["CreationDate"].year >= 2024 for b in answer["Buckets"])
    assert answer["Owner"]["ID"]


def test_buckets_are_listed_by_page_and_prefix(basalt, s3):
    wanted = [f"page-{n:02}" for n in range(7)]
    for name in wanted:
        s3.create_bucket(Bucket=name)
    found, more = [], {}
    while True:
        answer = s3.list_buckets(Prefix="page-", MaxBuckets=3, **more)
        assert len(answer["Buckets"]) <= 3
        found += [b["Name"] for b in answer["Buckets"]]
        if "ContinuationToken" not in answer:
            break
        more = dict(ContinuationToken=answer["ContinuationToken"])
    assert found == wanted


def test_buckets_are_listed_with_their_region_where_a_parameter_is_given(s3, bucket):
    def regions(**asked):
        return {b.get("BucketRegion") for b in s3.list_buckets(**asked)["Buckets"] if b["Name"].startswith(bucket)}
    s3.create_bucket(Bucket=f"{bucket}-z")
    assert regions() == {None}
    for asked in ({"Prefix": bucket}, {"Prefix": ""}, {"BucketRegion": "us-east-1"}, {"MaxBuckets": 10000}):
        assert regions(**asked) == {"us-east-1"}, asked
    first = s3.list_buckets(Prefix=bucket, MaxBuckets=1)
    assert regions(ContinuationToken=first["ContinuationToken"]) == {"us-east-1"}
    assert regions(BucketRegion="eu-west-1") == set()


def test_a_bucket_is_reached_by_its_own_host_name(basalt):
    s3 = basalt.s3(style="virtual")
    s3.create_bucket(Bucket="by-host-name")
    s3.put_object(Bucket="by-host-name", Key="a/ä b+c", Body=b"v" * 70000, Metadata={"m": "1"})
    answer = s3.get_object(Bucket="by-host-name", Key="a/ä b+c")
    assert answer["Body"].read() == b"v" * 70000 and answer["Metadata"] == {"m": "1"}
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="by-host-name")["Contents"]] == ["a/ä b+c"]
    by_path = basalt.s3()
    assert by_path.head_object(Bucket="by-host-name", Key="a/ä b+c")["ContentLength"] == 70000
    s3.delete_objects(Bucket="by-host-name", Delete={"Objects": [{"Key": "a/ä b+c"}]})
    s3.delete_bucket(Bucket="by-host-name")


def test_keys_of_a_host_may_begin_as_the_pages_of_the_operator_do(basalt, s3, bucket):
    by_host = basalt.s3(style="virtual")
    by_host.put_object(Bucket=bucket, Key="-/metrics", Body=b"mine")
    assert by_host.get_object(Bucket=bucket, Key="-/metrics")["Body"].read() == b"mine"
    assert s3.get_object(Bucket=bucket, Key="-/metrics")["Body"].read() == b"mine"
    assert basalt.health("live") == 200


def test_a_refused_deletion_does_not_make_writers_believe_that_the_bucket_is_gone(basalt, s3, bucket):
    s3.put_object(Bucket=bucket, Key="keep", Body=b"k")
    seen, over = set(), threading.Event()

    def write(number):
        client = basalt.s3()
        while not over.is_set():
            try:
                client.put_object(Bucket=bucket, Key=f"w{number}", Body=b"v")
                seen.add("OK")
            except ClientError as error:
                seen.add(error.response["Error"]["Code"])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    [writer.start() for writer in writers]
    try:
        for _ in range(100):
            with refused("BucketNotEmpty", 409):
                s3.delete_bucket(Bucket=bucket)
    finally:
        over.set()
        [writer.join() for writer in writers]
    assert seen <= {"OK", "SlowDown"}, seen


def test_what_is_not_built_says_so(s3, bucket):
    """Nothing is accepted and then ignored."""
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""},
            "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}
    calls = [
        lambda: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}),
        lambda: s3.put_bucket_accelerate_configuration(
            Bucket=bucket, AccelerateConfiguration={"Status": "Enabled"}),
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"v", ServerSideEncryption="AES256"),
        lambda: s3.select_object_content(
            Bucket=bucket, Key="k", Expression="SELECT 1", ExpressionType="SQL",
            InputSerialization={"CSV": {}}, OutputSerialization={"CSV": {}}),
    ]
    for call in calls:
        with refused("NotImplemented", 501):
            call()
    with refused(None, 404):
        s3.head_object(Bucket=bucket, Key="k")


def test_errors_have_the_body_of_s3(wire, bucket):
    answer = wire.get(bucket, "missing/<&>").expect(404, "NoSuchKey")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.headers["x-amz-request-id"]
    for part in (b"<Message>", b"<Resource>", b"<RequestId>", b"missing/&lt;&amp;&gt;"):
        assert part in answer.body, answer.body
    head = wire.request("HEAD", f"/{bucket}/missing")
    assert (head.status, head.body) == (404, b"")


def test_requests_go_where_the_style_of_the_run_says(basalt, s3, bucket):
    """BASALT_STYLE decides for all suites; each of the two is also asked for by name."""
    for style, client in ((STYLE, s3), ("path", basalt.s3(style="path")), ("virtual", basalt.s3(style="virtual"))):
        seen = []
        client.meta.events.register("before-send.s3.PutObject", lambda request, **_: seen.append(request.url))
        client.put_object(Bucket=bucket, Key="a/b c", Body=style.encode())
        host = {"path": "127.0.0.1", "virtual": f"{bucket}.{DOMAIN}"}[style]
        path = {"path": f"/{bucket}/a/b%20c", "virtual": "/a/b%20c"}[style]
        assert seen[0].split("?")[0] == f"http://{host}:{basalt.port}{path}"
        assert s3.get_object(Bucket=bucket, Key="a/b c")["Body"].read() == style.encode()
