"""The first session of the README, as somebody pastes it: its blocks that use `aws` and boto3."""

import os
import pathlib
import re
import subprocess
import sys
import uuid

import pytest

from conftest import empty_bucket

ROOT = pathlib.Path(__file__).resolve().parents[2]
README_ENDPOINT, README_BUCKET = "http://127.0.0.1:9000", "photos"


def first_session():
    """Language and text of the fenced blocks from *Start* to the first one with neither client."""
    start = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Start\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", start, re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in blocks if re.search(r"^aws |boto3", text, re.MULTILINE)]


@pytest.fixture
def photos(s3):
    """What the bucket that the README makes is called here; it is removed afterwards."""
    name = f"compat-{uuid.uuid4().hex[:16]}"
    yield name
    empty_bucket(s3, name)
    s3.delete_bucket(Bucket=name)


def run(language, text, endpoint, bucket):
    assert README_ENDPOINT in text and README_BUCKET in text
    text = text.replace(README_ENDPOINT, endpoint).replace(README_BUCKET, bucket)
    # The credentials are those of the test: where they are to be pasted stands an ellipsis.
    text = "".join(line for line in text.splitlines(keepends=True) if "=\N{HORIZONTAL ELLIPSIS}" not in line)
    command = {"sh": ["sh", "-euc", text], "python": [sys.executable, "-c", text]}[language]
    environment = {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment["PATH"]])
    environment.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_session_works_as_pasted(endpoint, photos):
    (shell, aws), (python, boto3) = first_session()
    assert (shell, python) == ("sh", "python")
    printed = run(shell, aws, endpoint, photos)
    assert "README.md" in printed and f"{endpoint}/{photos}/README.md?" in printed.splitlines()[-1]
    assert run(python, boto3, endpoint, photos).splitlines() == ["b'hello'", "['README.md', 'hello.txt']"]
