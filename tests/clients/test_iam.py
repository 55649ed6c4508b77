"""The IAM query API: users, access keys, inline policies; and what they let a user do."""
import http.client
import json
import urllib.parse
from datetime import datetime, timezone

import pytest

from .errors import refused
from .identities import Who, account, allow, both, deny, objects, policy
from .wire import EMPTY_SHA256, Signer


@pytest.fixture
def one(basalt):
    return account(basalt)


def test_users_come_and_go(one):
    iam = one.iam
    made = iam.create_user(UserName="ann", Path="/team/")["User"]
    assert made["Arn"] == f"arn:aws:iam::{one.id}:user/team/ann" and made["Path"] == "/team/"
    assert made["UserId"].startswith("AIDA") and made["UserName"] == "ann"
    assert iam.get_user(UserName="ann")["User"] == made
    with refused("EntityAlreadyExists", 409):
        iam.create_user(UserName="ANN")
    iam.create_user(UserName="taken")
    with refused("EntityAlreadyExists", 409):
        iam.update_user(UserName="ann", NewUserName="Taken")
    iam.delete_user(UserName="taken")
    root = iam.get_user()["User"]
    assert (root["Arn"], root["UserId"]) == (one.arn, one.id)
    iam.update_user(UserName="ann", NewUserName="bob", NewPath="/other/")
    with refused("NoSuchEntity", 404):
        iam.get_user(UserName="ann")
    bob = iam.get_user(UserName="bob")["User"]
    assert bob["UserId"] == made["UserId"] and bob["Arn"].endswith(":user/other/bob")
    iam.delete_user(UserName="bob")
    for call in [iam.get_user, iam.delete_user]:
        with refused("NoSuchEntity", 404):
            call(UserName="bob")


def test_users_are_listed_in_pages(one):
    names = [f"u{n:02}" for n in range(7)]
    for name in names:
        one.iam.create_user(UserName=name, Path="/a/" if name < "u05" else "/b/")
    found = []
    for page in one.iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 3}):
        assert len(page["Users"]) <= 3
        found += [user["UserName"] for user in page["Users"]]
    assert found == names
    assert len(one.iam.list_users(PathPrefix="/b/")["Users"]) == 2
    with refused("ValidationError", 400):
        one.iam.list_users(MaxItems=1001)


def test_keys_open_and_close(one):
    user = one.user(allow("s3:ListAllMyBuckets"))
    iam = one.iam
    keys = iam.list_access_keys(UserName=user.name)["AccessKeyMetadata"]
    assert [(k["AccessKeyId"], k["Status"]) for k in keys] == [(user.access_key, "Active")]
    assert "SecretAccessKey" not in keys[0]
    user.s3.list_buckets()
    iam.update_access_key(UserName=user.name, AccessKeyId=user.access_key, Status="Inactive")
    with refused("InvalidAccessKeyId", 403):
        user.s3.list_buckets()
    iam.update_access_key(UserName=user.name, AccessKeyId=user.access_key, Status="Active")
    user.s3.list_buckets()
    second = iam.create_access_key(UserName=user.name)["AccessKey"]
    Who(one.basalt, second["AccessKeyId"], second["SecretAccessKey"]).s3.list_buckets()
    with refused("LimitExceeded", 409):
        iam.create_access_key(UserName=user.name)
    iam.delete_access_key(UserName=user.name, AccessKeyId=user.access_key)
    with refused("InvalidAccessKeyId", 403):
        user.s3.list_buckets()
    with refused("NoSuchEntity", 404):
        iam.delete_access_key(UserName=user.name, AccessKeyId=user.access_key)
    with refused("DeleteConflict", 409):
        iam.delete_user(UserName=user.name)


def said(url):
    """Status and document of a GET that says all in its URL."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"/?{parts.query}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_queries_may_stand_in_the_url(one):
    """By GET, presigned: the way in which a client shows another service who it is."""
    one.iam.create_user(UserName="ann+b")
    whom = one.client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    status, body = said(whom)
    assert status == 200 and f"<Arn>{one.arn}</Arn>" in body
    get = one.iam.generate_presigned_url("get_user", Params={"UserName": "ann+b"}, HttpMethod="GET")
    status, body = said(get)
    assert status == 200 and "<UserName>ann+b</UserName>" in body
    for url, status, code in [
        (get.replace("ann%2Bb", "nobody"), 403, "SignatureDoesNotMatch"),
        (whom.replace("X-Amz-Credential=", "X-Amz-Credential=A"), 403, "InvalidClientTokenId"),
        (one.iam.generate_presigned_url("get_user", Params={"UserName": "x"}, HttpMethod="GET"), 404, "NoSuchEntity"),
    ]:
        found, body = said(url)
        assert (found, f"<Code>{code}</Code>" in body, "<ErrorResponse " in body) == (status, True, True), body
    with one.basalt.wire() as wire:
        signer = Signer(one.access_key, one.secret_key, service="iam", at=datetime(2020, 1, 1))
        answer = wire.send("GET", signer.presigned("GET", wire.host, "/", [("Action", "ListUsers")]), {"host": wire.host})
        assert answer.status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in answer.body
        signer = Signer(one.access_key, one.secret_key, service="iam")
        answer = wire.send("GET", signer.presigned("GET", wire.host, "/", seconds=-1), {"host": wire.host})
        assert answer.status == 400 and b"<Code>IncompleteSignature</Code>" in answer.body
        signed = dict(access_key=one.access_key, secret_key=one.secret_key, service="iam")
        query = [("Action", "ListUsers"), ("Version", "2010-05-08")]
        listed = wire.request("GET", "/", query, payload=EMPTY_SHA256, **signed)
        assert listed.status == 200 and b"<UserName>ann+b</UserName>" in listed.body
        query.append(("Unknown", "1"))
        assert b"<Code>ValidationError</Code>" in wire.request("GET", "/", query, payload=EMPTY_SHA256, **signed).body


def test_the_last_use_of_a_key(one):
    user = one.user(allow("s3:ListAllMyBuckets"))
    iam = one.iam

    def last(key):
        found = iam.get_access_key_last_used(AccessKeyId=key)
        return found.get("UserName"), found["AccessKeyLastUsed"]
    never = {"ServiceName": "N/A", "Region": "N/A"}
    assert last(user.access_key) == (user.name, never)
    with refused("SignatureDoesNotMatch", 403):
        Who(one.basalt, user.access_key, "wrong" * 8).s3.list_buckets()
    assert last(user.access_key) == (user.name, never), "a wrong signature is no use of the key"
    before = datetime.now(timezone.utc).replace(microsecond=0)
    for service, use in [("s3", user.s3.list_buckets), ("sts", user.client("sts").get_caller_identity)]:
        use()
        name, used = last(user.access_key)
        assert (name, used["ServiceName"], used["Region"]) == (user.name, service, "us-east-1")
        assert before <= used["LastUsedDate"] <= datetime.now(timezone.utc)
    with refused("AccessDenied", 403):
        user.s3.create_bucket(Bucket=f"denied-{one.id}")
    assert last(user.access_key)[1]["ServiceName"] == "s3", "what is denied is a use too"
    name, used = last(one.access_key)
    assert name is None and used["ServiceName"] == "iam"
    with refused("AccessDenied", 403):
        user.iam.get_access_key_last_used(AccessKeyId=user.access_key)
    for stranger in (account(one.basalt).access_key, "AKIANOBODY0000000000"):
        with refused("AccessDenied", 403):
            last(stranger)


def test_last_uses_survive_a_restart(new_basalt):
    server = new_basalt().start()
    one = account(server)
    user, unused, gone = one.user(), one.user(), one.user()
    for who in (user, gone):
        with refused("AccessDenied", 403):
            who.s3.list_buckets()
    one.iam.update_user(UserName=user.name, NewUserName="renamed")
    found = one.iam.get_access_key_last_used(AccessKeyId=user.access_key)
    assert found["UserName"] == "renamed"
    server.stop()
    server.start()
    assert one.iam.get_access_key_last_used(AccessKeyId=user.access_key)["AccessKeyLastUsed"] == found["AccessKeyLastUsed"]
    one.iam.delete_access_key(UserName=gone.name, AccessKeyId=gone.access_key)
    with refused("AccessDenied", 403):
        one.iam.get_access_key_last_used(AccessKeyId=gone.access_key)
    unused = one.iam.get_access_key_last_used(AccessKeyId=unused.access_key)["AccessKeyLastUsed"]
    assert "LastUsedDate" not in unused and unused["ServiceName"] == "N/A"


def test_what_there_is_of_an_account(one):
    one.user(), one.user()
    found = one.iam.get_account_summary()["SummaryMap"]
    assert (found["Users"], found["AccountAccessKeysPresent"], found["AccessKeysPerUserQuota"]) == (2, 1, 2)
    with refused("AccessDenied", 403):
        one.user().iam.get_account_summary()


def test_the_root_of_an_account_changes_its_own_keys(one):
    second = one.iam.create_access_key()["AccessKey"]
    other = Who(one.basalt, second["AccessKeyId"], second["SecretAccessKey"])
    other.iam.delete_access_key(AccessKeyId=one.access_key)
    with refused("InvalidAccessKeyId", 403):
        one.s3.list_buckets()
    other.s3.list_buckets()
    assert len(other.iam.list_access_keys()["AccessKeyMetadata"]) == 1


def test_the_servers_own_key_is_not_changed_here(basalt):
    root = Who(basalt, basalt.access_key, basalt.secret_key)
    with refused("ValidationError", 400):
        root.iam.create_access_key()
    with refused("ValidationError", 400):
        root.iam.delete_access_key(AccessKeyId=basalt.access_key)


def test_policies_are_kept_as_they_were_given(one):
    iam = one.iam
    iam.create_user(UserName="u")
    document = json.loads(policy(allow("s3:GetObject", "arn:aws:s3:::b/${aws:username}/* +%é")))
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=json.dumps(document))
    assert iam.get_user_policy(UserName="u", PolicyName="p")["PolicyDocument"] == document
    iam.put_user_policy(UserName="u", PolicyName="a", PolicyDocument=policy(deny("s3:*")))
    assert iam.list_user_policies(UserName="u")["PolicyNames"] == ["a", "p"]
    page = iam.list_user_policies(UserName="u", MaxItems=1)
    assert page["PolicyNames"] == ["a"] and page["IsTruncated"]
    assert iam.list_user_policies(UserName="u", Marker=page["Marker"])["PolicyNames"] == ["p"]
    with refused("DeleteConflict", 409):
        iam.delete_user(UserName="u")
    iam.delete_user_policy(UserName="u", PolicyName="a")
    with refused("NoSuchEntity", 404):
        iam.get_user_policy(UserName="u", PolicyName="a")
    with refused("NoSuchEntity", 404):
        iam.delete_user_policy(UserName="u", PolicyName="a")
    with refused("NoSuchEntity", 404):
        iam.put_user_policy(UserName="x", PolicyName="a", PolicyDocument=policy(deny("s3:*")))


@pytest.mark.parametrize("document", [
    "", "x", "{}", '{"Version":"2012-10-17"}', policy({**allow("s3:*"), "Principal": "*"}), policy(allow("s3:Fly")),
    policy(allow("s3:*", "bucket")), policy(allow("s3:*", Condition={"StringEquals": {"s3:nothing": "x"}})),
    '{"Statement":[],"Statement":[]}', policy(allow("s3:*")).replace("2012", "2013")])
def test_a_malformed_policy_is_refused(one, document):
    one.iam.create_user(UserName="u")
    code = "MalformedPolicyDocument" if document else "ValidationError"
    if document:
        with refused(code, 400):
            one.iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
    assert one.iam.list_user_policies(UserName="u")["PolicyNames"] == []


def test_policies_of_a_user_are_bounded(one):
    one.iam.create_user(UserName="u")
    long = policy(allow("s3:GetObject", [f"arn:aws:s3:::bucket{n:04}/*" for n in range(80)]))
    with refused("LimitExceeded", 409):
        one.iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=long)
    half = policy(allow("s3:GetObject", [f"arn:aws:s3:::bucket{n:04}/*" for n in range(40)]))
    one.iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=half)
    with refused("LimitExceeded", 409):
        one.iam.put_user_policy(UserName="u", PolicyName="q", PolicyDocument=half)
    # White space does not count, but it is kept.
    short = policy(allow("s3:GetObject", "*"))
    one.iam.put_user_policy(UserName="u", PolicyName="spaced", PolicyDocument=short.replace(" ", "\n" + " " * 100))
    with refused("LimitExceeded", 409):
        one.iam.put_user_policy(UserName="u", PolicyName="blank", PolicyDocument=short.replace(" ", " " * 1500))


@pytest.mark.parametrize("name", ["a b", "ü", "a/b", "x" * 65])
def test_bad_names_are_refused(one, name):
    with refused("ValidationError", 400):
        one.iam.create_user(UserName=name)


def test_names_that_nobody_can_have_are_not_looked_for(one):
    for call in (one.iam.get_user, one.iam.delete_user, one.iam.list_access_keys, one.iam.create_access_key):
        for name in ("a b", "a/b", "x" * 129):
            with refused("ValidationError", 400):
                call(UserName=name)
        with refused("NoSuchEntity", 404):
            call(UserName="x" * 128)


def test_answers_bring_the_id_of_their_request(one):
    for answer in (one.iam.list_users(), one.iam.get_account_summary(), one.client("sts").get_caller_identity()):
        told = answer["ResponseMetadata"]
        assert told["RequestId"] == told["HTTPHeaders"]["x-amzn-requestid"] != ""


def test_what_is_not_built_is_refused(one):
    with refused("InvalidAction", 400):
        one.iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    with refused("InvalidAction", 400):
        one.iam.create_group(GroupName="g")
    with refused("ValidationError", 400):
        one.iam.create_user(UserName="u", PermissionsBoundary="arn:aws:iam::aws:policy/x-is-long-enough")
    with refused("InvalidAction", 400):
        one.iam.simulate_principal_policy(PolicySourceArn=one.arn, ActionNames=["s3:GetObject"])
    with refused("InvalidAction", 400):
        one.client("sts").get_session_token()


def test_a_user_may_do_what_its_policies_say(one):
    name = f"of-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="mine/a", Body=b"a")
    one.s3.put_object(Bucket=name, Key="other/a", Body=b"a")
    user = one.user()
    for call in [lambda: user.s3.list_buckets(), lambda: user.s3.get_object(Bucket=name, Key="mine/a"),
                 lambda: user.s3.list_objects_v2(Bucket=name), lambda: user.s3.create_bucket(Bucket=name + "-x")]:
        with refused("AccessDenied", 403):
            call()
    one.allow(user.name, allow(["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{name}/mine/*"),
              allow("s3:ListBucket", f"arn:aws:s3:::{name}", Condition={"StringLike": {"s3:prefix": "mine/*"}}),
              deny("s3:GetObject", f"arn:aws:s3:::{name}/mine/secret"))
    assert user.s3.get_object(Bucket=name, Key="mine/a")["Body"].read() == b"a"
    user.s3.put_object(Bucket=name, Key="mine/secret", Body=b"a")
    assert len(user.s3.list_objects_v2(Bucket=name, Prefix="mine/")["Contents"]) == 2
    for call in [lambda: user.s3.get_object(Bucket=name, Key="mine/secret"),
                 lambda: user.s3.get_object(Bucket=name, Key="other/a"),
                 lambda: user.s3.delete_object(Bucket=name, Key="mine/a"),
                 lambda: user.s3.list_objects_v2(Bucket=name), lambda: user.s3.get_bucket_policy(Bucket=name)]:
        with refused("AccessDenied", 403):
            call()
    one.iam.delete_user_policy(UserName=user.name, PolicyName="inline")
    with refused("AccessDenied", 403):
        user.s3.get_object(Bucket=name, Key="mine/a")


def test_variables_stand_for_the_caller(one):
    name = f"of-{one.id}"
    one.s3.create_bucket(Bucket=name)
    rule = allow("s3:*", f"arn:aws:s3:::{name}/${{aws:username}}/*")
    ann, bob = one.user(rule, name="ann"), one.user(rule, name="bob")
    ann.s3.put_object(Bucket=name, Key="ann/k", Body=b"a")
    for call in [lambda: bob.s3.get_object(Bucket=name, Key="ann/k"),
                 lambda: ann.s3.put_object(Bucket=name, Key="bob/k", Body=b"a")]:
        with refused("AccessDenied", 403):
            call()


def test_who_may_not_list_does_not_learn_what_is_missing(one):
    name = f"of-{one.id}"
    one.s3.create_bucket(Bucket=name)
    blind = one.user(allow("s3:GetObject", objects(name)))
    seeing = one.user(allow(["s3:GetObject", "s3:ListBucket"], both(name)))
    with refused("AccessDenied", 403):
        blind.s3.get_object(Bucket=name, Key="none")
    with refused(None, 403):
        blind.s3.head_object(Bucket=name, Key="none")
    with refused("NoSuchKey", 404):
        seeing.s3.get_object(Bucket=name, Key="none")
    with refused(None, 404):
        seeing.s3.head_object(Bucket=name, Key="none")


def test_iam_itself_is_judged(one):
    user = one.user()
    for call in [lambda: user.iam.create_user(UserName="x"), lambda: user.iam.list_users(),
                 lambda: user.iam.get_user(), lambda: user.iam.create_access_key()]:
        with refused("AccessDenied", 403):
            call()
    own = f"arn:aws:iam::{one.id}:user/${{aws:username}}"
    one.allow(user.name, allow(["iam:GetUser", "iam:*AccessKey*"], own))
    assert user.iam.get_user()["User"]["UserName"] == user.name
    user.iam.create_access_key()
    other = one.user()
    with refused("AccessDenied", 403):
        user.iam.create_access_key(UserName=other.name)
    assert user.client("sts").get_caller_identity()["Arn"] == user.arn


def test_accounts_have_users_of_their_own(basalt, one):
    two = account(basalt)
    one.iam.create_user(UserName="same")
    two.iam.create_user(UserName="same")
    assert two.iam.get_user(UserName="same")["User"]["Arn"] != one.iam.get_user(UserName="same")["User"]["Arn"]
    two.iam.delete_user(UserName="same")
    one.iam.get_user(UserName="same")


def test_a_wrong_signature_is_refused(one):
    with refused("SignatureDoesNotMatch", 403):
        Who(one.basalt, one.access_key, "wrong" * 8).iam.list_users()
    with refused("InvalidClientTokenId", 403):
        Who(one.basalt, "AKIANOBODY0000000000", one.secret_key).iam.list_users()


def test_users_are_in_no_group_and_have_no_managed_policy(one):
    user = one.user()
    assert one.iam.list_groups_for_user(UserName=user.name)["Groups"] == []
    assert one.iam.list_attached_user_policies(UserName=user.name)["AttachedPolicies"] == []
    for call in (one.iam.list_groups_for_user, one.iam.list_attached_user_policies):
        with refused("NoSuchEntity", 404):
            call(UserName="nobody")


LISTS_OF_USERS = {"list_user_tags": "Tags", "list_mfa_devices": "MFADevices", "list_ssh_public_keys": "SSHPublicKeys",
                  "list_signing_certificates": "Certificates",
                  "list_service_specific_credentials": "ServiceSpecificCredentials"}
LISTS_OF_ACCOUNTS = {"list_groups": "Groups", "list_roles": "Roles", "list_policies": "Policies",
                     "list_instance_profiles": "InstanceProfiles", "list_virtual_mfa_devices": "VirtualMFADevices",
                     "list_account_aliases": "AccountAliases",
                     "list_open_id_connect_providers": "OpenIDConnectProviderList",
                     "list_saml_providers": "SAMLProviderList"}


@pytest.mark.parametrize("operation", LISTS_OF_USERS)
def test_what_no_user_can_have_is_an_empty_list(one, operation):
    """Programs that remove a user ask for all that could hang on it."""
    user, call = one.user(), getattr(one.iam, operation)
    assert call(UserName=user.name)[LISTS_OF_USERS[operation]] == []
    with refused("NoSuchEntity", 404):
        call(UserName="nobody")
    with refused("AccessDenied", 403):
        getattr(user.iam, operation)(UserName=user.name)


@pytest.mark.parametrize("operation", LISTS_OF_ACCOUNTS)
def test_what_no_account_can_have_is_an_empty_list(one, operation):
    assert getattr(one.iam, operation)()[LISTS_OF_ACCOUNTS[operation]] == []
    with refused("AccessDenied", 403):
        getattr(one.user().iam, operation)()


def test_lists_of_nothing_have_their_filters(one):
    assert one.iam.list_groups(PathPrefix="/some/", MaxItems=3)["IsTruncated"] is False
    assert one.iam.list_policies(Scope="Local", OnlyAttached=True, PathPrefix="/")["Policies"] == []
    assert one.iam.list_virtual_mfa_devices(AssignmentStatus="Any")["VirtualMFADevices"] == []


def test_actions_of_iam_that_are_not_built_may_stand_in_a_policy(one):
    names = ["iam:ChangePassword", "iam:GetLoginProfile", "iam:ListMFADevices", "iam:CreateServiceLinkedRole"]
    one.user({"Effect": "Allow", "Action": names, "Resource": "*"})
