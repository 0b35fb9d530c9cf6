//! `ListObjects` and `ListObjectsV2`.

use super::{put, stable, with_bucket};
use crate::testing::{Client, TestServer};
use crate::timestamp;

/// Unreserved characters stay: a signature is over the canonical form, in which they are not escaped.
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'/');

async fn with_keys(keys: &[&str]) -> (TestServer, Client) {
    let (server, client) = with_bucket().await;
    for key in keys {
        let encoded = percent_encoding::utf8_percent_encode(key, ENCODED);
        put(&client, &format!("/b-1/{encoded}"), key.to_string()).await;
    }
    (server, client)
}

/// What a page shows, in the order of its document: keys, then `prefix/*`.
async fn page(client: &Client, query: &str) -> (Vec<String>, bool) {
    let answer = client.get(&format!("/b-1?{query}")).send().await;
    assert_eq!(answer.outcome(), "200", "{query}: {}", answer.text());
    let mut names = answer.elements("Key");
    let groups = answer.elements("CommonPrefixes");
    names.extend(
        groups
            .iter()
            .map(|group| group.replace("<Prefix>", "").replace("</Prefix>", "*")),
    );
    (names, answer.element("IsTruncated") == "true")
}

#[tokio::test]
async fn keys_come_in_byte_order() {
    let (_server, client) = with_keys(&["b", "a0", "a/", "a-", "a", "é", "Z"]).await;
    assert_eq!(
        page(&client, "list-type=2").await.0,
        ["Z", "a", "a-", "a/", "a0", "b", "é"]
    );
    assert_eq!(
        page(&client, "").await.0,
        ["Z", "a", "a-", "a/", "a0", "b", "é"]
    );
}

/// Clients that synchronize compare the two.
#[tokio::test]
async fn listings_and_objects_tell_the_same_time_to_the_second() {
    let (_server, client) = with_keys(&["k"]).await;
    let head = client.head("/b-1/k").send().await;
    let in_header = timestamp::parse_http_date(head.header("last-modified")).unwrap();
    let expected = timestamp::iso8601(in_header);
    for query in ["", "list-type=2"] {
        let listed = client.get(&format!("/b-1?{query}")).send().await;
        assert_eq!(listed.element("LastModified"), expected, "{query}");
    }
}

#[tokio::test]
async fn documents_are_as_s3_writes_them() {
    let (_server, client) = with_keys(&["a b", "dir/x", "dir/y"]).await;
    let v2 = client
        .get("/b-1?list-type=2&delimiter=%2F&fetch-owner=true&encoding-type=url&start-after=A")
        .send()
        .await;
    insta::assert_snapshot!(stable(&v2));
    let without_owner = client.get("/b-1?list-type=2").send().await;
    assert_eq!(without_owner.elements("Key").len(), 3);
    assert!(!without_owner.text().contains("<Owner>"));
    let v1 = client
        .get("/b-1?delimiter=%2F&max-keys=1&prefix=a")
        .send()
        .await;
    insta::assert_snapshot!(stable(&v1));
}

/// As in S3's buckets by default, whose objects belong to the bucket's owner whoever writes them.
#[tokio::test]
async fn what_root_writes_into_a_bucket_belongs_to_its_owner() {
    let (server, root) = with_bucket().await;
    let anna = server.user("anna").await;
    put(&anna, "/annas", "").await;
    put(&root, "/annas/put", "x").await;
    let copied = root
        .put("/annas/copied", "")
        .header("x-amz-copy-source", "annas/put");
    assert_eq!(copied.send().await.outcome(), "200");
    let begun = root.post("/annas/parts?uploads", "").send().await;
    assert_eq!(begun.outcome(), "200");
    let objects = anna.get("/annas").send().await;
    assert_eq!(objects.elements("DisplayName"), ["anna", "anna"]);
    let uploads = anna.get("/annas?uploads").send().await;
    let initiator_and_owner = uploads.elements("DisplayName");
    assert_eq!(initiator_and_owner, ["root", "anna"]);
}

#[tokio::test]
async fn delimiters_fold_keys_into_prefixes() {
    let (_server, client) = with_keys(&["a", "b/1", "b/2", "c", "d/e/f"]).await;
    assert_eq!(
        page(&client, "list-type=2&delimiter=%2F").await.0,
        ["a", "c", "b/*", "d/*"]
    );
    assert_eq!(
        page(&client, "list-type=2&delimiter=%2F&prefix=d%2F")
            .await
            .0,
        ["d/e/*"]
    );
    assert_eq!(
        page(&client, "list-type=2&delimiter=%2F&prefix=b%2F")
            .await
            .0,
        ["b/1", "b/2"]
    );
    assert_eq!(page(&client, "list-type=2&delimiter=zz").await.0.len(), 5);
}

#[tokio::test]
async fn pages_continue_where_they_ended() {
    let (_server, client) = with_keys(&["a", "b/1", "b/2", "c", "d/1"]).await;
    let mut seen = Vec::new();
    let mut query = "list-type=2&delimiter=%2F&max-keys=1".to_owned();
    for _ in 0..4 {
        let answer = client.get(&format!("/b-1?{query}")).send().await;
        assert_eq!(answer.element("KeyCount"), "1");
        seen.extend(answer.elements("Key"));
        seen.extend(answer.elements("CommonPrefixes"));
        let token = answer.element("NextContinuationToken");
        // The token wins over start-after.
        query = format!(
            "list-type=2&delimiter=%2F&max-keys=1&start-after=zzz&continuation-token={token}"
        );
    }
    assert_eq!(
        seen,
        ["a", "<Prefix>b/</Prefix>", "c", "<Prefix>d/</Prefix>"]
    );

    let mut seen = Vec::new();
    let mut marker = String::new();
    loop {
        let answer = client
            .get(&format!("/b-1?delimiter=%2F&max-keys=1&marker={marker}"))
            .send()
            .await;
        seen.extend(answer.elements("Key"));
        seen.extend(answer.elements("CommonPrefixes"));
        marker = answer.element("NextMarker").replace('/', "%2F");
        if answer.element("IsTruncated") == "false" {
            break;
        }
    }
    assert_eq!(
        seen,
        ["a", "<Prefix>b/</Prefix>", "c", "<Prefix>d/</Prefix>"]
    );
}

#[tokio::test]
async fn a_marker_inside_a_group_suppresses_the_group() {
    let (_server, client) = with_keys(&["a", "b/1", "b/2", "c"]).await;
    for marker in ["b%2F", "b%2F1", "b%2F2"] {
        assert_eq!(
            page(&client, &format!("delimiter=%2F&marker={marker}"))
                .await
                .0,
            ["c"],
            "{marker}"
        );
        assert_eq!(
            page(
                &client,
                &format!("list-type=2&delimiter=%2F&start-after={marker}")
            )
            .await
            .0,
            ["c"],
            "{marker}"
        );
    }
    assert_eq!(
        page(&client, "list-type=2&start-after=b%2F1").await.0,
        ["b/2", "c"]
    );
}

#[tokio::test]
async fn page_sizes() {
    let (_server, client) = with_keys(&["a", "b", "c"]).await;
    assert_eq!(
        page(&client, "list-type=2&max-keys=0").await,
        (vec![], false)
    );
    assert_eq!(
        page(&client, "list-type=2&max-keys=2").await,
        (vec!["a".into(), "b".into()], true)
    );
    assert!(!page(&client, "list-type=2&max-keys=3").await.1);
    let clamped = client.get("/b-1?list-type=2&max-keys=5000").send().await;
    assert_eq!(clamped.element("MaxKeys"), "1000");
    let v1 = client.get("/b-1?max-keys=2").send().await;
    assert_eq!(
        (
            v1.element("IsTruncated").as_str(),
            v1.element("NextMarker").as_str()
        ),
        ("true", "")
    );
    for bad in ["-1", "x", "99999999999"] {
        let refused = client.get(&format!("/b-1?max-keys={bad}")).send().await;
        assert_eq!(refused.outcome(), "400 InvalidArgument");
        assert_eq!(
            (
                refused.element("ArgumentName"),
                refused.element("ArgumentValue")
            ),
            ("max-keys".into(), bad.into())
        );
    }
    assert_eq!(
        client
            .get("/b-1?list-type=2&continuation-token=%21")
            .send()
            .await
            .outcome(),
        "400 InvalidArgument"
    );
    for encoding in ["encoding-type=base64", "encoding-type="] {
        let refused = client.get(&format!("/b-1?{encoding}")).send().await;
        assert_eq!(refused.outcome(), "400 InvalidArgument", "{encoding}");
    }
}

#[tokio::test]
async fn odd_keys_survive_the_document() {
    let odd = ["a+b c", "<&>\"'", "\u{1}", "😀", "new\nline"];
    let (_server, client) = with_keys(&odd).await;
    let encoded = client
        .get("/b-1?list-type=2&encoding-type=url")
        .send()
        .await
        .elements("Key");
    let mut decoded: Vec<String> = encoded
        .iter()
        .map(|key| {
            percent_encoding::percent_decode_str(key)
                .decode_utf8()
                .unwrap()
                .into_owned()
        })
        .collect();
    decoded.sort();
    let mut expected = odd.map(str::to_owned);
    expected.sort();
    assert_eq!(decoded, expected);
    assert!(encoded.contains(&"a%2Bb%20c".to_owned()));
    let plain = client.get("/b-1?list-type=2").send().await;
    assert_eq!(plain.outcome(), "200");
    assert!(
        plain.text().contains("<Key>&#x1;</Key>") && plain.text().contains("<Key>&lt;&amp;&gt;")
    );
}

#[tokio::test]
async fn whatever_names_something_is_encoded() {
    let (_server, client) = with_keys(&["p é+1, a", "p é+2, a"]).await;
    let query = "encoding-type=url&max-keys=1&prefix=p%20%C3%A9&delimiter=%2C%20";
    let v1 = client.get(&format!("/b-1?{query}&marker=p%20%C3%A9%2B"));
    let v1 = v1.send().await;
    for (element, expected) in [
        ("Prefix", "p%20%C3%A9"),
        ("Delimiter", "%2C%20"),
        ("Marker", "p%20%C3%A9%2B"),
        ("NextMarker", "p%20%C3%A9%2B1%2C%20"),
        ("CommonPrefixes", "<Prefix>p%20%C3%A9%2B1%2C%20</Prefix>"),
    ] {
        assert_eq!(v1.element(element), expected, "{element}");
    }
    let v2 = client.get(&format!(
        "/b-1?list-type=2&{query}&start-after=p%20%C3%A9%2B"
    ));
    assert_eq!(v2.send().await.element("StartAfter"), "p%20%C3%A9%2B");
}

#[tokio::test]
async fn uploads_in_progress_and_strangers_see_nothing() {
    let (server, client) = with_keys(&["a"]).await;
    client.post("/b-1/hidden?uploads", "").send().await;
    assert_eq!(page(&client, "list-type=2").await.0, ["a"]);
    assert_eq!(
        server
            .user("anna")
            .await
            .get("/b-1?list-type=2")
            .send()
            .await
            .outcome(),
        "403 AccessDenied"
    );
    assert_eq!(
        client.get("/b-9?list-type=2").send().await.outcome(),
        "404 NoSuchBucket"
    );
}
