//! URLs that carry their own signature, of either version: what they carry is honoured or refused, never ignored.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::{put, server_with, wire, with_bucket};
use crate::testing::{Answer, ROOT_ACCESS_KEY, ROOT_SECRET_KEY, RequestBuilder, now};

const MINUTE: Duration = Duration::from_mins(1);

/// A version 2 signature in a URL. `lines` is what is signed, with `{}` for the time of expiry.
fn version_2(path: &str, lines: &str) -> String {
    let expiry = now().duration_since(UNIX_EPOCH).unwrap() + MINUTE;
    let expires = expiry.as_secs().to_string();
    let mut mac = Hmac::<Sha1>::new_from_slice(ROOT_SECRET_KEY.as_bytes()).unwrap();
    mac.update(lines.replace("{}", &expires).as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature =
        percent_encoding::utf8_percent_encode(&signature, percent_encoding::NON_ALPHANUMERIC);
    let separator = if path.contains('?') { '&' } else { '?' };
    format!(
        "{path}{separator}AWSAccessKeyId={ROOT_ACCESS_KEY}&Expires={expires}&Signature={signature}"
    )
}

/// A version 4 signature in a URL.
fn version_4(request: RequestBuilder) -> String {
    let request = request.presigned(MINUTE);
    request.uri().path_and_query().unwrap().to_string()
}

fn outcome_and_text(answer: &Answer) -> (String, String) {
    (answer.outcome(), answer.text())
}

#[tokio::test]
async fn version_2_urls_read_and_write() {
    let (server, _client) = with_bucket().await;
    let holder = server.anonymous();
    let upload = version_2("/b-1/k", "PUT\n\ntext/plain\n{}\n/b-1/k");
    let stored = holder
        .put(&upload, "by url")
        .header("content-type", "text/plain");
    assert_eq!(stored.send().await.outcome(), "200");

    let query = "/b-1/k?response-content-disposition=attachment%3B%20filename%3D%22a%2Bb.txt%22";
    let signed =
        "GET\n\n\n{}\n/b-1/k?response-content-disposition=attachment; filename=\"a+b.txt\"";
    let got = holder.get(&version_2(query, signed)).send().await;
    assert_eq!(outcome_and_text(&got), ("200".into(), "by url".into()));
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(
        got.header("content-disposition"),
        "attachment; filename=\"a+b.txt\""
    );

    let range = holder
        .get(&version_2("/b-1/k", "GET\n\n\n{}\n/b-1/k"))
        .header("range", "bytes=3-5");
    assert_eq!(
        outcome_and_text(&range.send().await),
        ("206".into(), "url".into())
    );
    let listed = holder
        .get(&version_2("/b-1?prefix=k", "GET\n\n\n{}\n/b-1/"))
        .send()
        .await;
    assert_eq!(listed.elements("Key"), ["k"]);
}

#[tokio::test]
async fn a_version_2_url_does_only_what_was_signed() {
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/k", "hello").await;
    let holder = server.anonymous();
    let url = version_2("/b-1/k", "GET\n\n\n{}\n/b-1/k");
    assert_eq!(holder.get(&url).send().await.outcome(), "200");
    assert_eq!(
        holder
            .request(http::Method::DELETE, &url)
            .send()
            .await
            .outcome(),
        "403 SignatureDoesNotMatch"
    );
    for (addition, outcome) in [
        ("attributes", "403 AccessDenied"),
        ("retention", "403 AccessDenied"),
        ("tagging", "403 SignatureDoesNotMatch"),
        ("versionId=null", "403 SignatureDoesNotMatch"),
        ("x-amz-checksum-mode=ENABLED", "403 SignatureDoesNotMatch"),
    ] {
        let got = holder.get(&format!("{url}&{addition}")).send().await;
        assert_eq!(got.outcome(), outcome, "{addition}");
    }
    let upload = version_2("/b-1/k", "PUT\n\n\n{}\n/b-1/k");
    let copy = holder
        .put(&upload, "")
        .header("x-amz-copy-source", "b-1/other");
    assert_eq!(copy.send().await.outcome(), "403 SignatureDoesNotMatch");
    assert_eq!(client.get("/b-1/k").send().await.text(), "hello");
}

#[tokio::test]
async fn digests_sent_with_a_version_2_url_are_verified() {
    let (server, client) = with_bucket().await;
    let holder = server.anonymous();
    let md5 = "XUFAKrxLKna5cZ2REBfFkg=="; // of "hello"
    let url = version_2("/b-1/k", &format!("PUT\n{md5}\n\n{{}}\n/b-1/k"));
    let other = holder
        .put(&url, "jello")
        .header("content-md5", md5)
        .send()
        .await;
    assert_eq!(other.outcome(), "400 BadDigest");
    let crc = version_2(
        "/b-1/k",
        "PUT\n\n\n{}\nx-amz-checksum-crc32:AAAAAA==\n/b-1/k",
    );
    let other = holder
        .put(&crc, "hello")
        .header("x-amz-checksum-crc32", "AAAAAA==")
        .send()
        .await;
    assert_eq!(other.outcome(), "400 BadDigest");
    assert_eq!(client.get("/b-1/k").send().await.outcome(), "404 NoSuchKey");
    let stored = holder
        .put(&url, "hello")
        .header("content-md5", md5)
        .send()
        .await;
    assert_eq!(stored.outcome(), "200");
}

#[tokio::test]
async fn headers_carried_by_a_url_are_honoured_or_refused() {
    let (server, client) = with_bucket().await;
    let holder = server.anonymous();
    put(&client, "/b-1/source", "copied").await;
    let carrying = |query: &str, lines: &str, body: &'static str| {
        [
            version_2(
                &format!("/b-1/k?{query}"),
                &format!("PUT\n\n\n{{}}\n{lines}\n/b-1/k"),
            ),
            version_4(client.put(&format!("/b-1/k?{query}"), body)),
        ]
    };
    for url in carrying("x-amz-meta-colour=grey", "x-amz-meta-colour:grey", "x") {
        assert_eq!(holder.put(&url, "x").send().await.outcome(), "200");
        let head = client.head("/b-1/k").send().await;
        assert_eq!(head.header("x-amz-meta-colour"), "grey");
        client.delete("/b-1/k").send().await;
    }
    for url in carrying("x-amz-acl=public-read", "x-amz-acl:public-read", "x") {
        assert_eq!(
            holder.put(&url, "x").send().await.outcome(),
            "501 NotImplemented"
        );
    }
    for url in carrying(
        "x-amz-copy-source=b-1%2Fsource",
        "x-amz-copy-source:b-1/source",
        "",
    ) {
        assert_eq!(holder.put(&url, "").send().await.outcome(), "200");
        assert_eq!(client.get("/b-1/k").send().await.text(), "copied");
        client.delete("/b-1/k").send().await;
    }
}

#[tokio::test]
async fn version_2_urls_are_refused_where_they_are_switched_off() {
    let server = server_with(|config| config.compat.presigned_v2 = false).await;
    let url = version_2("/", "GET\n\n\n{}\n/");
    let got = server.anonymous().get(&url).send().await;
    assert_eq!(got.outcome(), "400 InvalidRequest");
    assert!(got.text().contains("AWS4-HMAC-SHA256"));
}

#[tokio::test]
async fn no_url_of_version_2_administers() {
    let (server, _client) = with_bucket().await;
    let path = "/-/admin/v1/users";
    let url = version_2(path, &format!("GET\n\n\n{{}}\n{path}"));
    let got = server.anonymous().get(&url).send().await;
    assert_eq!(got.status, http::StatusCode::BAD_REQUEST, "{}", got.text());
    assert!(got.text().contains("x-amz-content-sha256"));
}

#[tokio::test]
async fn what_a_url_carries_and_no_header_can_be_is_refused() {
    let (server, client) = with_bucket().await;
    for carried in ["x-amz-meta-colour=grey%0Ablue", "x-amz-meta-a%20b=1"] {
        let url = version_4(client.put(&format!("/b-1/k?{carried}"), "x"));
        let answer = server.anonymous().put(&url, "x").send().await;
        assert_eq!(answer.outcome(), "400 InvalidArgument", "{carried}");
    }
}

/// Which of the two was meant nobody can tell.
#[tokio::test]
async fn a_header_may_repeat_what_a_url_carries_and_not_contradict_it() {
    let (server, client) = with_bucket().await;
    let holder = server.anonymous();
    let path = "/b-1/k?x-amz-meta-colour=grey";
    // A header that is sent along has to be signed as well.
    let version_4 = |colour| version_4(client.put(path, "x").header("x-amz-meta-colour", colour));
    let version_2 = |colour: &str| {
        let lines = format!("PUT\n\n\n{{}}\nx-amz-meta-colour:{colour}\n/b-1/k");
        version_2(path, &lines)
    };
    for (colour, outcome) in [("grey", "200"), ("blue", "400 InvalidRequest")] {
        for url in [version_4(colour), version_2(colour)] {
            let put = holder.put(&url, "x").header("x-amz-meta-colour", colour);
            let answer = put.send().await;
            assert_eq!(answer.outcome(), outcome, "{}", answer.text());
        }
    }
    let head = client.head("/b-1/k").send().await;
    assert_eq!(head.header("x-amz-meta-colour"), "grey");
}

/// Such a URL is of no header, so that one can be left out.
#[tokio::test]
async fn a_body_of_unknown_length_is_not_taken() {
    let (server, client) = with_bucket().await;
    let url = version_2("/b-1/k", "PUT\n\n\n{}\n/b-1/k");
    for lengths in [
        "transfer-encoding: chunked\r\n",
        // A length that chunks contradict is none, whichever comes first: what is behind its end would be another request.
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let head = format!(
            "PUT {url} HTTP/1.1\r\nhost: {}\r\n{lengths}\r\n",
            server.address
        );
        let sent = head + "5\r\nhello\r\n0\r\n\r\n";
        let answer = wire::exchange(server.address, sent.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 501") && answer.contains("<Header>Transfer-Encoding<"),
            "{answer}"
        );
        assert_eq!(client.head("/b-1/k").send().await.status, 404);
    }
}
