//! `CreateBucket`, `HeadBucket`, `GetBucketLocation`, `GetBucketVersioning`, `ListBuckets`, `DeleteBucket`.

use std::collections::BTreeSet;

use http::Method;

use super::{put, stable, with_bucket};
use crate::testing::{Client, ROOT_ACCESS_KEY, ROOT_SECRET_KEY, TestServer, TestServerOptions};

#[tokio::test]
async fn a_bucket_is_created_found_and_deleted() {
    let server = TestServer::start().await;
    let client = server.client();
    let created = client.put("/b-1", "").send().await;
    assert_eq!(created.outcome(), "200");
    assert_eq!(created.header("location"), "/b-1");
    let head = client.head("/b-1").send().await;
    assert_eq!(
        (head.status.as_u16(), head.header("x-amz-bucket-region")),
        (200, "us-east-1")
    );
    assert_eq!(client.delete("/b-1").send().await.outcome(), "204");
    assert_eq!(client.head("/b-1").send().await.outcome(), "404");
    assert_eq!(
        client.delete("/b-1").send().await.outcome(),
        "404 NoSuchBucket"
    );
}

#[tokio::test]
async fn every_answer_carries_the_ids_of_its_request() {
    let (_server, client) = with_bucket().await;
    let answer = client.get("/b-1/absent").send().await;
    assert_eq!(answer.header("x-amz-request-id").len(), 16);
    assert_eq!(
        answer.element("RequestId"),
        answer.header("x-amz-request-id")
    );
    assert_eq!(answer.element("HostId"), answer.header("x-amz-id-2"));
    assert_eq!(answer.header("server"), "Cairn");
    assert!(!answer.header("date").is_empty());
    insta::assert_snapshot!(stable(&answer));

    let mut ids = BTreeSet::new();
    for (method, path) in [
        (Method::GET, "/b-1"),
        (Method::HEAD, "/b-1"),
        (Method::HEAD, "/b-1/absent"),
    ] {
        let answer = client.request(method, path).send().await;
        let id = answer.header("x-amz-request-id").to_owned();
        assert_eq!(id.len(), 16, "{path}");
        assert!(!answer.header("x-amz-id-2").is_empty(), "{path}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 3);
}

/// In us-east-1, creating one's own bucket again changes nothing and succeeds.
#[tokio::test]
async fn creating_ones_own_bucket_again_succeeds_in_us_east_1() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "kept").await;
    assert_eq!(client.put("/b-1", "").send().await.outcome(), "200");
    assert_eq!(client.get("/b-1/k").send().await.text(), "kept");
}

/// Elsewhere it is refused.
#[tokio::test]
async fn creating_ones_own_bucket_again_is_refused_elsewhere() {
    let options = TestServerOptions {
        region: "eu-west-1".to_owned(),
        ..TestServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = server.client();
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(client.put("/b-1", body).send().await.outcome(), "200");
    let again = client.put("/b-1", body).send().await;
    assert_eq!(again.outcome(), "409 BucketAlreadyOwnedByYou");
    assert_eq!(again.element("BucketName"), "b-1");
    assert_eq!(
        client
            .get("/b-1?location")
            .send()
            .await
            .element("LocationConstraint"),
        ""
    );
    assert!(
        client
            .get("/b-1?location")
            .send()
            .await
            .text()
            .contains(">eu-west-1</LocationConstraint>")
    );
}

#[tokio::test]
async fn a_bucket_of_somebody_else_cannot_be_taken() {
    let (server, client) = with_bucket().await;
    let anna = server.user("anna").await;
    assert_eq!(
        anna.put("/b-1", "").send().await.outcome(),
        "409 BucketAlreadyExists"
    );
    assert_eq!(anna.put("/b-2", "").send().await.outcome(), "200");
    assert_eq!(anna.get("/b-1").send().await.outcome(), "403 AccessDenied");
    assert_eq!(
        anna.delete("/b-1").send().await.outcome(),
        "403 AccessDenied"
    );
    assert_eq!(client.head("/b-1").send().await.outcome(), "200");
}

/// The region is told even to those who may not look.
#[tokio::test]
async fn head_bucket_tells_the_region_to_strangers() {
    let (server, _client) = with_bucket().await;
    for stranger in [server.user("anna").await, server.anonymous()] {
        let answer = stranger.head("/b-1").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-amz-bucket-region")),
            (403, "us-east-1")
        );
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn bad_names_and_foreign_locations_are_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    for name in ["Upper", "a_b", "ab", "192.168.0.1", "a..b"] {
        assert_eq!(
            client.put(&format!("/{name}"), "").send().await.outcome(),
            "400 InvalidBucketName",
            "{name}"
        );
    }
    let elsewhere = "<CreateBucketConfiguration><LocationConstraint>mars-1</LocationConstraint></CreateBucketConfiguration>";
    let answer = client.put("/b-1", elsewhere).send().await;
    assert!(
        [
            "400 InvalidLocationConstraint",
            "400 IllegalLocationConstraintException"
        ]
        .contains(&answer.outcome().as_str()),
        "{}",
        answer.text()
    );
    assert_eq!(
        client.put("/b-1", "<Create").send().await.outcome(),
        "400 MalformedXML"
    );
    assert_eq!(client.head("/b-1").send().await.outcome(), "404");
}

#[tokio::test]
async fn a_bucket_with_objects_is_not_deleted() {
    let (_server, client) = with_bucket().await;
    put(&client, "/b-1/k", "x").await;
    assert_eq!(
        client.delete("/b-1").send().await.outcome(),
        "409 BucketNotEmpty"
    );
    assert_eq!(client.delete("/b-1/k").send().await.outcome(), "204");
    assert_eq!(client.delete("/b-1").send().await.outcome(), "204");
}

/// The location of a bucket in us-east-1 is the empty element.
#[tokio::test]
async fn location_in_us_east_1_is_empty() {
    let (_server, client) = with_bucket().await;
    insta::assert_snapshot!(client.get("/b-1?location").send().await.text());
}

/// So does S3 answer of a bucket that never had versioning.
#[tokio::test]
async fn no_bucket_has_a_state_of_versioning() {
    let (_server, client) = with_bucket().await;
    let answer = client.get("/b-1?versioning").send().await;
    assert_eq!(
        (answer.outcome().as_str(), answer.text().as_str()),
        (
            "200",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></VersioningConfiguration>"
        )
    );
    let none = client.get("/b-2?versioning").send().await;
    assert_eq!(none.outcome(), "404 NoSuchBucket");
}

#[tokio::test]
async fn buckets_are_listed_in_pages() {
    let server = TestServer::start().await;
    let client = server.client();
    for name in ["a-1", "a-2", "a-3", "b-1"] {
        assert_eq!(
            client.put(&format!("/{name}"), "").send().await.outcome(),
            "200"
        );
    }
    let all = client.get("/").send().await;
    assert_eq!(all.elements("Name"), ["a-1", "a-2", "a-3", "b-1"]);
    insta::assert_snapshot!(stable(&all));

    let page = client.get("/?max-buckets=2&prefix=a-").send().await;
    assert_eq!(page.elements("Name"), ["a-1", "a-2"]);
    let token = page.element("ContinuationToken");
    let rest = client
        .get(&format!(
            "/?max-buckets=2&prefix=a-&continuation-token={token}"
        ))
        .send()
        .await;
    assert_eq!(rest.elements("Name"), ["a-3"]);
    assert_eq!(rest.element("ContinuationToken"), "");

    assert_eq!(
        client
            .get("/?bucket-region=eu-west-1")
            .send()
            .await
            .elements("Name"),
        Vec::<String>::new()
    );
    assert_eq!(
        client.get("/?max-buckets=0").send().await.outcome(),
        "400 InvalidArgument"
    );
    assert_eq!(
        client.get("/?max-buckets=10001").send().await.outcome(),
        "400 InvalidArgument"
    );
    assert_eq!(
        client
            .get("/?continuation-token=%21")
            .send()
            .await
            .outcome(),
        "400 InvalidArgument"
    );
    let anna = server.user("anna").await;
    assert_eq!(
        anna.get("/").send().await.elements("Name"),
        Vec::<String>::new()
    );
    assert_eq!(
        server.anonymous().get("/").send().await.outcome(),
        "403 AccessDenied"
    );
}

#[tokio::test]
async fn the_expected_owner_is_insisted_on() {
    let (_server, client) = with_bucket().await;
    let answer = client
        .get("/b-1")
        .header("x-amz-expected-bucket-owner", "a".repeat(64))
        .send()
        .await;
    assert_eq!(answer.outcome(), "403 AccessDenied");
}

#[tokio::test]
async fn operations_that_do_not_exist_here_are_501() {
    let (_server, client) = with_bucket().await;
    for path in [
        "/b-1?policy",
        "/b-1?acl",
        "/b-1?lifecycle",
        "/b-1/k?tagging",
        "/b-1?versions",
    ] {
        assert_eq!(
            client.get(path).send().await.outcome(),
            "501 NotImplemented",
            "{path}"
        );
    }
    let answer = client
        .put("/b-1/k", "x")
        .header("x-amz-server-side-encryption", "AES256")
        .send()
        .await;
    assert_eq!(answer.outcome(), "501 NotImplemented");
    assert_eq!(client.get("/b-1/k").send().await.outcome(), "404 NoSuchKey");
}

#[tokio::test]
async fn virtual_hosted_style_addresses_the_same_objects() {
    let options = TestServerOptions {
        domains: vec!["s3.test".to_owned()],
        ..TestServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = server.client();
    assert_eq!(
        client
            .put("/", "")
            .header("host", "b-1.s3.test")
            .send()
            .await
            .outcome(),
        "200"
    );
    assert_eq!(
        client
            .put("/dir/k", "hi")
            .header("host", "b-1.s3.test")
            .send()
            .await
            .outcome(),
        "200"
    );
    assert_eq!(client.get("/b-1/dir/k").send().await.text(), "hi");
    assert_eq!(
        client
            .get("/dir/k")
            .header("host", "b-1.s3.test:9000")
            .send()
            .await
            .text(),
        "hi"
    );
}

/// SDKs find the region of a bucket by a HEAD, whose refusal has no document to name it in.
#[tokio::test]
async fn a_head_for_the_wrong_region_is_told_the_right_one() {
    let (server, _client) = with_bucket().await;
    let astray = Client::new(
        server.address,
        "eu-west-1",
        ROOT_ACCESS_KEY,
        ROOT_SECRET_KEY,
    );
    let minute = std::time::Duration::from_mins(1);
    for answer in [
        astray.head("/b-1").send().await,
        astray.head("/b-1/k").send().await,
        astray.head("/b-1/k").send_presigned(minute).await,
        astray.get("/b-1/k").send().await,
    ] {
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-amz-bucket-region")),
            (400, "us-east-1")
        );
    }
}

#[tokio::test]
async fn a_document_that_is_too_long_for_its_operation_is_not_read() {
    let server = TestServer::start().await;
    let long = " ".repeat((64 << 10) + 1);
    assert_eq!(
        server.client().put("/b-1", long).send().await.outcome(),
        "400 MaxMessageLengthExceeded"
    );
}
