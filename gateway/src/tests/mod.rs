//! The gateway as its clients see it: every operation, and every way it refuses, over a real connection.
//!
//! Each test has a gateway of its own over in-memory metadata and disks.

mod admin;
mod buckets;
mod conditional_writes;
mod connections;
mod copy;
mod delete;
mod get;
mod hosts;
mod list;
mod multipart;
mod multipart_checksums;
mod multipart_lists;
mod presigned_urls;
mod put;
mod tls;
mod wire;

use crate::config::GatewayConfig;
use crate::testing::{Answer, Client, RequestBuilder, TestServer, TestServerOptions};

/// A server with other settings.
async fn server_with(configure: fn(&mut GatewayConfig)) -> TestServer {
    let options = TestServerOptions {
        configure,
        ..TestServerOptions::default()
    };
    TestServer::start_with(options).await
}

/// A server with the bucket `b-1`.
async fn with_bucket() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let client = client_with_bucket(&server).await;
    (server, client)
}

/// A client of the server, which has made the bucket `b-1`.
async fn client_with_bucket(server: &TestServer) -> Client {
    let client = server.client();
    let answer = client.put("/b-1", "").send().await;
    assert_eq!(answer.outcome(), "200");
    client
}

/// Stores `body` and insists that it worked.
async fn put(client: &Client, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    let answer = client.put(path, body).send().await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());
    answer
}

/// Adds headers to a request.
fn with_headers(mut request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// A different byte at every place, so that misplaced ranges show.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect()
}

/// The answer as a document for snapshots: what differs from run to run is replaced.
fn stable(answer: &Answer) -> String {
    let mut text = answer.text();
    for element in [
        "RequestId",
        "HostId",
        "LastModified",
        "CreationDate",
        "Initiated",
        "UploadId",
        "Location",
        "ID",
    ] {
        for value in answer.elements(element) {
            text = text.replace(
                &format!("<{element}>{value}</{element}>"),
                &format!("<{element}>…</{element}>"),
            );
        }
    }
    text
}
