"""s3cmd with a configuration that names only endpoint and keys."""

import os
import shutil
import subprocess

import pytest

from conftest import MIB, OBJECT_SIZES, ODD_KEYS, fetch, payload

pytestmark = pytest.mark.skipif(shutil.which("s3cmd") is None, reason="s3cmd is not installed (Debian package s3cmd)")


@pytest.fixture
def s3cmd(endpoint, tmp_path):
    host = endpoint.removeprefix("http://")
    config = tmp_path / "s3cfg"
    config.write_text(
        "[default]\n"
        f"access_key = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"secret_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
        f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n"
    )

    def run(*arguments, fails=False):
        command = ["s3cmd", "-c", str(config), "--no-progress", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if fails else done.stdout

    return run


def test_bucket_life_cycle(s3cmd):
    s3cmd("mb", "s3://compat-s3cmd-life")
    assert "s3://compat-s3cmd-life" in s3cmd("ls")
    s3cmd("rb", "s3://compat-s3cmd-life")
    assert "s3://compat-s3cmd-life" not in s3cmd("ls")


@pytest.mark.parametrize("size", OBJECT_SIZES)
def test_put_and_get(s3cmd, bucket, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(size))
    s3cmd("put", str(source), f"s3://{bucket}/o")
    s3cmd("get", f"s3://{bucket}/o", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_multipart_and_copy(s3cmd, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(12 * MIB))
    s3cmd("put", "--multipart-chunk-size-mb=5", str(source), f"s3://{bucket}/m")
    s3cmd("cp", f"s3://{bucket}/m", f"s3://{bucket}/copy")
    s3cmd("mv", f"s3://{bucket}/copy", f"s3://{bucket}/moved")
    s3cmd("get", f"s3://{bucket}/moved", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_interrupted_get_continues_with_a_range(s3cmd, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(100_000))
    target.write_bytes(payload(100_000)[:40_000])
    s3cmd("put", str(source), f"s3://{bucket}/r")
    s3cmd("get", "--continue", f"s3://{bucket}/r", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_odd_keys(s3cmd, s3, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    # s3cmd replaces control characters, and puts into a "directory" what is to be put at a name with a final slash.
    keys = [key for key in ODD_KEYS if key.isprintable() and not key.endswith("/")]
    for key in keys:
        source.write_bytes(key.encode())
        s3cmd("put", str(source), f"s3://{bucket}/{key}")
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(keys, key=str.encode)
    for key in keys:
        s3cmd("get", "--force", f"s3://{bucket}/{key}", str(target))
        assert target.read_bytes() == key.encode()


def test_conditional_put(s3cmd, bucket, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"once")
    put = ["put", "--add-header", "If-None-Match: *", str(source), f"s3://{bucket}/c"]
    s3cmd(*put)
    assert "412" in s3cmd(*put, fails=True)


def test_sync_listing_and_batch_delete(s3cmd, s3, bucket, tmp_path):
    tree, back = tmp_path / "tree", tmp_path / "back"
    back.mkdir()
    for index, name in enumerate(["a.txt", "dir/b+c.txt", "dir/d e.txt", "\u00fcmlaut.txt"]):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(100 * index, seed=index))
    s3cmd("sync", f"{tree}/", f"s3://{bucket}/")
    s3cmd("sync", f"s3://{bucket}/", f"{back}/")
    assert subprocess.run(["diff", "-r", str(tree), str(back)]).returncode == 0
    for number in range(2100):
        s3.put_object(Bucket=bucket, Key=f"many/{number:04}", Body=b"")
    assert len(s3cmd("ls", f"s3://{bucket}/many/").splitlines()) == 2100
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}/")
    assert s3cmd("ls", "--recursive", f"s3://{bucket}") == ""


def test_signed_url(s3cmd, s3, bucket):
    key = "signed/+ \N{PERSONAL COMPUTER}"
    s3.put_object(Bucket=bucket, Key=key, Body=b"signed")
    url = s3cmd("signurl", f"s3://{bucket}/{key}", "+60").strip()
    assert fetch(url)[::2] == (200, b"signed")
    assert fetch(url, headers={"Range": "bytes=1-2"})[::2] == (206, b"ig")
    assert fetch(url.replace("signed/", "s1gned/"))[0] == 403
    disposition = 'attachment; filename="a b.txt"'
    override = ["--content-disposition", disposition, "--content-type", "text/x-cairn"]
    url = s3cmd("signurl", *override, f"s3://{bucket}/{key}", "+60").strip()
    status, headers, _ = fetch(url)
    assert (status, headers["Content-Disposition"], headers["Content-Type"]) == (200, disposition, "text/x-cairn")
