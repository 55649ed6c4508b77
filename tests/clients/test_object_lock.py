"""Object lock: what is locked cannot be removed by any path, and locks are only ever strengthened."""
import base64
import datetime
import hashlib

import pytest

from .content import content
from .errors import refused
from .test_checksums import checksum
from .test_multipart import PART, Upload
from .test_versioning import body_of, enable, put, versions
from .waiting import until
from .wire import object_path


def hence(**span):
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(**span)


DAY = dict(days=1)


@pytest.fixture
def locking(s3, bucket):
    name = f"{bucket}-locked"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def set_default(s3, bucket, mode="GOVERNANCE", **period):
    rule = {"DefaultRetention": {"Mode": mode, **period}}
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})


def retain(s3, bucket, mode, until, key="k", **more):
    s3.put_object_retention(Bucket=bucket, Key=key, Retention={"Mode": mode, "RetainUntilDate": until}, **more)


def retention(s3, bucket, key="k", **which):
    found = s3.get_object_retention(Bucket=bucket, Key=key, **which)["Retention"]
    return found["Mode"], found["RetainUntilDate"]


def hold(s3, bucket, status, key="k", **which):
    s3.put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": status}, **which)


def digest(body):
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def delete(s3, bucket, version, bypass=False, key="k"):
    s3.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=bypass)


def test_a_bucket_is_made_with_object_lock(s3, locking):
    assert s3.get_bucket_versioning(Bucket=locking)["Status"] == "Enabled"
    assert s3.get_object_lock_configuration(Bucket=locking)["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
    set_default(s3, locking, "COMPLIANCE", Years=1)
    rule = s3.get_object_lock_configuration(Bucket=locking)["ObjectLockConfiguration"]["Rule"]
    assert rule == {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 1}}
    with refused("InvalidBucketState", 409):
        enable(s3, locking, "Suspended")


def test_a_bucket_gets_object_lock_later(s3, bucket):
    with refused("ObjectLockConfigurationNotFoundError", 404):
        s3.get_object_lock_configuration(Bucket=bucket)
    with refused("InvalidBucketState", 409):
        set_default(s3, bucket, Days=1)
    put(s3, bucket, b"null")
    enable(s3, bucket)
    set_default(s3, bucket, Days=1)
    version = put(s3, bucket, b"v")
    assert retention(s3, bucket)[0] == "GOVERNANCE"
    with refused("AccessDenied", 403):
        delete(s3, bucket, version)
    # What was there before can be locked too.
    retain(s3, bucket, "COMPLIANCE", hence(**DAY), VersionId="null")
    with refused("AccessDenied", 403):
        delete(s3, bucket, "null", bypass=True)


def test_configurations_that_cannot_be(s3, locking):
    for code, rule in (
        ("InvalidRetentionPeriod", {"Mode": "GOVERNANCE", "Days": 0}),
        ("InvalidRetentionPeriod", {"Mode": "GOVERNANCE", "Years": -1}),
        ("MalformedXML", {"Mode": "GOVERNANCE", "Days": 1, "Years": 1}),
        ("MalformedXML", {"Mode": "governance", "Days": 1}),
    ):
        with refused(code, 400):
            s3.put_object_lock_configuration(Bucket=locking, ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": rule}})
    with refused("MalformedXML", 400):
        s3.put_object_lock_configuration(Bucket=locking, ObjectLockConfiguration={"ObjectLockEnabled": "Disabled"})
    assert "Rule" not in s3.get_object_lock_configuration(Bucket=locking)["ObjectLockConfiguration"]


def test_a_bucket_without_lock_takes_none(s3, bucket):
    put(s3, bucket, b"v")
    calls = [
        lambda: retain(s3, bucket, "GOVERNANCE", hence(**DAY)),
        lambda: retention(s3, bucket),
        lambda: hold(s3, bucket, "ON"),
        lambda: s3.get_object_legal_hold(Bucket=bucket, Key="k"),
        lambda: put(s3, bucket, b"w", ObjectLockLegalHoldStatus="ON"),
        lambda: put(s3, bucket, b"w", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=hence(**DAY)),
        lambda: s3.create_multipart_upload(Bucket=bucket, Key="k", ObjectLockLegalHoldStatus="ON"),
    ]
    for call in calls:
        with refused("InvalidRequest", 400):
            call()
    assert body_of(s3, bucket) == b"v"


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
@pytest.mark.parametrize("size", [5, 20000])
def test_what_is_locked_stays(s3, locking, mode, size):
    until_date = hence(**DAY)
    body = content(size, mode)
    version = put(s3, locking, body, ObjectLockMode=mode, ObjectLockRetainUntilDate=until_date)
    head = s3.head_object(Bucket=locking, Key="k")
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == (mode, until_date)
    assert retention(s3, locking) == (mode, until_date)
    with refused("AccessDenied", 403):
        delete(s3, locking, version)
    batch = {"Objects": [{"Key": "k", "VersionId": version}]}
    answer = s3.delete_objects(Bucket=locking, Delete=batch)
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("k", "AccessDenied")]
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=locking)
    # A newer version and a marker hide it and take nothing away.
    put(s3, locking, b"newer")
    s3.delete_object(Bucket=locking, Key="k")
    assert body_of(s3, locking, VersionId=version) == body
    if mode == "COMPLIANCE":
        with refused("AccessDenied", 403):
            delete(s3, locking, version, bypass=True)
        answer = s3.delete_objects(Bucket=locking, Delete=batch, BypassGovernanceRetention=True)
        assert answer["Errors"][0]["Code"] == "AccessDenied"
    else:
        answer = s3.delete_objects(Bucket=locking, Delete=batch, BypassGovernanceRetention=True)
        assert answer["Deleted"] == [{"Key": "k", "VersionId": version}]


def test_a_hold_is_beside_a_retention(s3, locking):
    version = put(s3, locking, b"v", ObjectLockLegalHoldStatus="ON")
    assert s3.head_object(Bucket=locking, Key="k")["ObjectLockLegalHoldStatus"] == "ON"
    for bypass in (False, True):
        with refused("AccessDenied", 403):
            delete(s3, locking, version, bypass)
    hold(s3, locking, "OFF")
    assert s3.get_object_legal_hold(Bucket=locking, Key="k")["LegalHold"] == {"Status": "OFF"}
    hold(s3, locking, "ON", VersionId=version)
    with refused("AccessDenied", 403):
        delete(s3, locking, version)
    hold(s3, locking, "OFF", VersionId=version)
    delete(s3, locking, version)
    assert versions(s3, locking) == []


def test_locks_are_only_strengthened(s3, locking):
    put(s3, locking, b"v")
    with refused("NoSuchObjectLockConfiguration", 404):
        retention(s3, locking)
    with refused("NoSuchObjectLockConfiguration", 404):
        s3.get_object_legal_hold(Bucket=locking, Key="k")
    near, far = hence(days=1), hence(days=2)
    retain(s3, locking, "GOVERNANCE", near)
    retain(s3, locking, "GOVERNANCE", far)
    for mode, date in (("GOVERNANCE", near), ("COMPLIANCE", far)):
        with refused("AccessDenied", 403):
            retain(s3, locking, mode, date)
    retain(s3, locking, "GOVERNANCE", near, BypassGovernanceRetention=True)
    assert retention(s3, locking) == ("GOVERNANCE", near)
    with refused("AccessDenied", 403):
        s3.put_object_retention(Bucket=locking, Key="k", Retention={})
    s3.put_object_retention(Bucket=locking, Key="k", Retention={}, BypassGovernanceRetention=True)
    retain(s3, locking, "COMPLIANCE", near)
    retain(s3, locking, "COMPLIANCE", far)
    for mode, date in (("COMPLIANCE", near), ("GOVERNANCE", far)):
        for bypass in (False, True):
            with refused("AccessDenied", 403):
                retain(s3, locking, mode, date, BypassGovernanceRetention=bypass)
    assert retention(s3, locking) == ("COMPLIANCE", far)


def test_a_retention_ends(s3, locking):
    version = put(s3, locking, b"v", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=hence(seconds=3))
    with refused("AccessDenied", 403):
        delete(s3, locking, version)

    def gone():
        try:
            delete(s3, locking, version, bypass=False)
        except s3.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied"
            return False
        return True

    until(gone, 20, "the retention to end")
    assert versions(s3, locking) == []


def test_every_way_to_make_an_object_gets_the_default(s3, locking):
    set_default(s3, locking, "GOVERNANCE", Days=3)
    put(s3, locking, b"v", key="put")
    s3.copy_object(Bucket=locking, Key="copy", CopySource={"Bucket": locking, "Key": "put"})
    upload = Upload(s3, locking, "parts")
    upload.part(1, b"v" * PART)
    upload.complete()
    for key in ("put", "copy", "parts"):
        mode, date = retention(s3, locking, key)
        assert mode == "GOVERNANCE" and hence(days=3) - date < datetime.timedelta(minutes=5), key
    own = hence(days=9)
    put(s3, locking, b"v", key="own", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=own)
    assert retention(s3, locking, "own") == ("COMPLIANCE", own)
    upload = Upload(s3, locking, "mine", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=own,
                    ObjectLockLegalHoldStatus="ON")
    upload.part(1, b"v")
    version = upload.complete()["VersionId"]
    head = s3.head_object(Bucket=locking, Key="mine")
    assert (head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]) == ("COMPLIANCE", "ON")
    with refused("AccessDenied", 403):
        delete(s3, locking, version, key="mine", bypass=True)
    # Copies have no lock of their source.
    s3.copy_object(Bucket=locking, Key="from", CopySource={"Bucket": locking, "Key": "mine"})
    assert retention(s3, locking, "from")[0] == "GOVERNANCE"
    assert "ObjectLockLegalHoldStatus" not in s3.head_object(Bucket=locking, Key="from")


def test_words_and_dates_that_cannot_be(s3, wire, locking):
    put(s3, locking, b"v")
    with refused("InvalidArgument", 400):
        retain(s3, locking, "GOVERNANCE", hence(days=-1))
    path = object_path(locking, "k")
    for body in (
        b"<Retention><Mode>governance</Mode><RetainUntilDate>2100-01-01T00:00:00Z</RetainUntilDate></Retention>",
        b"<Retention><Mode>GOVERNANCE</Mode></Retention>",
        b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate></Retention>",
    ):
        wire.request("PUT", path, query=[("retention", "")], headers=digest(body), body=body).expect(400, "MalformedXML")
    for body in (b"<LegalHold><Status>on</Status></LegalHold>", b"<LegalHold/>"):
        wire.request("PUT", path, query=[("legal-hold", "")], headers=digest(body), body=body).expect(400, "MalformedXML")
    for sub in ("retention", "legal-hold"):
        empty = wire.request("PUT", path, query=[(sub, "")], headers=digest(b""))
        empty.expect(400, "MissingRequestBodyError")
    for headers in (
        {"x-amz-object-lock-mode": "GOVERNANCE"},
        {"x-amz-object-lock-retain-until-date": "2100-01-01T00:00:00Z"},
        {"x-amz-object-lock-mode": "X", "x-amz-object-lock-retain-until-date": "2100-01-01T00:00:00Z"},
        {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2000-01-01T00:00:00Z"},
        {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "soon"},
        {"x-amz-object-lock-legal-hold": "on"},
    ):
        wire.request("PUT", path, headers=headers, body=b"w").expect(400, "InvalidArgument")
    wire.request("DELETE", path, headers={"x-amz-bypass-governance-retention": "maybe"}).expect(400, "InvalidArgument")
    wire.request("PUT", path, headers={"x-amz-object-lock-event-hold": "ON"}, body=b"w").expect(501, "NotImplemented")
    assert body_of(s3, locking) == b"v"
    for call in (lambda: retain(s3, locking, "GOVERNANCE", hence(**DAY), key="missing"),
                 lambda: hold(s3, locking, "ON", key="missing")):
        with refused("NoSuchKey", 404):
            call()


def test_what_is_wrong_with_a_document_is_told_before_that_the_key_is_missing(one, two):
    """In a bucket whose objects have ACLs, so that the key is looked for to know who may."""
    bucket = f"documents-{one.id}"
    one.s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    for until, code in ((hence(days=-1), "InvalidArgument"), (hence(days=1), "NoSuchKey")):
        with refused(code, 400 if code == "InvalidArgument" else 404):
            retain(one.s3, bucket, "GOVERNANCE", until, key="missing")
    for mode in ("governance", ""):
        with refused("MalformedXML", 400):
            retain(one.s3, bucket, mode, hence(days=1), key="missing")
    for status, code in (("on", 400), ("ON", 404)):
        with refused("MalformedXML" if code == 400 else "NoSuchKey", code):
            hold(one.s3, bucket, status, key="missing")
    for attempt in (lambda: retain(two.s3, bucket, "governance", hence(days=1), key="missing"),
                    lambda: hold(two.s3, bucket, "on", key="missing")):
        with refused("AccessDenied", 403):
            attempt()


def test_locks_outlive_the_process(new_basalt):
    server = new_basalt(drives=3, parity=1).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="kept", ObjectLockEnabledForBucket=True)
    set_default(s3, "kept", "COMPLIANCE", Days=1)
    version = put(s3, "kept", b"v")
    hold(s3, "kept", "ON")
    server.kill()
    server.start()
    s3 = server.s3()
    assert retention(s3, "kept")[0] == "COMPLIANCE"
    assert s3.get_object_legal_hold(Bucket="kept", Key="k")["LegalHold"] == {"Status": "ON"}
    with refused("AccessDenied", 403):
        delete(s3, "kept", version, bypass=True)


def test_what_is_to_be_locked_comes_with_a_digest(s3, wire, locking):
    until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    lock = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until}
    sum_of_it = {"x-amz-checksum-crc32": checksum("CRC32", b"v")}
    for headers in (lock, {"x-amz-object-lock-legal-hold": "ON"}):
        wire.put(locking, "k", b"v", headers).expect(400, "InvalidRequest")
        wire.put(locking, "k", b"v", {**headers, **sum_of_it}).expect(200)
    wire.put(locking, "plain", b"v").expect(200)
    set_default(s3, locking, Days=1)
    wire.put(locking, "plain", b"v").expect(400, "InvalidRequest")
    wire.put(locking, "plain", b"v", sum_of_it).expect(200)
    body = b"<LegalHold><Status>OFF</Status></LegalHold>"
    wire.request("PUT", object_path(locking, "k"), [("legal-hold", "")], body=body).expect(400, "InvalidRequest")
    wire.request("PUT", object_path(locking, "k"), [("legal-hold", "")], headers=digest(body), body=body).expect(200)
