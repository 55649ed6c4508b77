"""Headers that ask for encryption: it is not built, so nothing is stored as if it were, and what AWS calls a
mistake is called one here too."""
import base64
import hashlib

import pytest

METHOD = "x-amz-server-side-encryption"
KEY = b"k" * 32
WHOLE = {"algorithm": "AES256", "key": base64.b64encode(KEY).decode(), "key-md5": base64.b64encode(hashlib.md5(KEY).digest()).decode()}


def customer(prefix="x-amz-server-side-encryption-customer-", **changes):
    return {prefix + name: value for name, value in (WHOLE | changes).items() if value is not None}


REFUSED = [
    ({METHOD: "AES256"}, 501, "NotImplemented"),
    ({METHOD: "aws:kms"}, 501, "NotImplemented"),
    ({METHOD: "aws:kms", f"{METHOD}-aws-kms-key-id": "k"}, 501, "NotImplemented"),
    ({f"{METHOD}-bucket-key-enabled": "true"}, 501, "NotImplemented"),
    ({METHOD: "rot13"}, 400, "InvalidArgument"),
    ({f"{METHOD}-aws-kms-key-id": "k"}, 400, "InvalidArgument"),
    ({METHOD: "AES256", f"{METHOD}-aws-kms-key-id": "k"}, 400, "InvalidArgument"),
    (customer(), 501, "NotImplemented"),
    (customer(algorithm=None), 400, "InvalidArgument"),
    (customer(algorithm="DES"), 400, "InvalidEncryptionAlgorithmError"),
    (customer(key=None), 400, "InvalidArgument"),
    (customer(key="c2hvcnQ="), 400, "InvalidArgument"),
    (customer(**{"key-md5": None}), 400, "InvalidArgument"),
    (customer(**{"key-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}), 400, "InvalidArgument"),
]


@pytest.mark.parametrize("headers, status, code", REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_nothing_is_stored_that_was_to_be_encrypted(wire, s3, bucket, headers, status, code):
    wire.put(bucket, "new", b"v", headers).expect(status, code)
    wire.request("POST", f"/{bucket}/new", [("uploads", "")], headers).expect(status, code)
    wire.put(bucket, "source", b"v")
    copied = {"x-amz-copy-source": f"/{bucket}/source", **headers}
    wire.request("PUT", f"/{bucket}/new", headers=copied).expect(status, code)
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["source"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_readers_name_no_method(wire, bucket):
    wire.put(bucket, "k", b"v")
    wire.get(bucket, "k", {METHOD: "AES256"}).expect(400, "InvalidArgument")
    assert wire.request("HEAD", f"/{bucket}/k", headers={METHOD: "aws:kms"}).status == 400
    wire.get(bucket, "k", customer()).expect(501, "NotImplemented")


def test_what_is_stored_claims_no_encryption(wire, bucket):
    assert not [name for name in wire.put(bucket, "k", b"v").headers if name.startswith(METHOD)]
    assert not [name for name in wire.get(bucket, "k").headers if name.startswith(METHOD)]


def test_the_source_of_a_copy_has_no_key(wire, bucket):
    wire.put(bucket, "k", b"v")
    prefix = "x-amz-copy-source-server-side-encryption-customer-"
    for sent, status, code in ((customer(prefix), 501, "NotImplemented"), (customer(prefix, key=None), 400, "InvalidArgument")):
        wire.request("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"/{bucket}/k", **sent}).expect(status, code)
