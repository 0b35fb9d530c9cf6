//! An S3 client that does what it is told: sends exactly the headers and bytes of a test, signed, and gives back
//! status, headers and body without judging them.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Signs with one key pair for one server.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    region: String,
    credentials: Option<Credentials>,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// How the body is declared to the signature.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Its SHA-256.
    Signed,
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// Any other value of `x-amz-content-sha256`; the body is sent as it is.
    Declared(String),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text, `""` where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The text of the first element of this name, `""` where there is none.
    pub fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    /// The texts of all elements of this name that hold text only.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        text.split(&format!("<{name}>"))
            .skip(1)
            .filter_map(|rest| rest.split_once(&format!("</{name}>")))
            .map(|(inner, _)| inner.to_owned())
            .collect()
    }

    /// `status code`, as `404 NoSuchKey`: what most tests of refusals compare.
    pub fn outcome(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.element("Code"))
            .trim_end()
            .to_owned()
    }
}

impl Client {
    /// A client that signs with this key pair.
    pub fn new(address: SocketAddr, region: &str, access_key: &str, secret_key: &str) -> Self {
        let credentials = Credentials::new(access_key, secret_key, None, None, "testing");
        Self {
            credentials: Some(credentials),
            ..Self::anonymous(address, region)
        }
    }

    /// A client that does not sign.
    pub fn anonymous(address: SocketAddr, region: &str) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Self {
            address,
            region: region.to_owned(),
            credentials: None,
            http,
        }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a request; `path_and_query` is sent as it is.
    pub fn request(&self, method: Method, path_and_query: &str) -> RequestBuilder {
        RequestBuilder {
            client: self.clone(),
            method,
            path_and_query: path_and_query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            payload: Payload::Signed,
            time: None,
        }
    }

    /// Begins a GET.
    pub fn get(&self, path_and_query: &str) -> RequestBuilder {
        self.request(Method::GET, path_and_query)
    }

    /// Begins a HEAD.
    pub fn head(&self, path_and_query: &str) -> RequestBuilder {
        self.request(Method::HEAD, path_and_query)
    }

    /// Begins a PUT.
    pub fn put(&self, path_and_query: &str, body: impl Into<Bytes>) -> RequestBuilder {
        self.request(Method::PUT, path_and_query).body(body)
    }

    /// Begins a POST.
    pub fn post(&self, path_and_query: &str, body: impl Into<Bytes>) -> RequestBuilder {
        self.request(Method::POST, path_and_query).body(body)
    }

    /// Begins a DELETE.
    pub fn delete(&self, path_and_query: &str) -> RequestBuilder {
        self.request(Method::DELETE, path_and_query)
    }
}

/// A request in the making.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    client: Client,
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Bytes,
    payload: Payload,
    time: Option<SystemTime>,
}

impl RequestBuilder {
    /// Adds a header, which is signed.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value = HeaderValue::from_bytes(value.as_ref().as_bytes()).expect("a header value");
        self.headers.append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how the body is declared.
    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Signs for another time than now.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// The request, signed in its headers.
    pub fn signed(self) -> Request<Full<Bytes>> {
        self.build(None)
    }

    /// The request as a presigned URL: nothing in its headers but what the test put there.
    pub fn presigned(mut self, expires_in: Duration) -> Request<Full<Bytes>> {
        self.payload = Payload::Unsigned;
        self.build(Some(expires_in))
    }

    /// Signs and sends.
    pub async fn send(self) -> Answer {
        let http = self.client.http.clone();
        transmit(&http, self.signed()).await
    }

    /// Presigns and sends.
    pub async fn send_presigned(self, expires_in: Duration) -> Answer {
        let http = self.client.http.clone();
        transmit(&http, self.presigned(expires_in)).await
    }

    fn build(self, expires_in: Option<Duration>) -> Request<Full<Bytes>> {
        let host = self.client.address.to_string();
        let uri = format!("http://{host}{}", self.path_and_query);
        let mut request = Request::builder()
            .method(self.method)
            .uri(&uri)
            .body(Full::new(self.body.clone()))
            .expect("a request");
        *request.headers_mut() = self.headers;
        if !request.headers().contains_key("host") {
            request
                .headers_mut()
                .insert("host", host.parse().expect("a host"));
        }
        // Clients leave it out for empty bodies; S3 insists on it.
        if matches!(*request.method(), Method::PUT | Method::POST)
            && !request.headers().contains_key("content-length")
        {
            request
                .headers_mut()
                .insert("content-length", self.body.len().into());
        }
        if let Some(credentials) = &self.client.credentials {
            let time = self.time.unwrap_or_else(now);
            apply_signature(
                &mut request,
                &self.body,
                &self.payload,
                credentials,
                &self.client.region,
                time,
                expires_in,
            );
        }
        request
    }
}

fn apply_signature(
    request: &mut Request<Full<Bytes>>,
    body: &Bytes,
    payload: &Payload,
    credentials: &Credentials,
    region: &str,
    time: SystemTime,
    expires_in: Option<Duration>,
) {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if let Some(expires_in) = expires_in {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.expires_in = Some(expires_in);
    }
    let identity = Identity::from(credentials.clone());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(time)
        .settings(settings)
        .build()
        .expect("signing parameters")
        .into();
    let signable_body = match payload {
        Payload::Signed => SignableBody::Bytes(body),
        Payload::Unsigned => SignableBody::UnsignedPayload,
        Payload::Declared(value) => SignableBody::Precomputed(value.clone()),
    };
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
        signable_body,
    )
    .expect("a signable request");
    let (instructions, _) = sign(signable, &params).expect("a signature").into_parts();
    instructions.apply_to_request_http1x(request);
}

async fn transmit(
    http: &HttpClient<HttpConnector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Answer {
    let response = http.request(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// The time of day, for tests that sign for another.
#[expect(
    clippy::disallowed_methods,
    reason = "a client signs for the time it is"
)]
pub fn now() -> SystemTime {
    SystemTime::now()
}
