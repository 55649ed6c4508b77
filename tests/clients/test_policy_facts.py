"""What conditions of policies ask about: every key has its value where AWS gives it one, from the head or from the body,
and what answers tell besides is told to who may ask for it."""
import datetime
import http.client

import pytest

from .errors import refused
from .identities import allow, anonymous, both, deny, objects, policy
from .test_inventory import configuration
from .test_post_object import BOUNDARY, form


@pytest.fixture
def bucket(one):
    name = f"facts-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    return name


@pytest.fixture
def locked(one):
    name = f"locked-{one.id}"
    one.s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    return name


def put(who, bucket, *statements):
    who.s3.put_bucket_policy(Bucket=bucket, Policy=policy(*statements))


def is_allowed(call, **arguments):
    try:
        call(**arguments)
        return True
    except Exception as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
        return False


def in_days(days):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days) - datetime.timedelta(minutes=5)


# ---- Keys whose values stand in a body ----

def retain(who, bucket, days, mode="GOVERNANCE", **more):
    retention = {"Mode": mode, "RetainUntilDate": in_days(days)}
    return is_allowed(who.s3.put_object_retention, Bucket=bucket, Key="k", Retention=retention, **more)


def test_a_policy_limits_how_long_objects_are_retained(one, two, locked):
    """AWS User Guide, "Setting limits on retention periods"."""
    days = "s3:object-lock-remaining-retention-days"
    anyone = allow("s3:PutObjectRetention", objects(locked), Principal={"AWS": two.id})
    put(one, locked, anyone, deny("s3:PutObjectRetention", objects(locked), Principal="*",
                                  Condition={"NumericGreaterThan": {days: "10"}}))
    assert [retain(two, locked, n) for n in (11, 10)] == [False, True]
    assert not retain(one, locked, 11) and retain(one, locked, 10)
    put(one, locked, allow("s3:PutObjectRetention", objects(locked), Principal={"AWS": two.id},
                           Condition={"NumericLessThan": {days: "20"}}))
    assert [retain(two, locked, n) for n in (20, 19)] == [False, True]
    limit = in_days(30).strftime("%Y-%m-%dT%H:%M:%SZ")
    for asked, allowed, forbidden in [
            ({"StringEquals": {"s3:object-lock-mode": "GOVERNANCE"}}, (21, "GOVERNANCE"), (22, "COMPLIANCE")),
            ({"DateLessThan": {"s3:object-lock-retain-until-date": limit}}, (23,), (31,)),
            ({"Null": {days: "false"}}, (24,), None)]:
        put(one, locked, allow("s3:PutObjectRetention", objects(locked), Principal={"AWS": two.id}, Condition=asked))
        assert retain(two, locked, *allowed)
        assert forbidden is None or not retain(two, locked, *forbidden)


def test_the_right_to_bypass_governance_may_have_a_limit_too(one, two, locked):
    limit = {"NumericLessThan": {"s3:object-lock-remaining-retention-days": "10"}}
    put(one, locked, allow("s3:PutObjectRetention", objects(locked), Principal={"AWS": two.id}),
        allow("s3:BypassGovernanceRetention", objects(locked), Principal={"AWS": two.id}, Condition=limit))
    assert retain(one, locked, 20)
    assert [retain(two, locked, n, BypassGovernanceRetention=True) for n in (12, 5)] == [False, True]


def test_a_policy_asks_for_the_legal_hold_of_a_document(one, two, locked):
    put(one, locked, allow("s3:PutObjectLegalHold", objects(locked), Principal={"AWS": two.id},
                           Condition={"StringEquals": {"s3:object-lock-legal-hold": "ON"}}))

    def hold(who, status):
        return is_allowed(who.s3.put_object_legal_hold, Bucket=locked, Key="k", LegalHold={"Status": status})

    assert hold(two, "ON") and not hold(two, "OFF")
    put(one, locked, deny("s3:PutObjectLegalHold", objects(locked), Principal="*",
                          Condition={"StringEquals": {"s3:object-lock-legal-hold": "OFF"}}))
    assert not hold(one, "OFF")
    assert one.s3.get_object_legal_hold(Bucket=locked, Key="k")["LegalHold"]["Status"] == "ON"


@pytest.mark.parametrize("missing", [False, True])
def test_who_is_refused_whatever_a_body_says_is_refused_before_it_is_read(one, two, locked, missing):
    """The connection waits for a body that is never sent."""
    days = {"NumericLessThan": {"s3:object-lock-remaining-retention-days": "10"}}
    put(one, locked, allow("s3:PutObjectRetention", f"arn:aws:s3:::{locked}/other", Principal={"AWS": two.id}, Condition=days))
    url = two.s3.generate_presigned_url("put_object_retention", Params={"Bucket": locked, "Key": "none" if missing else "k"})
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("PUT", "/" + path, headers={"Content-Length": "100", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    answer = connection.getresponse()
    assert answer.status == 403 and b"AccessDenied" in answer.read()
    connection.close()


def test_what_is_wrong_with_tags_is_told_before_that_there_is_no_object(one, two, bucket):
    put(one, bucket, allow(["s3:PutObjectTagging", "s3:ListBucket"], both(bucket), Principal={"AWS": two.id}))
    for tags, code, status in [([("a", "1")], "NoSuchKey", 404), ([("a", "1"), ("a", "2")], "InvalidTag", 400)]:
        with refused(code, status):
            two.s3.put_object_tagging(Bucket=bucket, Key="none", Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in tags]})


def test_a_policy_asks_for_the_fields_of_an_inventory(one, bucket):
    key = "s3:InventoryAccessibleOptionalFields"
    action, place = "s3:PutInventoryConfiguration", f"arn:aws:s3:::{bucket}"
    some = one.user(allow(action, place, Condition={"ForAllValues:StringEquals": {key: ["Size", "ETag"]}}))
    all_but = one.user(allow(action, place),
                       deny(action, place, Condition={"ForAnyValue:StringEquals": {key: ["ObjectOwner", "ETag"]}}))

    def order(who, *fields):
        return is_allowed(who.s3.put_bucket_inventory_configuration, Bucket=bucket, Id="all",
                          InventoryConfiguration=configuration(bucket, fields=fields))

    assert [order(some, *fields) for fields in (["Size"], ["Size", "ETag"], ["Size", "StorageClass"])] == [True, True, False]
    assert [order(all_but, *fields) for fields in (["Size"], [], ["Size", "ETag"])] == [True, True, False]


def new_bucket(who, name, place=None, tags=None, **more):
    body = {"LocationConstraint": place, "Tags": tags and [{"Key": k, "Value": v} for k, v in tags.items()]}
    body = {name: value for name, value in body.items() if value}
    if body:
        more["CreateBucketConfiguration"] = body
    return is_allowed(who.s3.create_bucket, Bucket=name, **more)


def test_a_policy_asks_where_a_bucket_is_made(one):
    asked = {"StringEquals": {"s3:LocationConstraint": "us-east-1"}}
    here = one.user(allow("s3:CreateBucket", Condition=asked))
    elsewhere = one.user(allow("s3:CreateBucket"), deny("s3:CreateBucket", Condition=asked))
    assert not new_bucket(here, f"place-a-{one.id}") and not new_bucket(here, f"place-a-{one.id}", "us-west-2")
    assert new_bucket(here, f"place-a-{one.id}", "us-east-1")
    assert not new_bucket(elsewhere, f"place-b-{one.id}", "us-east-1")
    assert new_bucket(elsewhere, f"place-b-{one.id}")


def test_a_policy_asks_for_the_tags_of_a_bucket(one, bucket):
    rights = ["s3:CreateBucket", "s3:TagResource", "s3:PutBucketTagging"]
    by_value = one.user(allow(rights, Condition={"StringEquals": {"aws:RequestTag/team": "blue"}}))
    by_keys = one.user(allow(rights), deny(rights, Condition={"ForAnyValue:StringEquals": {"aws:TagKeys": "secret"}}))
    untagged = one.user(allow("s3:CreateBucket"))
    assert not new_bucket(by_value, f"tags-a-{one.id}") and not new_bucket(by_value, f"tags-a-{one.id}", tags={"team": "red"})
    assert new_bucket(by_value, f"tags-a-{one.id}", tags={"team": "blue"})
    assert not new_bucket(by_keys, f"tags-b-{one.id}", tags={"secret": "1"})
    assert new_bucket(by_keys, f"tags-b-{one.id}", tags={"open": "1"})
    assert not new_bucket(untagged, f"tags-c-{one.id}", tags={"open": "1"})
    assert new_bucket(untagged, f"tags-c-{one.id}")

    def tag(who, **tags):
        return is_allowed(who.s3.put_bucket_tagging, Bucket=bucket,
                          Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]})

    assert [tag(by_value, team=team) for team in ("blue", "red")] == [True, False]
    assert tag(by_keys, open="1") and not tag(by_keys, secret="1")


def test_a_batch_is_asked_for_the_etag_of_each_key(one, two, bucket):
    tags = {key: one.s3.put_object(Bucket=bucket, Key=key, Body=key.encode())["ETag"] for key in ("a", "b")}
    put(one, bucket, allow("s3:DeleteObject", objects(bucket), Principal={"AWS": two.id}),
        deny("s3:DeleteObject", objects(bucket), Principal={"AWS": two.id}, Condition={"Null": {"s3:if-match": "true"}}))
    entries = [{"Key": "a", "ETag": tags["a"]}, {"Key": "b"}]
    answer = two.s3.delete_objects(Bucket=bucket, Delete={"Objects": entries})
    assert [found["Key"] for found in answer["Deleted"]] == ["a"]
    assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [("b", "AccessDenied")]


# ---- Keys of the head ----

def test_writes_may_be_bound_to_conditions_where_they_create_an_object(one, two, bucket):
    """AWS User Guide, "Enforce conditional writes on Amazon S3 buckets"."""
    condition = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    put(one, bucket, allow(["s3:PutObject", "s3:GetObject"], objects(bucket), Principal={"AWS": two.id}),
        deny("s3:PutObject", objects(bucket), Principal={"AWS": two.id}, Condition=condition))
    assert not is_allowed(two.s3.put_object, Bucket=bucket, Key="new", Body=b"v")
    assert is_allowed(two.s3.put_object, Bucket=bucket, Key="new", Body=b"v", IfNoneMatch="*")
    assert not is_allowed(two.s3.copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    assert is_allowed(two.s3.copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", IfNoneMatch="*")
    upload = {"Bucket": bucket, "Key": "m"}
    upload["UploadId"] = two.s3.create_multipart_upload(**upload)["UploadId"]
    tag = two.s3.upload_part(**upload, PartNumber=1, Body=b"v")["ETag"]
    assert is_allowed(two.s3.upload_part_copy, **upload, PartNumber=2, CopySource=f"{bucket}/k")
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    assert not is_allowed(two.s3.complete_multipart_upload, **upload, MultipartUpload=parts)
    assert is_allowed(two.s3.complete_multipart_upload, **upload, MultipartUpload=parts, IfNoneMatch="*")
    assert post(two, bucket) == 403


def post(who, bucket):
    signed = who.s3.generate_presigned_post(bucket, "form")
    host, _, path = signed["url"].removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("POST", "/" + path, body=form(signed["fields"].items()),
                       headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_form_is_signed_in_a_way_of_its_own(one, two, bucket):
    for kind, forms, puts in [("POST", 204, False), ("REST-HEADER", 403, True)]:
        put(one, bucket, allow("s3:PutObject", objects(bucket), Principal={"AWS": two.id},
                               Condition={"StringEquals": {"s3:authType": kind}}))
        assert post(two, bucket) == forms
        assert is_allowed(two.s3.put_object, Bucket=bucket, Key="k", Body=b"v") == puts


def test_the_policy_of_a_user_may_ask_for_the_tags_of_an_object_where_no_bucket_does(one, bucket):
    one.s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    for key in ("open", "shut"):
        one.s3.put_object(Bucket=bucket, Key=key, Body=b"v", Tagging=f"level={key}")
    rights = ["s3:GetObject", "s3:GetObjectTagging"]
    tag = {"StringEquals": {"s3:ExistingObjectTag/level": "open"}}
    other = {"StringNotEquals": {"s3:ExistingObjectTag/level": "open"}}
    for user in (one.user(allow(rights, objects(bucket), Condition=tag)),
                 one.user(allow(rights, objects(bucket)), deny(rights, objects(bucket), Condition=other))):
        for call in (user.s3.get_object, user.s3.get_object_tagging):
            assert [is_allowed(call, Bucket=bucket, Key=key) for key in ("open", "shut")] == [True, False]


@pytest.mark.parametrize("key", ["s3:TlsVersion", "s3:BucketTag/a", "aws:ResourceTag/a", "ec2:Region"])
def test_a_key_that_nothing_could_tell_is_refused_with_its_policy(one, bucket, key):
    with refused("MalformedPolicy", 400) as fields:
        put(one, bucket, deny("s3:*", both(bucket), Principal="*", Condition={"StringEquals": {key: "1"}}))
    if not key.startswith("ec2"):
        assert key.split("/")[0] in fields["Message"]
        statement = deny("s3:*", Condition={"StringEquals": {key: "1"}})
        one.iam.create_user(UserName="ann")
        with refused("MalformedPolicyDocument", 400):
            one.allow("ann", statement)
        one.allow("ann", {**statement, "Action": "ec2:*"})


# ---- What is told along, and what goes along ----

def head(who, bucket, **which):
    headers = who.s3.head_object(Bucket=bucket, Key="k", **which)["ResponseMetadata"]["HTTPHeaders"]
    read = who.s3.get_object(Bucket=bucket, Key="k", **which)["ResponseMetadata"]["HTTPHeaders"]
    told = {"x-amz-tagging-count", "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"}
    assert told & set(headers) == told & set(read)
    return {name.removeprefix("x-amz-").removeprefix("object-lock-") for name in told & set(headers)}


def test_locks_and_tags_are_told_to_who_may_ask_for_them(one, two, locked):
    version = one.s3.put_object(Bucket=locked, Key="k", Body=b"v", Tagging="a=1&b=2", ObjectLockMode="GOVERNANCE",
                                ObjectLockRetainUntilDate=in_days(2), ObjectLockLegalHoldStatus="ON")["VersionId"]
    everything = {"tagging-count", "mode", "retain-until-date", "legal-hold"}
    assert head(one, locked) == head(one, locked, VersionId=version) == everything
    reads = ["s3:GetObject", "s3:GetObjectVersion"]
    for right, told, told_of_version in [
            ([], set(), set()), (["s3:GetObjectTagging"], {"tagging-count"}, set()),
            (["s3:GetObjectVersionTagging"], set(), {"tagging-count"}),
            (["s3:GetObjectRetention"], {"mode", "retain-until-date"}, {"mode", "retain-until-date"}),
            (["s3:GetObjectLegalHold"], {"legal-hold"}, {"legal-hold"})]:
        put(one, locked, allow([*reads, *right], objects(locked), Principal={"AWS": two.id}))
        assert (head(two, locked), head(two, locked, VersionId=version)) == (told, told_of_version), right
    user = one.user(allow(reads, objects(locked)))
    assert head(user, locked) == set()
    put(one, locked, allow("s3:GetObject", objects(locked), Principal="*"))
    headers = anonymous(one.basalt).get_object(Bucket=locked, Key="k")["ResponseMetadata"]["HTTPHeaders"]
    assert not [name for name in headers if "lock" in name or "tagging" in name]


def test_a_private_bucket_needs_the_right_to_make_buckets_alone(one):
    maker, sharer = one.user(allow("s3:CreateBucket")), one.user(allow(["s3:CreateBucket", "s3:PutBucketAcl"]))
    owner = f"id={one.canonical}"
    assert new_bucket(maker, f"acl-a-{one.id}", ACL="private")
    for name, more in [("b", {"ACL": "public-read"}), ("c", {"GrantRead": owner})]:
        assert not new_bucket(maker, f"acl-{name}-{one.id}", **more)
        assert new_bucket(sharer, f"acl-{name}-{one.id}", **more)


def test_tags_go_along_with_a_copy_for_who_may_read_and_write_them(one, bucket):
    one.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = one.s3.put_object(Bucket=bucket, Key="tagged", Body=b"v", Tagging="a=1")["VersionId"]
    plain = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
    current, old = f"{bucket}/tagged", f"{bucket}/tagged?versionId={version}"

    def copies(more, source, **how):
        user = one.user(allow([*plain, *more], objects(bucket)))
        return is_allowed(user.s3.copy_object, Bucket=bucket, Key="copy", CopySource=source, **how)

    reads, writes = "s3:GetObjectTagging", "s3:PutObjectTagging"
    for more in ([], [reads], [writes]):
        assert not copies(more, current)
    assert not copies([reads, writes], old) and not copies(["s3:GetObjectVersionTagging", writes], current)
    with refused("404", 404):
        one.s3.head_object(Bucket=bucket, Key="copy")
    assert copies([], f"{bucket}/k") and copies([], current, TaggingDirective="REPLACE")
    for more, source in [([reads, writes], current), (["s3:GetObjectVersionTagging", writes], old)]:
        assert copies(more, source)
        assert one.s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == [{"Key": "a", "Value": "1"}]
    limited = one.user(allow([*plain, reads, writes], objects(bucket)),
                       deny(writes, objects(bucket), Condition={"StringEquals": {"s3:RequestObjectTag/a": "1"}}))
    assert not is_allowed(limited.s3.copy_object, Bucket=bucket, Key="other", CopySource=current)
    forced = one.user(allow([*plain, reads, writes], objects(bucket)),
                      deny("s3:PutObject", objects(bucket), Condition={"Null": {"s3:RequestObjectTag/a": "true"}}))
    named = dict(Bucket=bucket, Key="other", CopySource=f"{bucket}/k", Tagging="a=1")
    assert not is_allowed(forced.s3.copy_object, **named), "tags that are not applied force nothing"
    assert is_allowed(forced.s3.copy_object, TaggingDirective="REPLACE", **named)
