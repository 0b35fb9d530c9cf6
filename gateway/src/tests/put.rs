//! PutObject: digests, framings, limits; and that nothing becomes visible, and nothing stays behind, when it fails.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cairn_meta::ObjectKey;
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{pattern, put, wire, with_bucket};
use crate::checksum::{ChecksumAlgorithm, ChecksumHasher};
use crate::testing::{Client, Payload, TestServer};

/// The unit in which bodies are stored.
const CHUNK: usize = 4 << 20;

async fn is_absent(client: &Client) -> bool {
    client.head("/b-1/k").send().await.status == 404
}

/// Waits until the engine has deleted what a failed write left.
async fn nothing_stays(server: &TestServer) {
    for _ in 0..200 {
        server.gateway.engine().run_errands().await;
        if server.shard_count().await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} shards stay behind", server.shard_count().await);
}

#[tokio::test]
async fn the_answer_tells_etag_and_checksum() {
    let (_server, client) = with_bucket().await;
    let answer = put(&client, "/b-1/k", "hello").await;
    assert_eq!(
        answer.header("etag"),
        "\"5d41402abc4b2a76b9719d911017c592\""
    );
    assert_eq!(answer.header("x-amz-checksum-crc64nvme"), "M3eFcAZSQlc=");
    assert_eq!(answer.header("x-amz-checksum-type"), "FULL_OBJECT");
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn a_second_put_replaces_the_first() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", pattern(100_000)).await;
    put(&client, "/b-1/k", "new").await;
    assert_eq!(client.get("/b-1/k").send().await.text(), "new");
}

/// Content-MD5.
#[tokio::test]
async fn content_md5_is_verified() {
    let (server, client) = with_bucket().await;
    for size in [5, 300_000] {
        let body = pattern(size);
        let wrong = client
            .put("/b-1/k", body.clone())
            .header("content-md5", STANDARD.encode([7; 16]))
            .send()
            .await;
        assert_eq!(wrong.outcome(), "400 BadDigest");
        assert_eq!(wrong.element("ExpectedDigest"), STANDARD.encode([7; 16]));
        assert_eq!(
            wrong.element("CalculatedDigest"),
            STANDARD.encode(Md5::digest(&body))
        );
        assert!(is_absent(&client).await);
        nothing_stays(&server).await;
    }
    let malformed = client
        .put("/b-1/k", "x")
        .header("content-md5", "abc")
        .send()
        .await;
    assert_eq!(malformed.outcome(), "400 InvalidDigest");
    let body = pattern(300_000);
    let right = client
        .put("/b-1/k", body.clone())
        .header("content-md5", STANDARD.encode(Md5::digest(&body)));
    assert_eq!(right.send().await.outcome(), "200");
}

/// Each algorithm, by header.
#[tokio::test]
async fn every_checksum_is_verified_stored_and_returned() {
    let (server, client) = with_bucket().await;
    for algorithm in ChecksumAlgorithm::ALL {
        let wrong = ChecksumHasher::of(algorithm, b"other").to_base64();
        let refused = client
            .put("/b-1/k", "hello")
            .header(algorithm.header(), wrong)
            .send()
            .await;
        assert_eq!(refused.outcome(), "400 BadDigest", "{algorithm:?}");
        assert!(is_absent(&client).await);
        nothing_stays(&server).await;
    }
    for algorithm in ChecksumAlgorithm::ALL {
        let right = ChecksumHasher::of(algorithm, b"hello").to_base64();
        let stored = client
            .put("/b-1/k", "hello")
            .header(algorithm.header(), &right)
            .header("x-amz-sdk-checksum-algorithm", algorithm.name())
            .send()
            .await;
        assert_eq!(stored.outcome(), "200", "{}", stored.text());
        assert_eq!(stored.header(algorithm.header()), right);
        let head = client
            .head("/b-1/k")
            .header("x-amz-checksum-mode", "ENABLED")
            .send()
            .await;
        assert_eq!(head.header(algorithm.header()), right);
    }
    let two = client
        .put("/b-1/k", "x")
        .header("x-amz-checksum-crc32", "AAAAAA==")
        .header("x-amz-checksum-crc32c", "AAAAAA==");
    assert_eq!(two.send().await.outcome(), "400 InvalidRequest");
    let alone = client
        .put("/b-1/k", "x")
        .header("x-amz-sdk-checksum-algorithm", "CRC32")
        .send()
        .await;
    assert_eq!(alone.outcome(), "400 InvalidRequest");
}

/// The body must be the one that was signed.
#[tokio::test]
async fn a_body_that_was_not_signed_is_refused() {
    let (server, client) = with_bucket().await;
    let declared = hex::encode([9; 32]);
    let answer = client
        .put("/b-1/k", pattern(200_000))
        .payload(Payload::Declared(declared.clone()))
        .send()
        .await;
    assert_eq!(answer.outcome(), "400 XAmzContentSHA256Mismatch");
    assert_eq!(answer.element("ClientComputedContentSHA256"), declared);
    let computed = hex::encode(sha2::Sha256::digest(pattern(200_000)));
    assert_eq!(answer.element("S3ComputedContentSHA256"), computed);
    assert!(is_absent(&client).await);
    nothing_stays(&server).await;
    let unsigned = client
        .put("/b-1/k", "x")
        .payload(Payload::Unsigned)
        .send()
        .await;
    assert_eq!(unsigned.outcome(), "200");
}

/// Today's SDKs send `aws-chunked` with a checksum in the trailer.
#[tokio::test]
async fn an_unsigned_trailer_is_verified() {
    let (server, client) = with_bucket().await;
    let send = |checksum: String, decoded_len: usize| {
        let body = format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n");
        client
            .put("/b-1/k", body)
            .payload(Payload::Declared(
                "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
            ))
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", decoded_len.to_string())
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .send()
    };
    let right = ChecksumHasher::of(ChecksumAlgorithm::Crc32, b"hello").to_base64();
    let wrong = ChecksumHasher::of(ChecksumAlgorithm::Crc32, b"other").to_base64();
    assert_eq!(send(wrong, 5).await.outcome(), "400 BadDigest");
    assert_eq!(send(right.clone(), 6).await.outcome(), "400 IncompleteBody");
    assert_eq!(send("!".into(), 5).await.status, 400);
    assert!(is_absent(&client).await);
    nothing_stays(&server).await;
    let stored = send(right.clone(), 5).await;
    assert_eq!(stored.outcome(), "200", "{}", stored.text());
    let got = client
        .get("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!(
        (got.text().as_str(), got.header("x-amz-checksum-crc32")),
        ("hello", right.as_str())
    );
    assert_eq!(got.header("content-encoding"), "");
}

#[tokio::test]
async fn a_bad_chunk_signature_is_refused() {
    let (server, client) = with_bucket().await;
    let body = format!(
        "5;chunk-signature={0}\r\nhello\r\n0;chunk-signature={0}\r\n\r\n",
        "a".repeat(64)
    );
    let answer = client
        .put("/b-1/k", body)
        .payload(Payload::Declared(
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into(),
        ))
        .header("x-amz-decoded-content-length", "5")
        .send()
        .await;
    assert_eq!(answer.outcome(), "403 SignatureDoesNotMatch");
    assert!(is_absent(&client).await);
    nothing_stays(&server).await;
}

#[tokio::test]
async fn limits_are_kept_before_the_body_is_read() {
    let (_server, client) = with_bucket().await;
    let large = client
        .put("/b-1/k", "")
        .header("content-length", (6_u64 << 30).to_string())
        .header("expect", "100-continue");
    let mut stream = wire::send_head(client.address(), &large.signed()).await;
    let answer = read_some(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("EntityTooLarge") && answer.contains("<MaxSizeAllowed>5368709120<"),
        "{answer}"
    );

    let metadata = client
        .put("/b-1/k", "")
        .header("x-amz-meta-a", "v".repeat(2048))
        .send()
        .await;
    assert_eq!(metadata.outcome(), "400 MetadataTooLarge");
    let headers = client
        .put("/b-1/k", "")
        .header("x-other", "v".repeat(9000))
        .send()
        .await;
    assert_eq!(headers.outcome(), "400 RequestHeaderSectionTooLarge");
    // What a URL carries counts too.
    let hoisted = format!(
        "/b-1/k?x-amz-website-redirect-location=/{}",
        "v".repeat(9000)
    );
    let hoisted = client
        .put(&hoisted, "")
        .send_presigned(Duration::from_mins(1));
    assert_eq!(hoisted.await.outcome(), "400 RequestHeaderSectionTooLarge");
    let redirect = client
        .put("/b-1/k", "")
        .header(
            "x-amz-website-redirect-location",
            format!("/{}", "v".repeat(2048)),
        )
        .send()
        .await;
    assert_eq!(redirect.outcome(), "400 InvalidArgument");
    let storage_class = client
        .put("/b-1/k", "")
        .header("x-amz-storage-class", "GLACIER")
        .send()
        .await;
    assert_eq!(storage_class.outcome(), "501 NotImplemented");
    assert!(is_absent(&client).await);
}

/// Whoever may not write is told so before sending.
#[tokio::test]
async fn expect_100_continue_is_answered_only_after_authorization() {
    let (server, client) = with_bucket().await;
    let request = |client: &Client| {
        client
            .put("/b-1/k", "hello")
            .header("expect", "100-continue")
            .signed()
    };
    let refused = request(&server.user("anna").await);
    let mut refused = wire::send_head(client.address(), &refused).await;
    let answer = read_some(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // Whether the body follows nobody knows, so nothing else can.
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    let mut accepted = wire::send_head(client.address(), &request(&client)).await;
    let answer = read_some(&mut accepted).await;
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
    accepted.write_all(b"hello").await.unwrap();
    let answer = read_some(&mut accepted).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
    assert_eq!(client.get("/b-1/k").send().await.text(), "hello");
}

/// A client that vanishes in the middle leaves no object and no shards.
#[tokio::test]
async fn a_client_that_disappears_leaves_nothing() {
    let (server, client) = with_bucket().await;
    for sent in [0, 1000, 6 << 20] {
        let len = 10_usize << 20;
        let request = client
            .put("/b-1/k", "")
            .payload(Payload::Unsigned)
            .header("content-length", len.to_string());
        let mut stream = wire::send_head(client.address(), &request.signed()).await;
        stream.write_all(&pattern(sent)).await.unwrap();
        // A chunk that is there as a whole is stored while the next one is awaited.
        while sent >= CHUNK && server.shard_count().await == 0 {
            tokio::task::yield_now().await;
        }
        drop(stream);
        assert!(is_absent(&client).await);
        nothing_stays(&server).await;
    }
}

#[tokio::test]
async fn a_refused_body_does_not_cost_the_connection_its_answer() {
    let (server, _client) = with_bucket().await;
    let anna = server.user("anna").await;
    let answer = anna.put("/b-1/k", pattern(8 << 20)).send().await;
    assert_eq!(answer.outcome(), "403 AccessDenied");
}

/// The beginning of what comes back.
async fn read_some(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 16 << 10];
    let mut text = String::new();
    // Head and body of an error may come apart.
    while let Ok(Ok(len)) =
        tokio::time::timeout(Duration::from_millis(300), stream.read(&mut buffer)).await
    {
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        if len == 0 {
            break;
        }
    }
    text
}

/// Stored as they are, the frames would be part of the object.
#[tokio::test]
async fn frames_that_the_payload_mode_does_not_announce_are_refused() {
    let (_server, client) = with_bucket().await;
    for payload in [Payload::Unsigned, Payload::Signed] {
        let framed = client
            .put("/b-1/k", "5\r\nhello\r\n0\r\n\r\n")
            .payload(payload)
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "5");
        assert_eq!(framed.send().await.outcome(), "400 InvalidRequest");
        assert!(is_absent(&client).await);
    }
    // The header alone frames nothing: S3 takes it off, wherever it stands.
    let plain = client
        .put("/b-1/k", "hello")
        .header("content-encoding", "gzip,aws-chunked");
    assert_eq!(plain.send().await.outcome(), "200");
    let got = client.get("/b-1/k").send().await;
    assert_eq!(
        (got.text().as_str(), got.header("content-encoding")),
        ("hello", "gzip")
    );
}

/// RFC 9110, 14.5: what is a piece must not be taken for the whole.
#[tokio::test]
async fn a_piece_of_an_object_is_not_an_object() {
    let (_server, client) = with_bucket().await;
    let piece = client
        .put("/b-1/k", "hello")
        .header("content-range", "bytes 0-4/10");
    assert_eq!(piece.send().await.outcome(), "400 InvalidRequest");
    assert!(is_absent(&client).await);
}

/// The owner of the bucket has full control of everything in it.
#[tokio::test]
async fn full_control_for_the_buckets_owner_is_what_there_is() {
    let (_server, client) = with_bucket().await;
    let stored = client
        .put("/b-1/k", "hello")
        .header("x-amz-acl", "bucket-owner-full-control");
    assert_eq!(stored.send().await.outcome(), "200");
}

/// S3 bounds metadata by their bytes, not by their number.
#[tokio::test]
async fn metadata_may_have_many_short_entries() {
    let (server, client) = with_bucket().await;
    let mut request = client.put("/b-1/k", "hello");
    for number in 0..150 {
        request = request.header(&format!("x-amz-meta-{number:03}"), "v");
    }
    assert_eq!(request.send().await.outcome(), "200");
    // The client of these tests does not take as many headers itself.
    let meta = server.gateway.meta();
    let bucket = meta.bucket(&"b-1".parse().unwrap()).await.unwrap().unwrap();
    let key = ObjectKey::parse("k").unwrap();
    let object = meta.object(bucket.id, &key).await.unwrap().unwrap();
    assert_eq!(object.user_metadata.len(), 150);
}
