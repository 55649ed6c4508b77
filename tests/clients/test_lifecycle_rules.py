"""Lifecycle rules: what is taken and refused, what answers tell, and what is gone when its day has come.

A day takes a second here, and a pass begins with each. What must stay is looked at after something that was due
together with it is gone and two more passes have ended.
"""
import base64
import datetime
import hashlib
import re

import pytest

from .content import MIB, content
from .conftest import serve
from .errors import refused
from .test_multipart import Upload
from .test_notifications import hook, listening
from .test_object_lock import hence
from .test_post_object import Poster
from .test_versioning import enable
from .waiting import until
from .wire import object_path

OPTIONS = ["--lifecycle-day", "1"]
SECONDS = 60
DAYS = {"Expiration": {"Days": 1}}
NONCURRENT = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
ABORT = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
MARKER = {"Expiration": {"ExpiredObjectDeleteMarker": True}}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    yield from serve(tmp_path_factory.mktemp("quick"), options=OPTIONS)


@pytest.fixture
def fast(quick):
    yield quick.s3()
    quick.check_log()


_made = iter(range(1000))


@pytest.fixture
def home(fast):
    """A bucket of this test on the server with short days."""
    name = f"home{next(_made)}"
    fast.create_bucket(Bucket=name)
    return name


def rule(*actions, name=None, status="Enabled", **where):
    made = {"Status": status, **({"ID": name} if name else {}), **(where or {"Filter": {"Prefix": ""}})}
    for action in actions:
        made |= action
    return made


def lay_down(s3, bucket, *rules):
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


def laid_down(s3, bucket):
    return s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]


def keys(s3, bucket):
    return {found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def history(s3, bucket, key=""):
    """All versions and markers as (key, what, id), newest first."""
    page = s3.list_object_versions(Bucket=bucket, Prefix=key)
    found = [(v, "version") for v in page.get("Versions", [])] + [(v, "marker") for v in page.get("DeleteMarkers", [])]
    found.sort(key=lambda row: (row[0]["IsLatest"], row[0]["LastModified"]), reverse=True)
    return [(v["Key"], what, v["VersionId"]) for v, what in found]


def put(s3, bucket, key, body=b"v", **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId")


def passes(server):
    return server.metrics()["basalt_lifecycle_passes_total"][""]


def after_passes(server, count=2):
    """Returns when passes have ended that began after now."""
    first = passes(server)
    until(lambda: passes(server) >= first + count, SECONDS, "passes to end")


def figure(server, name, labels=""):
    return server.metrics()[f"basalt_lifecycle_{name}"].get(labels, 0)


# ---- The document ----

def test_what_is_put_is_what_is_got(s3, bucket):
    with refused("NoSuchLifecycleConfiguration", 404):
        laid_down(s3, bucket)
    rules = [
        rule(DAYS, name="old form", Prefix="a/"),
        rule(DAYS, ABORT, NONCURRENT, name="none", Filter={}),
        rule(MARKER, name="marker", Filter={"Prefix": "b"}, status="Disabled"),
        rule(DAYS, name="tag", Filter={"Tag": {"Key": "k", "Value": ""}}),
        rule(DAYS, name="more", Filter={"ObjectSizeGreaterThan": 0}),
        rule(DAYS, name="less", Filter={"ObjectSizeLessThan": 5}),
        rule({"NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 100}}, name="n"),
        rule({"Expiration": {"Date": datetime.datetime(2040, 1, 1, tzinfo=datetime.timezone.utc)}}, name="x" * 255,
             Filter={"And": {"Prefix": "p", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
                             "ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}}),
        rule(DAYS, name="side by side", Filter={"Prefix": "days/", "Tag": {"Key": "a", "Value": "b"}}),
    ]
    lay_down(s3, bucket, *rules)
    assert laid_down(s3, bucket) == rules
    lay_down(s3, bucket, rules[0])
    assert laid_down(s3, bucket) == rules[:1]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    s3.delete_bucket_lifecycle(Bucket=bucket)
    with refused("NoSuchLifecycleConfiguration", 404):
        laid_down(s3, bucket)


def test_the_size_below_which_transitions_leave_objects_alone_is_told(s3, bucket):
    def put_with(size):
        configuration = {"Rules": [rule(DAYS, name="r")]}
        return s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration=configuration, TransitionDefaultMinimumObjectSize=size)
    size = "all_storage_classes_128K"
    assert put_with(size)["TransitionDefaultMinimumObjectSize"] == size
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["TransitionDefaultMinimumObjectSize"] == size
    with refused("NotImplemented", 501):
        put_with("varies_by_storage_class")


def test_rules_without_ids_get_some(s3, bucket):
    lay_down(s3, bucket, rule(DAYS, Prefix="a/"), rule(DAYS, Prefix="b/"))
    found = laid_down(s3, bucket)
    assert len({one["ID"] for one in found}) == 2
    assert [one["Prefix"] for one in found] == ["a/", "b/"]
    assert laid_down(s3, bucket) == found


@pytest.mark.parametrize("code, rules", [
    ("InvalidArgument", [rule(DAYS, name="x" * 256)]),
    ("InvalidArgument", [rule(DAYS, name="same"), rule(DAYS, name="same", Filter={"Prefix": "b"})]),
    ("InvalidArgument", [rule({"Expiration": {"Days": 0}})]),
    ("InvalidArgument", [rule({"Expiration": {"Days": -1}})]),
    ("InvalidArgument", [rule({"NoncurrentVersionExpiration": {"NoncurrentDays": 0}})]),
    ("InvalidArgument", [rule({"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 101}})]),
    ("InvalidArgument", [rule({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 0}})]),
    ("InvalidArgument", [rule({"Expiration": {"Date": datetime.datetime(2040, 1, 1, 12)}})]),
    ("InvalidArgument", [rule({"Expiration": {"Date": "20200101"}})]),
    ("InvalidRequest", [rule()]),
    ("InvalidRequest", [rule(ABORT, Filter={"Tag": {"Key": "a", "Value": "b"}})]),
    ("InvalidRequest", [rule(MARKER, Filter={"Tag": {"Key": "a", "Value": "b"}})]),
    ("InvalidRequest", [rule(DAYS, Filter={"And": {"ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 5}})]),
    ("InvalidRequest", [rule({"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 1}}, Prefix="a/")]),
    ("MalformedXML", [rule(DAYS, status="enabled")]),
    ("MalformedXML", [rule(DAYS, status="invalid")]),
    ("MalformedXML", [{"ID": "x", "Status": "Enabled", **DAYS}]),
    ("MalformedXML", [rule({"Expiration": {"Days": 1, "ExpiredObjectDeleteMarker": True}})]),
    ("MalformedXML", []),
    ("MalformedXML", [rule(DAYS, name=str(n)) for n in range(1001)]),
    ("NotImplemented", [rule({"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]})]),
    ("NotImplemented", [rule({"NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}]})]),
])
def test_what_is_refused_changes_nothing(s3, bucket, code, rules):
    kept = rule(DAYS, name="kept")
    lay_down(s3, bucket, kept)
    with refused(code, 501 if code == "NotImplemented" else 400):
        lay_down(s3, bucket, *rules)
    assert laid_down(s3, bucket) == [kept]


def test_a_rule_needs_a_status(wire, s3, bucket):
    body = (b"<LifecycleConfiguration><Rule><ID>r</ID><Prefix/><Expiration><Days>1</Days></Expiration></Rule>"
            b"</LifecycleConfiguration>")
    crc = {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": sha256(body)}
    wire.request("PUT", object_path(bucket), [("lifecycle", "")], body=body, headers=crc).expect(400, "MalformedXML")


def sha256(body):
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def test_a_thousand_rules_are_taken_and_survive_a_restart(new_basalt):
    server = new_basalt().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="many")
    rules = [rule(DAYS, name=f"{n:04}" + "n" * 196, Filter={"Prefix": f"{n:04}/" + "p" * 100}) for n in range(1000)]
    lay_down(s3, "many", *rules)
    assert laid_down(s3, "many") == rules
    server.kill()
    s3 = server.start().s3()
    assert laid_down(s3, "many") == rules
    answer = s3.put_object(Bucket="many", Key="0500/" + "p" * 100 + "/k", Body=b"v")
    assert 'rule-id="0500' in answer["Expiration"]


# ---- What answers tell ----

def midnight_after(days):
    now = datetime.datetime.now(datetime.timezone.utc)
    return datetime.datetime.combine(now.date(), datetime.time(), datetime.timezone.utc) + datetime.timedelta(days + 1)


def told(header):
    date, name = re.fullmatch(r'expiry-date="(.+ GMT)", rule-id="(.+)"', header).groups()
    date = datetime.datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")
    return date.replace(tzinfo=datetime.timezone.utc), name


def test_every_answer_about_a_current_object_tells_when_it_expires(s3, wire, bucket):
    assert "Expiration" not in s3.put_object(Bucket=bucket, Key="before", Body=b"v")
    lay_down(s3, bucket, rule({"Expiration": {"Days": 30}}, name="late", Filter={"Prefix": ""}),
             rule({"Expiration": {"Days": 3}}, name="early ü", Filter={"Prefix": "in/"}))
    expected = midnight_after(3), "early%20%C3%BC"
    where = dict(Bucket=bucket, Key="in/k")
    assert told(s3.put_object(**where, Body=b"v")["Expiration"]) == expected
    assert told(s3.head_object(**where)["Expiration"]) == expected
    assert told(s3.get_object(**where)["Expiration"]) == expected
    copied = s3.copy_object(Bucket=bucket, Key="in/copy", CopySource=where)
    assert told(copied["Expiration"]) == expected
    upload = Upload(s3, bucket, "in/parts")
    upload.part(1, b"part")
    assert told(upload.complete()["Expiration"]) == expected
    poster = Poster(wire, bucket)
    assert poster.post(poster.v4([("key", "in/posted")], [{"key": "in/posted"}]))[0] == 204
    assert told(poster.headers["x-amz-expiration"]) == expected
    assert told(s3.head_object(Bucket=bucket, Key="before")["Expiration"]) == (midnight_after(30), "late")


def test_the_filter_counts_for_what_is_told(s3, bucket):
    both = {"And": {"Prefix": "k", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}}
    lay_down(s3, bucket, rule(DAYS, name="tagged", Filter=both))
    assert "Expiration" in s3.put_object(Bucket=bucket, Key="k", Body=b"v", Tagging="a=1&b=2&c=3")
    assert "Expiration" in s3.head_object(Bucket=bucket, Key="k")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="k")
    lay_down(s3, bucket, rule(DAYS, name="large", Filter={"ObjectSizeGreaterThan": 3}),
             rule(DAYS, name="off", status="Disabled"), rule(MARKER, name="m"), rule(NONCURRENT, name="n"))
    assert "Expiration" not in s3.put_object(Bucket=bucket, Key="k", Body=b"123")
    assert "large" in s3.put_object(Bucket=bucket, Key="k", Body=b"1234")["Expiration"]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="k")


def test_an_old_version_has_no_date_of_a_current_one(s3, bucket):
    enable(s3, bucket)
    lay_down(s3, bucket, rule(DAYS, name="r"))
    old = put(s3, bucket, "k")
    put(s3, bucket, "k")
    assert "Expiration" in s3.head_object(Bucket=bucket, Key="k")
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="k", VersionId=old)


def test_an_upload_tells_when_it_is_aborted(s3, bucket):
    assert "AbortDate" not in s3.create_multipart_upload(Bucket=bucket, Key="in/k")
    lay_down(s3, bucket, rule(ABORT, name="abort it", Filter={"Prefix": "in/"}))
    made = s3.create_multipart_upload(Bucket=bucket, Key="in/k")
    assert (made["AbortDate"], made["AbortRuleId"]) == (midnight_after(1), "abort it")
    parts = s3.list_parts(Bucket=bucket, Key="in/k", UploadId=made["UploadId"])
    assert (parts["AbortDate"], parts["AbortRuleId"]) == (midnight_after(1), "abort it")
    assert "AbortDate" not in s3.create_multipart_upload(Bucket=bucket, Key="out/k")


# ---- What goes ----

def test_objects_go_when_their_days_are_over(quick, fast, home):
    other = home + "-other"
    fast.create_bucket(Bucket=other)
    put(fast, other, "gone/0")
    lay_down(fast, home, rule(DAYS, name="now", Prefix="gone/"),
             rule({"Expiration": {"Days": 100_000}}, name="later", Prefix="later/"),
             rule(DAYS, name="off", Prefix="off/", status="Disabled"))
    for n in range(20):
        put(fast, home, f"gone/{n}", content(n * 2000, str(n)))
    stays = {"gone", "gond/0", "gonf", "later/0", "off/0"}
    [put(fast, home, key) for key in stays]
    until(lambda: keys(fast, home) == stays, SECONDS, "what is due to be gone")
    after_passes(quick)
    assert keys(fast, home) == stays and keys(fast, other) == {"gone/0"}
    assert figure(quick, "expired_total", '{action="expire_current"}') >= 20
    assert figure(quick, "examined_total") >= 20
    with refused("NoSuchKey", 404):
        fast.get_object(Bucket=home, Key="gone/1")


def test_a_date(quick, fast, home):
    def at(year):
        return {"Expiration": {"Date": datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc)}}
    lay_down(fast, home, rule(at(2020), name="past", Filter={"Prefix": "past/"}),
             rule(at(2040), name="future", Filter={"Prefix": "future/"}))
    put(fast, home, "past/k"), put(fast, home, "future/k")
    until(lambda: keys(fast, home) == {"future/k"}, SECONDS, "the object of the past to be gone")
    after_passes(quick)
    assert keys(fast, home) == {"future/k"}


@pytest.mark.parametrize("where, goes", [
    ({"Tag": {"Key": "a", "Value": "1"}}, {"a1", "a1b2", "in/a1b2", "in/large"}),
    ({"And": {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}}, {"a1b2", "in/a1b2", "in/large"}),
    ({"And": {"Prefix": "in/", "Tags": [{"Key": "b", "Value": "2"}]}}, {"in/a1b2", "in/large"}),
    ({"ObjectSizeGreaterThan": 5}, {"large", "in/large"}),
    ({"ObjectSizeLessThan": 5}, {"empty"}),
    ({"And": {"Prefix": "in/", "ObjectSizeGreaterThan": 4, "ObjectSizeLessThan": 6}}, {"in/a1b2"}),
    ({"Prefix": "", "Tag": {"Key": "b", "Value": "2"}}, {"a1b2", "in/a1b2", "in/large"}),
    ({}, {"plain", "a1", "a2", "a1b2", "in/a1b2", "large", "in/large", "empty"}),
])
def test_filters(quick, fast, home, where, goes):
    all_of_them = {"plain": (5, ""), "a1": (5, "a=1"), "a2": (5, "a=2"), "a1b2": (5, "a=1&b=2"),
                   "in/a1b2": (5, "b=2&a=1&c=3"), "large": (6, ""), "in/large": (20_000, "a=1&b=2"), "empty": (0, "")}
    for key, (size, tags) in all_of_them.items():
        put(fast, home, key, b"x" * size, Tagging=tags)
    lay_down(fast, home, rule(DAYS, name="r", Filter=where))
    until(lambda: not keys(fast, home) & goes, SECONDS, "what the filter means to be gone")
    after_passes(quick)
    assert keys(fast, home) == set(all_of_them) - goes


def test_tags_count_as_they_are_when_the_day_comes(quick, fast, home):
    lay_down(fast, home, rule(DAYS, name="r", Filter={"Tag": {"Key": "go", "Value": "yes"}}))
    put(fast, home, "k"), put(fast, home, "other", Tagging="go=yes")
    until(lambda: keys(fast, home) == {"k"}, SECONDS, "the tagged object to be gone")
    fast.put_object_tagging(Bucket=home, Key="k", Tagging={"TagSet": [{"Key": "go", "Value": "yes"}]})
    until(lambda: not keys(fast, home), SECONDS, "the other one to be gone")


def test_in_a_versioned_bucket_a_marker_comes_and_the_version_stays(quick, fast, home):
    enable(fast, home)
    version = put(fast, home, "k")
    lay_down(fast, home, rule(DAYS, name="r"))
    until(lambda: not keys(fast, home), SECONDS, "the object to be expired")
    after_passes(quick)
    rows = history(fast, home)
    assert [what for _, what, _ in rows] == ["marker", "version"] and rows[1][2] == version
    assert fast.get_object(Bucket=home, Key="k", VersionId=version)["Body"].read() == b"v"


def test_in_a_suspended_bucket_the_null_version_goes_behind_a_null_marker(quick, fast, home):
    put(fast, home, "null only")
    enable(fast, home)
    kept = put(fast, home, "has another")
    enable(fast, home, "Suspended")
    put(fast, home, "has another")
    lay_down(fast, home, rule({"Expiration": {"Days": 1}}, name="r"))
    until(lambda: not keys(fast, home), SECONDS, "the objects to be expired")
    rows = {(key, what, version) for key, what, version in history(fast, home, "has another")}
    assert rows == {("has another", "marker", "null"), ("has another", "version", kept)}


def test_noncurrent_versions_go_and_the_current_one_stays(quick, fast, home):
    enable(fast, home)
    ids = [put(fast, home, "in/k", bytes([n])) for n in range(5)]
    outside = {put(fast, home, "out/k") for _ in range(2)}
    lay_down(fast, home, rule(NONCURRENT, name="r", Filter={"Prefix": "in/"}))
    until(lambda: [version for *_, version in history(fast, home, "in/")] == ids[-1:], SECONDS, "old ones to be gone")
    after_passes(quick)
    assert {version for *_, version in history(fast, home)} == {ids[-1], *outside}
    assert fast.get_object(Bucket=home, Key="in/k")["Body"].read() == bytes([4])


def test_the_newest_noncurrent_versions_stay_by_number(quick, fast, home):
    enable(fast, home)
    ids = {key: [put(fast, home, key) for _ in range(count)] for key, count in (("a", 9), ("b", 3), ("c", 1))}
    keep = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 3}}
    lay_down(fast, home, rule(keep, name="r"))
    until(lambda: len(history(fast, home, "a")) == 4, SECONDS, "surplus versions to be gone")
    after_passes(quick)
    found = {version for *_, version in history(fast, home)}
    assert found == {*ids["a"][-4:], *ids["b"], *ids["c"]}


def test_noncurrent_versions_by_tag_and_size(quick, fast, home):
    enable(fast, home)
    for tags, size in (("a=1", 5), ("", 5), ("a=1", 50), ("", 5)):
        put(fast, home, "k", b"x" * size, Tagging=tags)
    rows = history(fast, home)
    lay_down(fast, home, rule(NONCURRENT, name="r", Filter={
        "And": {"Tags": [{"Key": "a", "Value": "1"}], "ObjectSizeLessThan": 10}}))
    until(lambda: len(history(fast, home)) == 3, SECONDS, "the one that is meant to be gone")
    after_passes(quick)
    assert len(history(fast, home)) == 3 and rows[0] in history(fast, home)


def test_markers_that_stand_alone_go_and_others_stay(quick, fast, home):
    enable(fast, home)
    put(fast, home, "has a version")
    fast.delete_object(Bucket=home, Key="has a version")
    fast.delete_object(Bucket=home, Key="alone")
    put(fast, home, "current")
    lay_down(fast, home, rule(MARKER, name="r"))
    until(lambda: not history(fast, home, "alone"), SECONDS, "the marker to be gone")
    after_passes(quick)
    assert [what for _, what, _ in history(fast, home, "has a version")] == ["marker", "version"]
    assert keys(fast, home) == {"current"}


def test_a_key_goes_altogether_when_its_old_versions_and_then_its_marker_are_due(quick, fast, home):
    enable(fast, home)
    for key in ("a", "b"):
        [put(fast, home, key) for _ in range(3)]
        fast.delete_object(Bucket=home, Key=key)
    lay_down(fast, home, rule(NONCURRENT, MARKER, name="r", Filter={"Prefix": "a"}))
    until(lambda: not history(fast, home, "a"), SECONDS, "all of the key to be gone")
    assert len(history(fast, home, "b")) == 4
    lay_down(fast, home, rule(DAYS, NONCURRENT, name="days count for markers too"))
    until(lambda: not history(fast, home), SECONDS, "all of the other key to be gone")
    fast.delete_bucket_lifecycle(Bucket=home)
    fast.delete_bucket(Bucket=home)


def test_uploads_are_aborted_and_give_their_space_back(quick, fast, home):
    before = quick.used_bytes()
    inside, outside = Upload(fast, home, "in/k"), Upload(fast, home, "out/k")
    inside.part(1, content(5 * MIB, "part")), outside.part(1, content(100, "part"))
    lay_down(fast, home, rule(ABORT, name="r", Filter={"Prefix": "in/"}))
    def open_uploads():
        return [found["Key"] for found in fast.list_multipart_uploads(Bucket=home).get("Uploads", [])]
    until(lambda: open_uploads() == ["out/k"], SECONDS, "the upload to be aborted")
    with refused("NoSuchUpload", 404):
        inside.part(2, b"late")
    after_passes(quick)
    assert open_uploads() == ["out/k"]
    outside.complete()
    until(lambda: quick.used_bytes() < before + 5 * MIB, SECONDS, "the space of its part")


def test_locks_win(quick, fast):
    home = f"locked{next(_made)}"
    fast.create_bucket(Bucket=home, ObjectLockEnabledForBucket=True)
    def versions_of(key):
        return [put(fast, home, key) for _ in range(2)][0]
    held, retained, free = versions_of("held"), versions_of("retained"), versions_of("free")
    fast.put_object_legal_hold(Bucket=home, Key="held", VersionId=held, LegalHold={"Status": "ON"})
    fast.put_object_retention(Bucket=home, Key="retained", VersionId=retained,
                              Retention={"Mode": "GOVERNANCE", "RetainUntilDate": hence(days=1)})
    seen = figure(quick, "locked_total")
    lay_down(fast, home, rule(NONCURRENT, name="r"))
    until(lambda: free not in {version for *_, version in history(fast, home)}, SECONDS, "the free one to be gone")
    until(lambda: figure(quick, "locked_total") >= seen + 2, SECONDS, "locked ones to be counted")
    passed, counted = passes(quick), figure(quick, "locked_total")
    after_passes(quick)
    # Once a pass, and not again and again.
    assert figure(quick, "locked_total") - counted <= 2 * (passes(quick) - passed + 1)
    assert {held, retained} < {version for *_, version in history(fast, home)}
    fast.put_object_legal_hold(Bucket=home, Key="held", VersionId=held, LegalHold={"Status": "OFF"})
    until(lambda: held not in {version for *_, version in history(fast, home)}, SECONDS, "what was released to be gone")
    assert retained in {version for *_, version in history(fast, home)}


def test_who_listens_hears_of_what_expires(new_basalt, hook):
    server = new_basalt(options=[*OPTIONS, *hook.option]).start()
    s3 = listening(server, hook, bucket="told", events=["s3:LifecycleExpiration:*"])
    put(s3, "told", "plain")
    lay_down(s3, "told", rule(DAYS, name="r"))
    gone, = hook.wait(1)
    assert (gone["eventName"], gone["s3"]["object"]["key"]) == ("LifecycleExpiration:Delete", "plain")
    enable(s3, "told")
    version = put(s3, "told", "versioned")
    lay_down(s3, "told", rule(DAYS, NONCURRENT, name="r"))
    # The marker that is left alone follows.
    marked, removed = hook.wait(3)[1:3]
    assert marked["eventName"] == "LifecycleExpiration:DeleteMarkerCreated"
    assert (removed["eventName"], removed["s3"]["object"]["versionId"]) == ("LifecycleExpiration:Delete", version)


def test_rules_that_are_taken_back_remove_nothing_more(quick, fast, home):
    lay_down(fast, home, rule(DAYS, name="r"))
    put(fast, home, "first")
    until(lambda: not keys(fast, home), SECONDS, "the first to be gone")
    fast.delete_bucket_lifecycle(Bucket=home)
    put(fast, home, "second")
    after_passes(quick, 3)
    assert keys(fast, home) == {"second"}


def test_a_kill_in_the_middle_loses_nothing_that_stays_and_what_is_due_goes(new_basalt):
    server = new_basalt(options=OPTIONS).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    enable(s3, "bbb")
    with server.wire() as wire:
        for n in range(400):
            wire.put("bbb", f"go/{n}", b"v" * 100).expect(200)
            wire.put("bbb", f"stay/{n}", b"v" * 100).expect(200)
    lay_down(s3, "bbb", rule(DAYS, NONCURRENT, name="r", Filter={"Prefix": "go/"}))
    until(lambda: 0 < figure(server, "expired_total", '{action="expire_current"}'), SECONDS, "removals to begin")
    server.kill()
    s3 = server.start().s3()
    until(lambda: not history(s3, "bbb", "go/"), SECONDS, "everything due to be gone")
    after_passes(server)
    assert keys(s3, "bbb") == {f"stay/{n}" for n in range(400)}
    server.stop()
