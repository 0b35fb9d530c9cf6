"""rclone with a remote that names only endpoint and keys.

It writes nothing conditionally and deletes keys one by one.
"""

import os
import shutil
import subprocess

import pytest

from conftest import MIB, OBJECT_SIZES, ODD_KEYS, fetch, payload

pytestmark = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed (Debian package rclone)")


@pytest.fixture
def rclone(endpoint, tmp_path):
    config = tmp_path / "rclone.conf"
    config.write_text(
        "[cairn]\ntype = s3\nprovider = Other\n"
        f"access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
        f"endpoint = {endpoint}\nregion = us-east-1\n"
    )

    def run(*arguments):
        command = ["rclone", "--config", str(config), "--retries", "1", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_bucket_life_cycle(rclone):
    rclone("mkdir", "cairn:compat-rclone-life")
    assert "compat-rclone-life" in rclone("lsd", "cairn:")
    rclone("rmdir", "cairn:compat-rclone-life")
    assert "compat-rclone-life" not in rclone("lsd", "cairn:")


@pytest.mark.parametrize("size", OBJECT_SIZES)
def test_copy_up_and_down(rclone, bucket, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(size))
    rclone("copyto", str(source), f"cairn:{bucket}/o")
    rclone("copyto", f"cairn:{bucket}/o", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_multipart_upload_and_server_side_copy(rclone, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(23 * MIB))
    rclone("copyto", "--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M", str(source), f"cairn:{bucket}/m")
    rclone("copyto", f"cairn:{bucket}/m", f"cairn:{bucket}/copy")
    rclone("moveto", f"cairn:{bucket}/copy", f"cairn:{bucket}/moved")
    rclone("copyto", f"cairn:{bucket}/moved", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_sync_check_and_delete_with_odd_names(rclone, s3, bucket, tmp_path):
    tree = tmp_path / "tree"
    names = ["a.txt", "dir/b+c.txt", "dir/d e.txt", "\u00fcml-\N{PERSONAL COMPUTER}.txt", "100%.txt", "q?x=1#z"]
    for index, name in enumerate(names):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(100 * index, seed=index))
    rclone("sync", str(tree), f"cairn:{bucket}/t")
    rclone("check", "--download", str(tree), f"cairn:{bucket}/t")
    for number in range(2100):
        s3.put_object(Bucket=bucket, Key=f"many/{number:04}", Body=b"")
    assert len(rclone("lsf", f"cairn:{bucket}/many").splitlines()) == 2100
    rclone("delete", f"cairn:{bucket}")
    assert rclone("lsf", "-R", "--files-only", f"cairn:{bucket}") == ""


def test_odd_keys(rclone, s3, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    # Not those that end in a slash or hold empty, `.` or `..` parts: to rclone a key is a path and these are others.
    keys = [key for key in ODD_KEYS if not {"", ".", ".."} & set(key.split("/"))]
    for key in keys:
        source.write_bytes(key.encode())
        rclone("copyto", str(source), f"cairn:{bucket}/{key}")
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(keys, key=str.encode)
    for key in keys:
        rclone("copyto", f"cairn:{bucket}/{key}", str(target))
        assert target.read_bytes() == key.encode()


def test_ranges(rclone, bucket, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(payload(1000).hex().encode())
    rclone("copyto", str(source), f"cairn:{bucket}/r")
    assert rclone("cat", "--offset", "10", "--count", "10", f"cairn:{bucket}/r") == payload(1000).hex()[10:20]
    assert rclone("cat", "--tail", "5", f"cairn:{bucket}/r") == payload(1000).hex()[-5:]


def test_presigned_link(rclone, bucket, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(payload(1000))
    rclone("copyto", str(source), f"cairn:{bucket}/dir/r+ s")
    link = rclone("link", "--expire", "1m", f"cairn:{bucket}/dir/r+ s").strip()
    assert fetch(link, headers={"Range": "bytes=10-19"})[::2] == (206, payload(1000)[10:20])
