//! `CopyObject` and what it must ask of source and destination.

use std::sync::Arc;
use std::time::Duration;

use cairn_meta::{NewObject, ObjectKey, SystemHeaders};
use cairn_storage_node::fault::Fault;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{
    client_with_bucket, pattern, put, server_with, stable, wire, with_bucket, with_headers,
};
use crate::testing::{Answer, Client, TestServer};

async fn copy(client: &Client, source: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let request = client.put(target, "").header("x-amz-copy-source", source);
    with_headers(request, headers).send().await
}

/// Where the first part of a new upload goes.
async fn first_part(client: &Client, path: &str) -> String {
    let upload = client.post(&format!("{path}?uploads"), "").send().await;
    format!(
        "{path}?partNumber=1&uploadId={}",
        upload.element("UploadId")
    )
}

#[tokio::test]
async fn a_copy_has_the_bytes_headers_metadata_and_tags_of_its_source() {
    let (_server, client) = with_bucket().await;
    for size in [0, 10, 100_000, 9 << 20] {
        let body = pattern(size);
        let stored = client
            .put("/b-1/source", body.clone())
            .header("content-type", "text/plain")
            .header("x-amz-meta-a", "1")
            .header("x-amz-tagging", "t=1")
            .header("x-amz-website-redirect-location", "/elsewhere")
            .send()
            .await;
        let copied = copy(&client, "/b-1/source", "/b-1/copy", &[]).await;
        assert_eq!(copied.outcome(), "200", "{}", copied.text());
        assert_eq!(
            copied.element("ETag"),
            stored.header("etag").replace('"', "&quot;")
        );
        let got = client
            .get("/b-1/copy")
            .header("x-amz-checksum-mode", "ENABLED")
            .send()
            .await;
        assert_eq!(got.body, body);
        assert_eq!(got.header("content-type"), "text/plain");
        assert_eq!(got.header("x-amz-meta-a"), "1");
        assert_eq!(got.header("x-amz-tagging-count"), "1");
        assert_eq!(
            got.header("x-amz-checksum-crc64nvme"),
            stored.header("x-amz-checksum-crc64nvme")
        );
        // A redirect belongs to one object.
        assert_eq!(got.header("x-amz-website-redirect-location"), "");
    }
}

#[tokio::test]
async fn directives_replace_metadata_and_tags() {
    let (_server, client) = with_bucket().await;
    let request = client
        .put("/b-1/source", "x")
        .header("x-amz-meta-a", "1")
        .header("x-amz-tagging", "t=1");
    request.send().await;
    let replace = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-b", "2"),
        ("content-type", "text/css"),
    ];
    assert_eq!(
        copy(&client, "b-1/source", "/b-1/copy", &replace)
            .await
            .outcome(),
        "200"
    );
    let got = client.head("/b-1/copy").send().await;
    assert_eq!(
        (got.header("x-amz-meta-a"), got.header("x-amz-meta-b")),
        ("", "2")
    );
    assert_eq!(
        (
            got.header("content-type"),
            got.header("x-amz-tagging-count")
        ),
        ("text/css", "1")
    );

    let tags = [
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-tagging", "a=1&b=2"),
    ];
    assert_eq!(
        copy(&client, "b-1/source", "/b-1/copy", &tags)
            .await
            .outcome(),
        "200"
    );
    let got = client.head("/b-1/copy").send().await;
    assert_eq!(
        (
            got.header("x-amz-meta-a"),
            got.header("x-amz-tagging-count")
        ),
        ("1", "2")
    );

    for directive in ["x-amz-metadata-directive", "x-amz-tagging-directive"] {
        assert_eq!(
            copy(&client, "b-1/source", "/b-1/copy", &[(directive, "MOVE")])
                .await
                .outcome(),
            "400 InvalidArgument"
        );
    }
    let algorithm = [("x-amz-checksum-algorithm", "SHA256")];
    let copied = copy(&client, "b-1/source", "/b-1/copy", &algorithm).await;
    assert!(
        !copied.element("ChecksumSHA256").is_empty(),
        "{}",
        copied.text()
    );
    insta::assert_snapshot!(stable(&copied));
}

#[tokio::test]
async fn a_copy_to_itself_must_change_something() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "x").await;
    assert_eq!(
        copy(&client, "b-1/k", "/b-1/k", &[]).await.outcome(),
        "400 InvalidRequest"
    );
    let replace = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-a", "1"),
    ];
    assert_eq!(
        copy(&client, "b-1/k", "/b-1/k", &replace).await.outcome(),
        "200"
    );
    let got = client.get("/b-1/k").send().await;
    assert_eq!(
        (got.text().as_str(), got.header("x-amz-meta-a")),
        ("x", "1")
    );
    // How an object is given a new time: a storage class that it has already.
    let touch = [("x-amz-storage-class", "STANDARD")];
    assert_eq!(
        copy(&client, "b-1/k", "/b-1/k", &touch).await.outcome(),
        "200"
    );
    let got = client.get("/b-1/k").send().await;
    assert_eq!(got.header("x-amz-meta-a"), "1");
}

/// The forms of the header that clients send.
#[tokio::test]
async fn sources_are_found_however_they_are_written() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/dir/a%20b%3F", "x").await;
    for source in [
        "/b-1/dir/a%20b%3F",
        "b-1/dir/a%20b%3F",
        "b-1%2Fdir%2Fa%20b%3F",
        "b-1/dir/a%20b%3F?versionId=null",
    ] {
        assert_eq!(
            copy(&client, source, "/b-1/copy", &[]).await.outcome(),
            "200",
            "{source}"
        );
    }
    for (source, outcome) in [
        ("b-1", "400 InvalidArgument"),
        ("b-1/", "400 InvalidArgument"),
        ("b-1/absent", "404 NoSuchKey"),
        ("b-9/k", "404 NoSuchBucket"),
        ("b-1/dir/a%20b%3F?versionId=bad", "400 InvalidArgument"),
        (
            "b-1/dir/a%20b%3F?versionId=00000000000000000000000000000000",
            "404 NoSuchVersion",
        ),
    ] {
        assert_eq!(
            copy(&client, source, "/b-1/copy", &[]).await.outcome(),
            outcome,
            "{source}"
        );
    }
}

/// The client of a key `page?versionId=null` sends the same as one that encodes the question mark of a version.
#[tokio::test]
async fn a_key_that_ends_like_a_version_is_copied_as_it_is() {
    let (_server, client) = with_bucket().await;
    let key = "/b-1/page%3FversionId%3Dnull";
    put(&client, "/b-1/page", "page").await;
    let stored = put(&client, key, "key").await;
    let etag = stored.header("etag").replace('"', "&quot;");
    let part = first_part(&client, "/b-1/parts").await;
    for target in ["/b-1/copy", &part] {
        let copied = copy(&client, key, target, &[]).await;
        assert_eq!(copied.outcome(), "200", "{}", copied.text());
        assert_eq!(copied.element("ETag"), etag);
    }

    client.delete(key).send().await;
    let copied = copy(&client, key, "/b-1/copy", &[]).await;
    assert_eq!(copied.outcome(), "200", "{}", copied.text());
    assert_eq!(client.get("/b-1/copy").send().await.text(), "page");

    client.delete("/b-1/page").send().await;
    let copied = copy(&client, key, "/b-1/copy", &[]).await;
    assert_eq!(copied.outcome(), "404 NoSuchKey");
}

/// 412, never 304, of objects and of parts.
#[tokio::test]
async fn conditions_on_the_source() {
    const PAST: &str = "Mon, 12 Oct 2009 17:50:30 GMT";
    let (_server, client) = with_bucket().await;
    let stored = put(&client, "/b-1/k", "x").await;
    let etag = stored.header("etag").to_owned();
    let got = client.head("/b-1/k").send().await;
    let now = got.header("last-modified");
    let part = first_part(&client, "/b-1/big").await;
    for (name, value, holds) in [
        ("x-amz-copy-source-If-Match", etag.as_str(), true),
        ("x-amz-copy-source-If-Match", "\"other\"", false),
        ("x-amz-copy-source-If-None-Match", "\"other\"", true),
        ("x-amz-copy-source-If-None-Match", etag.as_str(), false),
        ("x-amz-copy-source-If-Modified-Since", PAST, true),
        ("x-amz-copy-source-If-Modified-Since", now, false),
        ("x-amz-copy-source-If-Unmodified-Since", now, true),
        ("x-amz-copy-source-If-Unmodified-Since", PAST, false),
    ] {
        let expected = if holds {
            ("200", "")
        } else {
            ("412 PreconditionFailed", name)
        };
        for target in ["/b-1/copy", &part] {
            let answer = copy(&client, "b-1/k", target, &[(name, value)]).await;
            assert_eq!(
                (
                    answer.outcome().as_str(),
                    answer.element("Condition").as_str()
                ),
                expected,
                "{name}: {value} to {target}"
            );
        }
    }
}

#[tokio::test]
async fn conditions_on_the_target() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "x").await;
    assert_eq!(
        copy(&client, "b-1/k", "/b-1/copy", &[("if-none-match", "*")])
            .await
            .outcome(),
        "200"
    );
    assert_eq!(
        copy(&client, "b-1/k", "/b-1/copy", &[("if-none-match", "*")])
            .await
            .outcome(),
        "412 PreconditionFailed"
    );
    assert_eq!(
        copy(&client, "b-1/k", "/b-1/new", &[("if-match", "\"abc\"")])
            .await
            .outcome(),
        "404 NoSuchKey"
    );
}

/// Only the record is so large: nothing of it is read.
#[tokio::test]
async fn a_source_that_is_too_large_is_refused() {
    let (server, client) = with_bucket().await;
    let meta = server.gateway.meta();
    let bucket = meta.bucket(&"b-1".parse().unwrap()).await.unwrap().unwrap();
    let large = NewObject {
        modified_ms: None,
        size_bytes: (5 << 30) + 1,
        etag: "0".repeat(32),
        owner: bucket.owner,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
        data: None,
    };
    let key = ObjectKey::parse("large").unwrap();
    let put = meta.put_object(&bucket, &key, large, 1, &|_| Ok::<_, ()>(()));
    put.await.unwrap();
    let part = first_part(&client, "/b-1/big").await;
    for target in ["/b-1/copy", &part] {
        let refused = copy(&client, "b-1/large", target, &[]).await;
        assert_eq!(refused.outcome(), "400 InvalidRequest", "{target}");
        assert!(refused.element("Message").ends_with(": 5368709120"));
    }
}

/// Both ends are authorized, each for what is done to it.
#[tokio::test]
async fn source_and_target_are_both_authorized() {
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/secret", "x").await;
    let anna = server.user("anna").await;
    assert_eq!(anna.put("/annas", "").send().await.outcome(), "200");
    put(&anna, "/annas/own", "y").await;
    assert_eq!(
        copy(&anna, "b-1/secret", "/annas/stolen", &[])
            .await
            .outcome(),
        "403 AccessDenied"
    );
    assert_eq!(
        copy(&anna, "annas/own", "/b-1/planted", &[])
            .await
            .outcome(),
        "403 AccessDenied"
    );
    assert_eq!(
        copy(&server.anonymous(), "b-1/secret", "/annas/x", &[])
            .await
            .outcome(),
        "403 AccessDenied"
    );
    let part = first_part(&anna, "/annas/big").await;
    assert_eq!(
        copy(&anna, "b-1/secret", &part, &[]).await.outcome(),
        "403 AccessDenied"
    );
    assert_eq!(
        anna.get("/annas/stolen").send().await.outcome(),
        "404 NoSuchKey"
    );
    let owner = [(
        "x-amz-source-expected-bucket-owner",
        "0000000000000000000000000000000000000000000000000000000000000000",
    )];
    assert_eq!(
        copy(&client, "b-1/secret", "/b-1/x", &owner)
            .await
            .outcome(),
        "403 AccessDenied"
    );
}

/// The end of an answer of unknown length.
pub(super) const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

/// A server that announces its long answers almost at once, with the bucket `b-1`.
pub(super) async fn impatient() -> (TestServer, Client) {
    let server = server_with(|config| config.timeouts.keep_alive = Duration::from_millis(20)).await;
    let client = client_with_bucket(&server).await;
    (server, client)
}

async fn begin_hanging_copy(server: &TestServer, client: &Client) -> TcpStream {
    put(client, "/b-1/source", pattern(1 << 20)).await;
    let request = client
        .put("/b-1/copy", "")
        .header("x-amz-copy-source", "b-1/source");
    begin_hanging(server, &wire::head_of(&request.signed())).await
}

/// Begins what cannot go on, up to the announcement of its answer.
pub(super) async fn begin_hanging(server: &TestServer, request: &str) -> TcpStream {
    for fault in &server.faults {
        fault.set(Fault::Hang);
    }
    let mut stream = wire::send(server.address, request.as_bytes()).await;
    assert_eq!(&wire::read_status(&mut stream).await, b"HTTP/1.1 200");
    stream
}

/// What comes of an answer until it ends like this.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(end) {
        let len = stream.read(&mut buffer).await.unwrap();
        assert_ne!(len, 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    text
}

/// What was begun on `stream`, and will make an object of `key`, goes on when its client leaves: it keeps its place among
/// the requests, and a stopping server waits for it.
pub(super) async fn goes_on_without_its_client(server: TestServer, stream: TcpStream, key: &str) {
    let gateway = Arc::clone(&server.gateway);
    let faults = server.faults.clone();
    let place_count = gateway.config().limits.requests_max;
    drop(stream);
    let mut draining = tokio::spawn(server.shut_down());
    let patience = Duration::from_millis(500);
    let drained = tokio::time::timeout(patience, &mut draining).await;
    assert!(drained.is_err(), "it was not waited for");
    assert_eq!(
        gateway.request_places().available_permits(),
        place_count - 1
    );
    for fault in &faults {
        fault.clear();
    }
    draining.await.unwrap();
    assert_eq!(gateway.request_places().available_permits(), place_count);
    let meta = gateway.meta();
    let bucket = meta.bucket(&"b-1".parse().unwrap()).await.unwrap().unwrap();
    let key = ObjectKey::parse(key).unwrap();
    assert!(meta.object(bucket.id, &key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_copy_whose_client_left_keeps_its_place_and_is_waited_for() {
    let (server, client) = impatient().await;
    let stream = begin_hanging_copy(&server, &client).await;
    goes_on_without_its_client(server, stream, "copy").await;
}

#[tokio::test]
async fn a_copy_that_fails_after_its_200_is_counted_as_failed() {
    let (server, client) = impatient().await;
    let mut stream = begin_hanging_copy(&server, &client).await;
    for fault in &server.faults {
        fault.set(Fault::Down);
    }
    let text = read_until(&mut stream, LAST_CHUNK).await;
    assert!(text.contains("<Code>ServiceUnavailable</Code>"), "{text}");
    for fault in &server.faults {
        fault.clear();
    }
    let metrics = client.get("/-/metrics").send().await.text();
    let line = r#"cairn_gateway_requests_total{operation="CopyObject",status="503"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}
