//! `DeleteObject` and `DeleteObjects`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::{put, stable, with_bucket};
use crate::testing::{Answer, Client};

async fn delete_all(client: &Client, document: &str) -> Answer {
    client
        .post("/b-1?delete", document.to_owned())
        .header("content-md5", STANDARD.encode(Md5::digest(document)))
        .send()
        .await
}

#[tokio::test]
async fn deleting_succeeds_whether_there_is_something_or_not() {
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/k", "x").await;
    assert_eq!(client.delete("/b-1/k").send().await.outcome(), "204");
    assert_eq!(client.get("/b-1/k").send().await.outcome(), "404 NoSuchKey");
    assert_eq!(client.delete("/b-1/k").send().await.outcome(), "204");
    assert_eq!(
        client
            .delete("/b-1/k?versionId=null")
            .send()
            .await
            .outcome(),
        "204"
    );
    assert_eq!(
        client.delete("/b-1/k?versionId=x").send().await.outcome(),
        "400 InvalidArgument"
    );
    assert_eq!(
        server
            .user("anna")
            .await
            .delete("/b-1/k")
            .send()
            .await
            .outcome(),
        "403 AccessDenied"
    );
}

#[tokio::test]
async fn many_keys_go_in_one_request_and_in_order() {
    let (_server, client) = with_bucket().await;
    let etag = put(&client, "/b-1/a", "x")
        .await
        .header("etag")
        .replace('"', "&quot;");
    put(&client, "/b-1/b", "x").await;
    put(&client, "/b-1/c", "x").await;
    let document = format!(
        "<Delete><Object><Key>a</Key><ETag>{etag}</ETag></Object><Object><Key>absent</Key></Object>\
         <Object><Key>b</Key><ETag>&quot;wrong&quot;</ETag></Object><Object><Key>c</Key><VersionId>null</VersionId></Object>\
         <Object><Key>c</Key><VersionId>bad</VersionId></Object><Object><Key>{}</Key></Object></Delete>",
        "k".repeat(1025)
    );
    let answer = delete_all(&client, &document).await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(stable(&answer).replace(&"k".repeat(1025), "kkk"));
    assert_eq!(
        client.get("/b-1?list-type=2").send().await.elements("Key"),
        ["b"]
    );
}

#[tokio::test]
async fn quiet_tells_failures_only() {
    let (_server, client) = with_bucket().await;
    let document = "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object>\
                    <Object><Key>b</Key><VersionId>bad</VersionId></Object></Delete>";
    let answer = delete_all(&client, document).await;
    assert_eq!(answer.elements("Key"), ["b"]);
    assert!(!answer.text().contains("<Deleted>"));
}

#[tokio::test]
async fn batches_are_bounded_and_protected() {
    let (_server, client) = with_bucket().await;
    let objects = |count: usize| {
        format!(
            "<Delete>{}</Delete>",
            "<Object><Key>k</Key></Object>".repeat(count)
        )
    };
    assert_eq!(
        delete_all(&client, &objects(1001)).await.outcome(),
        "400 MalformedXML"
    );
    assert_eq!(
        delete_all(&client, &objects(0)).await.outcome(),
        "400 MalformedXML"
    );
    assert_eq!(delete_all(&client, &objects(1000)).await.outcome(), "200");
    assert_eq!(
        client
            .post("/b-1?delete", objects(1))
            .send()
            .await
            .outcome(),
        "400 InvalidRequest"
    );
    let entity = "<!DOCTYPE x [<!ENTITY e 'e'>]><Delete><Object><Key>&e;</Key></Object></Delete>";
    assert_eq!(
        delete_all(&client, entity).await.outcome(),
        "400 MalformedXML"
    );
}

#[tokio::test]
async fn a_document_that_is_too_long_is_not_read() {
    let (_server, client) = with_bucket().await;
    let long = " ".repeat((2 << 20) + 1);
    assert_eq!(
        delete_all(&client, &long).await.outcome(),
        "400 MaxMessageLengthExceeded"
    );
}
