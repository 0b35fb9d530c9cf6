//! GetObject and `HeadObject`: bodies, headers, ranges, parts, conditions, overrides.

use super::{pattern, put, stable, with_bucket, with_headers};
use crate::testing::Client;

/// Stores `hello` as `k`; its ETag, and when it was last modified.
async fn put_hello(client: &Client) -> (String, String) {
    let stored = put(client, "/b-1/k", "hello").await;
    let head = client.head("/b-1/k").send().await;
    (
        stored.header("etag").to_owned(),
        head.header("last-modified").to_owned(),
    )
}

#[tokio::test]
async fn what_was_put_comes_back() {
    let (_server, client) = with_bucket().await;
    for size in [0, 1, 4096, 40_000, 5 << 20] {
        let body = pattern(size);
        let stored = put(&client, "/b-1/k", body.clone()).await;
        let got = client.get("/b-1/k").send().await;
        assert_eq!(got.outcome(), "200");
        assert_eq!(got.body, body, "{size}");
        assert_eq!(got.header("content-length"), size.to_string());
        assert_eq!(got.header("etag"), stored.header("etag"));
        assert_eq!(got.header("content-type"), "binary/octet-stream");
        assert_eq!(got.header("accept-ranges"), "bytes");
        let head = client.head("/b-1/k").send().await;
        assert_eq!(
            (head.header("content-length"), head.body.len()),
            (size.to_string().as_str(), 0)
        );
        assert_eq!(head.header("etag"), stored.header("etag"));
    }
}

#[tokio::test]
async fn any_key_is_a_key() {
    let (_server, client) = with_bucket().await;
    for key in [
        "%2F",
        "a//b",
        "../up",
        ".",
        "sp%20ace",
        "p%2Blus",
        "%F0%9F%98%80",
        "%01%0A",
        "a%2Fb",
        "%25",
        &"k".repeat(1024),
    ] {
        let path = format!("/b-1/{key}");
        put(&client, &path, key.to_owned()).await;
        assert_eq!(client.get(&path).send().await.text(), key, "{key}");
    }
    assert_eq!(client.get("/b-1/a/b").send().await.text(), "a%2Fb");
    let long = format!("/b-1/{}", "k".repeat(1025));
    assert_eq!(
        client.put(&long, "x").send().await.outcome(),
        "400 KeyTooLongError"
    );
}

#[tokio::test]
async fn headers_and_metadata_come_back() {
    let (_server, client) = with_bucket().await;
    let answer = client
        .put("/b-1/k", "x")
        .header("content-type", "text/plain")
        .header("cache-control", "max-age=60")
        .header("content-disposition", "attachment")
        .header("content-encoding", "gzip")
        .header("content-language", "de")
        .header("expires", "Thu, 01 Dec 2030 16:00:00 GMT")
        .header("x-amz-website-redirect-location", "/other")
        .header("x-amz-meta-Colour", "blue")
        .header("x-amz-meta-list", "a")
        .header("x-amz-meta-list", "b")
        .header("x-amz-tagging", "one=1&two=2")
        .send()
        .await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());
    for got in [
        client.get("/b-1/k").send().await,
        client.head("/b-1/k").send().await,
    ] {
        assert_eq!(got.header("content-type"), "text/plain");
        assert_eq!(got.header("cache-control"), "max-age=60");
        assert_eq!(got.header("content-disposition"), "attachment");
        assert_eq!(got.header("content-encoding"), "gzip");
        assert_eq!(got.header("content-language"), "de");
        assert_eq!(got.header("expires"), "Thu, 01 Dec 2030 16:00:00 GMT");
        assert_eq!(got.header("x-amz-website-redirect-location"), "/other");
        assert_eq!(got.header("x-amz-meta-colour"), "blue");
        assert_eq!(got.header("x-amz-meta-list"), "a,b");
        assert_eq!(got.header("x-amz-tagging-count"), "2");
    }
}

#[tokio::test]
async fn an_absent_key_is_404_and_head_has_no_body() {
    let (server, client) = with_bucket().await;
    let answer = client.get("/b-1/absent").send().await;
    assert_eq!(answer.outcome(), "404 NoSuchKey");
    assert_eq!(answer.element("Key"), "absent");
    let head = client.head("/b-1/absent").send().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
    assert_eq!(
        client.get("/b-9/absent").send().await.outcome(),
        "404 NoSuchBucket"
    );
    assert_eq!(
        server.anonymous().get("/b-1/absent").send().await.outcome(),
        "403 AccessDenied"
    );
    assert_eq!(
        server
            .user("anna")
            .await
            .get("/b-1/absent")
            .send()
            .await
            .outcome(),
        "403 AccessDenied"
    );
}

#[tokio::test]
async fn ranges() {
    let (_server, client) = with_bucket().await;
    let body = pattern(10_000);
    put(&client, "/b-1/k", body.clone()).await;
    for (range, expected, content_range) in [
        ("bytes=0-0", 0..1, "bytes 0-0/10000"),
        ("bytes=100-199", 100..200, "bytes 100-199/10000"),
        ("bytes=9000-", 9000..10_000, "bytes 9000-9999/10000"),
        ("bytes=9000-99999", 9000..10_000, "bytes 9000-9999/10000"),
        ("bytes=-10", 9990..10_000, "bytes 9990-9999/10000"),
        ("bytes=-99999", 0..10_000, "bytes 0-9999/10000"),
        ("bytes=0005-0009", 5..10, "bytes 5-9/10000"),
    ] {
        let got = client.get("/b-1/k").header("range", range).send().await;
        assert_eq!(got.outcome(), "206", "{range}");
        assert_eq!(got.body, body[expected], "{range}");
        assert_eq!(got.header("content-range"), content_range);
        let head = client.head("/b-1/k").header("range", range).send().await;
        assert_eq!(
            (head.status.as_u16(), head.header("content-range")),
            (206, content_range)
        );
        assert_eq!(head.header("content-length"), got.body.len().to_string());
    }
    for ignored in [
        "bytes=5-2",
        "items=0-5",
        "bytes=0-1,5-6",
        "bytes=a-b",
        "bytes=",
        "nonsense",
    ] {
        let got = client.get("/b-1/k").header("range", ignored).send().await;
        assert_eq!(
            (got.outcome().as_str(), got.body.len()),
            ("200", 10_000),
            "{ignored}"
        );
    }
    for unsatisfiable in ["bytes=10000-", "bytes=10000-10001", "bytes=-0"] {
        let got = client
            .get("/b-1/k")
            .header("range", unsatisfiable)
            .send()
            .await;
        assert_eq!(got.outcome(), "416 InvalidRange", "{unsatisfiable}");
        assert_eq!(got.element("RangeRequested"), unsatisfiable);
        assert_eq!(got.element("ActualObjectSize"), "10000");
    }
}

/// An empty object.
#[tokio::test]
async fn ranges_of_an_empty_object() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "").await;
    assert_eq!(
        client
            .get("/b-1/k")
            .header("range", "bytes=-5")
            .send()
            .await
            .outcome(),
        "200"
    );
    assert_eq!(
        client
            .get("/b-1/k")
            .header("range", "bytes=0-")
            .send()
            .await
            .outcome(),
        "416 InvalidRange"
    );
}

#[tokio::test]
async fn part_numbers_of_a_plain_object() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let first = client.get("/b-1/k?partNumber=1").send().await;
    assert_eq!(
        (first.outcome().as_str(), first.text().as_str()),
        ("206", "hello")
    );
    assert_eq!(first.header("content-range"), "bytes 0-4/5");
    let second = client.get("/b-1/k?partNumber=2").send().await;
    assert_eq!(second.outcome(), "416 InvalidPartNumber");
    assert_eq!(
        (
            second.element("ActualPartCount"),
            second.element("PartNumberRequested")
        ),
        ("1".into(), "2".into())
    );
    let both = client
        .get("/b-1/k?partNumber=1")
        .header("range", "bytes=0-1")
        .send()
        .await;
    assert_eq!(both.outcome(), "400 InvalidRequest");
    for bad in ["0", "10001", "x", "-1"] {
        assert_eq!(
            client
                .get(&format!("/b-1/k?partNumber={bad}"))
                .send()
                .await
                .outcome(),
            "400 InvalidArgument",
            "{bad}"
        );
    }
}

/// The truth table.
#[tokio::test]
async fn conditions_have_the_precedence_of_s3() {
    const PAST: &str = "Mon, 12 Oct 2009 17:50:30 GMT";
    const FUTURE: &str = "Fri, 12 Oct 2096 17:50:30 GMT";
    let (_server, client) = with_bucket().await;
    let (etag, modified) = put_hello(&client).await;
    let bare = etag.trim_matches('"');
    let other = "\"0123\"";
    let weak = format!("W/{etag}");
    for (headers, status) in [
        (vec![("if-match", etag.as_str())], 200),
        (vec![("if-match", bare)], 200),
        (vec![("if-match", "*")], 200),
        (vec![("if-match", other)], 412),
        (vec![("if-match", &format!("{other}, {etag}"))], 200),
        (vec![("if-none-match", etag.as_str())], 304),
        (vec![("if-none-match", weak.as_str())], 304),
        (vec![("if-none-match", "*")], 304),
        (vec![("if-none-match", other)], 200),
        (vec![("if-modified-since", PAST)], 200),
        (vec![("if-modified-since", modified.as_str())], 304),
        (vec![("if-modified-since", FUTURE)], 200),
        (vec![("if-modified-since", "garbage")], 200),
        (vec![("if-unmodified-since", PAST)], 412),
        (vec![("if-unmodified-since", modified.as_str())], 200),
        (vec![("if-unmodified-since", FUTURE)], 200),
        // If-Match decides over If-Unmodified-Since, If-None-Match over If-Modified-Since.
        (
            vec![("if-match", etag.as_str()), ("if-unmodified-since", PAST)],
            200,
        ),
        (
            vec![("if-match", other), ("if-unmodified-since", FUTURE)],
            412,
        ),
        (
            vec![
                ("if-none-match", other),
                ("if-modified-since", modified.as_str()),
            ],
            200,
        ),
        (
            vec![
                ("if-none-match", etag.as_str()),
                ("if-modified-since", PAST),
            ],
            304,
        ),
        (
            vec![("if-match", other), ("if-none-match", etag.as_str())],
            412,
        ),
        (
            vec![
                ("if-match", etag.as_str()),
                ("if-none-match", etag.as_str()),
            ],
            304,
        ),
        (
            vec![
                ("if-none-match", etag.as_str()),
                ("if-unmodified-since", PAST),
            ],
            412,
        ),
    ] {
        for head in [false, true] {
            let request = if head {
                client.head("/b-1/k")
            } else {
                client.get("/b-1/k")
            };
            let got = with_headers(request, &headers).send().await;
            assert_eq!(got.status.as_u16(), status, "{headers:?} head={head}");
            if status == 304 {
                assert_eq!(got.header("etag"), etag);
                assert_eq!(got.header("last-modified"), modified);
                assert!(got.body.is_empty() && got.header("content-length").is_empty());
            }
        }
    }
    let refused = client.get("/b-1/k").header("if-match", other).send().await;
    assert_eq!(
        (
            refused.outcome().as_str(),
            refused.element("Condition").as_str()
        ),
        ("412 PreconditionFailed", "If-Match")
    );
}

#[tokio::test]
async fn if_range_decides_whether_the_range_counts() {
    let (_server, client) = with_bucket().await;
    let (etag, modified) = put_hello(&client).await;
    for (if_range, status) in [
        (etag.as_str(), 206),
        (modified.as_str(), 206),
        ("\"other\"", 200),
        ("Mon, 12 Oct 2009 17:50:30 GMT", 200),
        // A later date is another one (RFC 9110, 13.1.5).
        ("Mon, 12 Oct 2099 17:50:30 GMT", 200),
    ] {
        let got = client
            .get("/b-1/k")
            .header("range", "bytes=0-1")
            .header("if-range", if_range)
            .send()
            .await;
        assert_eq!(got.status.as_u16(), status, "{if_range}");
    }
}

#[tokio::test]
async fn response_headers_can_be_overridden_by_signed_requests() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let query = "response-content-type=text%2Fplain&response-content-disposition=attachment&response-cache-control=no-cache\
                 &response-content-encoding=x&response-content-language=fr&response-expires=never";
    let got = client.get(&format!("/b-1/k?{query}")).send().await;
    assert_eq!(got.outcome(), "200");
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(got.header("content-disposition"), "attachment");
    assert_eq!(got.header("cache-control"), "no-cache");
    assert_eq!(got.header("content-encoding"), "x");
    assert_eq!(got.header("content-language"), "fr");
    assert_eq!(got.header("expires"), "never");
    let split = client
        .get("/b-1/k?response-content-type=a%0D%0Aset-cookie%3Ax")
        .send()
        .await;
    assert_eq!(split.outcome(), "400 InvalidArgument");
    assert_eq!(split.header("set-cookie"), "");
}

#[tokio::test]
async fn version_ids_on_a_bucket_that_never_had_versions() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let got = client.get("/b-1/k?versionId=null").send().await;
    assert_eq!(got.text(), "hello");
    assert_eq!(got.header("x-amz-version-id"), "");
    let malformed = client.get("/b-1/k?versionId=zz").send().await;
    assert_eq!(malformed.outcome(), "400 InvalidArgument");
    assert_eq!(malformed.element("Message"), "Invalid version id specified");
    let unknown = client
        .get(&format!("/b-1/k?versionId={}", "0".repeat(32)))
        .send()
        .await;
    assert_eq!(unknown.outcome(), "404 NoSuchVersion");
    assert_eq!(
        (
            unknown.element("Key").as_str(),
            unknown.element("VersionId")
        ),
        ("k", "0".repeat(32))
    );
    assert_eq!(
        client
            .get("/b-1/absent?versionId=null")
            .send()
            .await
            .outcome(),
        "404 NoSuchVersion"
    );
    assert_eq!(
        client.get("/b-1/k?versionId=").send().await.outcome(),
        "400 InvalidArgument"
    );
}

#[tokio::test]
async fn checksums_are_returned_on_request_and_not_on_ranges() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    assert_eq!(
        client
            .get("/b-1/k")
            .send()
            .await
            .header("x-amz-checksum-crc64nvme"),
        ""
    );
    let got = client
        .get("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!(got.header("x-amz-checksum-crc64nvme").len(), 12);
    assert_eq!(got.header("x-amz-checksum-type"), "FULL_OBJECT");
    let head = client
        .head("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!(
        head.header("x-amz-checksum-crc64nvme"),
        got.header("x-amz-checksum-crc64nvme")
    );
    let part = client
        .get("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .header("range", "bytes=0-1")
        .send()
        .await;
    assert_eq!(part.header("x-amz-checksum-crc64nvme"), "");
}

#[tokio::test]
async fn what_makes_no_sense_on_a_read_is_refused() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    assert_eq!(
        client.get("/b-1/k?uploads").send().await.outcome(),
        "400 InvalidRequest"
    );
    assert_eq!(
        client.get("/b-1/k?versions").send().await.outcome(),
        "400 InvalidRequest"
    );
    assert_eq!(
        client
            .get("/b-1/k")
            .header("x-amz-copy-source", "/b-1/x")
            .send()
            .await
            .outcome(),
        "400 InvalidArgument"
    );
}

#[tokio::test]
async fn presigned_reads_work_and_expire() {
    use std::time::Duration;
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let got = client
        .get("/b-1/k")
        .send_presigned(Duration::from_mins(1))
        .await;
    assert_eq!(
        (got.outcome().as_str(), got.text().as_str()),
        ("200", "hello")
    );
    let longest = Duration::from_hours(7 * 24);
    let got = client.get("/b-1/k").send_presigned(longest).await;
    assert_eq!(got.outcome(), "200");
    let late = client
        .get("/b-1/k")
        .at(crate::testing::now() - Duration::from_mins(2));
    assert_eq!(
        late.send_presigned(Duration::from_mins(1)).await.outcome(),
        "403 AccessDenied"
    );
}

#[tokio::test]
async fn attributes_of_an_object() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let got = client
        .get("/b-1/k?attributes")
        .header(
            "x-amz-object-attributes",
            "ETag,Checksum,ObjectParts,StorageClass,ObjectSize",
        )
        .send()
        .await;
    assert_eq!(got.outcome(), "200", "{}", got.text());
    assert!(!got.header("last-modified").is_empty());
    insta::assert_snapshot!(stable(&got));
    assert_eq!(
        client.get("/b-1/k?attributes").send().await.outcome(),
        "400 InvalidArgument"
    );
    let unknown = client
        .get("/b-1/k?attributes")
        .header("x-amz-object-attributes", "Colour")
        .send()
        .await;
    assert_eq!(unknown.outcome(), "400 InvalidArgument");
    let absent = client
        .get("/b-1/absent?attributes")
        .header("x-amz-object-attributes", "ETag")
        .send()
        .await;
    assert_eq!(absent.outcome(), "404 NoSuchKey");
}

#[tokio::test]
async fn response_headers_are_not_overridden_by_anybody() {
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let anybody = server.anonymous();
    let plain = anybody.get("/b-1/k").send().await;
    assert_eq!(plain.outcome(), "403 AccessDenied");
    let overriding = anybody.get("/b-1/k?response-content-type=text%2Fhtml");
    assert_eq!(overriding.send().await.outcome(), "400 InvalidRequest");
    let head = anybody.head("/b-1/k?response-content-type=text%2Fhtml");
    assert_eq!(head.send().await.status, 400);
}
