// The AWS SDK for JavaScript v3 with its defaults. Only endpoint and region are given.
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CopyObjectCommand, CreateBucketCommand,
  CreateMultipartUploadCommand, DeleteBucketCommand, DeleteObjectCommand, DeleteObjectsCommand, GetObjectCommand,
  HeadBucketCommand, HeadObjectCommand, ListBucketsCommand, ListPartsCommand, PutObjectCommand, S3Client,
  UploadPartCommand, UploadPartCopyCommand, paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const MIB = 1 << 20;
const s3 = new S3Client({ endpoint: process.env.CAIRN_ENDPOINT, region: "us-east-1" });
const Bucket = `compat-js-${randomUUID().slice(0, 8)}`;

/** `size` bytes that are the same at every run (xorshift32). */
function payload(size, seed = 7) {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = seed;
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return Buffer.from(words.buffer, 0, size);
}

const md5 = (body) => createHash("md5").update(body).digest("hex");
const put = (Key, Body, rest = {}) => s3.send(new PutObjectCommand({ Bucket, Key, Body, ...rest }));
const get = (Key, rest = {}) => s3.send(new GetObjectCommand({ Bucket, Key, ...rest }));
const bytes = async (answer) => Buffer.from(await answer.Body.transformToByteArray());
const refusal = (name, status) => (error) => error.name === name && error.$metadata.httpStatusCode === status;

async function allKeys(input = {}) {
  const keys = [];
  for await (const page of paginateListObjectsV2({ client: s3 }, { Bucket, ...input })) {
    keys.push(...(page.Contents ?? []).map((entry) => entry.Key));
  }
  return keys;
}

async function deleteAll() {
  const keys = await allKeys();
  for (let start = 0; start < keys.length; start += 1000) {
    const Objects = keys.slice(start, start + 1000).map((Key) => ({ Key }));
    const answer = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    assert.equal(answer.Deleted.length, Objects.length);
    assert.equal(answer.Errors, undefined);
  }
}

before(() => s3.send(new CreateBucketCommand({ Bucket })));
after(async () => {
  await deleteAll();
  await s3.send(new DeleteBucketCommand({ Bucket }));
  await assert.rejects(s3.send(new HeadBucketCommand({ Bucket })), refusal("NotFound", 404));
});

test("buckets are listed", async () => {
  const answer = await s3.send(new ListBucketsCommand({}));
  assert.ok(answer.Buckets.some((bucket) => bucket.Name === Bucket));
});

for (const size of [0, 1, 5 * MIB, 64 * MIB]) {
  test(`an object of ${size} bytes comes back whole`, async () => {
    const body = payload(size);
    const answer = await put("object", body, { ContentType: "text/x-cairn", Metadata: { colour: "granite" } });
    assert.equal(answer.ETag, `"${md5(body)}"`);
    assert.ok(answer.ChecksumCRC32, "the SDK's default checksum is confirmed");
    const got = await get("object");
    assert.ok((await bytes(got)).equals(body));
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "object", ChecksumMode: "ENABLED" }));
    assert.equal(head.ContentLength, size);
    assert.equal(head.ContentType, "text/x-cairn");
    assert.deepEqual(head.Metadata, { colour: "granite" });
    assert.equal(head.ChecksumCRC32, answer.ChecksumCRC32);
  });
}

test("ranges", async () => {
  const body = payload(9 * MIB);
  await put("range", body);
  const got = await get("range", { Range: "bytes=4194300-4194310" });
  assert.ok((await bytes(got)).equals(body.subarray(4194300, 4194311)));
  assert.equal(got.ContentRange, `bytes 4194300-4194310/${9 * MIB}`);
  await assert.rejects(get("range", { Range: `bytes=${9 * MIB}-` }), refusal("InvalidRange", 416));
});

test("multipart by hand, with a copied part", async () => {
  const Key = "multipart";
  await put("part source", payload(5 * MIB, 2));
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const target = { Bucket, Key, UploadId };
  const first = await s3.send(new UploadPartCommand({ ...target, PartNumber: 1, Body: payload(5 * MIB, 1) }));
  const CopySource = `${Bucket}/part%20source`;
  const second = await s3.send(new UploadPartCopyCommand({ ...target, PartNumber: 2, CopySource }));
  const third = await s3.send(new UploadPartCommand({ ...target, PartNumber: 3, Body: payload(17, 3) }));
  assert.equal((await s3.send(new ListPartsCommand(target))).Parts.length, 3);
  const Parts = [
    { PartNumber: 1, ETag: first.ETag, ChecksumCRC32: first.ChecksumCRC32 },
    { PartNumber: 2, ETag: second.CopyPartResult.ETag, ChecksumCRC32: second.CopyPartResult.ChecksumCRC32 },
    { PartNumber: 3, ETag: third.ETag, ChecksumCRC32: third.ChecksumCRC32 },
  ];
  await s3.send(new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts } }));
  const expected = Buffer.concat([payload(5 * MIB, 1), payload(5 * MIB, 2), payload(17, 3)]);
  assert.ok((await bytes(await get(Key))).equals(expected));
});

test("an aborted upload is gone", async () => {
  const target = { Bucket, Key: "aborted" };
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
  await s3.send(new AbortMultipartUploadCommand({ ...target, UploadId }));
  await assert.rejects(s3.send(new ListPartsCommand({ ...target, UploadId })), refusal("NoSuchUpload", 404));
});

test("the managed uploader", async () => {
  const body = payload(23 * MIB, 9);
  const params = { Bucket, Key: "managed", Body: body };
  await new Upload({ client: s3, params, partSize: 5 * MIB, queueSize: 4 }).done();
  assert.ok((await bytes(await get("managed"))).equals(body));
});

test("a listing of thousands is complete and in order", async () => {
  const keys = Array.from({ length: 2100 }, (_, index) => `many/${String(index).padStart(4, "0")}`);
  for (let start = 0; start < keys.length; start += 50) {
    await Promise.all(keys.slice(start, start + 50).map((key) => put(key, "")));
  }
  assert.deepEqual(await allKeys({ Prefix: "many/" }), keys);
});

test("server-side copy", async () => {
  await put("copy source+1", payload(100), { Metadata: { v: "1" } });
  const CopySource = `${Bucket}/copy%20source%2B1`;
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copied", CopySource }));
  const got = await get("copied");
  assert.deepEqual(got.Metadata, { v: "1" });
  assert.ok((await bytes(got)).equals(payload(100)));
});

test("presigned URLs", async () => {
  const sign = (command) => getSignedUrl(s3, command, { expiresIn: 60 });
  const Key = "pre signed/+//\u{1F4BB}";
  const Metadata = { colour: "granite" };
  const upload = await sign(new PutObjectCommand({ Bucket, Key, ContentType: "text/x-cairn", Metadata }));
  const headers = { "Content-Type": "text/x-cairn" };
  assert.equal((await fetch(upload, { method: "PUT", body: "by url", headers })).status, 200);
  const ResponseContentDisposition = 'attachment; filename="R&D +1.txt"';
  const download = await sign(new GetObjectCommand({ Bucket, Key, ResponseContentDisposition }));
  const answer = await fetch(download);
  assert.equal(await answer.text(), "by url");
  assert.equal(answer.headers.get("content-type"), "text/x-cairn");
  assert.equal(answer.headers.get("content-disposition"), ResponseContentDisposition);
  assert.deepEqual((await s3.send(new HeadObjectCommand({ Bucket, Key }))).Metadata, Metadata);
  assert.equal((await fetch(download.replace("pre%20", "pr3%20"))).status, 403);
});

test("conditional writes", async () => {
  const first = await put("conditional", "1", { IfNoneMatch: "*" });
  await assert.rejects(put("conditional", "2", { IfNoneMatch: "*" }), refusal("PreconditionFailed", 412));
  await put("conditional", "3", { IfMatch: first.ETag });
  await assert.rejects(put("conditional", "4", { IfMatch: first.ETag }), refusal("PreconditionFailed", 412));
});

test("odd keys", async () => {
  const keys = [
    "a//b", "../up", "./here", "a/../b", "a/./b", "/leading", "trailing/", " space ", "plus+plus", "a b+c", "%41",
    "100%25", "a%2Fb", "q?x=1&y=2#z", "quote'\"<>&", "\u{1F4BB}", "e\u0301", "\u00e9", "tab\tline\nreturn\r",
    "control\u0001\u001f\u007f", "k".repeat(1024),
  ];
  await deleteAll();
  for (const key of keys) {
    await put(key, key);
  }
  for (const key of keys) {
    assert.equal(await (await get(key)).Body.transformToString(), key);
  }
  // XML cannot hold every control character: whoever has such keys asks for them encoded.
  const listed = (await allKeys({ EncodingType: "url" })).map(decodeURIComponent);
  assert.deepEqual(listed.toSorted(), keys.toSorted());
  await Promise.all(keys.map((Key) => s3.send(new DeleteObjectCommand({ Bucket, Key }))));
  assert.deepEqual(await allKeys(), []);
});
