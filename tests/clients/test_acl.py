"""ACLs: canned and granted, on buckets and objects; ownership; where they are off; what is blocked."""
import pytest

from .errors import refused
from .identities import account, allow, anonymous, deny, objects, policy
from .wire import Wire, object_path

ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
KNOWN = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOGS = "http://acs.amazonaws.com/groups/s3/LogDelivery"
# Under which Amazon EC2 reads images; nobody has it here.
IMAGES = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"


@pytest.fixture
def bucket(one):
    name = f"acl-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    return name


def grants(answer):
    """{(grantee, permission)} of an ACL."""
    def name(grantee):
        return grantee.get("ID") or grantee.get("URI")
    return {(name(g["Grantee"]), g["Permission"]) for g in answer["Grants"]}


def test_a_bucket_is_its_owners_alone(one, bucket):
    answer = one.s3.get_bucket_acl(Bucket=bucket)
    assert answer["Owner"] == {"ID": one.canonical, "DisplayName": one.name}
    assert grants(answer) == {(one.canonical, "FULL_CONTROL")}
    assert answer["Grants"][0]["Grantee"]["Type"] == "CanonicalUser"


@pytest.mark.parametrize("canned, more", [
    ("private", set()), ("public-read", {(ALL, "READ")}), ("public-read-write", {(ALL, "READ"), (ALL, "WRITE")}),
    ("authenticated-read", {(KNOWN, "READ")}), ("log-delivery-write", {(LOGS, "WRITE"), (LOGS, "READ_ACP")}),
    ("aws-exec-read", {(IMAGES, "READ")})])
def test_canned_acls_of_a_bucket(one, bucket, canned, more):
    own = {(one.canonical, "FULL_CONTROL")}
    one.s3.put_bucket_acl(Bucket=bucket, ACL=canned)
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == own | more
    other = f"{bucket}-{canned}"[:63].rstrip("-")
    one.s3.create_bucket(Bucket=other, ACL=canned)
    assert grants(one.s3.get_bucket_acl(Bucket=other)) == own | more


def test_grants_by_header_and_by_document(one, two, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, GrantRead=f'id="{two.canonical}", uri="{KNOWN}"',
                          GrantFullControl=f"id={one.canonical}")
    answer = one.s3.get_bucket_acl(Bucket=bucket)
    assert grants(answer) == {(one.canonical, "FULL_CONTROL"), (two.canonical, "READ"), (KNOWN, "READ")}
    names = {g["Grantee"].get("DisplayName") for g in answer["Grants"]}
    assert names == {one.name, two.name, None}
    document = {"Owner": answer["Owner"], "Grants": [
        {"Grantee": {"Type": "CanonicalUser", "ID": two.canonical}, "Permission": "WRITE_ACP"}]}
    one.s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=document)
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == {(two.canonical, "WRITE_ACP")}
    two.s3.put_bucket_acl(Bucket=bucket, GrantRead=f"id={two.canonical}")
    two.s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("permission, calls", [
    ("READ", {"list"}), ("WRITE", {"put", "delete"}), ("READ_ACP", {"get_acl"}), ("WRITE_ACP", {"put_acl"}),
    ("FULL_CONTROL", {"list", "put", "delete", "get_acl", "put_acl"})])
def test_what_a_grant_on_a_bucket_allows(one, two, bucket, permission, calls):
    own = {"Grantee": {"Type": "CanonicalUser", "ID": one.canonical}, "Permission": "FULL_CONTROL"}
    theirs = {"Grantee": {"Type": "CanonicalUser", "ID": two.canonical}, "Permission": permission}
    document = {"Owner": {"ID": one.canonical}, "Grants": [own, theirs]}
    one.s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=document)
    s3 = two.s3
    for name, call in {
            "list": lambda: s3.list_objects_v2(Bucket=bucket), "put": lambda: s3.put_object(Bucket=bucket, Key="n"),
            "delete": lambda: s3.delete_object(Bucket=bucket, Key="n"),
            "get_acl": lambda: s3.get_bucket_acl(Bucket=bucket),
            "read": lambda: s3.get_object(Bucket=bucket, Key="k"),
            "put_acl": lambda: s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=document)}.items():
        if name in calls:
            call()
        else:
            with refused("AccessDenied", 403):
                call()


def test_bad_acls_are_refused(one, bucket):
    def put(**acl):
        one.s3.put_bucket_acl(Bucket=bucket, **acl)
    own = {"ID": one.canonical}
    nobody = {"Grantee": {"Type": "CanonicalUser", "ID": "f" * 64}, "Permission": "READ"}
    mail = {"Grantee": {"Type": "AmazonCustomerByEmail", "EmailAddress": "a@b.c"}, "Permission": "READ"}
    with refused("InvalidArgument", 400):
        put(ACL="public")
    with refused("InvalidArgument", 400):
        put(GrantRead="id=" + "f" * 64)
    with refused("InvalidArgument", 400):
        put(GrantRead="someone")
    with refused("InvalidArgument", 400):
        put(AccessControlPolicy={"Owner": own, "Grants": [nobody]})
    with refused("UnresolvableGrantByEmailAddress", 400):
        put(AccessControlPolicy={"Owner": own, "Grants": [mail]})
    group = {"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/Few"}, "Permission": "READ"}
    with refused("InvalidArgument", 400):
        put(AccessControlPolicy={"Owner": own, "Grants": [group]})
    with refused("AccessDenied", 403):
        put(AccessControlPolicy={"Owner": {"ID": "f" * 64}, "Grants": []})
    with refused("InvalidRequest", 400):
        put(ACL="private", GrantRead=f"id={one.canonical}")
    with refused("UnexpectedContent", 400):
        put(ACL="private", AccessControlPolicy={"Owner": own, "Grants": []})
    with refused("MissingSecurityHeader", 400):
        put()
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == {(one.canonical, "FULL_CONTROL")}


@pytest.mark.parametrize("canned, more", [
    ("private", set()), ("public-read", {(ALL, "READ")}), ("authenticated-read", {(KNOWN, "READ")}),
    ("public-read-write", {(ALL, "READ"), (ALL, "WRITE")}), ("bucket-owner-full-control", set()),
    ("aws-exec-read", {(IMAGES, "READ")})])
def test_canned_acls_of_an_object(one, bucket, canned, more):
    own = {(one.canonical, "FULL_CONTROL")}
    s3 = one.s3
    s3.put_object(Bucket=bucket, Key="put", Body=b"v", ACL=canned)
    assert grants(s3.get_object_acl(Bucket=bucket, Key="put")) == own | more
    s3.put_object_acl(Bucket=bucket, Key="k", ACL=canned)
    assert grants(s3.get_object_acl(Bucket=bucket, Key="k")) == own | more
    s3.copy_object(Bucket=bucket, Key="copied", CopySource=f"{bucket}/k", ACL=canned)
    assert grants(s3.get_object_acl(Bucket=bucket, Key="copied")) == own | more
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", ACL=canned)["UploadId"]
    tag = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"v")["ETag"]
    s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    assert grants(s3.get_object_acl(Bucket=bucket, Key="m")) == own | more


def test_a_copy_does_not_take_the_acl_along(one, bucket):
    one.s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    one.s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    nobody = anonymous(one.basalt)
    assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    with refused("AccessDenied", 403):
        nobody.get_object(Bucket=bucket, Key="copy")


@pytest.mark.parametrize("permission, calls", [
    ("READ", {"read", "head"}), ("READ_ACP", {"get_acl"}), ("WRITE_ACP", {"put_acl"}), ("WRITE", set()),
    ("FULL_CONTROL", {"read", "head", "get_acl", "put_acl"})])
def test_what_a_grant_on_an_object_allows(one, two, bucket, permission, calls):
    own = {"Grantee": {"Type": "CanonicalUser", "ID": one.canonical}, "Permission": "FULL_CONTROL"}
    theirs = {"Grantee": {"Type": "CanonicalUser", "ID": two.canonical}, "Permission": permission}
    document = {"Owner": {"ID": one.canonical}, "Grants": [own, theirs]}
    one.s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=document)
    s3 = two.s3
    for name, call in {
            "read": lambda: s3.get_object(Bucket=bucket, Key="k"), "get_acl": lambda: s3.get_object_acl(Bucket=bucket, Key="k"),
            "put": lambda: s3.put_object(Bucket=bucket, Key="k"), "delete": lambda: s3.delete_object(Bucket=bucket, Key="k"),
            "put_acl": lambda: s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=document)}.items():
        if name in calls:
            call()
        else:
            with refused("AccessDenied", 403):
                call()


def test_a_users_own_policies_count_for_grants_to_its_account(one, two, bucket):
    user = two.user()
    one.s3.put_object_acl(Bucket=bucket, Key="k", GrantRead=f"id={two.canonical}")
    with refused("AccessDenied", 403):
        user.s3.get_object(Bucket=bucket, Key="k")
    two.allow(user.name, {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})
    user.s3.get_object(Bucket=bucket, Key="k")


def test_what_another_account_writes_is_its_own(one, two, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, GrantWrite=f"id={two.canonical}")
    two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v")
    assert two.s3.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"v"
    assert two.s3.get_object_acl(Bucket=bucket, Key="theirs")["Owner"]["ID"] == two.canonical
    with refused("AccessDenied", 403):
        one.s3.get_object(Bucket=bucket, Key="theirs")
    two.s3.put_object(Bucket=bucket, Key="shared", Body=b"v", ACL="bucket-owner-full-control")
    assert one.s3.get_object(Bucket=bucket, Key="shared")["Body"].read() == b"v"
    assert grants(one.s3.get_object_acl(Bucket=bucket, Key="shared")) == {
        (one.canonical, "FULL_CONTROL"), (two.canonical, "FULL_CONTROL")}
    two.s3.put_object_acl(Bucket=bucket, Key="theirs", ACL="bucket-owner-read")
    one.s3.get_object(Bucket=bucket, Key="theirs")
    with refused("AccessDenied", 403):
        one.s3.get_object_acl(Bucket=bucket, Key="theirs")
    # What is in the bucket is the owner's to remove.
    one.s3.delete_object(Bucket=bucket, Key="theirs")


def test_an_acl_is_for_the_version_that_was_judged(one, two, bucket):
    """Its owner begins to change the ACL of an object and takes his time; meanwhile it becomes somebody else's."""
    one.s3.put_bucket_acl(Bucket=bucket, GrantWrite=f"id={two.canonical}")
    two.s3.put_object(Bucket=bucket, Key="k", Body=b"theirs")
    document = (f"<AccessControlPolicy><Owner><ID>{two.canonical}</ID></Owner><AccessControlList><Grant>"
                f'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
                f"<ID>{two.canonical}</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
                f"</AccessControlPolicy>").encode()
    with Wire("127.0.0.1", one.basalt.port, two.access_key, two.secret_key) as wire:
        def begun():
            return wire.begin("PUT", object_path(bucket, "k"), [("acl", "")], body=document)

        with begun() as request:
            assert request.finish()[0] == 200
        with begun() as request:
            one.s3.put_object(Bucket=bucket, Key="k", Body=b"mine")
            assert request.finish()[0] == 403
    with refused("AccessDenied", 403):
        two.s3.get_object(Bucket=bucket, Key="k")
    assert grants(one.s3.get_object_acl(Bucket=bucket, Key="k")) == {(one.canonical, "FULL_CONTROL")}
    assert one.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"mine"


def test_the_bucket_owner_may_be_preferred(one, two):
    name = f"preferred-{one.id}"
    one.s3.create_bucket(Bucket=name, ObjectOwnership="BucketOwnerPreferred")
    one.s3.put_bucket_acl(Bucket=name, GrantWrite=f"id={two.canonical}")
    two.s3.put_object(Bucket=name, Key="given", Body=b"v", ACL="bucket-owner-full-control")
    two.s3.put_object(Bucket=name, Key="kept", Body=b"v")
    assert one.s3.get_object_acl(Bucket=name, Key="given")["Owner"]["ID"] == one.canonical
    with refused("AccessDenied", 403):
        two.s3.get_object(Bucket=name, Key="given")
    with refused("AccessDenied", 403):
        one.s3.get_object(Bucket=name, Key="kept")


def test_where_acls_are_off(basalt, s3, bucket_off):
    name, one = bucket_off
    for acl in ["private", "public-read", "authenticated-read"]:
        with refused("AccessControlListNotSupported", 400):
            one.s3.put_bucket_acl(Bucket=name, ACL=acl)
        with refused("AccessControlListNotSupported", 400):
            one.s3.put_object_acl(Bucket=name, Key="k", ACL=acl)
    for acl in ["public-read", "authenticated-read"]:
        with refused("AccessControlListNotSupported", 400):
            one.s3.put_object(Bucket=name, Key="x", Body=b"v", ACL=acl)
        with refused("AccessControlListNotSupported", 400):
            one.s3.create_multipart_upload(Bucket=name, Key="x", ACL=acl)
    # What holds anyway may be said.
    for acl in ["private", "bucket-owner-full-control"]:
        one.s3.put_object(Bucket=name, Key="x", Body=b"v", ACL=acl)
    there = one.s3.get_object_acl(Bucket=name, Key="x")
    one.s3.put_object_acl(
        Bucket=name, Key="x", AccessControlPolicy={"Owner": there["Owner"], "Grants": there["Grants"]})
    assert grants(one.s3.get_bucket_acl(Bucket=name)) == {(one.canonical, "FULL_CONTROL")}
    assert grants(one.s3.get_object_acl(Bucket=name, Key="x")) == {(one.canonical, "FULL_CONTROL")}
    with refused("InvalidBucketAclWithObjectOwnership", 400):
        one.s3.create_bucket(Bucket=name + "-x", ACL="public-read")
    with refused("InvalidBucketAclWithBlockPublicAccessError", 400):
        one.s3.create_bucket(Bucket=name + "-x", ACL="public-read", ObjectOwnership="ObjectWriter")
    one.s3.create_bucket(Bucket=name + "-x", ACL="private")


def test_where_acls_are_off_another_account_writes_for_the_owner(basalt, bucket_off):
    """The policy of AWS's own guide: who writes says so, and needs no right to an ACL that says what holds anyway."""
    (name, one), two = bucket_off, account(basalt)
    says_so = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}
    document = policy(allow("s3:PutObject", objects(name), Principal={"AWS": two.id}, Condition=says_so))
    one.s3.put_bucket_policy(Bucket=name, Policy=document)
    two.s3.put_object(Bucket=name, Key="given", Body=b"v", ACL="bucket-owner-full-control")
    two.s3.create_multipart_upload(Bucket=name, Key="given", ACL="bucket-owner-full-control")
    assert one.s3.get_object(Bucket=name, Key="given")["Body"].read() == b"v"
    for acl in [{}, {"ACL": "private"}, {"ACL": "bucket-owner-full-control", "GrantRead": f"id={two.canonical}"}]:
        with refused("AccessDenied", 403):
            two.s3.put_object(Bucket=name, Key="given", Body=b"v", **acl)


@pytest.fixture
def bucket_off(basalt):
    one = account(basalt)
    name = f"off-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    return name, one


def test_public_acls_are_blocked_where_that_is_said(basalt):
    one = account(basalt)
    name = f"blocked-{one.id}"
    one.s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    for call in [lambda: one.s3.put_bucket_acl(Bucket=name, ACL="public-read"),
                 lambda: one.s3.put_object(Bucket=name, Key="k", ACL="public-read"),
                 lambda: one.s3.put_bucket_acl(Bucket=name, GrantRead=f'uri="{ALL}"')]:
        with refused("AccessDenied", 403):
            call()
    one.s3.put_bucket_acl(Bucket=name, ACL="private")
    one.s3.put_object(Bucket=name, Key="k", ACL="private")


def test_acls_survive_a_restart(new_basalt):
    server = new_basalt(options=["--new-buckets", "open"]).start()
    one = account(server)
    one.s3.create_bucket(Bucket="kept", ACL="public-read")
    one.s3.put_object(Bucket="kept", Key="k", Body=b"v", ACL="public-read")
    server.kill()
    server.start()
    assert anonymous(server).get_object(Bucket="kept", Key="k")["Body"].read() == b"v"
    assert anonymous(server).list_objects_v2(Bucket="kept")["KeyCount"] == 1


def test_an_account_is_meant_by_its_address(one, open_basalt, bucket):
    friend = account(open_basalt, f"friend-{one.id}@example.com")
    one.s3.put_bucket_acl(Bucket=bucket, GrantRead=f'emailAddress="{friend.name}"')
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == {(friend.canonical, "READ")}
    document = {"Owner": {"ID": one.canonical}, "Grants": [
        {"Grantee": {"Type": "AmazonCustomerByEmail", "EmailAddress": friend.name}, "Permission": "READ"}]}
    one.s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=document)
    assert friend.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    with refused("UnresolvableGrantByEmailAddress", 400):
        one.s3.put_bucket_acl(Bucket=bucket, GrantRead='emailAddress="nobody@example.com"')


def test_addresses_of_others_are_nobodys_where_buckets_are_closed(basalt):
    one, two = account(basalt), account(basalt)
    name = f"{one.id}-closed"
    one.s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    one.s3.put_bucket_acl(Bucket=name, GrantRead=f'emailAddress="{one.name}"')
    assert grants(one.s3.get_bucket_acl(Bucket=name)) == {(one.canonical, "READ")}
    for address in (two.name, "nobody@example.com"):
        with refused("UnresolvableGrantByEmailAddress", 400):
            one.s3.put_bucket_acl(Bucket=name, GrantRead=f'emailAddress="{address}"')


def test_listings_name_who_owns_each_object(one, two, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v")
    owners = [{"ID": who.canonical, "DisplayName": who.name} for who in (one, two)]
    assert [o["Owner"] for o in one.s3.list_objects(Bucket=bucket)["Contents"]] == owners
    assert [o["Owner"] for o in one.s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"]] == owners
    assert [o["Owner"] for o in one.s3.list_object_versions(Bucket=bucket)["Versions"]] == owners
    begun = [(who, who.s3.create_multipart_upload(Bucket=bucket, Key=f"u-{n}")) for n, who in enumerate((one, two))]
    uploads = one.s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [u["Owner"] for u in uploads] == owners and [u["Initiator"] for u in uploads] == owners
    for (who, upload), owner in zip(begun, owners):
        listed = who.s3.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        assert (listed["Owner"], listed["Initiator"]) == (owner, owner)
    one.s3.put_bucket_acl(Bucket=bucket, ACL="private")
    one.s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    assert [o["Owner"] for o in one.s3.list_objects(Bucket=bucket)["Contents"]] == [owners[0]] * 2


def test_a_public_acl_makes_a_bucket_public(one, bucket):
    def status():
        return one.s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    assert not status()
    for canned in ("public-read", "authenticated-read"):
        one.s3.put_bucket_acl(Bucket=bucket, ACL=canned)
        assert status()
    one.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})
    assert not status()


def test_an_open_server_sets_no_ownership_controls(one, two, bucket):
    with refused("OwnershipControlsNotFoundError", 404):
        one.s3.get_bucket_ownership_controls(Bucket=bucket)
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    two.s3.put_object(Bucket=bucket, Key="theirs", Body=b"v")
    with refused("AccessDenied", 403):
        one.s3.get_object(Bucket=bucket, Key="theirs")


def test_a_grant_to_write_removes_no_version_for_good(one, two, bucket):
    """Only the owner of the bucket may: deleting a version is all that takes something away for ever."""
    one.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    kept = dict(Key="v", VersionId=one.s3.put_object(Bucket=bucket, Key="v", Body=b"v")["VersionId"])
    for stranger in (two.s3, anonymous(one.basalt)):
        for version in (kept, dict(Key="k", VersionId="null")):
            with refused("AccessDenied", 403):
                stranger.delete_object(Bucket=bucket, **version)
        answer = stranger.delete_objects(Bucket=bucket, Delete={"Objects": [kept]})
        assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"] and "Deleted" not in answer
        assert stranger.delete_object(Bucket=bucket, Key="v")["DeleteMarker"]
    assert one.s3.get_object(Bucket=bucket, **kept)["Body"].read() == b"v"
    one.s3.delete_object(Bucket=bucket, **kept)


def test_a_grant_to_write_is_none_for_the_uploads_of_others(one, two, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    user = two.user(allow(["s3:PutObject"]))
    other = two.user(allow(["s3:PutObject"]))

    def begun(who, key):
        return dict(Bucket=bucket, Key=key, UploadId=who.s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])

    owners, theirs, users = begun(one, "owner"), begun(two, "root"), begun(user, "user")
    nobody = anonymous(one.basalt)
    for s3, upload in [(two.s3, owners), (user.s3, owners), (user.s3, theirs), (other.s3, users), (nobody, owners), (nobody, theirs)]:
        for call in (s3.list_parts, s3.abort_multipart_upload):
            with refused("AccessDenied", 403):
                call(**upload)
    # The owner of the bucket, who began it, and the account of who began it.
    for s3, upload in [(one.s3, theirs), (one.s3, users), (two.s3, theirs), (user.s3, users), (two.s3, users)]:
        s3.list_parts(**upload)
    one.s3.put_bucket_policy(Bucket=bucket, Policy=policy(
        allow("s3:AbortMultipartUpload", objects(bucket), Principal={"AWS": two.arn})))
    two.s3.abort_multipart_upload(**owners)
    one.s3.abort_multipart_upload(**theirs)
    two.s3.abort_multipart_upload(**users)


@pytest.mark.parametrize("kind", ["", ' xsi:type="Person"', ' xsi:type=""', ' type="CanonicalUser"', ' xsi:type="Group"'])
def test_a_grantee_is_of_a_kind(one, bucket, kind):
    text = (f'<AccessControlPolicy xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Owner><ID>{one.canonical}</ID>'
            f'</Owner><AccessControlList><Grant><Grantee{kind}><ID>{one.canonical}</ID></Grantee>'
            f'<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>')
    signed = dict(query=[("acl", "")], access_key=one.access_key, secret_key=one.secret_key)
    with one.basalt.wire() as wire:
        for path in (f"/{bucket}", object_path(bucket, "k")):
            wire.request("PUT", path, body=text.encode(), **signed).expect(400, "MalformedACLError")
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == {(one.canonical, "FULL_CONTROL")}


# ---- A bucket that its owner makes again ----

def test_a_bucket_made_again_has_a_new_acl_and_is_else_the_same(one, two, bucket):
    s3 = one.s3
    own = {(one.canonical, "FULL_CONTROL")}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(allow("s3:GetObject", objects(bucket), Principal={"AWS": two.arn})))
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    made = s3.list_buckets(Prefix=bucket)["Buckets"][0]["CreationDate"]
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert s3.create_bucket(Bucket=bucket)["Location"] == f"/{bucket}"
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == own
    s3.create_bucket(Bucket=bucket, ACL="public-read-write")
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == own | {(ALL, "READ"), (ALL, "WRITE")}
    s3.create_bucket(Bucket=bucket, GrantRead=f"id={two.canonical}")
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == {(two.canonical, "READ")}
    for wrong, code in [(dict(ACL="public"), "InvalidArgument"),
                        (dict(CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}), "IllegalLocationConstraintException")]:
        with refused(code, 400):
            s3.create_bucket(Bucket=bucket, **wrong)
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == {(two.canonical, "READ")}
    others = {"CreateBucketConfiguration": {"Tags": [{"Key": "a", "Value": "c"}]}}
    for more in ({"ObjectLockEnabledForBucket": True}, {"ObjectOwnership": "BucketOwnerEnforced"}, others):
        with refused("BucketAlreadyOwnedByYou", 409):
            s3.create_bucket(Bucket=bucket, **more)
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == {(two.canonical, "READ")}
    same = {"CreateBucketConfiguration": {"Tags": [{"Key": "a", "Value": "b"}]}}
    s3.create_bucket(Bucket=bucket, ACL="private", ObjectOwnership="ObjectWriter", ObjectLockEnabledForBucket=False, **same)
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == own
    with refused("OwnershipControlsNotFoundError", 404):
        s3.get_bucket_ownership_controls(Bucket=bucket)
    with refused("ObjectLockConfigurationNotFoundError", 404):
        s3.get_object_lock_configuration(Bucket=bucket)
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert s3.list_buckets(Prefix=bucket)["Buckets"][0]["CreationDate"] == made
    assert two.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    with refused("BucketAlreadyExists", 409):
        two.s3.create_bucket(Bucket=bucket)


def test_making_a_bucket_again_takes_the_rights_of_making_it(one, bucket):
    one.s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    shown = grants(one.s3.get_bucket_acl(Bucket=bucket))
    maker = one.user(allow("s3:CreateBucket"))
    for who, acl in [(one.user(allow("s3:PutBucketAcl")), {}), (maker, {"ACL": "public-read-write"})]:
        with refused("AccessDenied", 403):
            who.s3.create_bucket(Bucket=bucket, **acl)
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == shown
    both = one.user(allow(["s3:CreateBucket", "s3:PutBucketAcl"]))
    keeper = {**deny("s3:PutBucketAcl", f"arn:aws:s3:::{bucket}"), "Principal": "*"}
    one.s3.put_bucket_policy(Bucket=bucket, Policy=policy(keeper))
    for acl in ({}, {"ACL": "public-read-write"}):
        with refused("AccessDenied", 403):
            both.s3.create_bucket(Bucket=bucket, **acl)
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == shown
    one.s3.delete_bucket_policy(Bucket=bucket)
    maker.s3.create_bucket(Bucket=bucket)
    assert grants(one.s3.get_bucket_acl(Bucket=bucket)) == {(one.canonical, "FULL_CONTROL")}


def test_making_a_bucket_again_switches_no_acl_on(one, bucket_off):
    name, owner = bucket_off
    for again in ({}, {"ACL": "private"}, {"ObjectOwnership": "BucketOwnerEnforced"}):
        owner.s3.create_bucket(Bucket=name, **again)
    with refused("BucketAlreadyOwnedByYou", 409):
        owner.s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    with refused("InvalidBucketAclWithObjectOwnership", 400):
        owner.s3.create_bucket(Bucket=name, ACL="authenticated-read")
    with refused("InvalidBucketAclWithObjectOwnership", 400):
        owner.s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter", GrantWrite=f'uri="{LOGS}"')
    rules = owner.s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_a_bucket_made_again_goes_by_its_own_settings(basalt):
    """And not by those of new ones, which have no ACLs."""
    s3 = basalt.s3()
    s3.create_bucket(Bucket="shared")
    with refused("InvalidBucketAclWithObjectOwnership", 400):
        s3.create_bucket(Bucket="shared", ACL="public-read")
    s3.delete_public_access_block(Bucket="shared")
    s3.put_bucket_ownership_controls(
        Bucket="shared", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
    s3.create_bucket(Bucket="shared", ACL="public-read")
    assert len(s3.get_bucket_acl(Bucket="shared")["Grants"]) == 2
    s3.create_bucket(Bucket="shared")
    assert len(s3.get_bucket_acl(Bucket="shared")["Grants"]) == 1


def test_elsewhere_a_bucket_is_made_once(new_basalt):
    server = new_basalt(options=["--region", "eu-west-1", "--new-buckets", "open"]).start()
    s3 = server.s3(region="eu-west-1")
    again = dict(Bucket="once", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.create_bucket(**again)
    s3.put_bucket_acl(Bucket="once", ACL="public-read")
    with refused("BucketAlreadyOwnedByYou", 409):
        s3.create_bucket(**again)
    assert len(s3.get_bucket_acl(Bucket="once")["Grants"]) == 2
