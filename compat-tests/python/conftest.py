"""What every Python suite shares: the endpoint under test, seeded payloads, and buckets that clean up after themselves."""

import os
import random
import uuid

import boto3
import pytest
import urllib3

MIB = 1 << 20

# Empty, one byte, the smallest multipart part, and many erasure-coded chunks.
OBJECT_SIZES = [0, 1, 5 * MIB, 64 * MIB]

# Keys that break stores which map keys to paths, decode them twice or print them into XML unescaped.
ODD_KEYS = [
    "a//b",
    "../up",
    "./here",
    "dir/../x",
    "dir/./x",
    "..",
    "/leading",
    "trailing/",
    " space ",
    "plus+plus",
    "a b+c",
    "%41",
    "100%25",
    "a%2Fb",
    "q?x=1&y=2#z",
    "quote'\"<>&",
    "emoji-\N{PERSONAL COMPUTER}-\N{HIRAGANA LETTER A}",
    "e\u0301-nfd",
    "\u00e9-nfc",
    "tilde~star*(paren)!",
    "control\x01\x1f\x7f",
    "tab\tline\nreturn\r",
    "k" * 1024,
]


def fetch(url, method="GET", body=None, headers=None):
    """What somebody gets who has a URL and nothing else: status, headers, body. Adds no header of its own."""
    answer = urllib3.PoolManager().request(method, url, body=body, headers=headers or {}, retries=False)
    return answer.status, answer.headers, answer.data


def payload(size, seed=7):
    """`size` bytes that are the same at every run."""
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="session")
def endpoint():
    """The server under test; `compat-tests/run` starts it and sets the variable."""
    return os.environ["CAIRN_ENDPOINT"]


@pytest.fixture(scope="session")
def s3(endpoint):
    """boto3 with its defaults: no workaround flag, only the endpoint."""
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


def empty_bucket(s3, name):
    """Removes all objects and unfinished uploads."""
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if keys:
            answer = s3.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
            assert "Errors" not in answer, answer["Errors"]


@pytest.fixture
def bucket(s3):
    """A fresh bucket, emptied and removed afterwards."""
    name = f"compat-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=name)
    yield name
    empty_bucket(s3, name)
    s3.delete_bucket(Bucket=name)
