"""Requests without a signature: what is public, and nothing else."""
import pytest

from .errors import refused
from .identities import account, allow, anonymous, both, objects, policy


@pytest.fixture
def nobody(open_basalt):
    return anonymous(open_basalt)


@pytest.fixture
def bucket(one):
    name = f"public-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    return name


def test_nobody_may_do_anything_by_default(one, nobody, bucket):
    for call in [lambda: nobody.get_object(Bucket=bucket, Key="k"), lambda: nobody.list_objects_v2(Bucket=bucket),
                 lambda: nobody.put_object(Bucket=bucket, Key="x", Body=b"v"), lambda: nobody.list_buckets(),
                 lambda: nobody.delete_object(Bucket=bucket, Key="k"), lambda: nobody.delete_bucket(Bucket=bucket),
                 lambda: nobody.create_bucket(Bucket=bucket + "-x"), lambda: nobody.get_bucket_acl(Bucket=bucket),
                 lambda: nobody.get_object(Bucket=bucket, Key="none"), lambda: nobody.get_bucket_policy(Bucket=bucket),
                 lambda: nobody.copy_object(Bucket=bucket, Key="x", CopySource=f"{bucket}/k")]:
        with refused("AccessDenied", 403):
            call()
    for call in [lambda: nobody.head_object(Bucket=bucket, Key="k"), lambda: nobody.head_bucket(Bucket=bucket)]:
        with refused(None, 403):
            call()
    with refused("NoSuchBucket", 404):
        nobody.get_object(Bucket="no-such-bucket-here", Key="k")


def test_a_public_policy_lets_everybody_read(one, nobody, bucket):
    text = policy(allow("s3:GetObject", objects(bucket), Principal="*"))
    one.s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    assert nobody.head_object(Bucket=bucket, Key="k")["ContentLength"] == 1
    with refused("AccessDenied", 403):
        nobody.get_object(Bucket=bucket, Key="none")
    with refused("AccessDenied", 403):
        nobody.put_object(Bucket=bucket, Key="k", Body=b"w")
    text = policy(allow(["s3:GetObject", "s3:ListBucket"], both(bucket), Principal="*"))
    one.s3.put_bucket_policy(Bucket=bucket, Policy=text)
    with refused("NoSuchKey", 404):
        nobody.get_object(Bucket=bucket, Key="none")
    assert [k["Key"] for k in nobody.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def test_a_public_policy_lets_everybody_write(one, nobody, bucket):
    text = policy(allow("s3:PutObject", objects(bucket), Principal="*"))
    one.s3.put_bucket_policy(Bucket=bucket, Policy=text)
    nobody.put_object(Bucket=bucket, Key="theirs", Body=b"v")
    upload = one.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    tag = nobody.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"v")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    nobody.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)
    assert one.s3.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"v"
    assert one.s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"v"


def test_signed_callers_are_judged_by_their_own_side_too(one, bucket, open_basalt):
    text = policy(allow("s3:GetObject", objects(bucket), Principal="*"))
    one.s3.put_bucket_policy(Bucket=bucket, Policy=text)
    stranger = account(open_basalt)
    assert stranger.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    with refused("AccessDenied", 403):
        stranger.user().s3.get_object(Bucket=bucket, Key="k")
    assert one.user().s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"


def test_public_acls(one, nobody, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert [k["Key"] for k in nobody.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    with refused("AccessDenied", 403):
        nobody.get_object(Bucket=bucket, Key="k")
    with refused("NoSuchKey", 404):
        nobody.get_object(Bucket=bucket, Key="none")
    with refused("AccessDenied", 403):
        nobody.put_object(Bucket=bucket, Key="x", Body=b"v")
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    nobody.put_object(Bucket=bucket, Key="x", Body=b"v")
    one.s3.put_bucket_acl(Bucket=bucket, ACL="private")
    with refused("AccessDenied", 403):
        nobody.list_objects_v2(Bucket=bucket)


def test_the_service_itself_wants_a_signature(open_basalt):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", open_basalt.port, timeout=20)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/", body="Action=ListUsers&Version=2010-05-08", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 403 and b"MissingAuthenticationToken" in answer.read()
    connection.request("POST", "/", body="x" * (129 << 10), headers=headers)
    assert connection.getresponse().status == 413
    connection.close()


def test_nobody_overrides_headers(one, nobody, bucket):
    one.s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    with refused("InvalidRequest", 400):
        nobody.get_object(Bucket=bucket, Key="k", ResponseContentType="text/html")


def test_who_may_write_says_what_the_tags_are_to_be(one, nobody, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    nobody.put_object(Bucket=bucket, Key="tagged", Body=b"v", Tagging="a=b")
    assert one.s3.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"] == [{"Key": "a", "Value": "b"}]
    with refused("AccessDenied", 403):
        nobody.put_object_tagging(Bucket=bucket, Key="tagged", Tagging={"TagSet": []})


def test_nobody_copies_or_begins_an_upload_whatever_is_public(one, nobody, bucket):
    one.s3.put_bucket_policy(Bucket=bucket, Policy=policy(allow("s3:*", both(bucket), Principal="*")))
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    upload = dict(Bucket=bucket, Key="m", UploadId=one.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"])
    for call, why in [
            (lambda: nobody.copy_object(Bucket=bucket, Key="x", CopySource=f"{bucket}/k"), "copy"),
            (lambda: nobody.upload_part_copy(**upload, PartNumber=1, CopySource=f"{bucket}/k"), "copy"),
            (lambda: nobody.create_multipart_upload(Bucket=bucket, Key="x"), "initiate")]:
        with refused("AccessDenied", 403) as error:
            call()
        assert "Anonymous users cannot " + why in error["Message"]
    nobody.put_object(Bucket=bucket, Key="x", Body=b"v")
    assert len(one.s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    assert "Parts" not in one.s3.list_parts(**upload)
