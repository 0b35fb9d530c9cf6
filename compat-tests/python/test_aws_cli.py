"""The AWS command line with its defaults: `aws s3` and the `s3api` calls scripts use."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from conftest import MIB, OBJECT_SIZES, ODD_KEYS, fetch, payload

AWS = shutil.which("aws", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))


@pytest.fixture
def aws(endpoint):
    """Runs `aws ARGUMENTS`; returns its standard output (its standard error where it is expected to fail)."""

    def run(*arguments, fails=False):
        done = subprocess.run([AWS, "--endpoint-url", endpoint, *arguments], capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, f"aws {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if fails else done.stdout

    return run


def test_bucket_life_cycle(aws):
    aws("s3", "mb", "s3://compat-cli-life")
    assert "compat-cli-life" in aws("s3", "ls")
    aws("s3", "rb", "s3://compat-cli-life")
    assert "NoSuchBucket" in aws("s3api", "list-objects-v2", "--bucket", "compat-cli-life", fails=True)


@pytest.mark.parametrize("size", OBJECT_SIZES)
def test_copy_up_and_down(aws, bucket, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(size))
    aws("s3", "cp", str(source), f"s3://{bucket}/o", "--no-progress")
    aws("s3", "cp", f"s3://{bucket}/o", str(target), "--no-progress")
    assert target.read_bytes() == source.read_bytes()


def test_sync_there_and_back(aws, bucket, tmp_path):
    tree, back = tmp_path / "tree", tmp_path / "back"
    for index, name in enumerate(["a.txt", "dir/b.bin", "dir/deep/c d.txt", "uml\u00e4ut-\N{PERSONAL COMPUTER}.txt"]):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(1000 * index, seed=index))
        # S3 dates objects to the second: a file of this very second looks newer than its own upload.
        os.utime(path, (1_700_000_000, 1_700_000_000))
    aws("s3", "sync", str(tree), f"s3://{bucket}/t", "--no-progress")
    assert aws("s3", "sync", str(tree), f"s3://{bucket}/t", "--no-progress") == ""
    aws("s3", "sync", f"s3://{bucket}/t", str(back), "--no-progress")
    assert subprocess.run(["diff", "-r", str(tree), str(back)]).returncode == 0
    aws("s3", "rm", f"s3://{bucket}/t", "--recursive")
    assert aws("s3", "ls", f"s3://{bucket}") == ""


def test_move_is_a_server_side_copy_and_a_delete(aws, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(9 * MIB))
    aws("s3", "cp", str(source), f"s3://{bucket}/one", "--no-progress")
    aws("s3", "mv", f"s3://{bucket}/one", f"s3://{bucket}/two", "--no-progress")
    assert [line.split()[-1] for line in aws("s3", "ls", f"s3://{bucket}").splitlines()] == ["two"]
    aws("s3", "cp", f"s3://{bucket}/two", str(target), "--no-progress")
    assert target.read_bytes() == source.read_bytes()


def test_range_listing_and_batch_delete(aws, s3, bucket, tmp_path):
    for number in range(1, 4):
        s3.put_object(Bucket=bucket, Key=f"l/{number}", Body=payload(1000))
    out = tmp_path / "out"
    aws("s3api", "get-object", "--bucket", bucket, "--key", "l/1", "--range", "bytes=10-19", str(out))
    assert out.read_bytes() == payload(1000)[10:20]
    listing = aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", "l/", "--page-size", "2", "--output", "json")
    assert [entry["Key"] for entry in json.loads(listing)["Contents"]] == ["l/1", "l/2", "l/3"]
    request = json.dumps({"Objects": [{"Key": "l/1"}, {"Key": "l/2"}]})
    aws("s3api", "delete-objects", "--bucket", bucket, "--delete", request)
    assert aws("s3", "ls", f"s3://{bucket}/l/").split()[-1] == "3"


def test_listing_of_thousands(aws, s3, bucket):
    keys = [f"many/{number:04}" for number in range(2100)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    listing = aws("s3", "ls", f"s3://{bucket}/many/")
    assert [line.split()[-1] for line in listing.splitlines()] == [key.removeprefix("many/") for key in keys]


def test_presigned_url(aws, s3, bucket):
    key = "pre signed/+//\N{PERSONAL COMPUTER}"
    s3.put_object(Bucket=bucket, Key=key, Body=b"by url")
    url = aws("s3", "presign", f"s3://{bucket}/{key}", "--expires-in", "60").strip()
    assert fetch(url)[::2] == (200, b"by url")
    assert fetch(url.replace("pre%20signed", "pre%20s1gned"))[0] == 403


def test_presigned_url_of_version_4(aws, s3, bucket, tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    s3.put_object(Bucket=bucket, Key="pre signed", Body=b"by url")
    url = aws("s3", "presign", f"s3://{bucket}/pre signed", "--expires-in", "60").strip()
    assert "X-Amz-Signature=" in url
    assert fetch(url)[::2] == (200, b"by url")


def test_copy_within_the_store(aws, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(9 * MIB))
    aws("s3", "cp", str(source), f"s3://{bucket}/a b+c", "--no-progress")
    aws("s3", "cp", f"s3://{bucket}/a b+c", f"s3://{bucket}/managed", "--no-progress")
    aws("s3api", "copy-object", "--bucket", bucket, "--key", "plain", "--copy-source", f"{bucket}/a b+c")
    for key in ("managed", "plain"):
        aws("s3", "cp", f"s3://{bucket}/{key}", str(target), "--no-progress")
        assert target.read_bytes() == source.read_bytes()


def test_conditional_put(aws, bucket, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"once")
    put = ["s3api", "put-object", "--bucket", bucket, "--key", "c", "--body", str(body), "--if-none-match", "*"]
    aws(*put)
    assert "PreconditionFailed" in aws(*put, fails=True)
    assert "PreconditionFailed" in aws(*put[:-2], "--if-match", "0123", fails=True)


def test_multipart_by_hand(aws, bucket, tmp_path):
    target = ["--bucket", bucket, "--key", "m"]
    upload = json.loads(aws("s3api", "create-multipart-upload", *target, "--output", "json"))["UploadId"]
    etags = []
    for number, size in [(1, 5 * MIB), (2, 10)]:
        part = tmp_path / f"part{number}"
        part.write_bytes(payload(size, seed=number))
        arguments = ["--upload-id", upload, "--part-number", str(number), "--body", str(part), "--output", "json"]
        answer = json.loads(aws("s3api", "upload-part", *target, *arguments))
        etags.append({"PartNumber": number, "ETag": answer["ETag"]})
    request = json.dumps({"Parts": etags})
    aws("s3api", "complete-multipart-upload", *target, "--upload-id", upload, "--multipart-upload", request)
    out = tmp_path / "out"
    aws("s3", "cp", f"s3://{bucket}/m", str(out), "--no-progress")
    assert out.read_bytes() == payload(5 * MIB, seed=1) + payload(10, seed=2)


def test_odd_keys(aws, bucket, tmp_path):
    body, out = tmp_path / "body", tmp_path / "out"
    for key in ODD_KEYS:
        body.write_bytes(key.encode())
        aws("s3api", "put-object", "--bucket", bucket, f"--key={key}", "--body", str(body))
    for key in ODD_KEYS:
        aws("s3api", "get-object", "--bucket", bucket, f"--key={key}", str(out))
        assert out.read_bytes() == key.encode()
    listing = json.loads(aws("s3api", "list-objects-v2", "--bucket", bucket, "--output", "json"))
    assert [entry["Key"] for entry in listing["Contents"]] == sorted(ODD_KEYS, key=str.encode)
