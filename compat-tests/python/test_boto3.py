"""boto3 with its defaults against Cairn: what an application does in its first week."""

import base64
import hashlib
import threading

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from conftest import MIB, OBJECT_SIZES, ODD_KEYS, fetch, payload


def refusal(call, *arguments, **named):
    """The (code, status) with which the server refuses `call`."""
    with pytest.raises(ClientError) as error:
        call(*arguments, **named)
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_bucket_life_cycle(s3):
    name = "compat-life-cycle"
    s3.create_bucket(Bucket=name)
    s3.head_bucket(Bucket=name)
    assert name in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    assert refusal(s3.delete_bucket, Bucket=name) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    assert refusal(s3.head_bucket, Bucket=name)[1] == 404
    assert refusal(s3.get_object, Bucket=name, Key="k") == ("NoSuchBucket", 404)


@pytest.mark.parametrize("size", OBJECT_SIZES)
def test_object_round_trip(s3, bucket, size):
    body = payload(size)
    headers = {"ContentType": "text/x-cairn", "CacheControl": "max-age=60", "ContentDisposition": "attachment"}
    put = s3.put_object(Bucket=bucket, Key="object", Body=body, Metadata={"colour": "granite"}, **headers)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="object")
    assert got["Body"].read() == body
    for answer in (got, s3.head_object(Bucket=bucket, Key="object")):
        assert answer["ETag"] == put["ETag"]
        assert answer["ContentLength"] == size
        assert answer["Metadata"] == {"colour": "granite"}
        assert {name: answer[name] for name in headers} == headers


def test_an_empty_put_leaves_its_connection_usable(s3, bucket):
    """botocore waits for "100 Continue" also where there is no body, and takes an answer without it for the next one's."""
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key="empty", Body=b"", IfNoneMatch="*")
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    for number in range(3):
        body = payload(500, number)
        answer = s3.put_object(Bucket=bucket, Key="next", Body=body)
        assert answer["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_verified_and_returned(s3, bucket, algorithm):
    put = s3.put_object(Bucket=bucket, Key="sum", Body=payload(100_000), ChecksumAlgorithm=algorithm)
    field = f"Checksum{algorithm}"
    assert s3.head_object(Bucket=bucket, Key="sum", ChecksumMode="ENABLED")[field] == put[field]
    attributes = s3.get_object_attributes(Bucket=bucket, Key="sum", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
    assert attributes["Checksum"][field] == put[field]
    assert attributes["ObjectSize"] == 100_000


def test_wrong_checksum_is_refused_and_stores_nothing(s3, bucket):
    assert refusal(s3.put_object, Bucket=bucket, Key="bad", Body=b"body", ChecksumCRC32="AAAAAA==") == ("BadDigest", 400)
    assert refusal(s3.head_object, Bucket=bucket, Key="bad")[1] == 404


def test_ranges(s3, bucket):
    size = 10 * MIB
    body = payload(size)
    s3.put_object(Bucket=bucket, Key="r", Body=body)
    for header, first, last in [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("bytes=4194300-4194310", 4194300, 4194310),
        ("bytes=9000000-", 9000000, size - 1),
        ("bytes=-1", size - 1, size - 1),
        ("bytes=-999999999", 0, size - 1),
    ]:
        got = s3.get_object(Bucket=bucket, Key="r", Range=header)
        assert got["Body"].read() == body[first : last + 1]
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes {first}-{last}/{size}"
    assert refusal(s3.get_object, Bucket=bucket, Key="r", Range=f"bytes={size}-") == ("InvalidRange", 416)


def test_multipart_by_hand(s3, bucket):
    parts = [payload(5 * MIB, seed=1), payload(6 * MIB, seed=2), payload(123, seed=3)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="mp", Metadata={"a": "b"})["UploadId"]
    etags = [
        s3.upload_part(Bucket=bucket, Key="mp", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        for number, body in enumerate(parts, 1)
    ]
    listed = s3.list_parts(Bucket=bucket, Key="mp", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed] == [
        (number, len(body), etag) for number, (body, etag) in enumerate(zip(parts, etags), 1)
    ]
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"] == upload
    assert refusal(s3.get_object, Bucket=bucket, Key="mp") == ("NoSuchKey", 404)
    request = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]}
    done = s3.complete_multipart_upload(Bucket=bucket, Key="mp", UploadId=upload, MultipartUpload=request)
    digests = b"".join(hashlib.md5(body).digest() for body in parts)
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    again = s3.complete_multipart_upload(Bucket=bucket, Key="mp", UploadId=upload, MultipartUpload=request)
    assert again["ETag"] == done["ETag"]
    got = s3.get_object(Bucket=bucket, Key="mp")
    assert got["Body"].read() == b"".join(parts)
    assert got["Metadata"] == {"a": "b"}
    second = s3.get_object(Bucket=bucket, Key="mp", PartNumber=2)
    assert second["Body"].read() == parts[1]
    assert second["PartsCount"] == 3


def test_multipart_errors(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="mp")["UploadId"]
    one, two = [
        s3.upload_part(Bucket=bucket, Key="mp", UploadId=upload, PartNumber=number, Body=b"small")["ETag"]
        for number in (1, 2)
    ]
    for parts, code in [
        ([(1, one), (2, two)], "EntityTooSmall"),
        ([(2, two), (1, one)], "InvalidPartOrder"),
        ([(1, '"00000000000000000000000000000000"')], "InvalidPart"),
        ([(3, one)], "InvalidPart"),
    ]:
        request = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}
        arguments = {"Bucket": bucket, "Key": "mp", "UploadId": upload, "MultipartUpload": request}
        assert refusal(s3.complete_multipart_upload, **arguments) == (code, 400)
    s3.abort_multipart_upload(Bucket=bucket, Key="mp", UploadId=upload)
    assert refusal(s3.complete_multipart_upload, **arguments) == ("NoSuchUpload", 404)


def test_managed_transfer_up_and_down(s3, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(payload(64 * MIB))
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)
    s3.upload_file(str(source), bucket, "big", Config=config)
    s3.download_file(bucket, "big", str(target), Config=config)
    assert target.read_bytes() == source.read_bytes()
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"].endswith('-8"')


def test_listing_of_thousands(s3, bucket):
    keys = sorted(f"{directory}/{number:04}" for directory in "abc" for number in range(750))
    pending = list(keys)

    def worker():
        while True:
            try:
                key = pending.pop()
            except IndexError:
                return
            s3.put_object(Bucket=bucket, Key=key, Body=b"")

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [len(page["Contents"]) for page in pages] == [1000, 1000, 250]
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    pages = s3.get_paginator("list_objects").paginate(Bucket=bucket, PaginationConfig={"PageSize": 400})
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    top = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in top["CommonPrefixes"]] == ["a/", "b/", "c/"]
    assert top["KeyCount"] == 3
    some = s3.list_objects_v2(Bucket=bucket, Prefix="b/", StartAfter="b/0747", FetchOwner=True)
    assert [entry["Key"] for entry in some["Contents"]] == ["b/0748", "b/0749"]
    assert some["Contents"][0]["Owner"]["ID"]


def test_copy(s3, bucket):
    body = payload(6 * MIB)
    s3.put_object(Bucket=bucket, Key="src dir/+a", Body=body, Metadata={"v": "1"}, ContentType="text/plain")
    source = {"Bucket": bucket, "Key": "src dir/+a"}
    s3.copy_object(Bucket=bucket, Key="same", CopySource=source)
    same = s3.get_object(Bucket=bucket, Key="same")
    assert same["Body"].read() == body
    assert (same["Metadata"], same["ContentType"]) == ({"v": "1"}, "text/plain")
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, MetadataDirective="REPLACE", Metadata={"v": "2"})
    assert s3.head_object(Bucket=bucket, Key="new")["Metadata"] == {"v": "2"}
    itself = {"Bucket": bucket, "Key": "same", "CopySource": {"Bucket": bucket, "Key": "same"}}
    assert refusal(s3.copy_object, **itself) == ("InvalidRequest", 400)
    stale = {"Bucket": bucket, "Key": "x", "CopySource": source, "CopySourceIfMatch": '"0"'}
    assert refusal(s3.copy_object, **stale) == ("PreconditionFailed", 412)
    s3.copy(source, bucket, "managed", Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB))
    assert s3.get_object(Bucket=bucket, Key="managed")["Body"].read() == body


# None: what boto3 does unless told otherwise, which is SigV2 for endpoints that are not Amazon's.
@pytest.mark.parametrize("version", [None, "s3v4"])
class TestPresignedUrls:
    KEY = "pre signed/+//\N{PERSONAL COMPUTER}"

    @pytest.fixture
    def url(self, endpoint, bucket, version):
        """Makes a URL for an operation in the bucket."""
        config = Config(signature_version=version) if version else None
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)

        def generate(operation, **parameters):
            return s3.generate_presigned_url(operation, Params={"Bucket": bucket, **parameters}, ExpiresIn=60)

        return generate

    def test_put_and_get(self, url, version):
        assert ("X-Amz-Signature=" in url("list_objects")) == (version == "s3v4")
        assert fetch(url("put_object", Key=self.KEY), "PUT", b"by url")[0] == 200
        got = url("get_object", Key=self.KEY)
        assert fetch(got)[::2] == (200, b"by url")
        assert fetch(got, headers={"Range": "bytes=3-5"})[::2] == (206, b"url")
        assert fetch(got.replace("pre%20signed", "pre%20s1gned"))[0] == 403
        assert fetch(got, "DELETE")[0] == 403
        assert fetch(url("head_object", Key=self.KEY), "HEAD")[0] == 200
        assert fetch(url("delete_object", Key=self.KEY), "DELETE")[0] == 204
        assert fetch(got)[0] == 404

    def test_type_digest_and_metadata_are_part_of_it(self, s3, bucket, url):
        md5 = base64.b64encode(hashlib.md5(b"by url").digest()).decode()
        put = url("put_object", Key="k", ContentType="text/x-cairn", ContentMD5=md5, Metadata={"colour": "granite"})
        headers = {"Content-Type": "text/x-cairn", "Content-MD5": md5, "x-amz-meta-colour": "granite"}
        assert fetch(put, "PUT", b"by url", {**headers, "Content-Type": "text/html"})[0] == 403
        assert fetch(put, "PUT", b"by me!", headers)[0] == 400
        assert fetch(put, "PUT", b"by url", headers)[0] == 200
        head = s3.head_object(Bucket=bucket, Key="k")
        assert (head["ContentType"], head["Metadata"]) == ("text/x-cairn", {"colour": "granite"})

    def test_headers_of_the_answer_may_be_chosen(self, s3, bucket, url):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        disposition = 'attachment; filename="R&D +1.txt"'
        got = url("get_object", Key="k", ResponseContentDisposition=disposition, ResponseContentType="text/x-cairn")
        status, headers, _ = fetch(got)
        assert status == 200
        assert (headers["Content-Disposition"], headers["Content-Type"]) == (disposition, "text/x-cairn")
        assert fetch(got.replace("x-cairn", "html"))[0] == 403

    def test_listings_and_parts(self, s3, bucket, url):
        upload = s3.create_multipart_upload(Bucket=bucket, Key="mp")["UploadId"]
        part = url("upload_part", Key="mp", UploadId=upload, PartNumber=1)
        status, headers, _ = fetch(part, "PUT", b"part")
        assert status == 200
        parts = {"Parts": [{"PartNumber": 1, "ETag": headers["ETag"]}]}
        s3.complete_multipart_upload(Bucket=bucket, Key="mp", UploadId=upload, MultipartUpload=parts)
        assert b"<Key>mp</Key>" in fetch(url("list_objects_v2", Prefix="m"))[2]


def test_conditional_writes(s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="c", Body=b"1", IfNoneMatch="*")
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0123"'}):
        assert refusal(s3.put_object, Bucket=bucket, Key="c", Body=b"2", **condition) == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="c", Body=b"3", IfMatch=first["ETag"])
    assert s3.get_object(Bucket=bucket, Key="c")["Body"].read() == b"3"
    assert refusal(s3.put_object, Bucket=bucket, Key="absent", Body=b"4", IfMatch=first["ETag"]) == ("NoSuchKey", 404)


def test_conditional_reads(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="c", Body=b"1")["ETag"]
    assert refusal(s3.get_object, Bucket=bucket, Key="c", IfNoneMatch=etag)[1] == 304
    assert refusal(s3.get_object, Bucket=bucket, Key="c", IfMatch='"other"')[1] == 412


def test_odd_keys(s3, bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ODD_KEYS:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(ODD_KEYS, key=str.encode)
    assert refusal(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == ("KeyTooLongError", 400)


def test_batch_delete(s3, bucket):
    keys = [f"d/{number}" for number in range(50)] + ["with space", "quote'<&>"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    request = {"Objects": [{"Key": key} for key in [*keys, "never-there"]]}
    answer = s3.delete_objects(Bucket=bucket, Delete=request)
    assert [entry["Key"] for entry in answer["Deleted"]] == [*keys, "never-there"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_unsupported_operation_says_so(s3, bucket):
    assert refusal(s3.get_bucket_replication, Bucket=bucket) == ("NotImplemented", 501)


def test_wrong_secret_is_refused(s3, endpoint, bucket):
    keys = {"aws_access_key_id": s3._request_signer._credentials.access_key, "aws_secret_access_key": "x" * 40}
    intruder = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    assert refusal(intruder.list_objects_v2, Bucket=bucket) == ("SignatureDoesNotMatch", 403)
