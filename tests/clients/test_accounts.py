"""Accounts: made, listed, switched off and deleted by `basalt admin account`; apart from each other."""
import json

import pytest

from .errors import refused
from .identities import account, admin


def listed(basalt):
    status, out, complaint = admin(basalt, "list", "--json")
    assert status == 0, complaint
    return {one["name"]: one for one in json.loads(out)}


def test_an_account_has_ids_and_keys(basalt):
    made = account(basalt, "first-account")
    assert len(made.id) == 12 and made.id.isdigit()
    assert len(made.canonical) == 64 and int(made.canonical, 16)
    identity = made.client("sts").get_caller_identity()
    assert (identity["Account"], identity["Arn"], identity["UserId"]) == (made.id, made.arn, made.id)
    one = listed(basalt)["first-account"]
    assert (one["account_id"], one["canonical_id"]) == (made.id, made.canonical)
    assert one["access_keys"] == [made.access_key] and "secret_key" not in one
    status, out, _ = admin(basalt, "create", "for-people")
    assert status == 0 and "secret key" in out and "canonical id" in out
    status, out, _ = admin(basalt, "list")
    assert status == 0 and "for-people" in out and "secret" not in out


def test_names_are_taken_once_and_checked(basalt):
    account(basalt, "twice")
    status, _, complaint = admin(basalt, "create", "twice")
    assert status == 1 and "already exists" in complaint
    for bad in ["", "a b", "x" * 65, "123456789012"]:
        status, _, complaint = admin(basalt, "create", bad)
        assert status == 1 and "account name" in complaint, bad


def test_accounts_do_not_see_each_other(basalt, s3, bucket):
    one, two = account(basalt), account(basalt)
    name = f"of-{one.id}"
    one.s3.create_bucket(Bucket=name)
    one.s3.put_object(Bucket=name, Key="k", Body=b"v")
    assert [b["Name"] for b in one.s3.list_buckets()["Buckets"]] == [name]
    assert two.s3.list_buckets()["Buckets"] == []
    assert name not in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert one.s3.list_buckets()["Owner"]["ID"] == one.canonical
    for who in [two.s3, s3]:
        with refused("AccessDenied", 403):
            who.get_object(Bucket=name, Key="k")
        with refused("AccessDenied", 403):
            who.list_objects_v2(Bucket=name)
        with refused("AccessDenied", 403):
            who.put_object(Bucket=name, Key="x", Body=b"v")
        with refused("AccessDenied", 403):
            who.delete_bucket(Bucket=name)
        with refused(None, 403):
            who.head_bucket(Bucket=name)
        with refused("BucketAlreadyExists", 409):
            who.create_bucket(Bucket=name)
    with refused("AccessDenied", 403):
        one.s3.get_object(Bucket=bucket, Key="k")
    assert one.s3.get_object(Bucket=name, Key="k")["Body"].read() == b"v"
    owner = one.s3.list_objects_v2(Bucket=name, FetchOwner=True)["Contents"][0]["Owner"]
    assert owner["ID"] == one.canonical


def test_who_expects_another_owner_is_refused(basalt, s3, bucket):
    one = account(basalt)
    with refused("AccessDenied", 403):
        s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner=one.id)
    mine = next(a for a in listed(basalt).values() if a["default"])
    s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner=mine["account_id"])
    for nobody in ["abc", mine["account_id"] + "0"]:
        with refused("InvalidBucketOwnerAWSAccountID", 400):
            s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner=nobody)


def test_a_disabled_account_is_locked_out_until_it_is_enabled(basalt):
    one = account(basalt)
    user = one.user()
    assert admin(basalt, "disable", one.name)[0] == 0
    assert listed(basalt)[one.name]["disabled"]
    for who in [one, user]:
        with refused("InvalidAccessKeyId", 403):
            who.s3.list_buckets()
        with refused("InvalidClientTokenId", 403):
            who.client("sts").get_caller_identity()
    assert admin(basalt, "enable", one.id)[0] == 0
    one.s3.list_buckets()


def test_only_an_empty_account_is_deleted(basalt):
    one = account(basalt)
    user = one.user()
    name = f"of-{one.id}"
    one.s3.create_bucket(Bucket=name)
    status, _, complaint = admin(basalt, "delete", one.name)
    assert status == 1 and "users first" in complaint
    one.iam.delete_access_key(UserName=user.name, AccessKeyId=user.access_key)
    one.iam.delete_user(UserName=user.name)
    status, _, complaint = admin(basalt, "delete", one.name)
    assert status == 1 and "buckets first" in complaint
    one.s3.delete_bucket(Bucket=name)
    assert admin(basalt, "delete", one.name)[0] == 0
    assert one.name not in listed(basalt)
    with refused("InvalidAccessKeyId", 403):
        one.s3.list_buckets()
    status, _, complaint = admin(basalt, "delete", one.name)
    assert status == 1 and "cannot be found" in complaint


def test_the_default_account_stays(basalt):
    root = next(a for a in listed(basalt).values() if a["default"])
    for verb in ["disable", "delete"]:
        status, _, complaint = admin(basalt, verb, root["account_id"])
        assert status == 1 and "own root" in complaint


def test_only_the_servers_root_may_make_accounts(basalt):
    one = account(basalt)
    keys = ["--access-key", one.access_key, "--secret-key", one.secret_key]
    status, _, complaint = admin(basalt, "create", "never", *keys)
    assert status == 1 and "root credentials" in complaint
    assert "never" not in listed(basalt)
    status, body = basalt.get("/-/admin/v1/accounts")
    assert status == 403 and b"AccessDenied" in body


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_accounts_and_users_survive_a_restart(new_basalt, way):
    server = new_basalt().start()
    one = account(server)
    user = one.user({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    one.s3.create_bucket(Bucket="kept")
    getattr(server, way)()
    server.start()
    assert [b["Name"] for b in user.s3.list_buckets()["Buckets"]] == ["kept"]
    assert one.client("sts").get_caller_identity()["Account"] == one.id
    root = next(a for a in listed(server).values() if a["default"])
    assert listed(server)[one.name]["canonical_id"] == one.canonical
    server.stop()
    server.start()
    assert next(a for a in listed(server).values() if a["default"]) == root
