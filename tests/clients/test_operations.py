"""Every operation of the API model that docs/S3.md calls refused is sent to the server, and refused by name.

Requests are made from the model: required members, filled with what their shapes allow. That the others succeed is shown
all over the suites, and recorded (`recorder.py`).
"""
import datetime
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .errors import refused
from .process import REGION

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import operations  # noqa: E402

# Where any value of the right shape would be refused for what it says and not for what it asks.
MEANT = {
    "PutBucketLifecycleConfiguration": {"LifecycleConfiguration": {"Rules": [
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 1}}]}},
    "PutBucketWebsite": {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}},
    "PutBucketLogging": {"BucketLoggingStatus": {"LoggingEnabled": {"TargetBucket": "bucket", "TargetPrefix": "a/"}}},
    "PutBucketNotificationConfiguration": {"NotificationConfiguration": {"QueueConfigurations": [
        {"QueueArn": "arn:aws:sqs:us-east-1:1:a", "Events": ["s3:ObjectCreated:*"]}]}},
    "PutBucketLifecycle": {"LifecycleConfiguration": {"Rules": [
        {"ID": "a", "Status": "Enabled", "Prefix": "a/", "Expiration": {"Days": 1}}]}},
}
# Signed for another service, or not at all: refused before anybody looks what is asked.
STRANGERS = {"WriteGetObjectResponse": "AuthorizationHeaderMalformed",
             "AssumeRoleWithSAML": "MissingAuthenticationToken",
             "AssumeRoleWithWebIdentity": "MissingAuthenticationToken"}


@pytest.fixture
def clients(basalt):
    config = Config(signature_version="v4", s3={"addressing_style": "path"}, inject_host_prefix=False, parameter_validation=False,
                    retries={"total_max_attempts": 1, "mode": "standard"})

    def make(service):
        settings = config.merge(Config(signature_version="s3v4")) if service == "s3" else config
        return boto3.client(service, endpoint_url=basalt.endpoint, region_name=REGION, config=settings,
                            aws_access_key_id=basalt.access_key, aws_secret_access_key=basalt.secret_key)
    return make


def value(shape, name, bucket):
    """Something of this shape."""
    kind = shape.type_name
    if kind == "structure":
        return structure(shape, bucket)
    if kind == "list":
        return [value(shape.member, name, bucket)]
    if kind == "map":
        return {}
    simple = {"integer": 1, "long": 1, "double": 1.0, "float": 1.0, "boolean": True, "blob": b"x",
              "timestamp": datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)}
    if kind in simple:
        return simple[kind]
    named = {"Bucket": bucket, "Key": "k"}
    return named.get(name) or (shape.enum[0] if shape.enum else "x" * max(1, shape.metadata.get("min", 1)))


def structure(shape, bucket):
    names = list(shape.members)[:1] if shape.is_tagged_union else shape.required_members
    return {name: value(shape.members[name], name, bucket) for name in names}


def test_what_is_not_built_is_refused_by_name(clients, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    wrong = []
    for service, code in (("s3", "NotImplemented"), ("iam", "InvalidAction"), ("sts", "InvalidAction")):
        client = clients(service)
        for name in operations.refused()[service]:
            shape = client.meta.service_model.operation_model(name).input_shape
            parameters = structure(shape, bucket) if shape else {}
            if name in MEANT:
                parameters |= MEANT[name]
            found = answer(client, name, parameters)
            if found != STRANGERS.get(name, code):
                wrong.append((service, name, found))
    assert wrong == []
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def answer(client, name, parameters):
    try:
        client._make_api_call(name, parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "success"


def test_what_nobody_can_set_is_not_set(s3, bucket):
    with refused("ReplicationConfigurationNotFoundError", 404):
        s3.get_bucket_replication(Bucket=bucket)
    with refused("NoSuchLifecycleConfiguration", 404):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    with refused("NoSuchWebsiteConfiguration", 404):
        s3.get_bucket_website(Bucket=bucket)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
