"""Notifications: webhooks hear of every change they asked for, at least once and in the order of each key, whatever
they or the server do meanwhile; what cannot be told is refused before it changes anything."""
import random
import socket
import threading
from urllib.parse import unquote_plus

import pytest

from .errors import refused
from .test_bad_input import ANSWER_SECONDS, head_bytes
from .waiting import until
from .webhook import Authority, Webhook
from .wire import object_path

ALL = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*", "s3:ObjectAcl:Put", "s3:LifecycleExpiration:*"]


@pytest.fixture
def hook():
    hook = Webhook().open()
    yield hook
    hook.close()


@pytest.fixture
def hooks():
    """Makes further hooks; all of them are closed at the end."""
    made = []

    def make(name, **more):
        made.append(Webhook(name, **more).open())
        return made[-1]

    yield make
    for hook in made:
        hook.close()


@pytest.fixture
def told(new_basalt, hook):
    """A server that knows `hook`, not yet started: `told(options...)`."""
    return lambda *options, **more: new_basalt(options=[*hook.option, *options], **more)


def rule(hook, events=ALL, prefix=None, suffix=None, kind="Queue", **more):
    service = {"Queue": "sqs", "Topic": "sns", "LambdaFunction": "lambda"}[kind]
    filters = [{"Name": n, "Value": v} for n, v in (("prefix", prefix), ("suffix", suffix)) if v is not None]
    return {f"{kind}Arn": hook.arn(service), "Events": events, **more} | (
        {"Filter": {"Key": {"FilterRules": filters}}} if filters else {})


def configure(s3, bucket, queues=(), topics=(), functions=(), **more):
    configuration = {"QueueConfigurations": list(queues), "TopicConfigurations": list(topics),
                     "LambdaFunctionConfigurations": list(functions)}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={k: v for k, v in configuration.items() if v}, **more)


def queued(server, target="hook"):
    samples = server.metrics().get("basalt_notification_queued", {})
    return samples.get(f'{{target="{target}"}}', 0)


def listening(server, hook, bucket="told", **more):
    """A bucket of which the hook hears everything."""
    s3 = server.s3()
    s3.create_bucket(Bucket=bucket)
    configure(s3, bucket, [rule(hook, **more)])
    return s3


# ---- What is told ----

def test_a_message_says_what_happened_as_aws_says_it(told, hook):
    server = told().start()
    s3 = listening(server, hook, Id="all of it")
    greeting, = hook.greetings()
    assert greeting["Bucket"] == "told" and greeting["Service"] == "Amazon S3"
    answer = s3.put_object(Bucket="told", Key="a b/ü+.txt", Body=b"12345")
    record, = hook.wait(1)
    assert record["eventName"] == "ObjectCreated:Put" and record["eventSource"] == "aws:s3"
    assert record["eventVersion"] == "2.1" and record["awsRegion"] == "us-east-1"
    assert record["userIdentity"]["principalId"].startswith("AWS:")
    assert record["requestParameters"]["sourceIPAddress"] == "127.0.0.1"
    assert record["responseElements"]["x-amz-request-id"] == answer["ResponseMetadata"]["RequestId"]
    what = record["s3"]
    assert what["configurationId"] == "all of it" and what["s3SchemaVersion"] == "1.0"
    assert what["bucket"]["name"] == "told" and what["bucket"]["arn"] == "arn:aws:s3:::told"
    assert what["bucket"]["ownerIdentity"]["principalId"]
    assert what["object"]["key"] == "a+b/%C3%BC%2B.txt" and unquote_plus(what["object"]["key"]) == "a b/ü+.txt"
    assert what["object"]["size"] == 5 and f'"{what["object"]["eTag"]}"' == answer["ETag"]
    assert "versionId" not in what["object"] and what["object"]["sequencer"]
    path, headers = hook.requests[-1]
    assert path == "/s3?hook" and headers["content-type"] == "application/json"
    assert "authorization" not in {name.lower() for name in headers}
    until(lambda: queued(server) == 0, 10, "the queue to be empty")
    assert server.metrics()["basalt_notification_delivered_total"]['{target="hook"}'] == 1


def test_every_event_that_can_happen(told, hook):
    server = told("--new-buckets", "open").start()
    s3 = listening(server, hook)
    s3.put_object(Bucket="told", Key="k", Body=b"1")
    s3.copy_object(Bucket="told", Key="copy", CopySource="told/k")
    form = s3.generate_presigned_post("told", "form")
    post_form(server, form)
    upload = s3.create_multipart_upload(Bucket="told", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="told", Key="parts", UploadId=upload, PartNumber=1, Body=b"abc")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    whole = s3.complete_multipart_upload(Bucket="told", Key="parts", UploadId=upload, MultipartUpload=parts)
    s3.put_object_tagging(Bucket="told", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_object_tagging(Bucket="told", Key="k", Tagging={"TagSet": []})
    s3.delete_object_tagging(Bucket="told", Key="k")
    s3.put_object_acl(Bucket="told", Key="k", ACL="public-read")
    s3.delete_object(Bucket="told", Key="k")
    s3.delete_object(Bucket="told", Key="never there")
    s3.delete_objects(Bucket="told", Delete={"Objects": [{"Key": "copy"}, {"Key": "form"}]})
    hook.wait(11)
    assert hook.names("k") == [
        ("ObjectCreated:Put", "k"), ("ObjectTagging:Put", "k"), ("ObjectTagging:Put", "k"),
        ("ObjectTagging:Delete", "k"), ("ObjectAcl:Put", "k"), ("ObjectRemoved:Delete", "k")]
    assert hook.names("copy") == [("ObjectCreated:Copy", "copy"), ("ObjectRemoved:Delete", "copy")]
    assert hook.names("form") == [("ObjectCreated:Post", "form"), ("ObjectRemoved:Delete", "form")]
    assert hook.names("parts") == [("ObjectCreated:CompleteMultipartUpload", "parts")]
    objects = {(r["eventName"], r["s3"]["object"]["key"]): r["s3"]["object"] for r in hook.records()}
    assert objects["ObjectCreated:CompleteMultipartUpload", "parts"]["eTag"] == whole["ETag"].strip('"')
    assert "size" not in objects["ObjectRemoved:Delete", "k"]
    assert objects["ObjectTagging:Put", "k"]["size"] == 1
    until(lambda: queued(server) == 0, 10, "the queue to be empty")
    assert len(hook.records()) == 11


def post_form(server, form):
    import http.client
    edge = "form7"
    fields = "".join(f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'
                     for k, v in form["fields"].items())
    body = f'{fields}--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n--{edge}--\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/told", body.encode(), {"Content-Type": f"multipart/form-data; boundary={edge}"})
    assert connection.getresponse().status == 204


def test_versions_and_delete_markers(told, hook):
    server = told().start()
    s3 = listening(server, hook)
    s3.put_bucket_versioning(Bucket="told", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="told", Key="k", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket="told", Key="k")["VersionId"]
    s3.delete_object(Bucket="told", Key="k", VersionId=marker)
    s3.delete_object(Bucket="told", Key="k", VersionId=first)
    s3.delete_object(Bucket="told", Key="k", VersionId=first)
    s3.put_bucket_versioning(Bucket="told", VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket="told", Key="k", Body=b"2")
    records = hook.wait(5)
    assert [(r["eventName"], r["s3"]["object"]["versionId"]) for r in records] == [
        ("ObjectCreated:Put", first), ("ObjectRemoved:DeleteMarkerCreated", marker), ("ObjectRemoved:Delete", marker),
        ("ObjectRemoved:Delete", first), ("ObjectCreated:Put", "null")]
    sequencers = [r["s3"]["object"]["sequencer"] for r in records]
    assert sequencers == sorted(sequencers) and len(set(sequencers)) == 5


def test_what_expires_is_told_as_such_and_asked_for_by_nobody(told, hook):
    server = told("--lifecycle-day", "1").start()
    s3 = listening(server, hook)
    s3.put_object(Bucket="told", Key="plain", Body=b"")
    lay_down(s3, "told", Days=1)
    hook.wait(2)
    s3.delete_bucket_lifecycle(Bucket="told")
    s3.put_bucket_versioning(Bucket="told", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="told", Key="kept", Body=b"")
    lay_down(s3, "told", Days=1)
    records = hook.wait(4)
    s3.delete_bucket_lifecycle(Bucket="told")
    assert hook.names() == [
        ("ObjectCreated:Put", "plain"), ("LifecycleExpiration:Delete", "plain"),
        ("ObjectCreated:Put", "kept"), ("LifecycleExpiration:DeleteMarkerCreated", "kept")]
    for record in (records[1], records[3]):
        assert record["userIdentity"]["principalId"] == record["requestParameters"]["sourceIPAddress"] == "s3.amazonaws.com"
        assert record["eventVersion"] == "2.3"
    marker, = s3.list_object_versions(Bucket="told")["DeleteMarkers"]
    assert "versionId" not in records[1]["s3"]["object"]
    assert records[3]["s3"]["object"]["versionId"] == marker["VersionId"]


def lay_down(s3, bucket, **expiration):
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": expiration}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


def test_filters_and_kinds_choose_the_rule(told, hook):
    server = told().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="told")
    configure(
        s3, "told", [rule(hook, ["s3:ObjectCreated:Put"], prefix="in/", suffix=".jpg", Id="queue")],
        [rule(hook, ["s3:ObjectRemoved:Delete"], kind="Topic", Id="topic")],
        [rule(hook, ["s3:ObjectCreated:Put"], prefix="other/", kind="LambdaFunction", Id="function")])
    assert len(hook.greetings()) == 1
    for key in ("in/a.png", "a.jpg", "in/a.jpg", "other/a"):
        s3.put_object(Bucket="told", Key=key, Body=b"")
    s3.copy_object(Bucket="told", Key="in/copy.jpg", CopySource="told/a.jpg")
    s3.delete_object(Bucket="told", Key="in/a.png")
    records = hook.wait(3)
    until(lambda: queued(server) == 0, 10, "the queue to be empty")
    assert sorted((r["s3"]["configurationId"], r["s3"]["object"]["key"]) for r in records) == [
        ("function", "other/a"), ("queue", "in/a.jpg"), ("topic", "in/a.png")]
    assert len(hook.records()) == 3


def test_a_configuration_can_be_read_changed_and_removed(told, hook):
    server = told().start()
    s3 = listening(server, hook, events=["s3:ObjectCreated:*"], Id="one")
    found = s3.get_bucket_notification_configuration(Bucket="told")["QueueConfigurations"]
    assert found == [{"Id": "one", "QueueArn": hook.arn(), "Events": ["s3:ObjectCreated:*"]}]
    configure(s3, "told", [rule(hook, ["s3:ObjectRemoved:*"])])
    assert len(hook.greetings()) == 1, "the target was known"
    s3.put_object(Bucket="told", Key="k", Body=b"")
    s3.delete_object(Bucket="told", Key="k")
    configure(s3, "told")
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket="told")
    s3.put_object(Bucket="told", Key="k", Body=b"")
    s3.delete_object(Bucket="told", Key="k")
    hook.wait(1)
    until(lambda: queued(server) == 0, 10, "the queue to be empty")
    assert hook.names() == [("ObjectRemoved:Delete", "k")]


# ---- What is refused ----

def test_targets_that_are_not_there_are_refused(told, hook):
    server = told().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="told")
    unable = "Unable to validate the following destination configurations"
    for arn in ("arn:basalt:sqs:us-east-1::other", "arn:basalt:sns:us-east-1::hook", "arn:basalt:sqs:eu-west-1::hook",
                "arn:other:sqs:us-east-1::hook", "hook", "", "arn:basalt:sqs:us-east-1:x:hook"):
        with refused("InvalidArgument", 400) as error:
            configure(s3, "told", [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}])
        assert error["Message"] == unable and (error["ArgumentName"] or "") == arn
    for arn in ("arn:aws:sqs:us-east-1:123456789012:hook", "arn:basalt:sqs:::hook"):
        configure(s3, "told", [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}])
    hook.close()
    configure(s3, "told")
    with refused("InvalidArgument", 400) as error:
        configure(s3, "told", [rule(hook)])
    assert error["Message"] == unable and "failed" in error["ArgumentValue"]
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket="told")
    configure(s3, "told", [rule(hook)], SkipDestinationValidation=True)
    assert s3.get_bucket_notification_configuration(Bucket="told")["QueueConfigurations"]


def test_events_that_cannot_happen_are_refused_by_name(told, hook):
    server = told().start()
    s3 = server.s3()
    s3.create_bucket(Bucket="told")
    for event in ("s3:ObjectRestore:*", "s3:ObjectRestore:Post", "s3:Replication:*", "s3:LifecycleTransition",
                  "s3:IntelligentTiering", "s3:ReducedRedundancyLostObject"):
        with refused("NotImplemented", 501) as error:
            configure(s3, "told", [rule(hook, ["s3:ObjectCreated:*", event])])
        assert event in error["Message"]
    with refused("NotImplemented", 501):
        s3.put_bucket_notification_configuration(
            Bucket="told", NotificationConfiguration={"EventBridgeConfiguration": {}})
    with refused("InvalidArgument", 400):
        configure(s3, "told", [rule(hook, ["s3:ObjectEaten:*"])])
    with refused("InvalidArgument", 400):
        configure(s3, "told", [rule(hook, prefix="a"), rule(hook, prefix="ab")])


@pytest.mark.parametrize("value,word", [
    ("hook=http://name:secret@x/", "http://HOST"), ("hook=ftp://x", "http://"), ("hook", "NAME=URL"), ("a b=http://x", "name")])
def test_addresses_that_cannot_be_reached_are_refused_at_the_start(new_basalt, value, word):
    status, said = new_basalt(options=["--webhook", value]).refused()
    assert status == 2 and word in said


def test_a_file_of_authorities_that_holds_none_is_refused_at_the_start(new_basalt, tmp_path):
    (tmp_path / "ca.pem").write_text("not PEM")
    for name, word in (("ca.pem", "no certificate"), ("missing.pem", "No such file")):
        status, said = new_basalt(options=["--webhook-ca", str(tmp_path / name)]).refused()
        assert status == 2 and word in said and name in said and "webhook-ca" in said, said


# ---- Delivery, whatever happens ----

def test_a_target_that_was_down_hears_everything_in_order(told, hook):
    server = told().start()
    s3 = listening(server, hook)
    hook.close()
    for turn in range(5):
        s3.put_object(Bucket="told", Key="k", Body=b"x" * turn)
        s3.put_object(Bucket="told", Key=f"k{turn}", Body=b"")
    until(lambda: server.metrics().get("basalt_notification_failed_attempts_total", {}).get('{target="hook"}', 0) >= 2,
          30, "attempts that fail")
    assert queued(server) == 10
    hook.open()
    hook.wait(10)
    until(lambda: queued(server) == 0, 30, "the queue to be empty")
    sizes = [r["s3"]["object"]["size"] for r in hook.records() if r["s3"]["object"]["key"] == "k"]
    assert sizes == [0, 1, 2, 3, 4]


def test_many_writers_at_once_are_told_in_the_order_of_each_key(told, hook):
    server = told("--shards", "1").start()
    s3 = listening(server, hook)
    dice, lock = random.Random(5), threading.Lock()

    def answer(message):
        with lock:
            return dice.choice([200, 200, 200, 404])

    def write(key):
        for size in range(15):
            s3.put_object(Bucket="told", Key=key, Body=b"x" * size)

    hook.answer = answer
    writers = [threading.Thread(target=write, args=(f"k{n}",)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    hook.wait(8 * 15, 120)
    for n in range(8):
        told_of = [r["s3"]["object"] for r in hook.records() if r["s3"]["object"]["key"] == f"k{n}"]
        assert [o["size"] for o in told_of] == list(range(15)), n
        sequencers = [o["sequencer"] for o in told_of]
        assert sequencers == sorted(set(sequencers))


def test_an_overloaded_target_is_told_again(told, hook):
    answers = iter([503, 429, 500])
    server = told().start()
    s3 = listening(server, hook)
    hook.answer = lambda message: next(answers, 200)
    s3.put_object(Bucket="told", Key="k", Body=b"")
    hook.wait(1)
    assert next(answers, None) is None


def test_a_refused_event_holds_up_its_key_and_no_other(told, hook):
    server = told("--shards", "1").start()
    s3 = listening(server, hook)
    stubborn = threading.Event()

    def answer(message):
        bad = any(r["s3"]["object"]["key"] == "bad" for r in message.get("Records", []))
        return 400 if bad and not stubborn.is_set() else 200

    hook.answer = answer
    s3.put_object(Bucket="told", Key="bad", Body=b"")
    s3.delete_object(Bucket="told", Key="bad")
    for turn in range(50):
        s3.put_object(Bucket="told", Key=f"good{turn}", Body=b"")
    hook.wait(50)
    assert hook.names("bad") == []
    stubborn.set()
    hook.wait(52)
    assert hook.names("bad") == [("ObjectCreated:Put", "bad"), ("ObjectRemoved:Delete", "bad")]


def test_a_target_that_hangs_holds_up_nobody_else_and_no_stop(told, hook, hooks):
    slow = hooks("slow")
    server = told(*slow.option).start()
    s3 = listening(server, hook)
    listening(server, slow, bucket="slow")
    slow.answer = lambda message: None
    for turn in range(20):
        s3.put_object(Bucket="slow", Key=f"k{turn}", Body=b"")
        s3.put_object(Bucket="told", Key=f"k{turn}", Body=b"")
    hook.wait(20)
    assert queued(server, "slow") == 20
    until(lambda: len(slow.requests) > 1, 30, "a request to hang")
    server.stop()


def test_events_survive_a_kill_and_a_restart(told, hook):
    server = told().start()
    s3 = listening(server, hook)
    hook.close()
    for turn in range(30):
        s3.put_object(Bucket="told", Key=f"k{turn}", Body=b"")
    server.kill()
    server.start()
    assert queued(server) == 30
    s3.delete_object(Bucket="told", Key="k0")
    server.stop()
    server.start()
    assert queued(server) == 31
    hook.open()
    hook.wait(31)
    until(lambda: queued(server) == 0, 30, "the queue to be empty")
    assert hook.names("k0") == [("ObjectCreated:Put", "k0"), ("ObjectRemoved:Delete", "k0")]
    records = [r["s3"]["object"]["sequencer"] for r in hook.records() if r["s3"]["object"]["key"] == "k0"]
    assert records == sorted(records)
    server.kill()
    server.start()
    assert queued(server) == 0


def test_killed_again_and_again_between_write_and_delivery(told, hook):
    server = told().start()
    s3 = listening(server, hook)
    acknowledged = []
    for turn in range(6):
        until_dead = threading.Timer(0.3, server.kill)
        until_dead.start()
        number = 0
        while True:
            key = f"{turn}/{number}"
            try:
                s3.put_object(Bucket="told", Key=key, Body=b"")
            except Exception:
                break
            acknowledged.append(key)
            number += 1
        until_dead.join()
        server.start()
    def missing():
        return set(acknowledged) - {key for _, key in hook.names()}
    until(lambda: not missing(), 60, "every acknowledged write to be told")
    stored = {o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="told")
              for o in page.get("Contents", [])}
    assert {key for _, key in hook.names()} <= stored, "nothing is told that did not happen"


def is_refused_before_its_body(server, bucket):
    """Asks to send a megabyte: 503 at once, or to go on."""
    with server.wire() as wire:
        head, _ = head_bytes(wire, "PUT", object_path(bucket, "large"), length=1 << 20)
        with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(head.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
            answer = connection.recv(10000)
    assert answer.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 100 ")), answer
    return answer.startswith(b"HTTP/1.1 503 ")


def test_a_full_queue_refuses_changes_of_its_buckets_alone(told, hook):
    server = told("--webhook-queue", "3", "--shards", "1").start()
    s3 = listening(server, hook, events=["s3:ObjectCreated:*", "s3:ObjectRemoved:*"])
    s3.create_bucket(Bucket="quiet")
    hook.close()
    for turn in range(3):
        s3.put_object(Bucket="told", Key=f"k{turn}", Body=b"0")
    for change in (lambda: s3.put_object(Bucket="told", Key="k0", Body=b"1"),
                   lambda: s3.delete_object(Bucket="told", Key="k0"),
                   lambda: s3.copy_object(Bucket="told", Key="k9", CopySource="told/k0")):
        with refused("SlowDown", 503):
            change()
    assert s3.get_object(Bucket="told", Key="k0")["Body"].read() == b"0"
    assert is_refused_before_its_body(server, "told")
    assert not is_refused_before_its_body(server, "quiet")
    s3.put_object_tagging(Bucket="told", Key="k0", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_object(Bucket="quiet", Key="k", Body=b"")
    assert server.metrics()["basalt_notification_refused_total"]['{target="hook"}'] == 4
    assert queued(server) == 3
    hook.open()
    hook.wait(3)
    until(lambda: queued(server) == 0, 30, "the queue to be empty")
    s3.put_object(Bucket="told", Key="k0", Body=b"1")
    hook.wait(4)
    assert [key for _, key in hook.names()] == ["k0", "k1", "k2", "k0"]


def test_what_waits_outlives_its_configuration_and_its_bucket(told, hook):
    server = told().start()
    s3 = listening(server, hook)
    hook.close()
    s3.put_object(Bucket="told", Key="k", Body=b"")
    s3.delete_object(Bucket="told", Key="k")
    configure(s3, "told")
    s3.delete_bucket(Bucket="told")
    hook.open()
    hook.wait(2)
    assert hook.names() == [("ObjectCreated:Put", "k"), ("ObjectRemoved:Delete", "k")]


def test_a_target_that_is_no_longer_configured_loses_nothing(told, hook):
    server = told().start()
    s3 = listening(server, hook)
    hook.close()
    s3.put_object(Bucket="told", Key="k", Body=b"")
    server.stop()
    options, server.options = server.options, []
    server.start()
    s3.put_object(Bucket="told", Key="k2", Body=b"")
    assert queued(server) == 2
    until(lambda: "not configured" in server.text(), 10, "the log to say so")
    server.stop()
    server.options = ["--webhook", "hook=discard"]
    server.start()
    until(lambda: queued(server) == 0, 10, "what waits to be thrown away")
    assert server.metrics()["basalt_notification_discarded_total"]['{target="hook"}'] == 2
    server.stop()
    server.options = options
    server.start()
    hook.open()
    s3.put_object(Bucket="told", Key="k3", Body=b"")
    hook.wait(1)
    assert hook.names() == [("ObjectCreated:Put", "k3")]


def test_a_token_comes_from_the_file_and_is_sent(new_basalt, hook, tmp_path):
    file = tmp_path / "basalt.toml"
    file.write_text(f'[webhook.hook]\nurl = "http://localhost:{hook.port}/x"\ntoken = "sesam-open"\n')
    server = new_basalt(options=["--config", str(file), "--log", "trace"]).start()
    s3 = listening(server, hook)
    s3.put_object(Bucket="told", Key="k", Body=b"")
    hook.wait(1)
    headers = {name.lower(): value for name, value in hook.requests[-1][1].items()}
    assert headers["authorization"] == "Bearer sesam-open" and headers["host"] == f"localhost:{hook.port}"
    assert "sesam-open" not in server.text()


def test_a_webhook_may_speak_https_and_must_prove_its_name(new_basalt, hooks, tmp_path):
    authority = Authority(tmp_path)
    hook = hooks("safe", tls=authority.certify("IP:127.0.0.1"))
    server = new_basalt(options=[*hook.option, "--webhook-ca", str(authority.file)]).start()
    s3 = listening(server, hook)
    for n in range(20):
        s3.put_object(Bucket="told", Key=f"k{n}", Body=b"x")
    assert len(hook.wait(20)) == 20
    server.stop()
    hook.close()
    hook.tls = authority.certify("DNS:elsewhere.example")
    hook.open()
    server.start()
    # A bucket that does not name the target yet has it greeted.
    server.s3().create_bucket(Bucket="more")
    with refused("InvalidArgument", 400):
        configure(server.s3(), "more", [rule(hook)])
    server.stop()
    hook.close()
    hook.tls = authority.certify("IP:127.0.0.1")
    hook.open()
    server.options = hook.option
    server.start()
    with refused("InvalidArgument", 400):
        configure(server.s3(), "more", [rule(hook)])
