//! Multipart uploads.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use cairn_storage_node::fault::Fault;
use md5::{Digest, Md5};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::copy::{LAST_CHUNK, begin_hanging, goes_on_without_its_client, impatient, read_until};
use super::{client_with_bucket, pattern, put, stable, wire, with_bucket, with_headers};
use crate::checksum::{ChecksumAlgorithm, ChecksumHasher};
use crate::testing::{Answer, Client, MovedClock, TestServer, TestServerOptions, now};

pub(super) const PART: usize = 5 << 20;

pub(super) async fn create(client: &Client, key: &str, headers: &[(&str, &str)]) -> String {
    let request = client.post(&format!("/b-1/{key}?uploads"), "");
    let answer = with_headers(request, headers).send().await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());
    answer.element("UploadId")
}

async fn upload(client: &Client, key: &str, id: &str, number: u32, body: Vec<u8>) -> Answer {
    client
        .put(
            &format!("/b-1/{key}?partNumber={number}&uploadId={id}"),
            body,
        )
        .send()
        .await
}

pub(super) fn document(parts: &[(u32, String)]) -> String {
    let part = |(number, etag): &(u32, String)| {
        let etag = etag.replace('"', "&quot;");
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts = parts.iter().map(part).collect::<Vec<_>>().concat();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
}

pub(super) async fn complete(
    client: &Client,
    key: &str,
    id: &str,
    parts: &[(u32, String)],
) -> Answer {
    client
        .post(&format!("/b-1/{key}?uploadId={id}"), document(parts))
        .send()
        .await
}

/// Uploads parts of these sizes, numbered from 1; returns what Complete lists.
pub(super) async fn upload_parts(
    client: &Client,
    key: &str,
    id: &str,
    sizes: &[usize],
) -> Vec<(u32, String)> {
    upload_parts_with(client, key, id, sizes, &[]).await
}

/// The same with further headers.
pub(super) async fn upload_parts_with(
    client: &Client,
    key: &str,
    id: &str,
    sizes: &[usize],
    headers: &[(&str, &str)],
) -> Vec<(u32, String)> {
    let mut parts = Vec::new();
    for (number, size) in (1..).zip(sizes) {
        let path = format!("/b-1/{key}?partNumber={number}&uploadId={id}");
        let request = with_headers(client.put(&path, pattern(*size)), headers);
        let answer = request.send().await;
        assert_eq!(answer.outcome(), "200", "{}", answer.text());
        parts.push((number, answer.header("etag").to_owned()));
    }
    parts
}

#[tokio::test]
async fn an_upload_becomes_an_object() {
    let (_server, client) = with_bucket().await;
    let id = create(
        &client,
        "k",
        &[
            ("content-type", "text/plain"),
            ("x-amz-meta-a", "1"),
            ("x-amz-tagging", "t=1"),
        ],
    )
    .await;
    let parts = upload_parts(&client, "k", &id, &[PART, PART, 1000]).await;
    assert_eq!(client.get("/b-1/k").send().await.outcome(), "404 NoSuchKey");
    let done = complete(&client, "k", &id, &parts).await;
    assert_eq!(done.outcome(), "200", "{}", done.text());
    insta::assert_snapshot!(stable(&done));

    let whole = [pattern(PART), pattern(PART), pattern(1000)].concat();
    let mut etag = Md5::new();
    for size in [PART, PART, 1000] {
        etag.update(Md5::digest(pattern(size)));
    }
    let got = client
        .get("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!(got.body, whole);
    assert_eq!(
        got.header("etag"),
        format!("\"{}-3\"", hex::encode(etag.finalize()))
    );
    assert_eq!(
        (got.header("content-type"), got.header("x-amz-meta-a")),
        ("text/plain", "1")
    );
    let expected = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, &whole).to_base64();
    assert_eq!(
        (
            got.header("x-amz-checksum-crc64nvme"),
            got.header("x-amz-checksum-type")
        ),
        (expected.as_str(), "FULL_OBJECT")
    );

    let across = client
        .get("/b-1/k")
        .header("range", format!("bytes={}-{}", PART - 5, 2 * PART + 4))
        .send()
        .await;
    assert_eq!(across.body, whole[PART - 5..2 * PART + 5]);
    let part = client.get("/b-1/k?partNumber=3").send().await;
    assert_eq!(
        (
            part.outcome().as_str(),
            part.body.len(),
            part.header("x-amz-mp-parts-count")
        ),
        ("206", 1000, "3")
    );
    assert_eq!(
        part.header("content-range"),
        format!("bytes {}-{}/{}", 2 * PART, 2 * PART + 999, 2 * PART + 1000)
    );
    let head = client.head("/b-1/k?partNumber=3").send().await;
    for name in ["content-length", "content-range", "x-amz-mp-parts-count"] {
        assert_eq!(head.header(name), part.header(name), "{name}");
    }
    assert_eq!(head.status, 206);
    let beyond = client.get("/b-1/k?partNumber=4").send().await;
    assert_eq!(
        (
            beyond.outcome().as_str(),
            beyond.element("ActualPartCount").as_str()
        ),
        ("416 InvalidPartNumber", "3")
    );
    let attributes = client
        .get("/b-1/k?attributes")
        .header("x-amz-object-attributes", "ObjectParts")
        .header("x-amz-max-parts", "2");
    insta::assert_snapshot!(stable(&attributes.send().await));
}

/// Clients read parts 1 to as many as there are.
#[tokio::test]
async fn parts_of_an_object_are_numbered_by_their_place() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let mut listed = Vec::new();
    for (number, size) in [(2, PART), (7, PART), (9, 100)] {
        let answer = upload(&client, "k", &id, number, pattern(size)).await;
        listed.push((number, answer.header("etag").to_owned()));
    }
    assert_eq!(complete(&client, "k", &id, &listed).await.outcome(), "200");
    let part = client.get("/b-1/k?partNumber=3").send().await;
    assert_eq!(part.header("x-amz-mp-parts-count"), "3");
    assert_eq!(part.body, pattern(100));
    let beyond = client.get("/b-1/k?partNumber=7").send().await;
    assert_eq!(beyond.outcome(), "416 InvalidPartNumber");
    let attributes = client
        .get("/b-1/k?attributes")
        .header("x-amz-object-attributes", "ObjectParts")
        .header("x-amz-part-number-marker", "1")
        .header("x-amz-max-parts", "2");
    let attributes = attributes.send().await;
    assert_eq!(attributes.elements("PartNumber"), ["2", "3"]);
    assert_eq!(attributes.element("NextPartNumberMarker"), "3");
    assert_eq!(attributes.element("IsTruncated"), "false");
}

#[tokio::test]
async fn completing_again_gives_the_same_answer() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    let first = complete(&client, "k", &id, &parts).await;
    let again = complete(&client, "k", &id, &parts).await;
    assert_eq!(
        (again.outcome().as_str(), again.text()),
        ("200", first.text())
    );
    let other = complete(
        &client,
        "k",
        &id,
        &[(1, "\"00000000000000000000000000000000\"".into())],
    )
    .await;
    assert_eq!(other.outcome(), "404 NoSuchUpload");
    assert_eq!(
        client
            .delete(&format!("/b-1/k?uploadId={id}"))
            .send()
            .await
            .outcome(),
        "204"
    );
    assert_eq!(
        upload(&client, "k", &id, 1, vec![1]).await.outcome(),
        "404 NoSuchUpload"
    );
    assert_eq!(client.get("/b-1/k").send().await.body, pattern(10));
}

#[tokio::test]
async fn completing_again_gives_the_same_answer_for_seven_days() {
    const SEVEN_DAYS_LESS_A_MINUTE: Duration = Duration::from_mins(7 * 24 * 60 - 1);
    const TWO_MINUTES: Duration = Duration::from_mins(2);
    let clock = Arc::new(MovedClock::default());
    let options = TestServerOptions {
        clock: Arc::clone(&clock) as _,
        ..TestServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = client_with_bucket(&server).await;
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    let first = complete(&client, "k", &id, &parts).await;
    assert_eq!(first.outcome(), "200");
    // What follows is not undone by the repetition.
    put(&client, "/b-1/k", "later").await;

    let mut passed = Duration::ZERO;
    let mut again = Vec::new();
    for further in [SEVEN_DAYS_LESS_A_MINUTE, TWO_MINUTES] {
        clock.advance(further);
        passed += further;
        let now_ms = server.gateway.now_ms();
        server.gateway.meta().purge_completed(now_ms).await.unwrap();
        let request = client.post(&format!("/b-1/k?uploadId={id}"), document(&parts));
        again.push(request.at(now() + passed).send().await);
    }
    assert_eq!(again[0].outcome(), "200");
    assert_eq!(again[0].text(), first.text());
    assert_eq!(again[1].outcome(), "404 NoSuchUpload");
    let current = client.get("/b-1/k").at(now() + passed).send().await;
    assert_eq!(current.text(), "later");
}

/// Each refusal, in S3's order, and the upload survives it.
#[tokio::test]
async fn what_cannot_be_completed_is_refused() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[PART, 100, 100]).await;
    let [one, two, three] = [0, 1, 2].map(|index| parts[index].clone());
    let path = format!("/b-1/k?uploadId={id}");
    assert_eq!(
        client
            .post("/b-1/k?uploadId=nothing", "<")
            .send()
            .await
            .outcome(),
        "404 NoSuchUpload"
    );
    assert_eq!(
        client.post(&path, "<").send().await.outcome(),
        "400 MalformedXML"
    );
    assert_eq!(
        client.post(&path, document(&[])).send().await.outcome(),
        "400 MalformedXML"
    );
    assert_eq!(
        complete(&client, "other", &id, &parts).await.outcome(),
        "404 NoSuchUpload"
    );
    assert_eq!(
        complete(&client, "k", &id, &[two.clone(), one.clone()])
            .await
            .outcome(),
        "400 InvalidPartOrder"
    );
    assert_eq!(
        complete(&client, "k", &id, &[one.clone(), one.clone()])
            .await
            .outcome(),
        "400 InvalidPartOrder"
    );
    let wrong = complete(&client, "k", &id, &[(1, two.1.clone())]).await;
    assert_eq!(
        (
            wrong.outcome().as_str(),
            wrong.element("PartNumber").as_str()
        ),
        ("400 InvalidPart", "1")
    );
    assert_eq!(
        (wrong.element("UploadId"), wrong.element("ETag")),
        (id.clone(), two.1.trim_matches('"').to_owned())
    );
    assert_eq!(
        complete(&client, "k", &id, &[(9, one.1.clone())])
            .await
            .outcome(),
        "400 InvalidPart"
    );
    let small = complete(
        &client,
        "k",
        &id,
        &[one.clone(), two.clone(), three.clone()],
    )
    .await;
    assert_eq!(small.outcome(), "400 EntityTooSmall");
    assert_eq!(
        (
            small.element("ProposedSize"),
            small.element("MinSizeAllowed")
        ),
        ("100".into(), PART.to_string())
    );
    let sized = client
        .post(&path, document(&[one.clone(), three.clone()]))
        .header("x-amz-mp-object-size", "5")
        .send()
        .await;
    assert_eq!(sized.outcome(), "400 InvalidRequest");
    assert_eq!(client.get("/b-1/k").send().await.outcome(), "404 NoSuchKey");
    // Parts that are not listed are left out; numbers need not follow each other.
    let size = (PART + 100).to_string();
    let done = client
        .post(&path, document(&[one, three]))
        .header("x-amz-mp-object-size", size)
        .send()
        .await;
    assert_eq!(done.outcome(), "200", "{}", done.text());
    assert_eq!(client.get("/b-1/k").send().await.body.len(), PART + 100);
}

#[tokio::test]
async fn completions_can_be_conditional() {
    let (_server, client) = with_bucket().await;
    let there = put(&client, "/b-1/k", "there").await;
    let etag = there.header("etag");
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    for (conditions, outcome) in [
        (
            [("if-none-match", "*")].as_slice(),
            "412 PreconditionFailed",
        ),
        (&[("if-match", "\"other\"")], "412 PreconditionFailed"),
        (
            &[("if-match", etag), ("if-none-match", "*")],
            "501 NotImplemented",
        ),
        (&[("if-match", etag)], "200"),
    ] {
        assert_eq!(client.get("/b-1/k").send().await.text(), "there");
        let request = client.post(&format!("/b-1/k?uploadId={id}"), document(&parts));
        let answer = with_headers(request, conditions).send().await;
        assert_eq!(answer.outcome(), outcome, "{conditions:?}");
    }
    assert_eq!(client.get("/b-1/k").send().await.body, pattern(10));
}

/// Begins a completion that waits for the disks.
async fn begin_hanging_completion(
    server: &TestServer,
    client: &Client,
    id: &str,
    parts: &[(u32, String)],
) -> TcpStream {
    let request = client.post(&format!("/b-1/k?uploadId={id}"), document(parts));
    let sent = wire::head_of(&request.signed()) + &document(parts);
    begin_hanging(server, &sent).await
}

#[tokio::test]
async fn a_completion_whose_client_left_keeps_its_place_and_is_waited_for() {
    let (server, client) = impatient().await;
    let gateway = Arc::clone(&server.gateway);
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    // What is staged needs no disk.
    let staging = &gateway.engine().core().staging;
    let _admissions: Vec<_> = std::iter::from_fn(|| staging.admit(1)).collect();
    let stream = begin_hanging_completion(&server, &client, &id, &parts).await;
    goes_on_without_its_client(server, stream, "k").await;
}

#[tokio::test]
async fn a_completion_that_fails_after_its_200_says_so_inside() {
    let (server, client) = impatient().await;
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    // What is staged needs no disk.
    let staging = &server.gateway.engine().core().staging;
    let admissions: Vec<_> = std::iter::from_fn(|| staging.admit(1)).collect();
    let mut stream = begin_hanging_completion(&server, &client, &id, &parts).await;
    // White space in a chunk of its own keeps the client waiting.
    read_until(&mut stream, "\r\n1\r\n \r\n").await;
    for fault in &server.faults {
        fault.set(Fault::Down);
    }
    let rest = read_until(&mut stream, LAST_CHUNK).await;
    assert!(rest.contains("<Code>ServiceUnavailable</Code>"), "{rest}");
    for fault in &server.faults {
        fault.clear();
    }
    drop(admissions);
    let disks = server.gateway.engine().disks();
    disks.refresh(Duration::from_secs(1)).await;
    assert_eq!(complete(&client, "k", &id, &parts).await.outcome(), "200");
}

#[tokio::test]
async fn parts_are_replaced_and_refused() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    upload(&client, "k", &id, 1, pattern(10)).await;
    let last = upload(&client, "k", &id, 1, pattern(20)).await;
    for number in ["0", "10001", "x", ""] {
        let answer = client
            .put(&format!("/b-1/k?partNumber={number}&uploadId={id}"), "x")
            .send()
            .await;
        assert_eq!(
            (
                answer.outcome().as_str(),
                answer.element("ArgumentName").as_str()
            ),
            ("400 InvalidArgument", "partNumber")
        );
    }
    let unknown = upload(&client, "k", &"0".repeat(32), 1, vec![1]).await;
    assert_eq!(
        (unknown.outcome().as_str(), unknown.element("UploadId")),
        ("404 NoSuchUpload", "0".repeat(32))
    );
    assert_eq!(
        upload(&client, "other", &id, 1, vec![1]).await.outcome(),
        "404 NoSuchUpload"
    );
    let wrong = client
        .put(&format!("/b-1/k?partNumber=1&uploadId={id}"), "x")
        .header(
            "content-md5",
            base64::engine::general_purpose::STANDARD.encode([0; 16]),
        );
    assert_eq!(wrong.send().await.outcome(), "400 BadDigest");
    assert_eq!(
        complete(&client, "k", &id, &[(1, last.header("etag").to_owned())])
            .await
            .outcome(),
        "200"
    );
    assert_eq!(client.get("/b-1/k").send().await.body, pattern(20));
}

/// The one that was begun first is told to go on, and then waits for the other.
#[tokio::test]
async fn of_two_overlapping_uploads_of_a_part_the_last_to_finish_wins() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let slow = client
        .put(&format!("/b-1/k?partNumber=1&uploadId={id}"), "slow")
        .header("expect", "100-continue");
    let mut stream = wire::send_head(client.address(), &slow.signed()).await;
    let told = read_until(&mut stream, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 100"), "{told}");
    let quick = upload(&client, "k", &id, 1, b"quick".to_vec()).await;
    assert_eq!(quick.outcome(), "200");
    stream.write_all(b"slow").await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let of_quick = [(1, quick.header("etag").to_owned())];
    let refused = complete(&client, "k", &id, &of_quick).await;
    assert_eq!(refused.outcome(), "400 InvalidPart");
    let of_slow = [(1, format!("\"{}\"", hex::encode(Md5::digest(b"slow"))))];
    let done = complete(&client, "k", &id, &of_slow).await;
    assert_eq!(done.outcome(), "200", "{}", done.text());
    assert_eq!(client.get("/b-1/k").send().await.text(), "slow");
}

#[tokio::test]
async fn a_part_that_is_too_large_is_refused_before_it_is_sent() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let large = client
        .put(&format!("/b-1/k?partNumber=1&uploadId={id}"), "")
        .header("content-length", ((5_u64 << 30) + 1).to_string())
        .header("expect", "100-continue");
    let head = wire::head_of(&large.signed());
    let answer = wire::exchange(client.address(), head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("<Code>EntityTooLarge<"), "{answer}");
    assert!(answer.contains("<MaxSizeAllowed>5368709120<"), "{answer}");
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    let path = format!("/b-1/k?uploadId={id}");
    assert_eq!(client.delete(&path).send().await.outcome(), "204");
    assert_eq!(
        client.delete(&path).send().await.outcome(),
        "404 NoSuchUpload"
    );
    assert_eq!(client.get(&path).send().await.outcome(), "404 NoSuchUpload");
    assert_eq!(
        complete(&client, "k", &id, &parts).await.outcome(),
        "404 NoSuchUpload"
    );
}

#[tokio::test]
async fn parts_can_be_copied_from_ranges() {
    let (_server, client) = with_bucket().await;
    let body = pattern(6 << 20);
    put(&client, "/b-1/source", body.clone()).await;
    let id = create(&client, "k", &[]).await;
    let copy = |number: u32, range: Option<&str>| {
        let request = client
            .put(&format!("/b-1/k?partNumber={number}&uploadId={id}"), "")
            .header("x-amz-copy-source", "b-1/source");
        match range {
            Some(range) => request.header("x-amz-copy-source-range", range),
            None => request,
        }
    };
    let whole = copy(1, None).send().await;
    assert_eq!(whole.outcome(), "200", "{}", whole.text());
    let slice = copy(2, Some("bytes=100-199")).send().await;
    for bad in [
        "bytes=0-",
        "bytes=-5",
        "0-5",
        "bytes=5-4",
        &format!("bytes=0-{}", 6 << 20),
    ] {
        assert_eq!(
            copy(3, Some(bad)).send().await.outcome(),
            "400 InvalidArgument",
            "{bad}"
        );
    }
    let etag = |answer: &Answer| answer.element("ETag").replace("&quot;", "\"");
    assert_eq!(
        etag(&slice),
        format!("\"{}\"", hex::encode(Md5::digest(&body[100..200])))
    );
    assert_eq!(
        complete(&client, "k", &id, &[(1, etag(&whole)), (2, etag(&slice))])
            .await
            .outcome(),
        "200"
    );
    assert_eq!(
        client.get("/b-1/k").send().await.body,
        [&body[..], &body[100..200]].concat()
    );
}

#[tokio::test]
async fn a_copy_of_a_part_that_takes_long_is_announced_and_kept_alive() {
    let (server, client) = impatient().await;
    put(&client, "/b-1/source", pattern(1 << 20)).await;
    let id = create(&client, "k", &[]).await;
    let request = client
        .put(&format!("/b-1/k?partNumber=1&uploadId={id}"), "")
        .header("x-amz-copy-source", "b-1/source");
    let mut stream = begin_hanging(&server, &wire::head_of(&request.signed())).await;
    // White space in a chunk of its own keeps the client waiting.
    read_until(&mut stream, "\r\n1\r\n \r\n").await;
    for fault in &server.faults {
        fault.clear();
    }
    let rest = read_until(&mut stream, LAST_CHUNK).await;
    let etag = hex::encode(Md5::digest(pattern(1 << 20)));
    assert!(rest.contains("</CopyPartResult>"), "{rest}");
    assert!(rest.contains(&etag), "{rest}");
}

#[tokio::test]
async fn the_location_of_a_completed_upload_is_a_uri() {
    let (server, client) = with_bucket().await;
    let id = create(&client, "dir/a%20b%26", &[]).await;
    let parts = upload_parts(&client, "dir/a%20b%26", &id, &[10]).await;
    let done = complete(&client, "dir/a%20b%26", &id, &parts).await;
    assert_eq!(
        done.element("Location"),
        format!("http://{}/b-1/dir/a%20b%26", server.address)
    );
}
