"""What a bucket is set to: tags, encryption, payment, ownership, access block; what is off."""
import base64
import hashlib
import http.client

from .errors import refused
from .identities import account, allow, objects, policy
from .wire import object_path


def test_tags_come_and_go(s3, bucket):
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    tags = [{"Key": "a b", "Value": ""}, {"Key": "k", "Value": "ü"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    for bad in ([{"Key": "a", "Value": "1"}] * 2, [{"Key": f"k{n}", "Value": ""} for n in range(51)],
                [{"Key": "aws:x", "Value": ""}], [{"Key": "k" * 129, "Value": ""}], [{"Key": "a&", "Value": ""}]):
        with refused("InvalidTag", 400):
            s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": bad})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)


def test_a_bucket_is_made_with_tags(s3, bucket):
    name = bucket + "-tagged"
    tags = [{"Key": "a", "Value": "1"}]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": tags})
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == tags


def test_a_document_needs_a_digest_and_the_right_shape(wire, bucket):
    path = object_path(bucket)
    body = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    wire.request("PUT", path, [("tagging", "")], body=body).expect(400, "InvalidRequest")
    for sub in ("tagging", "cors", "website", "encryption", "publicAccessBlock", "ownershipControls",
                "requestPayment", "lifecycle", "logging", "notification"):
        wire.request("PUT", path, [(sub, "")], headers={"content-md5": md5(b"")}).expect(400, "MissingRequestBodyError")
        for bad in (b"<Other/>", b"<", b"<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", b"\xff\xfe"):
            answer = wire.request("PUT", path, [(sub, "")], body=bad, headers={"content-md5": md5(bad)})
            answer.expect(400, "MalformedXML")
    wire.request("GET", path, [("tagging", "")]).expect(404, "NoSuchTagSet")


def md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_encryption_is_that_of_s3_itself(s3, bucket):
    with refused("ServerSideEncryptionConfigurationNotFoundError", 404):
        s3.get_bucket_encryption(Bucket=bucket)

    def configuration(**default):
        return {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": False}]}

    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=configuration(SSEAlgorithm="AES256"))
    found = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert found == configuration(SSEAlgorithm="AES256")
    with refused("NotImplemented", 501):
        kms = configuration(SSEAlgorithm="aws:kms", KMSMasterKeyID="k")
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=kms)
    s3.delete_bucket_encryption(Bucket=bucket)
    with refused("ServerSideEncryptionConfigurationNotFoundError", 404):
        s3.get_bucket_encryption(Bucket=bucket)


def test_access_block_and_ownership(s3, bucket):
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": False, "BlockPublicPolicy": True,
             "RestrictPublicBuckets": False}
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == block
    s3.delete_public_access_block(Bucket=bucket)
    with refused("NoSuchPublicAccessBlockConfiguration", 404):
        s3.get_public_access_block(Bucket=bucket)
    for name in ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"):
        controls = {"Rules": [{"ObjectOwnership": name}]}
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)
        assert s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"] == controls
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    with refused("OwnershipControlsNotFoundError", 404):
        s3.get_bucket_ownership_controls(Bucket=bucket)


def test_the_owner_is_never_charged(s3, bucket):
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "Requester"
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    assert "RequestCharged" not in s3.get_object(Bucket=bucket, Key="k")


def test_nobody_in_particular_cannot_pay(open_basalt):
    s3 = open_basalt.s3()
    s3.create_bucket(Bucket="pays", ACL="public-read")
    with open_basalt.wire() as wire:
        def get(headers):
            connection = http.client.HTTPConnection(wire.host, timeout=30)
            connection.request("GET", "/pays", headers=headers)
            return connection.getresponse().status
        assert get({}) == 200
        s3.put_bucket_request_payment(Bucket="pays", RequestPaymentConfiguration={"Payer": "Requester"})
        assert get({}) == 403
        assert get({"x-amz-request-payer": "requester"}) == 403


def test_a_copy_out_of_a_bucket_is_paid_for_too(basalt):
    one, two = account(basalt), account(basalt)
    source, mine = f"source-{one.id}", f"mine-{two.id}"
    one.s3.create_bucket(Bucket=source)
    one.s3.put_object(Bucket=source, Key="k", Body=b"v")
    one.s3.put_bucket_policy(Bucket=source, Policy=policy(allow("s3:GetObject", objects(source), Principal={"AWS": two.id})))
    one.s3.put_bucket_request_payment(Bucket=source, RequestPaymentConfiguration={"Payer": "Requester"})
    two.s3.create_bucket(Bucket=mine)
    upload = two.s3.create_multipart_upload(Bucket=mine, Key="m")["UploadId"]
    at = {"Bucket": mine, "CopySource": f"{source}/k"}
    part = {**at, "Key": "m", "UploadId": upload, "PartNumber": 1}
    for call in [lambda **payer: two.s3.copy_object(**at, Key="c", **payer),
                 lambda **payer: two.s3.upload_part_copy(**part, **payer)]:
        with refused("AccessDenied", 403):
            call()
        assert call(RequestPayer="requester")["RequestCharged"] == "requester"
    one.s3.create_bucket(Bucket=f"own-{one.id}")
    assert "RequestCharged" not in one.s3.copy_object(Bucket=f"own-{one.id}", Key="c", CopySource=f"{source}/k")


def test_what_is_off_is_said(s3, bucket):
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


def test_settings_survive_a_kill_and_go_with_the_bucket(new_basalt):
    server = new_basalt().start()
    s3 = server.s3()
    tags = [{"Key": "a", "Value": "1"}]
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_tagging(Bucket="kept", Tagging={"TagSet": tags})
    server.kill()
    server.start()
    s3 = server.s3()
    assert s3.get_bucket_tagging(Bucket="kept")["TagSet"] == tags
    s3.delete_bucket(Bucket="kept")
    s3.create_bucket(Bucket="kept")
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket="kept")


def test_settings_of_a_bucket_that_is_not_there(s3):
    with refused("NoSuchBucket", 404):
        s3.get_bucket_cors(Bucket="not-there-at-all")
    with refused("NoSuchBucket", 404):
        s3.put_bucket_tagging(Bucket="not-there-at-all", Tagging={"TagSet": []})
    with refused("NoSuchBucket", 404):
        s3.delete_bucket_website(Bucket="not-there-at-all")


def test_a_website_redirect_is_kept_and_not_copied(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", WebsiteRedirectLocation="/other")
    assert s3.head_object(Bucket=bucket, Key="k")["WebsiteRedirectLocation"] == "/other"
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert "WebsiteRedirectLocation" not in s3.head_object(Bucket=bucket, Key="copy")
    with refused("InvalidRedirectLocation", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"v", WebsiteRedirectLocation="elsewhere")
