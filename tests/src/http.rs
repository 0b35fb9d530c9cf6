//! A plain HTTP GET, for health, metrics and presigned URLs.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Status and body of a URL.
///
/// # Errors
/// What happened to the connection.
pub async fn get(url: &str) -> Result<(u16, Bytes), String> {
    get_with(url, &[]).await
}

/// Status and body of a URL, asked for with these headers.
///
/// # Errors
/// What happened to the connection.
pub async fn get_with(url: &str, headers: &[(&str, &str)]) -> Result<(u16, Bytes), String> {
    let client =
        Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(HttpConnector::new());
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Empty::new())
        .map_err(|error| format!("{url}: {error}"))?;
    let answer = client
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

/// The body of a URL that answers 200, as text.
///
/// # Errors
/// The status if it is another, or what happened to the connection.
pub async fn get_text(url: &str) -> Result<String, String> {
    match get(url).await? {
        (200, body) => String::from_utf8(body.to_vec()).map_err(|error| error.to_string()),
        (status, body) => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
    }
}
