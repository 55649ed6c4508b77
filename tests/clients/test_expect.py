"""`Expect: 100-continue` as botocore uses it.

A client that is answered before `100 Continue` cannot know whether its body was read. botocore then takes
the next answer on the same connection for the rest of this one and waits for ever: `aws s3 sync` hung on a
tree that held an empty file, because an empty body is answered at once. So such a connection must end.
"""
import io
import socket

import pytest

from .test_bad_input import ANSWER_SECONDS, head_bytes
from .wire import object_path


def test_an_empty_file_does_not_spoil_the_next_upload(basalt, bucket):
    s3 = basalt.s3(pool=1, timeout=10)
    for key, body in (("first", b"1"), ("empty", b""), ("next", b"2"), ("last", b"")):
        s3.put_object(Bucket=bucket, Key=key, Body=io.BytesIO(body))
    sizes = {entry["Key"]: entry["Size"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert sizes == {"first": 1, "empty": 0, "next": 1, "last": 0}


@pytest.mark.parametrize("length, secret, status", [(0, None, b"200"), (0, "wrong", b"403"), (5, "wrong", b"403")])
def test_an_answer_before_the_continue_is_the_last(basalt, wire, bucket, length, secret, status):
    signing = {"secret_key": secret} if secret else {}
    head, _ = head_bytes(wire, "PUT", object_path(bucket, "k"), length=length, **signing)
    head = head.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    with socket.create_connection(("127.0.0.1", basalt.port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(head)
        answer = b""
        while more := connection.recv(10000):
            answer += more
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nconnection: close\r\n" in answer.lower()
