//! All metadata are lost, on all disks: `cairn rebuild-metadata` brings every object back from the shards.
//!
//! Method: a server on six disks (4+2) stores objects of every kind: all sizes, odd keys, headers, metadata, checksums,
//! parts, copies, overwritten and deleted ones, in root's buckets and in another user's. What it answers is written down.
//! Then every trace of the metadata is removed, with and without two of the disks, and after the rebuild a server must
//! answer the same. Beside that, bodies are compared with what was sent.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test ends by panicking with the reason, and what it damages need not be durable"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    MetadataDirective, ObjectAttributes,
};
use cairn_tests::eventually::eventually;
use cairn_tests::faults;
use cairn_tests::metrics::Metrics;
use cairn_tests::payload::payload;
use cairn_tests::process::CairnProcess;
use cairn_tests::s3::{
    client, client_with_bucket, client_with_keys, code, delete, get, list, put, upload_parts,
};
use cairn_tests::serve::{ACCESS_KEY, SECRET_KEY, Server};
use serde_json::Value;

const BUCKET: &str = "rebuilt";
const OTHER_BUCKET: &str = "other";
/// Not root's, but [`USER`]'s.
const USERS_BUCKET: &str = "users";
const BUCKETS: [&str; 3] = [BUCKET, OTHER_BUCKET, USERS_BUCKET];
const USER: &str = "anna";
const USERS_KEYS: [&str; 2] = [
    "ANNAS-ACCESS-KEY-01",
    "annas-secret-key-0123456789-abcdefghijkl",
];
const MIB: usize = 1 << 20;
const DISK_COUNT: usize = 6;

/// Bodies by bucket and key.
type Model = BTreeMap<(&'static str, String), Vec<u8>>;

fn server() -> Server {
    let mut server = Server::stopped(DISK_COUNT);
    server.arguments.push("--delete-delay=0s".to_owned());
    server.restart().unwrap();
    server
}

/// Makes another user; who that is in the fields of owners.
fn create_user(server: &Server) -> String {
    let [access_key, secret_key] = USERS_KEYS;
    let user = admin(server, &["user", "create", USER]);
    let key = ["key", "create", USER, "--access-key", access_key];
    admin(server, &[&key[..], &["--secret-key", secret_key]].concat());
    user["canonical_id"].as_str().unwrap().to_owned()
}

/// What `cairn admin` says, which must succeed.
fn admin(server: &Server, arguments: &[&str]) -> Value {
    let arguments = [&["admin"][..], arguments, &["--json"]].concat();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let environment = [
        ("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY.to_owned()),
        ("CAIRN_ROOT_SECRET_KEY", SECRET_KEY.to_owned()),
        ("CAIRN_ENDPOINT", server.endpoint().to_owned()),
    ];
    let logs = tempfile::tempdir().unwrap();
    let mut process = CairnProcess::start("admin", &arguments, &environment, logs.path());
    assert!(process.wait().success(), "{}", process.stderr());
    serde_json::from_str(&process.stdout()).unwrap()
}

/// Stores an object of each kind of content in a bucket of a user's own.
async fn fill_users_bucket(endpoint: &str, model: &mut Model) {
    let [access_key, secret_key] = USERS_KEYS;
    let client = client_with_keys(endpoint, access_key, secret_key);
    let created = client.create_bucket().bucket(USERS_BUCKET).send().await;
    created.unwrap();
    for (seed, size) in (800..).zip([0, 1, 5 * MIB]) {
        let (key, body) = (format!("size/{size}"), payload(size, seed));
        keep(&client, model, USERS_BUCKET, &key, body).await;
    }
    let bodies = [payload(5 * MIB, 810), payload(77, 811)];
    let stored = upload_parts(&client, USERS_BUCKET, "parts", bodies.clone()).await;
    let (upload, parts) = stored.unwrap();
    let completed = client
        .complete_multipart_upload()
        .bucket(USERS_BUCKET)
        .key("parts")
        .upload_id(upload)
        .multipart_upload(parts)
        .send()
        .await;
    completed.unwrap();
    model.insert((USERS_BUCKET, "parts".to_owned()), bodies.concat());
    let copy = client.copy_object().bucket(USERS_BUCKET).key("copy");
    let source = format!("{USERS_BUCKET}/size/1");
    copy.copy_source(source).send().await.unwrap();
    let body = model[&(USERS_BUCKET, "size/1".to_owned())].clone();
    model.insert((USERS_BUCKET, "copy".to_owned()), body);
}

/// Stores one object of every kind, deletes and overwrites some, and returns what should be there.
async fn fill(client: &Client) -> Model {
    for bucket in [BUCKET, OTHER_BUCKET] {
        client.create_bucket().bucket(bucket).send().await.unwrap();
    }
    let mut model = Model::new();
    let sizes = [
        0,
        1,
        100,
        32 << 10,
        (32 << 10) + 1,
        4 * MIB,
        4 * MIB + 1,
        9_000_000,
    ];
    for (seed, size) in (0..).zip(sizes) {
        keep(
            client,
            &mut model,
            BUCKET,
            &format!("size/{size}"),
            payload(size, seed),
        )
        .await;
    }
    let longest = "k".repeat(1024);
    let odd = [
        " a b+c%2F&?=#",
        "ключ/ü/\u{1f5ff}",
        "..//.",
        "dir/",
        "~'\"<>",
        &longest,
    ];
    for (seed, key) in (100..).zip(odd) {
        keep(client, &mut model, BUCKET, key, payload(50, seed)).await;
    }
    keep(client, &mut model, OTHER_BUCKET, "size/1", payload(9, 200)).await;
    // Each version takes the place of the one before: coded, copies, nothing.
    for (key, sizes) in [("shrinks", [5 * MIB, 10, 0]), ("grows", [0, 10, 5 * MIB])] {
        for (seed, size) in (300..).zip(sizes) {
            keep(client, &mut model, BUCKET, key, payload(size, seed)).await;
        }
    }
    for (key, size) in [
        ("deleted/large", 5 * MIB),
        ("deleted/small", 10),
        ("deleted/empty", 0),
    ] {
        put(client, BUCKET, key, payload(size, 400)).await.unwrap();
        delete(client, BUCKET, key).await.unwrap();
    }
    fill_described(client, &mut model).await;
    fill_uploads(client, &mut model).await;
    fill_copies(client, &mut model).await;
    model
}

async fn keep(client: &Client, model: &mut Model, bucket: &'static str, key: &str, body: Vec<u8>) {
    put(client, bucket, key, body.clone()).await.unwrap();
    model.insert((bucket, key.to_owned()), body);
}

/// Objects with everything that can be sent along.
async fn fill_described(client: &Client, model: &mut Model) {
    let algorithms = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    for (seed, algorithm) in (500..).zip(algorithms) {
        let body = payload(70_000, seed);
        let key = format!("described/{}", algorithm.as_str());
        client
            .put_object()
            .bucket(BUCKET)
            .key(&key)
            .content_type("text/x-cairn")
            .cache_control("max-age=1")
            .content_disposition("attachment")
            .content_encoding("identity")
            .content_language("mi")
            .metadata("colour", "grey")
            .metadata("Stones", "7")
            .tagging("age=old&kind=marker")
            .checksum_algorithm(algorithm)
            .body(ByteStream::from(body.clone()))
            .send()
            .await
            .unwrap();
        model.insert((BUCKET, key), body);
    }
}

async fn fill_uploads(client: &Client, model: &mut Model) {
    let kinds = [
        ("parts/default", None),
        (
            "parts/composite",
            Some((ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
        ),
        (
            "parts/full",
            Some((ChecksumAlgorithm::Crc32C, ChecksumType::FullObject)),
        ),
    ];
    for (key, checksum) in kinds {
        let mut upload = client
            .create_multipart_upload()
            .bucket(BUCKET)
            .key(key)
            .content_type("application/x-parts")
            .metadata("of", "parts");
        if let Some((algorithm, kind)) = checksum.clone() {
            upload = upload.checksum_algorithm(algorithm).checksum_type(kind);
        }
        let upload = upload.send().await.unwrap().upload_id.unwrap();
        let algorithm = checksum.map(|(algorithm, _)| algorithm);
        // The first part is sent twice, and one is sent and not listed.
        let parts = [
            (1, 5 * MIB, 600),
            (1, 5 * MIB, 601),
            (2, 6 * MIB, 602),
            (3, 77, 603),
            (4, 88, 604),
        ];
        let mut listed = BTreeMap::new();
        let mut body = BTreeMap::new();
        for (number, size, seed) in parts {
            let bytes = payload(size, seed);
            let mut part = client
                .upload_part()
                .bucket(BUCKET)
                .key(key)
                .upload_id(&upload)
                .part_number(number)
                .body(ByteStream::from(bytes.clone()));
            if let Some(algorithm) = algorithm.clone() {
                part = part.checksum_algorithm(algorithm);
            }
            let sent = part.send().await.unwrap();
            let completed = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_sha256(sent.checksum_sha256)
                .set_checksum_crc32_c(sent.checksum_crc32_c)
                .build();
            listed.insert(number, completed);
            body.insert(number, bytes);
        }
        listed.remove(&4);
        body.remove(&4);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(listed.into_values().collect()))
            .build();
        client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key(key)
            .upload_id(&upload)
            .multipart_upload(parts)
            .send()
            .await
            .unwrap();
        model.insert(
            (BUCKET, key.to_owned()),
            body.into_values().collect::<Vec<_>>().concat(),
        );
    }
    // Never completed: not an object before, nor after.
    let open = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("parts/open")
        .send()
        .await
        .unwrap();
    client
        .upload_part()
        .bucket(BUCKET)
        .key("parts/open")
        .upload_id(open.upload_id.unwrap())
        .part_number(1)
        .body(ByteStream::from(payload(10, 700)))
        .send()
        .await
        .unwrap();
}

async fn fill_copies(client: &Client, model: &mut Model) {
    for (from, to) in [
        ("size/0", "copy/0"),
        ("size/9000000", "copy/large"),
        ("parts/composite", "copy/parts"),
    ] {
        client
            .copy_object()
            .copy_source(format!("{BUCKET}/{from}"))
            .bucket(OTHER_BUCKET)
            .key(to)
            .metadata_directive(MetadataDirective::Replace)
            .metadata("copied", "yes")
            .send()
            .await
            .unwrap();
        let body = model[&(BUCKET, from.to_owned())].clone();
        model.insert((OTHER_BUCKET, to.to_owned()), body);
    }
}

/// Everything a client can see of one object but its body, as text.
async fn describe(client: &Client, bucket: &str, key: &str) -> String {
    let got = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap_or_else(|error| panic!("{bucket}/{key}: {}", code(&error)));
    let attributes = client
        .get_object_attributes()
        .bucket(bucket)
        .key(key)
        .object_attributes(ObjectAttributes::Etag)
        .object_attributes(ObjectAttributes::Checksum)
        .object_attributes(ObjectAttributes::ObjectParts)
        .object_attributes(ObjectAttributes::ObjectSize)
        .object_attributes(ObjectAttributes::StorageClass)
        .send()
        .await
        .unwrap();
    // A server would wait for a connection with a body that nobody reads.
    got.body.collect().await.unwrap();
    let metadata: BTreeMap<_, _> = got
        .metadata
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {metadata:?} {:?} {:?} {:?} {:?} {:?} {:?}\n{:?} {:?} {:?} {:?}",
        got.e_tag,
        got.content_length,
        got.last_modified,
        got.content_type,
        got.cache_control,
        got.content_disposition,
        got.content_encoding,
        got.content_language,
        got.tag_count,
        got.checksum_type,
        got.checksum_crc32.or(got.checksum_crc32_c),
        got.checksum_crc64_nvme,
        got.checksum_sha1,
        got.checksum_sha256,
        attributes.last_modified,
        attributes.checksum,
        attributes.object_parts,
        attributes.storage_class,
    )
}

/// All objects as they are described, by bucket and key, and what the listings say of them.
async fn describe_all(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let buckets = client.list_buckets().send().await.unwrap();
    for bucket in buckets.buckets() {
        all.insert(
            bucket.name().unwrap().to_owned(),
            format!("{:?} {:?}", bucket.creation_date, bucket.bucket_region),
        );
    }
    // Root lists its own.
    assert!(all.keys().eq([OTHER_BUCKET, BUCKET]), "{all:?}");
    for name in BUCKETS {
        let location = client
            .get_bucket_location()
            .bucket(name)
            .send()
            .await
            .unwrap();
        all.insert(
            format!("{name} location"),
            format!("{location:?}")
                .split("_request_id")
                .next()
                .unwrap()
                .to_owned(),
        );
        let listing = client
            .list_objects_v2()
            .bucket(name)
            .fetch_owner(true)
            .send()
            .await
            .unwrap();
        for object in listing.contents() {
            let key = object.key().unwrap();
            let text = describe(client, name, key).await;
            let mut object = object.clone();
            // Who is not there any more has no name but the id.
            if name == USERS_BUCKET {
                object.owner.as_mut().unwrap().display_name = None;
            }
            all.insert(format!("{name}/{key}"), format!("{object:?}\n{text}"));
        }
    }
    all
}

async fn assert_bodies(client: &Client, model: &Model) {
    for ((bucket, key), body) in model {
        let got = get(client, bucket, key)
            .await
            .unwrap_or_else(|error| panic!("{bucket}/{key}: {error}"));
        assert!(
            got == *body,
            "{bucket}/{key}: {} bytes instead of {}",
            got.len(),
            body.len()
        );
    }
    for bucket in BUCKETS {
        let listed: BTreeSet<String> = list(client, bucket).await.unwrap().into_iter().collect();
        let keys = model.keys().filter(|(name, _)| *name == bucket);
        assert_eq!(
            listed,
            keys.map(|(_, key)| key.clone()).collect::<BTreeSet<_>>()
        );
    }
}

/// Waits until what was deleted and replaced has left the disks: before, it may come back. A queue whose length is not
/// known is not an empty one.
async fn garbage_is_gone(server: &Server) {
    eventually("garbage", async || {
        let metrics = Metrics::of(server.endpoint()).await?;
        match metrics.value("cairn_engine_queue_depth{queue=\"deletions\"}")? {
            0 => Ok(()),
            waiting => Err(format!("{waiting} deletions wait")),
        }
    })
    .await;
}

fn lose_all_metadata(server: &Server) {
    for index in 0..DISK_COUNT {
        let place = server.disk(index).join("meta");
        if place.exists() {
            std::fs::remove_dir_all(place).unwrap();
        }
    }
}

/// Rebuilds, which must succeed, and returns the report.
fn rebuild(server: &Server) -> Value {
    let done = server.run_offline("rebuild-metadata", &["--json"]);
    assert!(done.status.success(), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

/// What it says to standard error when it refuses to rebuild, which it must.
fn refusal_to_rebuild(server: &Server) -> String {
    let refused = server.run_offline("rebuild-metadata", &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    refused.stderr
}

/// A stopped server, and what was stored.
struct Filled {
    server: Server,
    model: Model,
    /// What it said of it.
    described: BTreeMap<String, String>,
    /// Whose [`USERS_BUCKET`] is.
    user: String,
}

async fn filled() -> Filled {
    let mut server = server();
    let client = client(server.endpoint());
    let mut model = fill(&client).await;
    let user = create_user(&server);
    fill_users_bucket(server.endpoint(), &mut model).await;
    garbage_is_gone(&server).await;
    assert_bodies(&client, &model).await;
    assert_owner(&client, USERS_BUCKET, &user).await;
    let described = describe_all(&client).await;
    assert!(server.terminate().success());
    Filled {
        server,
        model,
        described,
        user,
    }
}

/// That a bucket and all that is in it is somebody's.
async fn assert_owner(client: &Client, bucket: &str, owner: &str) {
    let head = client.head_bucket().bucket(bucket);
    head.expected_bucket_owner(owner).send().await.unwrap();
    let listing = client.list_objects_v2().bucket(bucket).fetch_owner(true);
    let listing = listing.send().await.unwrap();
    assert!(!listing.contents().is_empty());
    for object in listing.contents() {
        let found = object.owner().unwrap().id();
        assert_eq!(found, Some(owner), "{bucket}/{:?}", object.key());
    }
}

async fn assert_comes_back(filled: Filled) {
    let Filled {
        mut server,
        model,
        described,
        user,
    } = filled;
    let refusal = server.restart().unwrap_err();
    assert!(refusal.contains("rebuild-metadata"), "{refusal}");

    let report = rebuild(&server);
    assert_eq!(report["object_count"], model.len(), "{report}");
    let bytes: usize = model.values().map(Vec::len).sum();
    assert_eq!(report["object_bytes"], bytes, "{report}");
    assert_eq!(report["incomplete_count"], 0, "{report}");
    assert_eq!(report["unreadable_shard_count"], 0, "{report}");
    let buckets = report["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), BUCKETS.len(), "{report}");

    server.restart().unwrap();
    let client = client(server.endpoint());
    assert_bodies(&client, &model).await;
    assert_owner(&client, USERS_BUCKET, &user).await;
    let found = describe_all(&client).await;
    for (name, text) in &described {
        assert_eq!(found.get(name), Some(text), "{name}");
    }
    assert_eq!(found.len(), described.len());

    // And it goes on: deletes find all shards, new objects are kept, also over a restart.
    for (bucket, key) in model.keys() {
        delete(&client, bucket, key).await.unwrap();
    }
    put(&client, BUCKET, "new", payload(5 * MIB, 1))
        .await
        .unwrap();
    assert!(server.terminate().success());
    server.restart().unwrap();
    let client = client_of(&server);
    assert_eq!(list(&client, BUCKET).await.unwrap(), ["new"]);
    assert!(get(&client, BUCKET, "new").await.unwrap() == payload(5 * MIB, 1));
}

fn client_of(server: &Server) -> Client {
    client(server.endpoint())
}

#[tokio::test]
async fn every_object_comes_back_as_it_was() {
    let filled = filled().await;
    lose_all_metadata(&filled.server);
    assert_comes_back(filled).await;
}

#[tokio::test]
async fn every_object_comes_back_without_two_of_six_disks() {
    let mut filled = filled().await;
    let server = &mut filled.server;
    server.expect(&[
        faults::DISK_IS_MISSING,
        faults::DISK_IS_REPLACED,
        faults::METADATA_DIRECTORY_IS_MISSING,
    ]);
    lose_all_metadata(server);
    // The first would hold the metadata; the other one is replaced by an empty one.
    server.remove_disk(0);
    server.remove_disk(3);
    std::fs::create_dir(server.disk(3)).unwrap();
    assert_comes_back(filled).await;
}

/// Names, sizes and contents below a directory.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn metadata_that_are_there_are_not_touched() {
    let mut server = server();
    let client = client_with_bucket(server.endpoint(), BUCKET).await;
    put(&client, BUCKET, "key", payload(100, 1)).await.unwrap();

    // It is in use.
    refusal_to_rebuild(&server);
    assert!(server.terminate().success());

    // A copy anywhere is reason enough, be it the only one.
    let disk = server.disk(0);
    let disks = disk.parent().unwrap();
    let before = contents(disks);
    let refusal = refusal_to_rebuild(&server);
    assert!(refusal.contains("holds metadata"), "{refusal}");
    assert!(contents(disks) == before);
    for index in 0..2 {
        std::fs::remove_dir_all(server.disk(index).join("meta")).unwrap();
    }
    let before = contents(disks);
    refusal_to_rebuild(&server);
    assert!(contents(disks) == before);
    server.expect(&[faults::METADATA_DIRECTORY_IS_MISSING]);
    server.restart().unwrap();
    assert!(get(&client_of(&server), BUCKET, "key").await.unwrap() == payload(100, 1));
}

#[tokio::test]
async fn an_object_that_needs_disks_that_are_away_is_there_when_they_are() {
    let mut server = server();
    server.expect(&[
        faults::DISK_IS_MISSING,
        faults::METADATA_DIRECTORY_IS_MISSING,
        faults::SHARDS_ARE_AWAY,
        faults::TOO_MANY_SHARDS_ARE_AWAY,
    ]);
    client_with_bucket(server.endpoint(), BUCKET).await;
    assert!(server.terminate().success());
    // One of the disks as it was before the write, which then has five shards of six: enough to be acknowledged.
    let earlier = server.fork();
    server.restart().unwrap();
    put(&client_of(&server), BUCKET, "thin", payload(5 * MIB, 1))
        .await
        .unwrap();
    assert!(server.terminate().success());
    server.remove_disk(0);
    std::fs::rename(earlier.disk(0), server.disk(0)).unwrap();
    lose_all_metadata(&server);
    let away = [1, 2];
    for disk in away {
        server.hide_disk(disk);
    }

    let done = server.run_offline("rebuild-metadata", &["--json"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    server.restart().unwrap();
    let client = client_of(&server);
    let refused = get(&client, BUCKET, "thin").await.unwrap_err();
    assert_ne!(refused, "NoSuchKey");
    assert!(server.terminate().success());
    for disk in away {
        server.bring_disk_back(disk);
    }
    server.restart().unwrap();
    assert!(get(&client_of(&server), BUCKET, "thin").await.unwrap() == payload(5 * MIB, 1));
}

#[tokio::test]
async fn an_object_with_too_few_shards_is_named_and_the_others_come_back() {
    let mut server = server();
    let client = client_with_bucket(server.endpoint(), BUCKET).await;
    put(&client, BUCKET, "kept", payload(100, 1)).await.unwrap();
    assert!(server.terminate().success());
    // Three of the disks as they were before the next write, which then has three shards of six.
    let earlier = server.fork();
    server.restart().unwrap();
    let client = client_of(&server);
    put(&client, BUCKET, "torn", payload(5 * MIB, 2))
        .await
        .unwrap();
    assert!(server.terminate().success());
    for index in 0..3 {
        server.remove_disk(index);
        std::fs::rename(earlier.disk(index), server.disk(index)).unwrap();
    }
    lose_all_metadata(&server);

    let done = server.run_offline("rebuild-metadata", &["--json"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&report["object_count"], &report["incomplete_count"]),
        (&1.into(), &1.into())
    );
    assert_eq!(report["incomplete"][0]["key"], "torn", "{report}");
    server.restart().unwrap();
    assert!(get(&client_of(&server), BUCKET, "kept").await.unwrap() == payload(100, 1));
    assert_eq!(
        get(&client_of(&server), BUCKET, "torn").await.unwrap_err(),
        "NoSuchKey"
    );
}
