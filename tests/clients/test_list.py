"""Listings against a naive model: a sorted list of keys, cut into pages.

The model leaves out one thing: where a page that starts after a key *inside* a rolled-up prefix shows that
prefix again. Pages follow their own tokens here, and those must add up to the whole exactly once.
"""
import random
import threading
import urllib.parse
import xml.etree.ElementTree as ElementTree

import pytest

from .errors import refused

WORDS = ["a", "b", "a-", "a.", "dir", "dir2", "é", "日", "zz", "A", "0", "a b", "a+b", "x&y", "<t>", "%41"]


def random_keys(count, seed):
    dice = random.Random(seed)
    keys = set()
    while len(keys) < count:
        depth = dice.choice([1, 1, 2, 2, 3])
        key = dice.choice("//--/").join(dice.choice(WORDS) + str(dice.randrange(12)) for _ in range(depth))
        keys.add(key + dice.choice(["", "", "", "/"]))
    return sorted(keys, key=str.encode)


def model(keys, prefix="", delimiter="", after=""):
    """What a listing holds, in order: keys, and prefixes as one-element tuples."""
    found = []
    for key in keys:
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        item = key if cut < 0 else (key[:cut + len(delimiter)],)
        if not found or found[-1] != item:
            found.append(item)
    return found


def items(page):
    """Keys and prefixes of a page in the order of one listing."""
    keys = [o["Key"] for o in page.get("Contents", [])]
    prefixes = [(p["Prefix"],) for p in page.get("CommonPrefixes", [])]
    return sorted(keys + prefixes, key=lambda i: (i if isinstance(i, str) else i[0]).encode())


def all_v2(s3, bucket, limit, **asked):
    found, more = [], {}
    while True:
        page = s3.list_objects_v2(Bucket=bucket, MaxKeys=limit, **asked, **more)
        assert page["KeyCount"] == len(items(page)) <= limit
        found += items(page)
        if not page["IsTruncated"]:
            assert "NextContinuationToken" not in page
            return found
        more = dict(ContinuationToken=page["NextContinuationToken"])


def all_v1(s3, bucket, limit, **asked):
    found = []
    while True:
        page = s3.list_objects(Bucket=bucket, MaxKeys=limit, **asked)
        found += items(page)
        if not page["IsTruncated"]:
            return found
        asked["Marker"] = page.get("NextMarker") or page["Contents"][-1]["Key"]


def fill(wire, bucket, keys):
    for key in keys:
        assert wire.put(bucket, key, key.encode()).status == 200


@pytest.mark.parametrize("seed", [1, 2])
def test_listings_agree_with_the_model(s3, wire, bucket, seed):
    keys = random_keys(400, seed)
    fill(wire, bucket, keys)
    dice = random.Random(seed)
    prefixes = ["", "a", "dir", "dir/", "dir1/", "zz9", "é", "none", keys[50], keys[200][:3], "x&y", "<"]
    for _ in range(60):
        asked = dict(Prefix=dice.choice(prefixes), Delimiter=dice.choice(["", "", "/", "-", "1", "//", "日"]))
        limit = dice.choice([1, 2, 7, 100, 1000]) if asked["Delimiter"] or asked["Prefix"] else dice.choice([37, 100, 1000])
        wanted = model(keys, asked["Prefix"], asked["Delimiter"])
        if limit < 3 and len(wanted) > 60:
            limit = 11
        assert all_v2(s3, bucket, limit, **asked) == wanted, (asked, limit)
        assert all_v1(s3, bucket, limit, **asked) == wanted, (asked, limit)
    for _ in range(30):
        after = dice.choice([dice.choice(keys), dice.choice(WORDS), dice.choice(keys) + "!", dice.choice(keys)[:-1]])
        prefix = dice.choice(prefixes)
        assert all_v2(s3, bucket, 500, Prefix=prefix, StartAfter=after) == model(keys, prefix, "", after), (prefix, after)
        assert all_v1(s3, bucket, 500, Prefix=prefix, Marker=after) == model(keys, prefix, "", after), (prefix, after)


def test_three_thousand_keys_in_pages(s3, wire, bucket):
    keys = [f"dir{n % 10}/{n:05}" for n in range(3000)]
    fill(wire, bucket, keys)
    keys.sort()
    page = s3.list_objects_v2(Bucket=bucket)
    assert page["KeyCount"] == page["MaxKeys"] == 1000 and page["IsTruncated"]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)["KeyCount"] == 1000
    assert all_v2(s3, bucket, 1000) == all_v1(s3, bucket, 1000) == keys
    assert all_v2(s3, bucket, 1000, Delimiter="/") == [(f"dir{n}/",) for n in range(10)]
    assert all_v2(s3, bucket, 3, Delimiter="/") == [(f"dir{n}/",) for n in range(10)]
    assert all_v2(s3, bucket, 999, Prefix="dir3/") == [k for k in keys if k.startswith("dir3/")]
    for key in keys[::2]:
        wire.delete(bucket, key)
    assert all_v2(s3, bucket, 1000) == keys[1::2]


def test_what_a_listing_says_of_an_object(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"12345")["ETag"]
    one = s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]
    assert (one["Key"], one["Size"], one["ETag"], one["StorageClass"]) == ("k", 5, etag, "STANDARD")
    assert one["Owner"]["ID"]
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert s3.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"] == one["Owner"]["ID"]


def test_a_page_repeats_what_was_asked(s3, bucket):
    page = s3.list_objects_v2(Bucket=bucket, Prefix="p/", Delimiter="/", StartAfter="p/a", MaxKeys=7)
    assert (page["Name"], page["Prefix"], page["Delimiter"]) == (bucket, "p/", "/")
    assert (page["StartAfter"], page["MaxKeys"], page["KeyCount"], page["IsTruncated"]) == ("p/a", 7, 0, False)
    old = s3.list_objects(Bucket=bucket, Prefix="p/", Delimiter="/", Marker="p/a", MaxKeys=7)
    assert (old["Name"], old["Prefix"], old["Delimiter"], old["Marker"], old["MaxKeys"]) == (bucket, "p/", "/", "p/a", 7)


def test_no_keys_asked_for_are_no_keys(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"], page.get("Contents", [])) == (0, False, [])


def test_keys_are_escaped_or_encoded(wire, bucket):
    keys = ["a&b<c>d\"'", "a b+c%", "é/日"]
    fill(wire, bucket, keys)
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"

    def listed(*query):
        answer = wire.request("GET", f"/{bucket}", [("list-type", "2"), *query]).expect(200)
        root = ElementTree.fromstring(answer.body)
        assert root.tag == f"{space}ListBucketResult"
        return [k.text for k in root.iter(f"{space}Key")]

    assert listed() == sorted(keys)
    encoded = listed(("encoding-type", "url"))
    assert [urllib.parse.unquote_plus(k) for k in encoded] == sorted(keys)
    assert all(k.isascii() and "&" not in k and " " not in k for k in encoded)


def test_senseless_questions_are_refused(s3, wire, bucket):
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="not one of ours")
    for query in ([("max-keys", "-1")], [("max-keys", "many")], [("encoding-type", "base64")]):
        wire.request("GET", f"/{bucket}", query).expect(400, "InvalidArgument")


def test_listing_while_others_write(basalt, bucket):
    """Keys that are there all the time are listed exactly once, whatever comes and goes between them."""
    stable = [f"{n:04}/stable" for n in range(1500)]
    stop, wrong = threading.Event(), []
    with basalt.wire() as wire:
        fill(wire, bucket, stable)

    def disturb(seed):
        dice = random.Random(seed)
        with basalt.wire() as wire:
            while not stop.is_set():
                key = f"{dice.randrange(1500):04}/{dice.choice('amz')}{seed}"
                answer = wire.put(bucket, key, b"v") if dice.random() < 0.6 else wire.delete(bucket, key)
                if answer.status not in (200, 204):
                    wrong.append(answer)

    threads = [threading.Thread(target=disturb, args=(n,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        s3 = basalt.s3()
        for _ in range(12):
            found = all_v2(s3, bucket, 211)
            assert found == sorted(set(found)), "in order, each once"
            assert [k for k in found if k.endswith("stable")] == stable
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:3]


def test_an_empty_token_is_none(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    page = s3.list_objects_v2(Bucket=bucket, ContinuationToken="")
    assert page["ContinuationToken"] == "" and [o["Key"] for o in page["Contents"]] == ["k"]
