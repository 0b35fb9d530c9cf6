//! Plain HTTP, for health, metrics and presigned URLs.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The answer to a request that carries whatever authorizes it.
///
/// # Errors
/// What happened to the connection.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let answer = client
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

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
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::default())
        .map_err(|error| format!("{url}: {error}"))?;
    let answer = send(request).await?;
    Ok((answer.status().as_u16(), answer.into_body()))
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
