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


def documented():
    """Operation name → whether the README says that it is supported."""
    rows = ROW.findall(README.read_text())
    return {name: support == "yes" for names, support in rows for name in names.split(", ")}


def minimal_request(endpoint, operation):
    """The operation with every required member in its place and nothing else."""
    path = operation.http["requestUri"].replace("{Bucket}", "no-such-bucket").replace("{Key+}", "key")
    headers, query = {}, []
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
        assert status != 501, f"{name} is documented as supported"
    else:
        assert (status, code) == (501, "NotImplemented")
