"""Requests whose heads come long before their bodies: what holds when they are complete is what they are judged by."""
import base64
import hashlib

import pytest

from .errors import refused
from .identities import allow, deny, objects, policy
from .wire import Wire, object_path

VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
LIFECYCLE = (b"<LifecycleConfiguration><Rule><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>"
             b"<Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>")
DELETE = b"<Delete><Object><Key>k</Key></Object></Delete>"
PAYER = b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>"


def acl(owner):
    return (f"<AccessControlPolicy><Owner><ID>{owner.canonical}</ID></Owner><AccessControlList></AccessControlList>"
            f"</AccessControlPolicy>").encode()


def digest(body):
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


@pytest.fixture
def bucket(one):
    return f"held-{one.id}"


@pytest.mark.parametrize("query, make", [
    ("policy", lambda two, bucket: policy(allow("s3:*", objects(bucket), Principal={"AWS": two.arn})).encode()),
    ("acl", lambda two, bucket: acl(two)),
    ("versioning", lambda two, bucket: VERSIONING),
    ("lifecycle", lambda two, bucket: LIFECYCLE),
    ("requestPayment", lambda two, bucket: PAYER),
    ("delete", lambda two, bucket: DELETE),
])
def test_a_request_is_for_the_bucket_that_was_judged(one, two, bucket, query, make):
    """Somebody begins to change his bucket and deletes it; then the name is another account's."""
    two.s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerPreferred")
    body = make(two, bucket)
    method = "POST" if query == "delete" else "PUT"
    with Wire("127.0.0.1", one.basalt.port, two.access_key, two.secret_key) as wire:
        with wire.begin(method, object_path(bucket), [(query, "")], digest(body), body) as request:
            two.s3.delete_bucket(Bucket=bucket)
            one.s3.create_bucket(Bucket=bucket)
            one.s3.put_object(Bucket=bucket, Key="k", Body=b"mine")
            status, answer = request.finish()
            # Of deletions each key has an answer of its own.
            assert (status, b"AccessDenied" in answer) == (200 if query == "delete" else 403, True), answer
    assert one.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"mine"
    with refused("AccessDenied", 403):
        two.s3.get_object(Bucket=bucket, Key="k")
    assert "Status" not in one.s3.get_bucket_versioning(Bucket=bucket)
    with refused("NoSuchLifecycleConfiguration", 404):
        one.s3.get_bucket_lifecycle_configuration(Bucket=bucket)


def test_what_is_denied_meanwhile_is_denied(one, bucket):
    """A batch of deletions is begun, and then its user loses the right to delete."""
    one.s3.create_bucket(Bucket=bucket)
    one.s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    user = one.user(allow("s3:*"))
    with Wire("127.0.0.1", one.basalt.port, user.access_key, user.secret_key) as wire:
        with wire.begin("POST", object_path(bucket), [("delete", "")], digest(DELETE), DELETE) as request:
            one.s3.put_bucket_policy(Bucket=bucket, Policy=policy(
                deny("s3:DeleteObject", objects(bucket), Principal="*")))
            status, answer = request.finish()
            assert status == 200 and b"AccessDenied" in answer, answer
    assert one.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
