"""What a refused request looks like through boto3."""
from contextlib import contextmanager

from botocore.exceptions import ClientError


@contextmanager
def refused(code, status):
    """The block must be answered with this S3 error code and HTTP status; HEAD has the status only. Gives a dictionary
    that has the fields of the error afterwards."""
    fields = {}
    try:
        yield fields
    except ClientError as error:
        answer = error.response
        fields.update(answer["Error"])
        found = answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code or str(status), status), answer
        return
    raise AssertionError(f"not refused; expected {status} {code}")
