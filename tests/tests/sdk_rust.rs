//! The AWS SDK for Rust with its defaults: the same ground that `compat-tests` covers with other languages.

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use cairn_tests::http;
use cairn_tests::payload::payload;
use cairn_tests::s3::{client_with_bucket, code, delete, get, list, put, upload_parts};
use cairn_tests::serve::Server;
use http_body_util::Full;
use md5::{Digest, Md5};

const BUCKET: &str = "sdk-rust";

async fn server_with_bucket() -> (Server, Client) {
    let server = Server::start(6);
    let client = client_with_bucket(server.endpoint(), BUCKET).await;
    (server, client)
}

#[tokio::test]
async fn buckets_come_and_go() {
    let (_server, client) = server_with_bucket().await;
    let listed = client.list_buckets().send().await.unwrap();
    assert_eq!(listed.buckets()[0].name(), Some(BUCKET));
    put(&client, BUCKET, "k", vec![1]).await.unwrap();
    let refusal = client
        .delete_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refusal), "BucketNotEmpty");
    delete(&client, BUCKET, "k").await.unwrap();
    client.delete_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(
        put(&client, BUCKET, "k", vec![1]).await.unwrap_err(),
        "NoSuchBucket"
    );
}

#[tokio::test]
async fn objects_of_all_sizes_come_back_whole() {
    let (_server, client) = server_with_bucket().await;
    for size in [0, 1, 5 << 20, 64 << 20] {
        let body = payload(size, 7);
        let etag = put(&client, BUCKET, "object", body.clone()).await.unwrap();
        assert_eq!(etag, format!("\"{}\"", hex::encode(Md5::digest(&body))));
        assert!(
            get(&client, BUCKET, "object").await.unwrap() == body,
            "{size} bytes"
        );
    }
}

#[tokio::test]
async fn ranges_are_exact() {
    let (_server, client) = server_with_bucket().await;
    let body = payload(9 << 20, 7);
    put(&client, BUCKET, "r", body.clone()).await.unwrap();
    for (first, last) in [
        (0, 0),
        (65_535, 65_536),
        (4_194_300, 4_194_310),
        (9_437_183, 9_437_183),
    ] {
        let request = client
            .get_object()
            .bucket(BUCKET)
            .key("r")
            .range(format!("bytes={first}-{last}"));
        let got = request
            .send()
            .await
            .unwrap()
            .body
            .collect()
            .await
            .unwrap()
            .to_vec();
        assert!(got == body[first..=last], "{first}-{last}");
    }
}

#[tokio::test]
async fn multipart_uploads_complete_and_abort() {
    let (_server, client) = server_with_bucket().await;
    let bodies = [payload(5 << 20, 1), payload(5 << 20, 2), payload(17, 3)];
    let (upload, parts) = upload_parts(&client, BUCKET, "mp", bodies.clone())
        .await
        .unwrap();
    let request = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("mp")
        .upload_id(upload)
        .multipart_upload(parts);
    let done = request.clone().send().await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-3\""));
    assert_eq!(
        request.send().await.unwrap().e_tag,
        done.e_tag,
        "completing again gives the same answer"
    );
    assert!(get(&client, BUCKET, "mp").await.unwrap() == bodies.concat());

    let upload = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("no")
        .send()
        .await
        .unwrap()
        .upload_id
        .unwrap();
    client
        .abort_multipart_upload()
        .bucket(BUCKET)
        .key("no")
        .upload_id(&upload)
        .send()
        .await
        .unwrap();
    let refusal = client
        .list_parts()
        .bucket(BUCKET)
        .key("no")
        .upload_id(&upload)
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refusal), "NoSuchUpload");
}

#[tokio::test]
async fn thousands_of_keys_are_listed_in_order_and_deleted_in_batches() {
    let (_server, client) = server_with_bucket().await;
    let keys: Vec<String> = (0..2100)
        .map(|number| format!("many/{number:04}"))
        .collect();
    for key in &keys {
        put(&client, BUCKET, key, Vec::new()).await.unwrap();
    }
    assert_eq!(list(&client, BUCKET).await.unwrap(), keys);
    for batch in keys.chunks(1000) {
        let objects = batch
            .iter()
            .map(|key| ObjectIdentifier::builder().key(key).build().unwrap())
            .collect();
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .build()
            .unwrap();
        let answer = client
            .delete_objects()
            .bucket(BUCKET)
            .delete(delete)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (answer.deleted().len(), answer.errors().len()),
            (batch.len(), 0)
        );
    }
    assert!(list(&client, BUCKET).await.unwrap().is_empty());
}

#[tokio::test]
async fn copies_are_made_by_the_server() {
    let (_server, client) = server_with_bucket().await;
    put(&client, BUCKET, "source 1", payload(6 << 20, 1))
        .await
        .unwrap();
    let request = client
        .copy_object()
        .bucket(BUCKET)
        .key("copy")
        .copy_source(format!("{BUCKET}/source%201"));
    request.send().await.unwrap();
    assert!(get(&client, BUCKET, "copy").await.unwrap() == payload(6 << 20, 1));
}

#[tokio::test]
async fn conditional_writes_hold() {
    let (_server, client) = server_with_bucket().await;
    let request = || client.put_object().bucket(BUCKET).key("c");
    let first = request().if_none_match("*").send().await.unwrap();
    let refusal = request().if_none_match("*").send().await.unwrap_err();
    assert_eq!(code(&refusal), "PreconditionFailed");
    request()
        .body(ByteStream::from_static(b"2"))
        .set_if_match(first.e_tag.clone())
        .send()
        .await
        .unwrap();
    let refusal = request()
        .set_if_match(first.e_tag)
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refusal), "PreconditionFailed");
}

#[tokio::test]
async fn odd_keys_stay_as_they_are() {
    let (_server, client) = server_with_bucket().await;
    let mut keys = [
        "a//b",
        "../up",
        "./here",
        "a/../b",
        "a/./b",
        "/leading",
        "trailing/",
        " space ",
        "plus+plus",
        "a b+c",
        "%41",
        "100%25",
        "a%2Fb",
        "q?x=1&y=2#z",
        "<&>'\"",
        "💻",
        "e\u{301}",
        "\u{e9}",
        "tab\tline\nreturn\r",
        "control\u{1}\u{1f}\u{7f}",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("k".repeat(1024));
    for key in &keys {
        put(&client, BUCKET, key, key.clone().into_bytes())
            .await
            .unwrap();
    }
    for key in &keys {
        assert_eq!(get(&client, BUCKET, key).await.unwrap(), key.as_bytes());
    }
    keys.sort();
    assert_eq!(list(&client, BUCKET).await.unwrap(), keys);
}

#[tokio::test]
async fn presigned_urls_work_without_credentials() {
    let (_server, client) = server_with_bucket().await;
    let key = "pre signed/+//💻";
    let expiry = PresigningConfig::expires_in(std::time::Duration::from_mins(1)).unwrap();
    let upload = client
        .put_object()
        .bucket(BUCKET)
        .key(key)
        .content_type("text/x-cairn")
        .metadata("colour", "granite")
        .presigned(expiry.clone())
        .await
        .unwrap();
    let body = Bytes::from_static(b"by url");
    let upload = upload.make_http_1x_request(Full::new(body.clone()));
    assert_eq!(http::send(upload).await.unwrap().status(), 200);

    let disposition = "attachment; filename=\"R&D +1.txt\"";
    let download = client
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .response_content_disposition(disposition)
        .presigned(expiry)
        .await
        .unwrap();
    let request = download.make_http_1x_request(Full::default());
    let answer = http::send(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body()), (200, &body));
    assert_eq!(answer.headers()["content-type"], "text/x-cairn");
    assert_eq!(answer.headers()["content-disposition"], disposition);
    assert_eq!(answer.headers()["x-amz-meta-colour"], "granite");

    let longer = download
        .uri()
        .replace("X-Amz-Expires=60", "X-Amz-Expires=61");
    let (status, body) = http::get(&longer).await.unwrap();
    assert_eq!(status, 403, "{}", String::from_utf8_lossy(&body));
}
