//! Checksums of multipart uploads: of parts, composed of theirs, and of the whole.

use super::multipart::{PART, complete, create, document, upload_parts, upload_parts_with};
use super::{pattern, with_bucket, with_headers};
use crate::checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher, PartChecksum, composite};
use crate::testing::Client;

/// Uploads two parts with the SHA-256 of each; returns what Complete lists, and the checksums.
async fn upload_summed_parts(client: &Client, id: &str) -> (String, Vec<PartChecksum>) {
    let bodies = [pattern(PART), pattern(7)];
    let mut sums = Vec::new();
    let mut listed = Vec::new();
    for (number, body) in (1..).zip(&bodies) {
        let checksum = ChecksumHasher::of(ChecksumAlgorithm::Sha256, body);
        let answer = client
            .put(
                &format!("/b-1/k?partNumber={number}&uploadId={id}"),
                body.clone(),
            )
            .header("x-amz-checksum-sha256", checksum.to_base64())
            .send()
            .await;
        assert_eq!(answer.header("x-amz-checksum-sha256"), checksum.to_base64());
        listed.push(format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><ChecksumSHA256>{}</ChecksumSHA256></Part>",
            answer.header("etag"),
            checksum.to_base64()
        ));
        sums.push(PartChecksum {
            checksum,
            size_bytes: body.len() as u64,
        });
    }
    (listed.concat(), sums)
}

/// Composite checksums need every part's, consecutively from 1.
#[tokio::test]
async fn composite_checksums() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let (listed, sums) = upload_summed_parts(&client, &id).await;
    let path = format!("/b-1/k?uploadId={id}");
    let mismatch = client
        .put(&format!("/b-1/k?partNumber=3&uploadId={id}"), "x")
        .header("x-amz-checksum-crc32", crc32(b"x"));
    assert_eq!(mismatch.send().await.outcome(), "400 InvalidRequest");
    let none = client.put(&format!("/b-1/k?partNumber=3&uploadId={id}"), "x");
    let none = none.send().await;
    assert_eq!(none.outcome(), "400 InvalidRequest");
    assert_eq!(
        none.element("Message"),
        "Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: null"
    );
    let without = listed.split("<ChecksumSHA256>").next().unwrap().to_owned() + "</Part>";
    let missing = client
        .post(
            &path,
            format!("<CompleteMultipartUpload>{without}</CompleteMultipartUpload>"),
        )
        .send()
        .await;
    assert_eq!(missing.outcome(), "400 InvalidRequest");
    let document = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
    let other_type = client
        .post(&path, document.clone())
        .header("x-amz-checksum-type", "FULL_OBJECT")
        .send()
        .await;
    assert_eq!(other_type.outcome(), "400 InvalidRequest");
    let expected = format!(
        "{}-2",
        composite(ChecksumAlgorithm::Sha256, &sums).to_base64()
    );
    let claim = |headers: &[(&str, &str)]| {
        with_headers(client.post(&path, document.clone()), headers).send()
    };
    let value = expected.trim_end_matches("-2");
    let name = "x-amz-checksum-sha256";
    for suffix in ["-3", "-x", "--2", "-"] {
        let claimed = claim(&[(name, &format!("{value}{suffix}"))]).await;
        assert_eq!(claimed.outcome(), "400 InvalidRequest", "{suffix}");
    }
    let crc = crc32(b"x");
    for headers in [
        [("x-amz-checksum-crc32", crc.as_str())].as_slice(),
        &[("x-amz-checksum-crc32", crc.as_str()), (name, &expected)],
    ] {
        assert_eq!(claim(headers).await.outcome(), "400 InvalidRequest");
    }
    let claimed = client
        .post(&path, document)
        .header("x-amz-checksum-sha256", &expected)
        .send()
        .await;
    assert_eq!(claimed.outcome(), "200", "{}", claimed.text());
    assert_eq!(
        (
            claimed.element("ChecksumSHA256"),
            claimed.element("ChecksumType")
        ),
        (expected.clone(), "COMPOSITE".into())
    );
    let head = client
        .head("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!(head.header("x-amz-checksum-sha256"), expected);
}

/// What a client that downloads part by part verifies each with.
#[tokio::test]
async fn parts_of_a_composite_checksum_are_read_with_their_own() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let (listed, sums) = upload_summed_parts(&client, &id).await;
    let document = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
    let path = format!("/b-1/k?uploadId={id}");
    assert_eq!(client.post(&path, document).send().await.outcome(), "200");
    for (number, part) in (1..).zip(&sums) {
        let path = format!("/b-1/k?partNumber={number}");
        for method in [http::Method::GET, http::Method::HEAD] {
            let request = client.request(method, &path);
            let answer = request
                .header("x-amz-checksum-mode", "ENABLED")
                .send()
                .await;
            assert_eq!(answer.status, 206);
            assert_eq!(
                (
                    answer.header("x-amz-checksum-sha256"),
                    answer.header("x-amz-checksum-type")
                ),
                (part.checksum.to_base64().as_str(), "COMPOSITE")
            );
        }
        let not_asked = client.head(&path).send().await;
        assert_eq!(not_asked.header("x-amz-checksum-sha256"), "");
    }
}

/// The checksum of the whole is that of one part only where this is the whole.
#[tokio::test]
async fn parts_of_a_whole_checksum_are_read_without_one() {
    let (_server, client) = with_bucket().await;
    for (key, sizes, has_checksum) in [("one", &[PART][..], true), ("two", &[PART, 7], false)] {
        let id = create(&client, key, &[]).await;
        let parts = upload_parts(&client, key, &id, sizes).await;
        assert_eq!(complete(&client, key, &id, &parts).await.outcome(), "200");
        let part = client
            .get(&format!("/b-1/{key}?partNumber=1"))
            .header("x-amz-checksum-mode", "ENABLED")
            .send()
            .await;
        assert_eq!(part.status, 206);
        let whole = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, &pattern(PART)).to_base64();
        assert_eq!(
            (
                part.header("x-amz-checksum-crc64nvme") == whole,
                part.headers.contains_key("x-amz-checksum-type")
            ),
            (has_checksum, has_checksum),
            "{key}"
        );
    }
}

#[tokio::test]
async fn full_object_checksums_are_combined_and_compared() {
    let (_server, client) = with_bucket().await;
    for (algorithm, wanted) in [
        (ChecksumAlgorithm::Crc32, "CRC32"),
        (ChecksumAlgorithm::Crc64Nvme, "CRC64NVME"),
    ] {
        let id = create(
            &client,
            "k",
            &[
                ("x-amz-checksum-algorithm", wanted),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ],
        )
        .await;
        let parts = upload_parts(&client, "k", &id, &[PART, 7]).await;
        let whole: Checksum = ChecksumHasher::of(algorithm, &[pattern(PART), pattern(7)].concat());
        let path = format!("/b-1/k?uploadId={id}");
        let wrong = ChecksumHasher::of(algorithm, b"other").to_base64();
        let refused = client
            .post(&path, document(&parts))
            .header(algorithm.header(), wrong)
            .send()
            .await;
        assert_eq!(refused.outcome(), "400 BadDigest");
        let done = client
            .post(&path, document(&parts))
            .header(algorithm.header(), whole.to_base64())
            .send()
            .await;
        assert_eq!(done.outcome(), "200", "{}", done.text());
        assert_eq!(done.element(algorithm.xml_element()), whole.to_base64());
    }
    for (algorithm, kind) in [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")] {
        let refused = client
            .post("/b-1/k?uploads", "")
            .header("x-amz-checksum-algorithm", algorithm)
            .header("x-amz-checksum-type", kind)
            .send()
            .await;
        assert_eq!(
            refused.outcome(),
            "400 InvalidRequest",
            "{algorithm} {kind}"
        );
    }
}

/// What SDKs do by default: parts with a CRC32 to an upload that asked for none.
#[tokio::test]
async fn parts_may_bring_a_checksum_the_upload_did_not_ask_for() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let part = client
        .put(&format!("/b-1/k?partNumber=1&uploadId={id}"), "hello")
        .header("x-amz-checksum-crc32", crc32(b"hello"));
    let answer = part.send().await;
    assert_eq!(answer.header("x-amz-checksum-crc32"), crc32(b"hello"));
    assert_eq!(
        complete(&client, "k", &id, &[(1, answer.header("etag").to_owned())])
            .await
            .outcome(),
        "200"
    );
    let head = client
        .head("/b-1/k")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    let expected = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, b"hello").to_base64();
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), expected);
}

fn crc32(bytes: &[u8]) -> String {
    ChecksumHasher::of(ChecksumAlgorithm::Crc32, bytes).to_base64()
}

/// The checksum by which a client says to have verified its part must be one that was.
#[tokio::test]
async fn parts_of_a_whole_checksum_are_named_with_its_algorithm() {
    let (_server, client) = with_bucket().await;
    let id = create(
        &client,
        "k",
        &[
            ("x-amz-checksum-algorithm", "CRC32C"),
            ("x-amz-checksum-type", "FULL_OBJECT"),
        ],
    )
    .await;
    let parts = upload_parts(&client, "k", &id, &[10]).await;
    let complete_with = |algorithm: ChecksumAlgorithm, content: &[u8]| {
        let element = algorithm.xml_element();
        let checksum = ChecksumHasher::of(algorithm, content).to_base64();
        let named = format!("<{element}>{checksum}</{element}></Part>");
        client
            .post(
                &format!("/b-1/k?uploadId={id}"),
                document(&parts).replace("</Part>", &named),
            )
            .send()
    };
    let other = complete_with(ChecksumAlgorithm::Sha256, b"something else").await;
    assert_eq!(other.outcome(), "400 InvalidRequest");
    let wrong = complete_with(ChecksumAlgorithm::Crc32c, b"something else").await;
    assert_eq!(wrong.outcome(), "400 InvalidPart");
    let right = complete_with(ChecksumAlgorithm::Crc32c, &pattern(10)).await;
    assert_eq!(right.outcome(), "200");
}

#[tokio::test]
async fn parts_of_an_upload_with_a_checksum_are_numbered_without_gaps() {
    let (_server, client) = with_bucket().await;
    for (algorithm, kind) in [("SHA256", "COMPOSITE"), ("CRC32", "FULL_OBJECT")] {
        let headers = [
            ("x-amz-checksum-algorithm", algorithm),
            ("x-amz-checksum-type", kind),
        ];
        let id = create(&client, "k", &headers).await;
        let parts = upload_parts_with(&client, "k", &id, &[PART], &headers[..1]).await;
        let etag = &parts[0].1;
        for numbers in [[1, 3].as_slice(), &[2]] {
            let listed: Vec<_> = numbers.iter().map(|n| (*n, etag.clone())).collect();
            let refused = complete(&client, "k", &id, &listed).await;
            assert_eq!(refused.outcome(), "400 InvalidPartOrder", "{kind}");
        }
    }
}

#[tokio::test]
async fn an_empty_last_part_has_not_the_checksum_of_the_whole() {
    let (_server, client) = with_bucket().await;
    let id = create(&client, "k", &[]).await;
    let parts = upload_parts(&client, "k", &id, &[PART, 0]).await;
    assert_eq!(complete(&client, "k", &id, &parts).await.outcome(), "200");
    let part = client
        .get("/b-1/k?partNumber=2")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!((part.outcome().as_str(), part.body.len()), ("200", 0));
    assert_eq!(part.header("x-amz-checksum-crc64nvme"), "");
}

#[tokio::test]
async fn lists_tell_of_checksums_only_where_the_upload_asked_for_one() {
    let (_server, client) = with_bucket().await;
    let own = create(&client, "k", &[("x-amz-checksum-algorithm", "CRC64NVME")]).await;
    let default = create(&client, "k", &[]).await;
    for (id, is_told) in [(own, true), (default, false)] {
        upload_parts(&client, "k", &id, &[10]).await;
        let parts = client.get(&format!("/b-1/k?uploadId={id}")).send().await;
        assert_eq!(parts.elements("PartNumber"), ["1"]);
        let uploads = client.get("/b-1?uploads").send().await.text();
        let (_, upload) = uploads.split_once(&format!("<UploadId>{id}<")).unwrap();
        let (upload, _) = upload.split_once("</Upload>").unwrap();
        for document in [parts.text().as_str(), upload] {
            assert_eq!(document.contains("CRC64NVME"), is_told, "{document}");
            assert_eq!(document.contains("FULL_OBJECT"), is_told, "{document}");
        }
        assert_eq!(parts.text().contains("<ChecksumCRC64NVME>"), is_told);
    }
}
