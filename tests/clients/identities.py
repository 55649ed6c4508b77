"""Accounts and users for the suites about access: made through the command and through the IAM API.

A `Who` has keys and gives boto3 clients; `Account` is one with ids, whose `user()` makes a user with keys.
"""
import itertools
import json
import subprocess

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from .process import BINARY, REGION, STYLE

_numbers = itertools.count()
OPEN = {"BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": False,
        "RestrictPublicBuckets": False}


class Who:
    def __init__(self, basalt, access_key, secret_key, arn=None):
        self.basalt, self.access_key, self.secret_key, self.arn = basalt, access_key, secret_key, arn

    def client(self, service):
        version = "s3v4" if service == "s3" else "v4"
        config = Config(signature_version=version, s3={"addressing_style": STYLE}, retries={"total_max_attempts": 1, "mode": "standard"},
                        connect_timeout=10, read_timeout=120)
        endpoint = self.basalt.endpoint_of(STYLE) if service == "s3" else self.basalt.endpoint
        return boto3.client(service, endpoint_url=endpoint, region_name=REGION,
                            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, config=config)

    @property
    def s3(self):
        return self.client("s3")

    @property
    def iam(self):
        return self.client("iam")


class Account(Who):
    def __init__(self, basalt, made):
        super().__init__(basalt, made["access_key"], made["secret_key"])
        self.id, self.canonical, self.name = made["account_id"], made["canonical_id"], made["name"]
        self.arn = f"arn:aws:iam::{self.id}:root"

    def user(self, *statements, name=None):
        """A user with one key, and with these statements as its inline policy."""
        name = name or f"user{next(_numbers)}"
        arn = self.iam.create_user(UserName=name)["User"]["Arn"]
        if statements:
            self.allow(name, *statements)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        user = Who(self.basalt, key["AccessKeyId"], key["SecretAccessKey"], arn)
        user.name = name
        return user

    def allow(self, user, *statements):
        self.iam.put_user_policy(UserName=user, PolicyName="inline", PolicyDocument=policy(*statements))


def admin(basalt, *words):
    """Runs `basalt admin account ...`: status, what it printed, what it complained of."""
    place = ["--endpoint", basalt.endpoint]
    done = subprocess.run([BINARY, "admin", "account", *words, *place], env=basalt.environment(),
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def account(basalt, name=None):
    status, out, complaint = admin(basalt, "create", name or f"account-{next(_numbers)}", "--json")
    assert status == 0, complaint
    return Account(basalt, json.loads(out))


def anonymous(basalt):
    config = Config(signature_version=UNSIGNED, s3={"addressing_style": STYLE},
                    retries={"total_max_attempts": 1, "mode": "standard"})
    return boto3.client("s3", endpoint_url=basalt.endpoint_of(STYLE), region_name=REGION, config=config)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect, actions, resources, **more):
    """A statement; `Principal=` and `Condition=` as keywords."""
    return {"Effect": effect, "Action": actions, "Resource": resources, **more}


def allow(actions, resources="*", **more):
    return statement("Allow", actions, resources, **more)


def deny(actions, resources="*", **more):
    return statement("Deny", actions, resources, **more)


def objects(bucket):
    return f"arn:aws:s3:::{bucket}/*"


def both(bucket):
    return [f"arn:aws:s3:::{bucket}", objects(bucket)]


def open_up(s3, bucket):
    """No block of public access, where the server puts one on new buckets."""
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=OPEN)
