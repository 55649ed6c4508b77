"""One well-formed request for each operation of the API: what a fuzzer begins with before it spoils it.

A request is made of the names of `Place`: a bucket with objects, a versioned one, a locked one, an upload under
way. `{version}`, `{upload}`, `{account}` and the like stand for what the place holds, and are put in late, so that
one table serves many places. The table is checked for being whole: it names every operation that the server counts.
"""
import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace

XMLNS = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
XSI = ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


@dataclass(frozen=True)
class Request:
    name: str
    method: str
    path: str
    query: tuple = ()
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    #: What it is signed for; none where the body itself says who asks.
    service: str = "s3"

    def fitted(self, names):
        """With the names of a place in it."""
        def fit(text):
            for name, value in names.items():
                text = text.replace("{%s}" % name, value)
            return text
        return replace(
            self, path=fit(self.path), query=tuple((k, fit(v)) for k, v in self.query),
            headers={k: fit(v) for k, v in self.headers.items()}, body=fit(self.body.decode()).encode())


def md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def xml(name, inner, more=""):
    return f"<{name}{XMLNS}{more}>{inner}</{name}>".encode()


def bucket(name, method, sub, body=b"", *query, path="/{bucket}"):
    return Request(name, method, path, ((sub, ""), *query), {"content-md5": "{md5}"} if body else {}, body)


def key(name, method, *query, path="/{bucket}/{key}", body=b"", **headers):
    return Request(name, method, path, query, {k.replace("_", "-"): v for k, v in headers.items()}, body)


def iam(name, service="iam", **form):
    body = "&".join(f"{k}={v}" for k, v in {"Action": name, "Version": "2010-05-08", **form}.items())
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return Request("IamQuery", "POST", "/", (), kind, body.encode(), service)


GRANT = '<Grant><Grantee%s xsi:type="CanonicalUser"><ID>{owner}</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>' % XSI
ACL = xml("AccessControlPolicy", f"<Owner><ID>{{owner}}</ID></Owner><AccessControlList>{GRANT}</AccessControlList>")
TAGS = "<TagSet><Tag><Key>colour</Key><Value>red</Value></Tag><Tag><Key>n</Key><Value>1</Value></Tag></TagSet>"
POLICY = json.dumps({"Version": "2012-10-17", "Id": "p", "Statement": [{
    "Sid": "s", "Effect": "Allow", "Principal": {"AWS": "{account}"}, "Action": ["s3:GetObject*", "s3:PutObjectAcl"],
    "Resource": "arn:aws:s3:::{bucket}/public/*", "Condition": {
        "StringLike": {"s3:prefix": ["a*", "b?"]}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"},
        "DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}, "Bool": {"aws:SecureTransport": "true"}}}]}).encode()
LIFECYCLE = xml("LifecycleConfiguration", "<Rule><ID>r</ID><Status>Enabled</Status><Filter><And><Prefix>log/</Prefix>"
                "<Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>10</ObjectSizeGreaterThan></And></Filter>"
                "<Expiration><Days>3650</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>3650</NoncurrentDays>"
                "<NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>"
                "<Rule><ID>u</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter>"
                "<AbortIncompleteMultipartUpload><DaysAfterInitiation>365</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>")
CORS = xml("CORSConfiguration", "<CORSRule><ID>c</ID><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>GET"
           "</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>etag</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule>")
WEBSITE = xml("WebsiteConfiguration", "<IndexDocument><Suffix>index.html</Suffix></IndexDocument><ErrorDocument><Key>e.html</Key>"
              "</ErrorDocument><RoutingRules><RoutingRule><Condition><KeyPrefixEquals>docs/</KeyPrefixEquals></Condition><Redirect>"
              "<ReplaceKeyPrefixWith>d/</ReplaceKeyPrefixWith></Redirect></RoutingRule></RoutingRules>")
ENCRYPTION = xml("ServerSideEncryptionConfiguration", "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256"
                 "</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>")
INVENTORY = xml("InventoryConfiguration", "<Destination><S3BucketDestination><AccountId>{account}</AccountId><Bucket>"
                "arn:aws:s3:::{logs}</Bucket><Format>CSV</Format><Prefix>inv</Prefix></S3BucketDestination></Destination>"
                "<IsEnabled>false</IsEnabled><Id>one</Id><IncludedObjectVersions>All</IncludedObjectVersions>"
                "<Schedule><Frequency>Weekly</Frequency></Schedule>")
NOTIFICATION = xml("NotificationConfiguration", "<QueueConfiguration><Id>q</Id><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>"
                   "s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>a</Value></FilterRule></S3Key>"
                   "</Filter></QueueConfiguration>")
BLOCK = xml("PublicAccessBlockConfiguration", "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
            "<BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>")
LOGGING = xml("BucketLoggingStatus", "<LoggingEnabled><TargetBucket>{logs}</TargetBucket><TargetPrefix>log/</TargetPrefix>"
              "</LoggingEnabled>")
LOCK = xml("ObjectLockConfiguration", "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE"
           "</Mode><Days>1</Days></DefaultRetention></Rule>")
RETENTION = xml("Retention", "<Mode>GOVERNANCE</Mode><RetainUntilDate>2026-12-24T00:00:00Z</RetainUntilDate>")
DELETE = xml("Delete", "<Quiet>false</Quiet><Object><Key>spare/1</Key></Object><Object><Key>spare/2</Key><VersionId>null"
             "</VersionId></Object><Object><Key>spare/3</Key><ETag>&quot;abc&quot;</ETag></Object>")
COMPLETE = xml("CompleteMultipartUpload", '<Part><PartNumber>1</PartNumber><ETag>"{etag}"</ETag></Part>')
CREATE = xml("CreateBucketConfiguration", "<LocationConstraint>us-east-1</LocationConstraint>")
FIELDS = {"key": "posted/${filename}", "acl": "private", "x-amz-meta-a": "b", "success_action_status": "201", "AWSAccessKeyId": "{access_key}",
          "policy": "{post_policy}", "signature": "{post_signature}"}
FORM = "\r\n".join([
    *(f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in FIELDS.items()),
    '--edge\r\nContent-Disposition: form-data; name="file"; filename="f"\r\nContent-Type: text/plain\r\n\r\nbody', "--edge--", ""]).encode()
#: What the form may say: everything, so that its other fields are reached.
POST_POLICY = base64.b64encode(json.dumps({"expiration": "2099-01-01T00:00:00Z", "conditions": [
    {"bucket": "fuzzed"}, *(["starts-with", f"${name}", ""] for name in FIELDS if name not in ("AWSAccessKeyId", "policy", "signature"))]}).encode()).decode()


def post_names(access_key, secret_key):
    """What a form signed by SigV2 says of its maker."""
    signature = base64.b64encode(hmac.new(secret_key.encode(), POST_POLICY.encode(), hashlib.sha1).digest()).decode()
    return {"access_key": access_key, "post_policy": POST_POLICY, "post_signature": signature}


def versioned(name, method, sub, body=b"", path="/{locked}/{key}"):
    return bucket(name, method, sub, body, ("versionId", "{version}"), path=path)


REQUESTS = [
    Request("ListBuckets", "GET", "/", (("max-buckets", "10"), ("prefix", "fu"))),
    Request("CreateBucket", "PUT", "/fuzzed-other", (), {"x-amz-object-ownership": "BucketOwnerEnforced"}, CREATE),
    Request("HeadBucket", "HEAD", "/{bucket}"),
    Request("DeleteBucket", "DELETE", "/fuzzed-other"),
    Request("Preflight", "OPTIONS", "/{bucket}/{key}", (), {
        "origin": "https://a.example.com", "access-control-request-method": "GET", "access-control-request-headers": "x-a, x-b"}),
    bucket("GetBucketLocation", "GET", "location"),
    Request("ListObjects", "GET", "/{bucket}", (
        ("prefix", "a"), ("delimiter", "/"), ("marker", "a/1"), ("max-keys", "5"), ("encoding-type", "url"))),
    Request("ListObjectsV2", "GET", "/{bucket}", (
        ("list-type", "2"), ("prefix", "a"), ("delimiter", "/"), ("start-after", "a/1"), ("max-keys", "5"),
        ("fetch-owner", "true"), ("encoding-type", "url"))),
    Request("ListObjectsV2", "GET", "/{bucket}", (("list-type", "2"), ("continuation-token", "{token}"), ("max-keys", "1"))),
    bucket("ListObjectVersions", "GET", "versions", b"", ("key-marker", "key"), ("version-id-marker", "{version}"),
           ("prefix", "a"), ("max-keys", "7"), ("delimiter", "/"), path="/{locked}"),
    bucket("ListMultipartUploads", "GET", "uploads", b"", ("key-marker", "a"), ("upload-id-marker", "{upload}"),
           ("max-uploads", "3"), ("prefix", "u"), ("delimiter", "/")),
    Request("DeleteObjects", "POST", "/{bucket}", (("delete", ""),), {"content-md5": "{md5}"}, DELETE),
    Request("PostObject", "POST", "/{bucket}", (), {"content-type": "multipart/form-data; boundary=edge"}, FORM, service=None),
    key("GetObject", "GET", ("response-content-type", "text/plain"), ("partNumber", "1"), range="bytes=0-9", if_match='"{etag}"'),
    key("GetObject", "GET", ("versionId", "{version}"), path="/{locked}/{key}", if_modified_since="Sat, 21 Nov 2020 00:00:00 GMT"),
    key("HeadObject", "HEAD", x_amz_checksum_mode="ENABLED", if_none_match='"abc"', range="bytes=-5"),
    key("PutObject", "PUT", path="/{bucket}/written", body=b"some bytes of an object", content_type="text/plain",
        content_md5="{md5}", x_amz_meta_a="b", x_amz_tagging="a=b&c=d", x_amz_storage_class="STANDARD",
        expires="Sat, 21 Nov 2030 00:00:00 GMT", cache_control="no-cache", x_amz_checksum_crc32="{crc32}"),
    key("PutObject", "PUT", path="/{locked}/written", body=b"locked", content_md5="{md5}", x_amz_object_lock_mode="GOVERNANCE",
        x_amz_object_lock_retain_until_date="2026-12-24T00:00:00Z", x_amz_object_lock_legal_hold="OFF"),
    key("CopyObject", "PUT", path="/{bucket}/copied", x_amz_copy_source="/{bucket}/a/1", x_amz_metadata_directive="REPLACE",
        x_amz_tagging_directive="COPY", x_amz_copy_source_if_match='"{etag}"', x_amz_checksum_algorithm="SHA256"),
    key("DeleteObject", "DELETE", path="/{bucket}/spare/9", if_match="*"),
    key("DeleteObject", "DELETE", ("versionId", "{version}"), path="/{locked}/spare", x_amz_bypass_governance_retention="true"),
    key("GetObjectAttributes", "GET", ("attributes", ""), x_amz_object_attributes="ETag,Checksum,ObjectParts,StorageClass,ObjectSize",
        x_amz_max_parts="2", x_amz_part_number_marker="0"),
    versioned("GetObjectTagging", "GET", "tagging"),
    versioned("PutObjectTagging", "PUT", "tagging", xml("Tagging", TAGS)),
    versioned("DeleteObjectTagging", "DELETE", "tagging"),
    versioned("GetObjectRetention", "GET", "retention"),
    versioned("PutObjectRetention", "PUT", "retention", RETENTION),
    versioned("GetObjectLegalHold", "GET", "legal-hold"),
    versioned("PutObjectLegalHold", "PUT", "legal-hold", xml("LegalHold", "<Status>OFF</Status>")),
    versioned("GetObjectAcl", "GET", "acl"),
    versioned("PutObjectAcl", "PUT", "acl", ACL),
    bucket("GetBucketVersioning", "GET", "versioning"),
    bucket("PutBucketVersioning", "PUT", "versioning", xml("VersioningConfiguration", "<Status>Enabled</Status>"), path="/{locked}"),
    bucket("GetObjectLockConfiguration", "GET", "object-lock", path="/{locked}"),
    bucket("PutObjectLockConfiguration", "PUT", "object-lock", LOCK, path="/{locked}"),
    bucket("GetBucketAcl", "GET", "acl"),
    bucket("PutBucketAcl", "PUT", "acl", ACL),
    bucket("GetBucketPolicy", "GET", "policy"),
    bucket("GetBucketPolicyStatus", "GET", "policyStatus"),
    bucket("PutBucketPolicy", "PUT", "policy", POLICY),
    bucket("DeleteBucketPolicy", "DELETE", "policy"),
    key("CreateMultipartUpload", "POST", ("uploads", ""), path="/{bucket}/new-upload", content_type="a/b", x_amz_meta_x="y",
        x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="COMPOSITE"),
    key("UploadPart", "PUT", ("partNumber", "2"), ("uploadId", "{upload}"), path="/{bucket}/upload", body=b"part two",
        content_md5="{md5}"),
    key("UploadPartCopy", "PUT", ("partNumber", "3"), ("uploadId", "{upload}"), path="/{bucket}/upload",
        x_amz_copy_source="{bucket}/a/1", x_amz_copy_source_range="bytes=0-9"),
    key("ListParts", "GET", ("uploadId", "{upload}"), ("max-parts", "2"), ("part-number-marker", "0"), path="/{bucket}/upload"),
    key("CompleteMultipartUpload", "POST", ("uploadId", "{upload}"), path="/{bucket}/upload", body=COMPLETE,
        x_amz_mp_object_size="100"),
    key("AbortMultipartUpload", "DELETE", ("uploadId", "{upload}"), path="/{bucket}/upload",
        x_amz_if_match_initiated_time="Sat, 21 Nov 2020 00:00:00 GMT"),
    bucket("GetBucketTagging", "GET", "tagging"),
    bucket("PutBucketTagging", "PUT", "tagging", xml("Tagging", TAGS)),
    bucket("DeleteBucketTagging", "DELETE", "tagging"),
    bucket("GetBucketCors", "GET", "cors"),
    bucket("PutBucketCors", "PUT", "cors", CORS),
    bucket("DeleteBucketCors", "DELETE", "cors"),
    bucket("GetBucketWebsite", "GET", "website"),
    bucket("PutBucketWebsite", "PUT", "website", WEBSITE),
    bucket("DeleteBucketWebsite", "DELETE", "website"),
    bucket("GetBucketEncryption", "GET", "encryption"),
    bucket("PutBucketEncryption", "PUT", "encryption", ENCRYPTION),
    bucket("DeleteBucketEncryption", "DELETE", "encryption"),
    bucket("GetPublicAccessBlock", "GET", "publicAccessBlock"),
    bucket("PutPublicAccessBlock", "PUT", "publicAccessBlock", BLOCK),
    bucket("DeletePublicAccessBlock", "DELETE", "publicAccessBlock"),
    bucket("GetBucketOwnershipControls", "GET", "ownershipControls"),
    bucket("PutBucketOwnershipControls", "PUT", "ownershipControls", xml(
        "OwnershipControls", "<Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule>")),
    bucket("DeleteBucketOwnershipControls", "DELETE", "ownershipControls"),
    bucket("GetBucketRequestPayment", "GET", "requestPayment"),
    bucket("PutBucketRequestPayment", "PUT", "requestPayment", xml("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")),
    bucket("GetBucketLogging", "GET", "logging"),
    bucket("PutBucketLogging", "PUT", "logging", LOGGING),
    bucket("GetBucketLifecycleConfiguration", "GET", "lifecycle"),
    bucket("PutBucketLifecycleConfiguration", "PUT", "lifecycle", LIFECYCLE),
    bucket("DeleteBucketLifecycle", "DELETE", "lifecycle"),
    bucket("GetBucketNotificationConfiguration", "GET", "notification"),
    bucket("PutBucketNotificationConfiguration", "PUT", "notification", NOTIFICATION),
    bucket("GetBucketInventoryConfiguration", "GET", "inventory", b"", ("id", "one")),
    bucket("PutBucketInventoryConfiguration", "PUT", "inventory", INVENTORY, ("id", "one")),
    bucket("DeleteBucketInventoryConfiguration", "DELETE", "inventory", b"", ("id", "one")),
    bucket("ListBucketInventoryConfigurations", "GET", "inventory"),
    bucket("GetBucketReplication", "GET", "replication"),
    bucket("GetBucketAccelerateConfiguration", "GET", "accelerate"),
    iam("ListUsers", MaxItems="5", PathPrefix="/"),
    iam("CreateUser", UserName="fuzz", Path="/team/"),
    iam("PutUserPolicy", UserName="fuzz", PolicyName="p", PolicyDocument="%7B%22Statement%22%3A%5B%5D%7D"),
    iam("CreateAccessKey", UserName="fuzz"),
    iam("DeleteUser", UserName="fuzz"),
    iam("GetCallerIdentity", service="sts", Version="2011-06-15"),
]
