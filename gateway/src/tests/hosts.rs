//! What a request's host decides: the bucket, what the signature vouches for, and what is served there.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;

use super::wire;
use crate::testing::{Client, TestServer, TestServerOptions};

/// A server of `*.s3.test` with two buckets, in each of which the object `k` holds the bucket's name.
async fn with_domain() -> (TestServer, Client) {
    let options = TestServerOptions {
        domains: vec!["s3.test".to_owned()],
        ..TestServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = server.client();
    for bucket in ["b-1", "b-2"] {
        let path = format!("/{bucket}");
        assert_eq!(client.put(&path, "").send().await.outcome(), "200");
        super::put(&client, &format!("{path}/k"), bucket).await;
    }
    (server, client)
}

/// The query of a URL that reads `k` of `b-1`, and nothing else.
fn query_for_b_1(client: &Client) -> String {
    let request = client
        .get("/k")
        .header("host", "b-1.s3.test")
        .presigned(Duration::from_mins(1));
    request.uri().query().unwrap().to_owned()
}

async fn over_http1(client: &Client, target: &str, hosts: &[&str]) -> String {
    let mut head = format!("GET {target} HTTP/1.1\r\nconnection: close\r\n");
    for host in hosts {
        head.extend(["host: ", host, "\r\n"]);
    }
    head.push_str("\r\n");
    wire::exchange(client.address(), head.as_bytes()).await
}

async fn over_http2(client: &Client, uri: &str, host: Option<&str>) -> u16 {
    let (mut sender, _connection) = wire::http2(client.address()).await;
    let mut request = http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    if let Some(host) = host {
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    sender
        .send_request(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// What was signed for one bucket must not open another by naming two hosts.
#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused() {
    let (_server, client) = with_domain().await;
    let query = query_for_b_1(&client);
    for (target, hosts, status) in [
        ("/k", &["b-1.s3.test"][..], "200"),
        ("http://b-1.s3.test/k", &["b-1.s3.test"], "200"),
        ("http://B-1.S3.test/k", &["b-1.s3.test"], "200"),
        ("http://b-2.s3.test/k", &["b-1.s3.test"], "400"),
        ("http://s3.test/b-2/k", &["b-1.s3.test"], "400"),
        ("http://x@b-1.s3.test/k", &["b-1.s3.test"], "400"),
        ("/k", &["b-1.s3.test", "b-2.s3.test"], "400"),
        ("/k", &["b-2.s3.test"], "403"),
    ] {
        let answer = over_http1(&client, &format!("{target}?{query}"), hosts).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(
            answer.starts_with(&expected),
            "{target} {hosts:?}: {answer}"
        );
        assert!(!answer.ends_with("b-2"), "{target} {hosts:?}: {answer}");
    }
    for (authority, host, status) in [
        ("b-1.s3.test", None, 200),
        ("b-1.s3.test", Some("b-1.s3.test"), 200),
        ("b-2.s3.test", Some("b-1.s3.test"), 400),
        ("b-2.s3.test", None, 403),
    ] {
        let uri = format!("http://{authority}/k?{query}");
        assert_eq!(
            over_http2(&client, &uri, host).await,
            status,
            "{authority} {host:?}"
        );
    }
}

/// A client that lets its users choose keys must not be led to administer.
#[tokio::test]
async fn the_operators_paths_are_ordinary_keys_at_a_buckets_host() {
    let (_server, client) = with_domain().await;
    for key in ["/-/x", "/-/health/live", "/-/admin/v1/users"] {
        let stored = client.put(key, key).header("host", "b-1.s3.test");
        assert_eq!(stored.send().await.outcome(), "200", "{key}");
        assert_eq!(client.get(&format!("/b-1{key}")).send().await.text(), key);
    }
    for host in ["s3.test", "127.0.0.1"] {
        let health = client.get("/-/health/live").header("host", host);
        assert_eq!(health.send().await.text(), "live\n", "{host}");
    }
}

#[tokio::test]
async fn a_completed_upload_is_located_where_it_was_addressed() {
    let (_server, client) = with_domain().await;
    let at_bucket = |request: crate::testing::RequestBuilder| request.header("host", "b-1.s3.test");
    let created = at_bucket(client.post("/a%20b?uploads", "")).send().await;
    let id = created.element("UploadId");
    let path = format!("/a%20b?partNumber=1&uploadId={id}");
    let part = at_bucket(client.put(&path, "x")).send().await;
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").replace('"', "")
    );
    let done = at_bucket(client.post(&format!("/a%20b?uploadId={id}"), document))
        .send()
        .await;
    assert_eq!(done.element("Location"), "http://b-1.s3.test/a%20b");
}
