"""Inventories: configurations as S3 takes them, and reports that are really written, read back and compared with
listings. A lifecycle day of two seconds makes them due again and again.
"""
import csv
import gzip
import hashlib
import io
import json
import re
import urllib.parse

import pytest
from botocore.exceptions import ClientError

from .content import MIB, content
from .errors import refused
from .identities import OPEN, account, allow, objects, policy
from .waiting import until

DAY = ["--lifecycle-day", "2"]
LONG_DAY = ["--lifecycle-day", "3600"]
FIELDS = ["Size", "LastModifiedDate", "StorageClass", "ETag", "IsMultipartUploaded", "EncryptionStatus",
          "ObjectLockRetainUntilDate", "ObjectLockMode", "ObjectLockLegalHoldStatus", "ChecksumAlgorithm", "ObjectOwner"]
WAIT = 60
SERVICE = {"Service": "s3.amazonaws.com"}


def configuration(lists, id="all", prefix="inv", versions="All", fields=FIELDS, frequency="Daily", enabled=True, filter=None,
                  **destination):
    bucket = {"Bucket": f"arn:aws:s3:::{lists}", "Format": "CSV", **destination}
    if prefix is not None:
        bucket["Prefix"] = prefix
    found = {"Id": id, "IsEnabled": enabled, "IncludedObjectVersions": versions, "Schedule": {"Frequency": frequency},
             "Destination": {"S3BucketDestination": bucket}}
    if fields:
        found["OptionalFields"] = list(fields)
    if filter is not None:
        found["Filter"] = {"Prefix": filter}
    return found


def put(s3, bucket, found):
    s3.put_bucket_inventory_configuration(Bucket=bucket, Id=found["Id"], InventoryConfiguration=found)


def let_in(s3, lists, source="*", **condition):
    """The policy of AWS's documentation."""
    condition = {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{source}"},
                 "StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control", **condition}}
    s3.put_bucket_policy(Bucket=lists, Policy=policy(allow("s3:PutObject", objects(lists), Principal=SERVICE, Condition=condition)))


@pytest.fixture
def lists(s3, bucket):
    name = f"{bucket}-lists"
    s3.create_bucket(Bucket=name)
    let_in(s3, name, bucket)
    return name


# ---- Configurations ----

def test_a_configuration_is_kept_replaced_and_deleted(s3, bucket, lists):
    first = configuration(lists, filter="only/", enabled=False)
    second = configuration(lists, prefix=None, versions="Current", fields=(), frequency="Weekly", enabled=False)
    for found in (first, second):
        put(s3, bucket, found)
        answer = s3.get_bucket_inventory_configuration(Bucket=bucket, Id="all")
        assert answer["InventoryConfiguration"] == found
    s3.delete_bucket_inventory_configuration(Bucket=bucket, Id="all")
    for call in (s3.get_bucket_inventory_configuration, s3.delete_bucket_inventory_configuration):
        with refused("NoSuchConfiguration", 404):
            call(Bucket=bucket, Id="all")
    assert "InventoryConfigurationList" not in s3.list_bucket_inventory_configurations(Bucket=bucket)


def test_up_to_a_thousand_in_pages_of_a_hundred(s3, wire, bucket, lists):
    names = [f"i{number:04}" for number in range(1000)]
    for name in names:
        put(s3, bucket, configuration(lists, id=name, fields=(), enabled=False))
    with refused("TooManyConfigurations", 400):
        put(s3, bucket, configuration(lists, id="more", enabled=False))
    put(s3, bucket, configuration(lists, id="i0500", fields=["Size"], enabled=False))
    found, sizes, more = [], [], {}
    while True:
        page = s3.list_bucket_inventory_configurations(Bucket=bucket, **more)
        found += [one["Id"] for one in page["InventoryConfigurationList"]]
        sizes.append(len(page["InventoryConfigurationList"]))
        assert page.get("ContinuationToken") == more.get("ContinuationToken")
        if not page["IsTruncated"]:
            break
        more = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == names and sizes == [100] * 10
    with refused("InvalidArgument", 400):
        s3.list_bucket_inventory_configurations(Bucket=bucket, ContinuationToken="forged")
    s3.delete_bucket_inventory_configuration(Bucket=bucket, Id="i0000")
    put(s3, bucket, configuration(lists, id="more", enabled=False))
    s3.delete_bucket(Bucket=bucket)  # with all of them
    s3.create_bucket(Bucket=bucket)
    assert "InventoryConfigurationList" not in s3.list_bucket_inventory_configurations(Bucket=bucket)


@pytest.mark.parametrize("changes, code, status", [
    ({"Format": "ORC"}, "NotImplemented", 501), ({"Format": "Parquet"}, "NotImplemented", 501),
    ({"Encryption": {"SSES3": {}}}, "NotImplemented", 501),
    *(({"fields": [name]}, "NotImplemented", 501) for name in
      ("ReplicationStatus", "IntelligentTieringAccessTier", "BucketKeyStatus", "ObjectAccessControlList")),
    ({"fields": ["Size", "Size"]}, "MalformedXML", 400), ({"fields": ["Colour"]}, "MalformedXML", 400),
    ({"frequency": "Hourly"}, "MalformedXML", 400), ({"versions": "Some"}, "MalformedXML", 400),
    ({"id": "a b"}, "InvalidArgument", 400), ({"id": "x" * 65}, "InvalidArgument", 400),
    ({"prefix": "p" * 513}, "InvalidArgument", 400), ({"filter": "p" * 1025}, "InvalidArgument", 400),
    ({"Bucket": "plain-name"}, "InvalidArgument", 400),
    ({"Bucket": "arn:aws:s3:::no-such-bucket-here"}, "InvalidS3DestinationBucket", 400),
    ({"AccountId": "123412341234"}, "InvalidS3DestinationBucket", 400),
])
def test_what_cannot_be_is_refused_and_nothing_changes(s3, bucket, lists, changes, code, status):
    with refused(code, status):
        put(s3, bucket, configuration(lists, **changes))
    assert "InventoryConfigurationList" not in s3.list_bucket_inventory_configurations(Bucket=bucket)


def test_the_id_of_the_document_is_that_of_the_request(s3, bucket, lists):
    with refused("InvalidArgument", 400):
        s3.put_bucket_inventory_configuration(Bucket=bucket, Id="other", InventoryConfiguration=configuration(lists))
    for missing in ("no-such-bucket-here",):
        with refused("NoSuchBucket", 404):
            put(s3, missing, configuration(lists))


def test_lists_go_to_the_own_account_and_only_who_may_sets_them(open_basalt, one, two):
    one.s3.create_bucket(Bucket=f"{one.id}-data")
    one.s3.create_bucket(Bucket=f"{one.id}-lists")
    two.s3.create_bucket(Bucket=f"{two.id}-lists")
    let_in(two.s3, f"{two.id}-lists")
    mine = configuration(f"{one.id}-lists", enabled=False, AccountId=one.id)
    with refused("InvalidS3DestinationBucket", 400):
        put(one.s3, f"{one.id}-data", configuration(f"{two.id}-lists"))
    with refused("AccessDenied", 403):
        put(two.s3, f"{one.id}-data", mine)
    user = one.user()
    with refused("AccessDenied", 403):
        put(user.s3, f"{one.id}-data", mine)
    one.allow(user.name, {"Effect": "Allow", "Action": "s3:PutInventoryConfiguration", "Resource": "*"})
    put(user.s3, f"{one.id}-data", mine)
    with refused("AccessDenied", 403):
        user.s3.get_bucket_inventory_configuration(Bucket=f"{one.id}-data", Id="all")
    assert one.s3.get_bucket_inventory_configuration(Bucket=f"{one.id}-data", Id="all")["InventoryConfiguration"] == mine


# ---- Reports ----

def manifests(s3, lists, prefix="inv/"):
    """Keys of all manifests whose checksum is there too, the oldest first."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=lists, Prefix=prefix)
    keys = {entry["Key"]: entry["LastModified"] for page in pages for entry in page.get("Contents", ())}
    whole = [key for key in keys if key.endswith("/manifest.json") and key[:-4] + "checksum" in keys]
    return sorted(whole, key=lambda key: (keys[key[:-4] + "checksum"], key))


def wait_for(s3, lists, prefix="inv/"):
    return until(lambda: manifests(s3, lists, prefix), WAIT, "a report")[-1]


def read(s3, lists, key):
    """The manifest, and its rows as dictionaries."""
    text = s3.get_object(Bucket=lists, Key=key)["Body"].read()
    checksum = s3.get_object(Bucket=lists, Key=key[:-4] + "checksum")["Body"].read()
    assert checksum.decode() == hashlib.md5(text).hexdigest()
    manifest = json.loads(text)
    columns, rows = manifest["fileSchema"].split(", "), []
    for file in manifest["files"]:
        body = s3.get_object(Bucket=lists, Key=file["key"])["Body"].read()
        assert (len(body), hashlib.md5(body).hexdigest()) == (file["size"], file["MD5checksum"])
        for row in csv.reader(io.StringIO(gzip.decompress(body).decode())):
            rows.append(dict(zip(columns, row, strict=True)))
    return manifest, rows


def server_with(new_basalt, options=DAY):
    server = new_basalt(options=options).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="data")
    s3.create_bucket(Bucket="lists")
    let_in(s3, "lists", "data")
    return server, s3


def test_a_report_tells_what_a_listing_does(new_basalt):
    _, s3 = server_with(new_basalt, LONG_DAY)
    s3.delete_bucket(Bucket="data")
    s3.create_bucket(Bucket="data", ObjectLockEnabledForBucket=True)
    keys = ["plain", "a b/ü+%\"quoted\",\n", *(f"many/{n}" for n in range(40))]
    for key in keys:
        s3.put_object(Bucket="data", Key=key, Body=key.encode())
    s3.put_object(Bucket="data", Key="plain", Body=b"newer", ChecksumAlgorithm="SHA256", ObjectLockMode="GOVERNANCE",
                  ObjectLockRetainUntilDate="2040-01-02T03:04:05Z", ObjectLockLegalHoldStatus="ON")
    s3.delete_object(Bucket="data", Key="many/7")
    upload = s3.create_multipart_upload(Bucket="data", Key="parts")["UploadId"]
    etags = [s3.upload_part(Bucket="data", Key="parts", UploadId=upload, PartNumber=n, Body=content(5 * MIB))["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(Bucket="data", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    put(s3, "data", configuration("lists"))
    put(s3, "data", configuration("lists", id="current", prefix=None, versions="Current", fields=["Size"], filter="many/"))
    put(s3, "data", configuration("lists", id="off", prefix="off", enabled=False))
    owner = s3.list_buckets()["Owner"]["ID"]
    key = wait_for(s3, "lists")
    assert re.fullmatch(r"inv/data/all/\d{4}-\d\d-\d\dT\d\d-\d\dZ/manifest.json", key)
    manifest, rows = read(s3, "lists", key)
    assert manifest["sourceBucket"] == "data" and manifest["destinationBucket"] == "arn:aws:s3:::lists"
    assert (manifest["version"], manifest["fileFormat"]) == ("2016-11-30", "CSV") and int(manifest["creationTimestamp"]) > 1.7e12
    assert all(re.fullmatch(r"inv/data/all/data/[0-9a-f-]{36}\.csv\.gz", file["key"]) for file in manifest["files"])
    listed = s3.list_object_versions(Bucket="data")
    expected = sorted((v["Key"], v["VersionId"], v["IsLatest"], v.get("Size")) for v in listed["Versions"] + listed["DeleteMarkers"])
    found = sorted((urllib.parse.unquote(r["Key"]), r["VersionId"], r["IsLatest"] == "true", int(r["Size"]) if r["Size"] else None) for r in rows)
    assert found == expected and {row["Bucket"] for row in rows} == {"data"}
    check_fields({urllib.parse.unquote(row["Key"]): row for row in rows if row["IsLatest"] == "true"}, s3, owner)
    manifest, rows = read(s3, "lists", wait_for(s3, "lists", "data/current/"))
    assert manifest["fileSchema"] == "Bucket, Key, Size"
    assert sorted(row["Key"] for row in rows) == sorted(f"many/{n}" for n in range(40) if n != 7)
    links = s3.list_objects_v2(Bucket="lists", Prefix="data/current/hive/dt=")["Contents"]
    text = s3.get_object(Bucket="lists", Key=links[0]["Key"])["Body"].read().decode()
    assert text == "".join(f"s3://lists/{file['key']}\n" for file in manifest["files"])
    assert not manifests(s3, "lists", "off/")


def check_fields(latest, s3, owner):
    plain, marker, parts = latest["plain"], latest["many/7"], latest["parts"]
    assert plain["ETag"] == s3.head_object(Bucket="data", Key="plain")["ETag"].strip('"')
    assert (plain["ObjectLockMode"], plain["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", "2040-01-02T03:04:05.000Z")
    assert (plain["ObjectLockLegalHoldStatus"], plain["ChecksumAlgorithm"]) == ("On", "SHA256")
    assert (plain["StorageClass"], plain["EncryptionStatus"], plain["IsMultipartUploaded"]) == ("STANDARD", "NOT-SSE", "false")
    assert (parts["IsMultipartUploaded"], parts["ObjectLockMode"], parts["ObjectLockLegalHoldStatus"]) == ("true", "", "Off")
    assert parts["ETag"].endswith("-2") and parts["Size"] == str(10 * MIB)
    assert (marker["IsDeleteMarker"], marker["Size"], marker["ETag"]) == ("true", "", "")
    assert {row["ObjectOwner"] for row in latest.values()} == {owner}
    modified = s3.head_object(Bucket="data", Key="plain")["LastModified"].strftime("%Y-%m-%dT%H:%M:%S")
    assert plain["LastModifiedDate"].startswith(modified)


def test_reports_come_each_day_and_not_twice_for_a_restart(new_basalt):
    server, s3 = server_with(new_basalt)
    s3.put_object(Bucket="data", Key="k", Body=b"1")
    put(s3, "data", configuration("lists", fields=["Size"], versions="Current"))

    def lists_made():
        found = s3.list_objects_v2(Bucket="lists", Prefix="inv/data/all/data/")
        return found["KeyCount"]

    until(lambda: lists_made() >= 3, WAIT, "three days")
    s3.delete_bucket_inventory_configuration(Bucket="data", Id="all")
    put(s3, "data", configuration("lists", id="weekly", prefix="weekly", frequency="Weekly"))
    wait_for(s3, "lists", "weekly/")
    s3.delete_bucket_inventory_configuration(Bucket="data", Id="weekly")
    server.stop()
    server.options = LONG_DAY
    server.start()
    s3 = server.s3()
    put(s3, "data", configuration("lists", id="once", prefix="once"))
    wait_for(s3, "lists", "once/")
    server.kill().start()
    s3 = server.s3()
    # What is new is due and the other is not: when the new one is there, the old one has been looked at.
    put(s3, "data", configuration("lists", id="then", prefix="then"))
    wait_for(s3, "lists", "then/")
    assert s3.list_objects_v2(Bucket="lists", Prefix="once/data/once/data/")["KeyCount"] == 1


def test_an_empty_bucket_has_a_report_without_lists(new_basalt):
    _, s3 = server_with(new_basalt, LONG_DAY)
    put(s3, "data", configuration("lists", versions="Current"))
    manifest, rows = read(s3, "lists", wait_for(s3, "lists"))
    assert manifest["files"] == [] and rows == []


def test_what_cannot_be_written_is_tried_again_and_leaves_nothing(new_basalt):
    server, s3 = server_with(new_basalt)
    s3.put_object(Bucket="data", Key="k", Body=b"1")
    from .test_quota import ask
    ask(server, "quota", "lists", "--max-objects", "1")
    put(s3, "data", configuration("lists"))
    until(lambda: server.text().count("an inventory was not written") >= 2, WAIT, "two attempts")
    until(lambda: s3.list_objects_v2(Bucket="lists")["KeyCount"] == 0, WAIT, "the list to be taken back")
    s3.delete_bucket_inventory_configuration(Bucket="data", Id="all")
    ask(server, "quota", "lists", "--clear")
    put(s3, "data", configuration("lists", id="again"))
    wait_for(s3, "lists")


def test_a_destination_that_lets_nobody_in_any_more_gets_no_report(new_basalt):
    server, s3 = server_with(new_basalt)

    def reports(outcome):
        return server.metrics()["basalt_inventory_reports_total"][f'{{outcome="{outcome}"}}']

    s3.delete_bucket_policy(Bucket="lists")
    put(s3, "data", configuration("lists"))
    until(lambda: reports("denied") >= 1, WAIT, "a refusal")
    assert "does not let s3.amazonaws.com write" in server.text()
    let_in(s3, "lists", "data", **{"aws:SourceAccount": "123412341234"})
    before = reports("denied")
    until(lambda: reports("denied") > before, WAIT, "another: the policy is for others")
    assert reports("written") == 0 and s3.list_objects_v2(Bucket="lists")["KeyCount"] == 0
    let_in(s3, "lists", "data")
    wait_for(s3, "lists")
    s3.delete_bucket_policy(Bucket="lists")
    before = reports("denied")
    until(lambda: reports("denied") > before, WAIT, "a refusal")
    assert reports("written") >= 1
