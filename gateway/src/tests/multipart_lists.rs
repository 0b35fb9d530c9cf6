//! The lists of multipart uploads, and of what was uploaded for one.

use std::sync::Arc;
use std::time::Duration;

use super::multipart::{create, upload_parts_with};
use super::{client_with_bucket, stable, with_bucket};
use crate::testing::{MovedClock, TestServer, TestServerOptions};

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let (_server, client) = with_bucket().await;
    let algorithm = [("x-amz-checksum-algorithm", "CRC32C")];
    let id = create(&client, "a%20b", &algorithm).await;
    upload_parts_with(&client, "a%20b", &id, &[10, 20, 30], &algorithm).await;
    let path = format!("/b-1/a%20b?uploadId={id}");
    let page = client.get(&format!("{path}&max-parts=2")).send().await;
    assert_eq!(page.elements("PartNumber"), ["1", "2"]);
    assert_eq!(
        (
            page.element("IsTruncated"),
            page.element("NextPartNumberMarker")
        ),
        ("true".into(), "2".into())
    );
    insta::assert_snapshot!(stable(&page));
    let rest = client
        .get(&format!("{path}&part-number-marker=2&encoding-type=url"))
        .send()
        .await;
    assert_eq!(
        (rest.elements("PartNumber"), rest.element("Key")),
        (vec!["3".to_owned()], "a%20b".to_owned())
    );
    let many = client.get(&format!("{path}&max-parts=5000")).send().await;
    assert_eq!(many.element("MaxParts"), "1000");
    assert_eq!(
        client
            .get(&format!("{path}&max-parts=x"))
            .send()
            .await
            .outcome(),
        "400 InvalidArgument"
    );
}

#[tokio::test]
async fn uploads_are_listed_by_key_then_time() {
    let clock = Arc::new(MovedClock::default());
    let options = TestServerOptions {
        clock: Arc::clone(&clock) as _,
        ..TestServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = client_with_bucket(&server).await;
    let mut ids = Vec::new();
    for key in ["b", "a", "a", "dir/x"] {
        ids.push(create(&client, key, &[]).await);
        clock.advance(Duration::from_millis(3));
    }
    let all = client.get("/b-1?uploads").send().await;
    assert_eq!(all.elements("Key"), ["a", "a", "b", "dir/x"]);
    assert_eq!(
        all.elements("UploadId"),
        [&ids[1], &ids[2], &ids[0], &ids[3]].map(String::clone)
    );
    assert_eq!(
        (
            all.element("NextKeyMarker"),
            all.element("NextUploadIdMarker")
        ),
        ("dir/x".into(), ids[3].clone())
    );
    let page = client.get("/b-1?uploads&max-uploads=1").send().await;
    assert_eq!(
        (
            page.element("NextKeyMarker"),
            page.element("NextUploadIdMarker")
        ),
        ("a".into(), ids[1].clone())
    );
    let next = client
        .get(&format!(
            "/b-1?uploads&key-marker=a&upload-id-marker={}",
            ids[1]
        ))
        .send()
        .await;
    assert_eq!(
        next.elements("UploadId"),
        [&ids[2], &ids[0], &ids[3]].map(String::clone)
    );
    let behind = client.get("/b-1?uploads&key-marker=a").send().await;
    assert_eq!(behind.elements("Key"), ["b", "dir/x"]);
    // Ignored without key-marker.
    let ignored = client
        .get(&format!("/b-1?uploads&upload-id-marker={}", ids[1]))
        .send()
        .await;
    assert_eq!(ignored.elements("Key").len(), 4);
    let folded = client.get("/b-1?uploads&delimiter=%2F").send().await;
    assert_eq!(folded.elements("CommonPrefixes"), ["<Prefix>dir/</Prefix>"]);
    insta::assert_snapshot!(stable(&folded));
    let many = client.get("/b-1?uploads&max-uploads=5000").send().await;
    assert_eq!(many.element("MaxUploads"), "1000");
}

#[tokio::test]
async fn names_in_lists_of_uploads_are_encoded_where_that_is_asked_for() {
    let (_server, client) = with_bucket().await;
    for key in ["a%20b", "a%20c%2B1", "a%20d"] {
        create(&client, key, &[]).await;
    }
    let query = "uploads&encoding-type=url&prefix=a%20&delimiter=%2B";
    let page = |further: &str| client.get(&format!("/b-1?{query}&{further}")).send();
    let first = page("max-uploads=1").await;
    assert_eq!(first.element("EncodingType"), "url");
    assert_eq!(first.element("Delimiter"), "%2B");
    assert_eq!(first.elements("Key"), ["a%20b"]);
    assert_eq!(first.element("NextKeyMarker"), "a%20b");
    assert_eq!(first.elements("Prefix"), ["a%20"]);
    let rest = page("key-marker=a%20b").await;
    assert_eq!(rest.element("KeyMarker"), "a%20b");
    assert_eq!(rest.elements("Key"), ["a%20d"]);
    assert_eq!(rest.elements("Prefix"), ["a%20", "a%20c%2B"]);
    let plain = client.get("/b-1?uploads&prefix=a%20").send().await;
    assert_eq!(plain.elements("Key"), ["a b", "a c+1", "a d"]);
}
