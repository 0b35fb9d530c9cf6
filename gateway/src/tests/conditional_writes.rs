//! `If-None-Match: *` and `If-Match` on writes and deletes.

use super::{put, with_bucket, with_headers};

#[tokio::test]
async fn if_none_match_creates_once() {
    let (_server, client) = with_bucket().await;
    let create = || client.put("/b-1/k", "first").header("if-none-match", "*");
    assert_eq!(create().send().await.outcome(), "200");
    let again = create().body("second").send().await;
    assert_eq!(
        (
            again.outcome().as_str(),
            again.element("Condition").as_str()
        ),
        ("412 PreconditionFailed", "If-None-Match")
    );
    assert_eq!(client.get("/b-1/k").send().await.text(), "first");
    assert_eq!(client.delete("/b-1/k").send().await.outcome(), "204");
    assert_eq!(create().send().await.outcome(), "200");
}

#[tokio::test]
async fn if_match_replaces_what_was_seen() {
    let (_server, client) = with_bucket().await;
    let absent = client
        .put("/b-1/k", "x")
        .header("if-match", "\"abc\"")
        .send()
        .await;
    assert_eq!(absent.outcome(), "404 NoSuchKey");
    let etag = put(&client, "/b-1/k", "one")
        .await
        .header("etag")
        .to_owned();
    let replaced = client
        .put("/b-1/k", "two")
        .header("if-match", &etag)
        .send()
        .await;
    assert_eq!(replaced.outcome(), "200");
    let stale = client
        .put("/b-1/k", "three")
        .header("if-match", &etag)
        .send()
        .await;
    assert_eq!(
        (
            stale.outcome().as_str(),
            stale.element("Condition").as_str()
        ),
        ("412 PreconditionFailed", "If-Match")
    );
    let bare = replaced.header("etag").trim_matches('"');
    assert_eq!(
        client
            .put("/b-1/k", "four")
            .header("if-match", bare)
            .send()
            .await
            .outcome(),
        "200"
    );
}

#[tokio::test]
async fn what_aws_does_not_have_is_501() {
    let (_server, client) = with_bucket().await;
    for headers in [
        [("if-none-match", "\"abc\"")].as_slice(),
        &[("if-match", "*")],
        &[("if-none-match", "*"), ("if-match", "\"abc\"")],
        &[("if-unmodified-since", "Mon, 12 Oct 2009 17:50:30 GMT")],
    ] {
        let request = with_headers(client.put("/b-1/k", "x"), headers);
        let answer = request.send().await;
        assert_eq!(answer.outcome(), "501 NotImplemented", "{headers:?}");
    }
    let size = client
        .delete("/b-1/k")
        .header("x-amz-if-match-size", "1")
        .send()
        .await;
    assert_eq!(size.outcome(), "501 NotImplemented");
}

#[tokio::test]
async fn of_racing_creations_exactly_one_wins() {
    let (_server, client) = with_bucket().await;
    let racing = (0..16).map(|index| {
        client
            .put("/b-1/k", format!("writer {index}"))
            .header("if-none-match", "*")
            .send()
    });
    let answers = futures_util::future::join_all(racing).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1);
    assert!(
        answers
            .iter()
            .all(|answer| [200, 409, 412].contains(&answer.status.as_u16()))
    );
}

#[tokio::test]
async fn deletes_can_depend_on_the_etag() {
    let (_server, client) = with_bucket().await;
    let etag = put(&client, "/b-1/k", "x").await.header("etag").to_owned();
    let wrong = client
        .delete("/b-1/k")
        .header("if-match", "\"abc\"")
        .send()
        .await;
    assert_eq!(wrong.outcome(), "412 PreconditionFailed");
    assert_eq!(
        client
            .delete("/b-1/k")
            .header("if-match", &etag)
            .send()
            .await
            .outcome(),
        "204"
    );
    let gone = client
        .delete("/b-1/k")
        .header("if-match", &etag)
        .send()
        .await;
    assert_eq!(gone.outcome(), "404 NoSuchKey");
    put(&client, "/b-1/k", "x").await;
    assert_eq!(
        client
            .delete("/b-1/k")
            .header("if-match", "*")
            .send()
            .await
            .outcome(),
        "204"
    );
    assert_eq!(
        client
            .delete("/b-1/k")
            .header("if-none-match", "*")
            .send()
            .await
            .outcome(),
        "501 NotImplemented"
    );
}
