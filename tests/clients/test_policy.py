"""Bucket policies: kept, refused, enforced; principals, conditions, and what crosses accounts."""
import json

import pytest

from .errors import refused
from .identities import Who, account, allow, anonymous, both, deny, objects, policy
from .wire import ALGORITHM, UNSIGNED, Wire, object_path


@pytest.fixture
def bucket(one):
    """A bucket of account one, with one object."""
    name = f"policy-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    return name


def put(who, bucket, *statements):
    who.s3.put_bucket_policy(Bucket=bucket, Policy=policy(*statements))


def may_read(s3, bucket, key="k"):
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"v"
    except s3.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
        return False


def test_a_policy_is_kept_as_it_was_sent_and_removed(one, bucket):
    with refused("NoSuchBucketPolicy", 404):
        one.s3.get_bucket_policy(Bucket=bucket)
    assert one.s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
    text = policy(allow("s3:GetObject", objects(bucket), Principal={"AWS": one.arn})) + "\n "
    one.s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert one.s3.get_bucket_policy(Bucket=bucket)["Policy"] == text
    assert one.s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal="*"))
    assert one.s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": True}
    one.s3.delete_bucket_policy(Bucket=bucket)
    one.s3.delete_bucket_policy(Bucket=bucket)
    with refused("NoSuchBucketPolicy", 404):
        one.s3.get_bucket_policy(Bucket=bucket)


def principal(s3, bucket):
    return json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"][0]["Principal"]


@pytest.mark.parametrize("who", [
    {"AWS": "arn:aws:iam::{one}:user/nobody"}, {"AWS": ["{one}", "arn:aws:iam::{one}:user/path/ann"]},
    {"AWS": "999999999999"}, {"AWS": "arn:aws:iam::999999999999:root"}, {"AWS": "arn:aws:iam::{one}:role/r"},
    {"AWS": "arn:aws:sts::{one}:assumed-role/r/s"}, {"AWS": "AIDAAAAAAAAAAAAAAAAAA"}, {"CanonicalUser": "ab" * 32}])
@pytest.mark.parametrize("element", ["Principal", "NotPrincipal"])
def test_a_policy_names_only_who_there_is(one, bucket, element, who):
    one.iam.create_user(UserName="ann")
    who = json.loads(json.dumps(who).replace("{one}", one.id))
    bad = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": objects(bucket), element: who}
    with refused("MalformedPolicy", 400) as fields:
        put(one, bucket, bad)
    assert fields["Message"] == "Invalid principal in policy" and fields["Detail"]
    with refused("NoSuchBucketPolicy", 404):
        one.s3.get_bucket_policy(Bucket=bucket)


def test_a_user_made_again_has_none_of_the_old_ones_rights(one, bucket):
    rule = allow("s3:GetObject", objects(bucket), Principal={"AWS": "arn:aws:iam::{}:user/ann".format(one.id)})
    old = one.user(name="ann")
    put(one, bucket, rule)
    assert principal(one.s3, bucket) == {"AWS": old.arn} and may_read(old.s3, bucket)
    one.iam.update_user(UserName="ann", NewUserName="bob", NewPath="/team/")
    moved = f"arn:aws:iam::{one.id}:user/team/bob"
    assert principal(one.s3, bucket) == {"AWS": moved} and may_read(old.s3, bucket)
    unique = one.iam.get_user(UserName="bob")["User"]["UserId"]
    one.iam.delete_access_key(UserName="bob", AccessKeyId=old.access_key)
    one.iam.delete_user(UserName="bob")
    assert principal(one.s3, bucket) == {"AWS": unique}
    for again in (one.user(name="ann"), one.user(name="bob")):
        assert principal(one.s3, bucket) == {"AWS": unique}
        assert not may_read(again.s3, bucket)
    with refused("MalformedPolicy", 400):
        one.s3.put_bucket_policy(Bucket=bucket, Policy=one.s3.get_bucket_policy(Bucket=bucket)["Policy"])
    put(one, bucket, rule)
    assert may_read(Who(one.basalt, *keys(one, "ann")).s3, bucket)


def keys(account, name):
    made = account.iam.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def test_a_denial_of_a_user_ends_with_the_user(one, bucket):
    put(one, bucket, deny("s3:GetObject", objects(bucket), Principal={"AWS": one.user(name="ann").arn}))
    for key in one.iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]:
        one.iam.delete_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"])
    one.iam.delete_user(UserName="ann")
    assert may_read(one.user(allow("s3:GetObject", objects(bucket)), name="ann").s3, bucket)


@pytest.mark.parametrize("change", [
    lambda s: s.pop("Effect"), lambda s: s.pop("Action"), lambda s: s.pop("Resource"), lambda s: s.pop("Principal"),
    lambda s: s.update(Effect="allow"), lambda s: s.update(Action="s3:Fly"), lambda s: s.update(Action="iam:GetUser"),
    lambda s: s.update(Action=[]), lambda s: s.update(Resource="arn:aws:s3:::another-bucket/*"),
    lambda s: s.update(Resource="bucket"), lambda s: s.update(Principal="someone"), lambda s: s.update(Extra=1),
    lambda s: s.update(Principal={"AWS": "arn:aws:iam::12:root"}), lambda s: s.update(NotAction="s3:PutObject"),
    lambda s: s.update(Condition={"StringIs": {"aws:Referer": "x"}}), lambda s: s.update(Action="s3:ListBucket"),
    lambda s: s.update(Condition={"StringEquals": {"s3:unknown": "x"}}),
    lambda s: s.update(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/99"}}),
    lambda s: s.update(Condition={"NumericEquals": {"s3:max-keys": "many"}}),
    lambda s: s.update(Condition={"StringEquals": {"s3:prefix": "x"}}),
    lambda s: s.update(Condition={"StringEquals": {"s3:VersionId": "x"}}),
    lambda s: s.update(Action=["s3:GetObject", "s3:PutObject"], Condition={"StringEquals": {"s3:x-amz-acl": "private"}}),
    lambda s: s.update(Action="s3:DeleteObject", Condition={"StringEquals": {"s3:ExistingObjectTag/a": "x"}}),
    lambda s: s.update(NotPrincipal=s.pop("Principal"))])
def test_a_malformed_policy_is_refused_and_changes_nothing(one, bucket, change):
    good = policy(allow("s3:GetObject", objects(bucket), Principal={"AWS": one.arn}))
    one.s3.put_bucket_policy(Bucket=bucket, Policy=good)
    bad = allow("s3:GetObject", objects(bucket), Principal={"AWS": one.arn})
    change(bad)
    with refused("MalformedPolicy", 400):
        put(one, bucket, bad)
    assert one.s3.get_bucket_policy(Bucket=bucket)["Policy"] == good


@pytest.mark.parametrize("text", [
    "x", "[]", "{}", '{"Version": "2012-10-17"}', '{"Version": "2012-10-17", "Statement": []}',
    '{"Statement": [], "Statement": []}', "[" * 5000])
def test_what_is_no_policy_is_refused(one, bucket, text):
    with refused("MalformedPolicy", 400):
        one.s3.put_bucket_policy(Bucket=bucket, Policy=text)


def test_a_policy_over_20_kib_is_refused(one, bucket):
    padded = json.loads(policy(allow("s3:GetObject", objects(bucket), Principal={"AWS": one.arn})))
    text = json.dumps(padded)
    fits = text + " " * (20 * 1024 - len(text))
    one.s3.put_bucket_policy(Bucket=bucket, Policy=fits)
    with refused("MalformedPolicy", 400):
        one.s3.put_bucket_policy(Bucket=bucket, Policy=fits + " ")


def test_another_account_is_let_in_by_name(one, two, bucket):
    assert not may_read(two.s3, bucket)
    put(one, bucket, allow(["s3:GetObject", "s3:PutObject"], objects(bucket), Principal={"AWS": two.id}))
    assert may_read(two.s3, bucket)
    two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v")
    for call in [lambda: two.s3.delete_object(Bucket=bucket, Key="k"), lambda: two.s3.list_objects_v2(Bucket=bucket),
                 lambda: two.s3.get_bucket_policy(Bucket=bucket)]:
        with refused("AccessDenied", 403):
            call()
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"CanonicalUser": two.canonical}))
    assert may_read(two.s3, bucket)


def test_a_user_of_another_account_needs_both_sides(one, two, bucket):
    user = two.user()
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": two.arn}))
    assert not may_read(user.s3, bucket)
    two.allow(user.name, allow("s3:GetObject", objects(bucket)))
    assert may_read(user.s3, bucket)
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": user.arn}))
    assert may_read(user.s3, bucket)
    two.iam.delete_user_policy(UserName=user.name, PolicyName="inline")
    assert not may_read(user.s3, bucket)
    two.allow(user.name, allow("s3:*"))
    one.s3.delete_bucket_policy(Bucket=bucket)
    assert not may_read(user.s3, bucket)


def test_a_user_of_the_owner_needs_one_side(one, bucket):
    user = one.user()
    assert not may_read(user.s3, bucket)
    # The account leaves it to the user's own policies.
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": one.arn}))
    assert not may_read(user.s3, bucket)
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": user.arn}))
    assert may_read(user.s3, bucket)
    one.s3.delete_bucket_policy(Bucket=bucket)
    one.allow(user.name, allow("s3:GetObject"))
    assert may_read(user.s3, bucket)


def test_a_denial_wins_over_everything(one, bucket):
    user = one.user(allow("s3:*"))
    put(one, bucket, deny("s3:GetObject", objects(bucket), Principal={"AWS": user.arn}),
        allow("s3:GetObject", objects(bucket), Principal="*"))
    assert not may_read(user.s3, bucket) and may_read(one.s3, bucket)
    put(one, bucket, deny("s3:GetObject", objects(bucket), Principal="*"))
    assert not may_read(one.s3, bucket)
    put(one, bucket, deny("s3:*", both(bucket), NotPrincipal={"AWS": [user.arn, one.arn]}))
    assert may_read(user.s3, bucket)


def test_the_owners_root_can_always_mend_the_policy(one, bucket):
    put(one, bucket, deny("s3:*", both(bucket), Principal="*"))
    with refused("AccessDenied", 403):
        one.s3.list_objects_v2(Bucket=bucket)
    one.s3.get_bucket_policy(Bucket=bucket)
    one.s3.delete_bucket_policy(Bucket=bucket)
    assert may_read(one.s3, bucket)


def test_what_is_not_named(one, two, bucket):
    one.s3.put_object(Bucket=bucket, Key="secret/k", Body=b"v")
    put(one, bucket, {"Effect": "Allow", "Principal": {"AWS": two.id}, "NotAction": "s3:DeleteObject",
                      "NotResource": f"arn:aws:s3:::{bucket}/secret/*"})
    assert may_read(two.s3, bucket) and not may_read(two.s3, bucket, "secret/k")
    assert two.s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    with refused("AccessDenied", 403):
        two.s3.delete_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("condition, yes, no", [
    ({"StringLike": {"s3:prefix": "a/*"}}, {"Prefix": "a/b"}, {"Prefix": "b"}),
    ({"StringEquals": {"s3:delimiter": "/"}}, {"Delimiter": "/"}, {}),
    ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"MaxKeys": 10}, {"MaxKeys": 11}),
    ({"Null": {"s3:prefix": "true"}}, {}, {"Prefix": "a"}),
    ({"StringNotEquals": {"s3:prefix": "secret"}}, {}, {"Prefix": "secret"}),
    ({"StringEqualsIfExists": {"s3:prefix": "a"}}, {}, {"Prefix": "b"})])
def test_conditions_on_listings(one, two, bucket, condition, yes, no):
    put(one, bucket, allow("s3:ListBucket", both(bucket)[0], Principal={"AWS": two.id}, Condition=condition))
    two.s3.list_objects_v2(Bucket=bucket, **yes)
    with refused("AccessDenied", 403):
        two.s3.list_objects_v2(Bucket=bucket, **no)


@pytest.mark.parametrize("condition, holds", [
    ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True), ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
    ({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}, False), ({"Bool": {"aws:SecureTransport": "true"}}, False),
    ({"Bool": {"aws:SecureTransport": "false"}}, True), ({"StringLike": {"aws:UserAgent": "*oto*"}}, True),
    ({"StringLike": {"aws:UserAgent": "curl*"}}, False), ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01"}}, True),
    ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
    ({"DateLessThan": {"aws:CurrentTime": "9999-12-31T23:59:59Z"}}, True),
    ({"NumericGreaterThan": {"aws:EpochTime": "1600000000"}}, True),
    ({"StringEquals": {"s3:authType": "REST-HEADER"}}, True), ({"StringEquals": {"s3:authType": "POST"}}, False),
    ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, True),
    ({"NumericLessThan": {"s3:signatureAge": "600000"}}, True), ({"StringEquals": {"aws:PrincipalType": "User"}}, False),
    ({"StringEquals": {"aws:PrincipalType": "Account"}}, True), ({"Null": {"aws:Referer": "true"}}, True),
    ({"StringLike": {"aws:Referer": "http://a/*"}}, False), ({"StringLikeIfExists": {"aws:Referer": "http://a/*"}}, True),
    ({"Null": {"aws:SourceVpc": "false"}}, False)])
def test_conditions_on_the_request(one, two, bucket, condition, holds):
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": two.id}, Condition=condition))
    assert may_read(two.s3, bucket) == holds


def test_conditions_on_the_caller(one, two, bucket):
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal="*",
                           Condition={"StringEquals": {"aws:PrincipalAccount": two.id}}))
    assert may_read(two.s3, bucket) and not may_read(anonymous(one.basalt), bucket)
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal="*",
                           Condition={"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{two.id}:*"}}))
    assert may_read(two.s3, bucket) and not may_read(anonymous(one.basalt), bucket)
    put(one, bucket, deny("s3:GetObject", objects(bucket), Principal="*",
                          Condition={"StringNotEquals": {"s3:ResourceAccount": one.id}}))
    assert may_read(one.s3, bucket)


def test_conditions_on_what_is_put(one, two, bucket):
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id},
                           Condition={"StringLike": {"s3:x-amz-copy-source": f"{bucket}/public/*"}}),
        allow("s3:GetObject", objects(bucket), Principal={"AWS": two.id}))
    for key in ["public/k", "private/k"]:
        one.s3.put_object(Bucket=bucket, Key=key, Body=b"v")
    two.s3.copy_object(Bucket=bucket, Key="new", CopySource={"Bucket": bucket, "Key": "public/k"})
    with refused("AccessDenied", 403):
        two.s3.copy_object(Bucket=bucket, Key="new", CopySource={"Bucket": bucket, "Key": "private/k"})
    with refused("AccessDenied", 403):
        two.s3.put_object(Bucket=bucket, Key="new", Body=b"v")


def test_a_header_has_one_value_for_policies_and_operations(one, bucket):
    """What is denied cannot be had by sending it twice."""
    user = one.user(allow("s3:*", "*"))
    put(one, bucket, deny("s3:PutObject", objects(bucket), Principal="*",
                          Condition={"StringEquals": {"s3:x-amz-acl": ["public-read", "public-read-write"]}}))
    with Wire("127.0.0.1", one.basalt.port, user.access_key, user.secret_key) as wire:
        wire.put(bucket, "open", b"v", {"x-amz-acl": "public-read"}).expect(403, "AccessDenied")
        for other in ["x", "private", "public-read"]:
            target, headers, signer = wire.head("PUT", object_path(bucket, "open"))
            headers.pop("authorization")
            joined = {**headers, "x-amz-acl": f"public-read,{other}"}
            names, signature = signer.signature("PUT", object_path(bucket, "open"), (), joined, UNSIGNED)
            credential = f"{signer.access_key}/{signer.scope()}"
            authorization = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
            # A header of another case is another one to the dictionary alone.
            twice = {**headers, "x-amz-acl": "public-read", "X-Amz-Acl": other, "authorization": authorization}
            wire.send("PUT", target, twice, b"v").expect(400, "InvalidArgument")
    with refused("NoSuchKey", 404):
        one.s3.get_object(Bucket=bucket, Key="open")


def test_a_copy_reads_with_the_callers_rights(one, two, bucket):
    mine = f"mine-{two.id}"
    two.s3.create_bucket(Bucket=mine)
    source = {"Bucket": bucket, "Key": "k"}
    with refused("AccessDenied", 403):
        two.s3.copy_object(Bucket=mine, Key="copy", CopySource=source)
    upload = two.s3.create_multipart_upload(Bucket=mine, Key="parts")["UploadId"]
    part = dict(Bucket=mine, Key="parts", UploadId=upload, PartNumber=1, CopySource=source)
    with refused("AccessDenied", 403):
        two.s3.upload_part_copy(**part)
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": two.id}))
    two.s3.copy_object(Bucket=mine, Key="copy", CopySource=source)
    two.s3.upload_part_copy(**part)
    assert may_read(two.s3, mine, "copy")
    with refused("AccessDenied", 403):
        two.s3.copy_object(Bucket=mine, Key="copy", CopySource={"Bucket": bucket, "Key": "none"})


def test_a_batch_is_judged_key_by_key(one, two, bucket):
    one.s3.put_object(Bucket=bucket, Key="open/k", Body=b"v")
    put(one, bucket, allow("s3:DeleteObject", f"arn:aws:s3:::{bucket}/open/*", Principal={"AWS": two.id}))
    keys = [{"Key": "open/k"}, {"Key": "k"}]
    answer = two.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    assert [d["Key"] for d in answer["Deleted"]] == ["open/k"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("k", "AccessDenied")]
    assert may_read(one.s3, bucket)


def test_parts_of_an_upload_are_writes(one, two, bucket):
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id}))
    upload = two.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    tag = two.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"v")["ETag"]
    assert [p["ETag"] for p in two.s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)["Parts"]] == [tag]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    two.s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)
    with refused("AccessDenied", 403):
        two.s3.list_multipart_uploads(Bucket=bucket)


def test_a_presigned_url_has_the_rights_of_its_signer(one, two, bucket):
    import urllib.error
    import urllib.request
    url = two.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url)
    assert error.value.code == 403
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal={"AWS": two.id},
                           Condition={"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}))
    assert urllib.request.urlopen(url).read() == b"v"
    assert not may_read(two.s3, bucket)


def test_a_public_policy_is_refused_where_that_is_blocked(basalt):
    one = account(basalt)
    bucket = f"closed-{one.id}"
    one.s3.create_bucket(Bucket=bucket)
    with refused("AccessDenied", 403):
        put(one, bucket, allow("s3:GetObject", objects(bucket), Principal="*"))
    put(one, bucket, allow("s3:GetObject", objects(bucket), Principal="*",
                           Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}))
    one.s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    assert may_read(anonymous(basalt), bucket)


def test_policies_survive_a_restart(new_basalt):
    server = new_basalt(options=["--new-buckets", "open"]).start()
    one, two = account(server), account(server)
    one.s3.create_bucket(Bucket="kept")
    one.s3.put_object(Bucket="kept", Key="k", Body=b"v")
    put(one, "kept", allow("s3:GetObject", objects("kept"), Principal={"AWS": two.id}))
    server.kill()
    server.start()
    assert may_read(two.s3, "kept") and not may_read(anonymous(server), "kept")


def test_conditions_on_tags(one, two, bucket):
    tagged = {"TagSet": [{"Key": "security", "Value": "public"}]}
    secret = {"TagSet": [{"Key": "security", "Value": "secret"}]}
    one.s3.put_object(Bucket=bucket, Key="open", Body=b"v", Tagging="security=public")
    one.s3.put_object(Bucket=bucket, Key="shut", Body=b"v", Tagging="security=secret")
    existing = {"StringEquals": {"s3:ExistingObjectTag/security": "public"}}
    put(one, bucket, allow(["s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging", "s3:DeleteObjectTagging"],
                           objects(bucket), Principal={"AWS": two.id}, Condition=existing))
    assert may_read(two.s3, bucket, "open") and not may_read(two.s3, bucket, "shut")
    assert two.s3.get_object_tagging(Bucket=bucket, Key="open")["TagSet"] == tagged["TagSet"]
    for call in [lambda: two.s3.get_object_tagging(Bucket=bucket, Key="shut"),
                 lambda: two.s3.put_object_tagging(Bucket=bucket, Key="shut", Tagging=tagged),
                 lambda: two.s3.delete_object_tagging(Bucket=bucket, Key="shut"),
                 lambda: two.s3.copy_object(Bucket=bucket, Key="new", CopySource=f"{bucket}/shut"),
                 lambda: two.s3.get_object(Bucket=bucket, Key="none")]:
        with refused("AccessDenied", 403):
            call()
    two.s3.put_object_tagging(Bucket=bucket, Key="open", Tagging=secret)
    assert not may_read(two.s3, bucket, "open")
    asked = {"StringEquals": {"s3:RequestObjectTag/security": "public"}}
    put(one, bucket, allow(["s3:PutObject", "s3:PutObjectTagging"], objects(bucket), Principal={"AWS": two.id},
                           Condition=asked))
    two.s3.put_object(Bucket=bucket, Key="new", Body=b"v", Tagging="security=public")
    two.s3.put_object_tagging(Bucket=bucket, Key="shut", Tagging=tagged)
    for call in [lambda: two.s3.put_object(Bucket=bucket, Key="new", Body=b"v"),
                 lambda: two.s3.put_object(Bucket=bucket, Key="new", Body=b"v", Tagging="security=secret"),
                 lambda: two.s3.put_object_tagging(Bucket=bucket, Key="shut", Tagging=secret)]:
        with refused("AccessDenied", 403):
            call()
    keys = {"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}
    put(one, bucket, allow(["s3:PutObject", "s3:PutObjectTagging"], objects(bucket), Principal={"AWS": two.id},
                           Condition=keys))
    two.s3.put_object(Bucket=bucket, Key="new", Body=b"v", Tagging="a=1&b=2")
    with refused("AccessDenied", 403):
        two.s3.put_object(Bucket=bucket, Key="new", Body=b"v", Tagging="a=1&c=2")


def test_versions_have_actions_of_their_own(one, two, bucket):
    one.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = one.s3.put_object(Bucket=bucket, Key="k", Body=b"v")["VersionId"]
    one.s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    put(one, bucket, allow(["s3:GetObject", "s3:DeleteObject"], objects(bucket), Principal={"AWS": two.id}))
    assert may_read(two.s3, bucket)
    two.s3.delete_object(Bucket=bucket, Key="k")
    for call in [lambda: two.s3.get_object(Bucket=bucket, Key="k", VersionId=first),
                 lambda: two.s3.delete_object(Bucket=bucket, Key="k", VersionId=first),
                 lambda: two.s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k?versionId={first}"),
                 lambda: two.s3.get_object(Bucket=bucket, Key="k")]:
        with refused("AccessDenied", 403):
            call()
    put(one, bucket, allow("s3:GetObjectVersion", objects(bucket), Principal={"AWS": two.id},
                           Condition={"StringEquals": {"s3:VersionId": first}}),
        allow("s3:DeleteObjectVersion", objects(bucket), Principal={"AWS": two.id}))
    assert two.s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"v"
    two.s3.delete_object(Bucket=bucket, Key="k", VersionId=first)


def test_governance_is_bypassed_with_permission_only(one, two):
    bucket = f"locked-{one.id}"
    one.s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = "2099-01-01T00:00:00Z"
    version = one.s3.put_object(Bucket=bucket, Key="k", Body=b"v", ObjectLockMode="GOVERNANCE",
                                ObjectLockRetainUntilDate=until)["VersionId"]
    rights = ["s3:DeleteObjectVersion", "s3:PutObject"]
    put(one, bucket, allow(rights, objects(bucket), Principal={"AWS": two.id}))
    which = dict(Bucket=bucket, Key="k", VersionId=version)
    with refused("AccessDenied", 403):
        two.s3.delete_object(**which)
    with refused("AccessDenied", 403):
        two.s3.delete_object(**which, BypassGovernanceRetention=True)
    answer = two.s3.delete_objects(Bucket=bucket, BypassGovernanceRetention=True,
                                   Delete={"Objects": [{"Key": "k", "VersionId": version}]})
    assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]
    with refused("AccessDenied", 403):
        two.s3.put_object(Bucket=bucket, Key="k", Body=b"v", ObjectLockMode="GOVERNANCE",
                          ObjectLockRetainUntilDate=until)
    put(one, bucket, allow([*rights, "s3:BypassGovernanceRetention"], objects(bucket), Principal={"AWS": two.id}))
    with refused("AccessDenied", 403):
        two.s3.delete_object(**which)
    two.s3.delete_object(**which, BypassGovernanceRetention=True)


def test_what_comes_along_with_an_object_is_its_writers_to_say(one, two, bucket):
    """Tags and grants belong to the new object, and that to its writer: the bucket lets the writer in and no more."""
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id},
                           Condition={"StringEquals": {"s3:RequestObjectTag/level": "low"}}))
    two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v", Tagging="level=low")
    for tagging in ({"Tagging": "level=high"}, {}):
        with refused("AccessDenied", 403):
            two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v", **tagging)
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id},
                           Condition={"StringEquals": {"s3:x-amz-grant-full-control": f"id={one.canonical}"}}))
    two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v", GrantFullControl=f"id={one.canonical}")
    assert one.s3.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"v"
    with refused("AccessDenied", 403):
        two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v")
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id}),
        deny("s3:PutObjectAcl", objects(bucket), Principal={"AWS": two.id}))
    with refused("AccessDenied", 403):
        two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v", ACL="public-read")
    one.s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id}))
    with refused("AccessDenied", 403):
        two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v", Tagging="level=low")


def test_a_policy_is_for_the_owners_account_alone(one, two, bucket):
    """Who is not allowed hears so first."""
    anyone = allow(["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"], f"arn:aws:s3:::{bucket}",
                   Principal="*")
    put(one, bucket, allow("s3:GetBucketAcl", f"arn:aws:s3:::{bucket}", Principal="*"))
    with refused("AccessDenied", 403):
        two.s3.get_bucket_policy(Bucket=bucket)
    put(one, bucket, anyone)
    for call in (two.s3.get_bucket_policy, two.s3.delete_bucket_policy):
        with refused("MethodNotAllowed", 405):
            call(Bucket=bucket)
    with refused("MethodNotAllowed", 405):
        two.s3.put_bucket_policy(Bucket=bucket, Policy=policy(anyone))
    user = one.user()
    assert user.s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy(anyone)


def test_who_began_an_upload_may_end_it(one, two, bucket):
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id}))
    mine, theirs = (who.s3.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"] for who in (one, two))
    assert two.s3.list_parts(Bucket=bucket, Key="u", UploadId=theirs)["Owner"]["ID"] == two.canonical
    for call in (two.s3.list_parts, two.s3.abort_multipart_upload):
        with refused("AccessDenied", 403):
            call(Bucket=bucket, Key="u", UploadId=mine)
    put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id}),
        deny("s3:AbortMultipartUpload", objects(bucket), Principal="*"))
    with refused("AccessDenied", 403):
        two.s3.abort_multipart_upload(Bucket=bucket, Key="u", UploadId=theirs)
    one.s3.delete_bucket_policy(Bucket=bucket)
    two.s3.abort_multipart_upload(Bucket=bucket, Key="u", UploadId=theirs)
    assert [u["UploadId"] for u in one.s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [mine]


def test_a_user_who_began_an_upload_is_named_and_may_end_it(one, bucket):
    ann, bob = (one.user(allow("s3:PutObject", objects(bucket)), name=name) for name in ("ann", "bob"))
    upload = ann.s3.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    named = {"ID": ann.arn, "DisplayName": "ann"}
    owner = {"ID": one.canonical, "DisplayName": one.name}
    at = {"Bucket": bucket, "Key": "u", "UploadId": upload}
    for listed in (one.s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0], one.s3.list_parts(**at), ann.s3.list_parts(**at)):
        assert (listed["Initiator"], listed["Owner"]) == (named, owner)
    for call in (bob.s3.list_parts, bob.s3.abort_multipart_upload):
        with refused("AccessDenied", 403):
            call(**at)
    one.allow("ann", allow("s3:PutObject", objects(bucket)), deny("s3:AbortMultipartUpload", objects(bucket)))
    with refused("AccessDenied", 403):
        ann.s3.abort_multipart_upload(**at)
    one.allow("ann", allow("s3:PutObject", objects(bucket)))
    put(one, bucket, deny("s3:AbortMultipartUpload", objects(bucket), Principal={"AWS": ann.arn}))
    with refused("AccessDenied", 403):
        ann.s3.abort_multipart_upload(**at)
    one.s3.delete_bucket_policy(Bucket=bucket)
    ann.s3.abort_multipart_upload(**at)
    assert "Uploads" not in one.s3.list_multipart_uploads(Bucket=bucket)


def test_attributes_need_leave_to_read_too(one, two, bucket):
    one.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = one.s3.put_object(Bucket=bucket, Key="k", Body=b"w")["VersionId"]

    def may_ask(**which):
        try:
            return two.s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"], **which)["ObjectSize"] == 1
        except two.s3.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied", error
            return False

    for actions, current, named in [
            (["s3:GetObjectAttributes"], False, False), (["s3:GetObject"], False, False),
            (["s3:GetObjectAttributes", "s3:GetObject"], True, False),
            (["s3:GetObjectVersionAttributes", "s3:GetObjectVersion"], False, True)]:
        put(one, bucket, allow(actions, objects(bucket), Principal={"AWS": two.id}))
        assert (may_ask(), may_ask(VersionId=version)) == (current, named), actions


@pytest.mark.parametrize("denied", ["s3:DeleteObject", "s3:DeleteObjectVersion"])
def test_in_a_bucket_without_versions_either_denial_keeps_objects(one, bucket, denied):
    """There an object and its only version are one."""
    other = one.user(allow("s3:*"), deny(denied))
    put(one, bucket, deny(denied, objects(bucket), Principal="*"))
    for s3 in (one.s3, one.user(allow("s3:*")).s3, other.s3):
        for version in ({}, {"VersionId": "null"}):
            with refused("AccessDenied", 403):
                s3.delete_object(Bucket=bucket, Key="k", **version)
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", **version}]})
            assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]
    assert may_read(one.s3, bucket)
    one.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    by_version = denied == "s3:DeleteObject"
    version = {"VersionId": "null"} if by_version else {}
    one.s3.delete_object(Bucket=bucket, Key="k", **version)
    with refused("AccessDenied", 403):
        one.s3.delete_object(Bucket=bucket, Key="k", **({} if by_version else {"VersionId": "null"}))


def test_a_right_to_delete_is_enough_where_nothing_is_denied(one, bucket):
    one.user(allow("s3:DeleteObject")).s3.delete_object(Bucket=bucket, Key="k")
    with refused("NoSuchKey", 404):
        one.s3.get_object(Bucket=bucket, Key="k")
