//! URLs that carry their own signature: what they carry is honoured or refused, never ignored.

use std::time::Duration;

use super::{put, with_bucket};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn headers_carried_by_a_url_are_honoured_or_refused() {
    let (server, client) = with_bucket().await;
    let holder = server.anonymous();
    put(&client, "/b-1/source", "copied").await;
    let carrying = |query: &str, body: &'static str| {
        let put = client.put(&format!("/b-1/k?{query}"), body);
        let url = put.presigned(MINUTE).uri().to_string();
        let (_, path) = url.split_once("/b-1/").unwrap();
        format!("/b-1/{path}")
    };
    let url = carrying("x-amz-meta-colour=grey", "x");
    assert_eq!(holder.put(&url, "x").send().await.outcome(), "200");
    let head = client.head("/b-1/k").send().await;
    assert_eq!(head.header("x-amz-meta-colour"), "grey");
    let url = carrying("x-amz-acl=public-read", "x");
    assert_eq!(
        holder.put(&url, "x").send().await.outcome(),
        "501 NotImplemented"
    );
    let url = carrying("x-amz-copy-source=b-1%2Fsource", "");
    assert_eq!(holder.put(&url, "").send().await.outcome(), "200");
    assert_eq!(client.get("/b-1/k").send().await.text(), "copied");
}
