"""Every operation of AWS's own model is served, or is refused with 501 NotImplemented: nothing in between.

The model is the one botocore carries. Each operation is sent as a minimal, correctly signed request on a bucket
that does not exist; what is said to be supported is read from the README's table, so that the table cannot lie.
"""

import pathlib
import re
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree

import botocore.session
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

README = pathlib.Path(__file__).parents[2] / "README.md"
ROW = re.compile(r"^\| [^|]+ \| (\w+(?:, \w+)*) \| (yes|501 `NotImplemented`) \|$", re.MULTILINE)
# On an endpoint that is not Amazon's, this is the very request that ListBuckets is.
SENT_AS = {"ListDirectoryBuckets": "ListBuckets"}
MODEL = botocore.session.get_session().get_service_model("s3")
# What the server honours with any value, or judges by it; and what asks for nothing that could be missed: who pays, and
# what restores from an archive would add to a listing. All other headers must be refused.
READ_HEADERS = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-expected-bucket-owner",
    "x-amz-max-parts",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
    "x-amz-part-number-marker",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-source-expected-bucket-owner",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-website-redirect-location",
}
# Of a bucket without object lock S3 itself says that this does not apply.
REFUSED_OTHERWISE = {"x-amz-bypass-governance-retention": (400, "InvalidArgument")}


def documented():
    """Operation name → whether the README says that it is supported."""
    rows = ROW.findall(README.read_text())
    return {name: support == "yes" for names, support in rows for name in names.split(", ")}


def minimal_request(endpoint, operation, bucket="no-such-bucket", headers=None):
    """The operation with every required member in its place, these headers and nothing else."""
    path = operation.http["requestUri"].replace("{Bucket}", bucket).replace("{Key+}", "key")
    headers, query = dict(headers or {}), []
    shape = operation.input_shape
    for name in shape.required_members if shape else []:
        member = shape.members[name]
        location = member.serialization.get("location")
        value = {"integer": "1", "long": "1", "boolean": "true"}.get(member.type_name, "value")
        if name == "CopySource":
            value = "no-such-bucket/source"
        if location == "header":
            headers[member.serialization["name"]] = value
        elif location == "querystring":
            query.append(f"{member.serialization['name']}={value}")
    url = endpoint + path
    if query:
        url += ("&" if "?" in path else "?") + "&".join(query)
    method = operation.http["method"]
    data = b"<Document/>" if method in ("PUT", "POST") else b""
    request = AWSRequest(method=method, url=url, headers=headers, data=data)
    S3SigV4Auth(botocore.session.get_session().get_credentials(), "s3", "us-east-1").add_auth(request)
    prepared = request.prepare()
    return urllib.request.Request(prepared.url, data or None, dict(prepared.headers), method=method)


def answer(request):
    """Status and S3's error code (empty where the answer has no body)."""
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, ""
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, ElementTree.fromstring(body).findtext("Code") if body else ""


def test_the_table_names_every_operation_of_the_model():
    assert sorted(documented()) == sorted(MODEL.operation_names)


@pytest.mark.parametrize("name", MODEL.operation_names)
def test_operation_is_served_or_answers_501(endpoint, name):
    status, code = answer(minimal_request(endpoint, MODEL.operation_model(name)))
    if documented()[SENT_AS.get(name, name)]:
        assert status < 500, f"{name} is documented as supported, and answers {status} {code}"
    else:
        assert (status, code) == (501, "NotImplemented")


@pytest.mark.parametrize("name", MODEL.operation_names)
def test_a_header_of_the_model_is_read_or_refused(endpoint, bucket, name):
    """What a newer model adds must be looked at before it is listed above: it may be a lock, a condition, a key."""
    operation = MODEL.operation_model(name)
    if not documented()[name] or not operation.input_shape:
        return
    members = operation.input_shape.members.values()
    named = (member.serialization for member in members if member.serialization.get("location") == "header")
    for header in sorted({one["name"].lower() for one in named} - READ_HEADERS):
        got = answer(minimal_request(endpoint, operation, bucket, {header: "value"}))
        status, code = REFUSED_OTHERWISE.get(header, (501, "NotImplemented"))
        assert got == (status, "" if operation.http["method"] == "HEAD" else code), header
