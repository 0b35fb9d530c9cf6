//! Signature verification: Amazon's published examples, agreement with `aws-sigv4` as a client, and every refusal.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::Request;
use proptest::prelude::*;

use super::*;

pub(super) const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z, when all of Amazon's examples happen.
pub(super) const NOW_MS: u64 = 1_369_353_600_000;
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct OneKey;

#[async_trait]
impl KeyLookup for OneKey {
    async fn key(&self, access_key: &str) -> Result<Option<KeyEntry>, S3Error> {
        Ok((access_key == ACCESS_KEY).then(|| KeyEntry {
            secret: Secret::new(SECRET.to_owned()),
            principal: Principal::User {
                canonical_id: "id".into(),
                name: "example".into(),
            },
        }))
    }
}

fn verify_at(request: &Request<()>, now_ms: u64) -> Result<Authenticated, S3Error> {
    verify_with(&Verifier::new("us-east-1"), request, now_ms)
}

pub(super) fn verify_with(
    verifier: &Verifier,
    request: &Request<()>,
    now_ms: u64,
) -> Result<Authenticated, S3Error> {
    let head = RequestHead {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(verifier.verify(head, &OneKey, now_ms))
}

fn verify(request: &Request<()>) -> Result<Authenticated, S3Error> {
    verify_at(request, NOW_MS)
}

fn refused(request: &Request<()>) -> S3Error {
    verify(request).unwrap_err()
}

pub(super) fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed_headers},Signature={signature}"
    )
}

/// "Example: GET Object" of "Signature calculations for the Authorization header".
fn amazons_get() -> Request<()> {
    let authorization = authorization(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    request(
        "GET",
        "/test.txt",
        &[
            ("Host", "examplebucket.s3.amazonaws.com"),
            ("Range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY_SHA256),
            ("x-amz-date", "20130524T000000Z"),
            ("Authorization", &authorization),
        ],
    )
}

/// The example of "Authenticating requests: using query parameters".
const AMAZONS_PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z\
    &X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

fn presigned(uri: &str) -> Request<()> {
    request("GET", uri, &[("Host", "examplebucket.s3.amazonaws.com")])
}

pub(super) fn with_header(
    mut request: Request<()>,
    name: &'static str,
    value: &str,
) -> Request<()> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn without_header(mut request: Request<()>, name: &'static str) -> Request<()> {
    request.headers_mut().remove(name);
    request
}

#[test]
fn amazons_example_get_verifies() {
    let authenticated = verify(&amazons_get()).unwrap();
    assert_eq!(authenticated.principal.canonical_id(), Some("id"));
    assert_eq!(authenticated.source, Some(ClaimSource::Header));
    assert!(matches!(authenticated.payload, PayloadMode::Signed(_)));
}

#[test]
fn amazons_example_put_verifies() {
    let authorization = authorization(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let put = request(
        "PUT",
        "/test$file.text",
        &[
            ("Host", "examplebucket.s3.amazonaws.com"),
            ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "x-amz-content-sha256",
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ),
            ("Authorization", &authorization),
        ],
    );
    verify(&put).unwrap();
}

#[test]
fn amazons_examples_with_queries_verify() {
    for (uri, signature) in [
        (
            "/?lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let authorization = authorization("host;x-amz-content-sha256;x-amz-date", signature);
        let get = request(
            "GET",
            uri,
            &[
                ("Host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-content-sha256", EMPTY_SHA256),
                ("Authorization", &authorization),
            ],
        );
        verify(&get).unwrap();
    }
}

#[test]
fn amazons_example_of_a_streamed_put_verifies_and_seeds_the_chunks() {
    let authorization = authorization(
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let put = request(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("Host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("Content-Length", "66824"),
            ("Authorization", &authorization),
        ],
    );
    let PayloadMode::Streaming {
        mut signer,
        trailer: false,
    } = verify(&put).unwrap().payload
    else {
        panic!("not streaming");
    };
    let sha256 = <sha2::Sha256 as sha2::Digest>::digest(vec![b'a'; 65536]);
    signer
        .verify_chunk(
            sha256.into(),
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        )
        .unwrap();
}

#[test]
fn amazons_example_presigned_url_verifies_until_it_expires() {
    let get = presigned(AMAZONS_PRESIGNED);
    let authenticated = verify(&get).unwrap();
    assert_eq!(authenticated.source, Some(ClaimSource::Query));
    assert!(matches!(authenticated.payload, PayloadMode::Unsigned));
    verify_at(&get, NOW_MS + 86_400_000).unwrap();

    let error = verify_at(&get, NOW_MS + 86_401_000).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (ErrorCode::AccessDenied, "Request has expired")
    );
    assert_eq!(error.extra("X-Amz-Expires"), Some("86400"));
    assert_eq!(error.extra("Expires"), Some("2013-05-25T00:00:00Z"));
    assert_eq!(error.extra("ServerTime"), Some("2013-05-25T00:00:01Z"));

    let error = verify_at(&get, NOW_MS - SKEW_MS_MAX - 1000).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (ErrorCode::AccessDenied, "Request is not valid yet")
    );
}

#[test]
fn a_wrong_signature_is_refused_with_what_was_signed() {
    let error = refused(&with_header(amazons_get(), "range", "bytes=0-8"));
    assert_eq!(error.code(), ErrorCode::SignatureDoesNotMatch);
    assert_eq!(error.extra("AWSAccessKeyId"), Some(ACCESS_KEY));
    assert_eq!(
        error.extra("SignatureProvided"),
        Some("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    );
    insta::assert_snapshot!(error.extra("CanonicalRequest").unwrap(), @r#"
GET
/test.txt

host:examplebucket.s3.amazonaws.com
range:bytes=0-8
x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-amz-date:20130524T000000Z

host;range;x-amz-content-sha256;x-amz-date
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"#);
    insta::assert_snapshot!(error.extra("StringToSign").unwrap(), @r#"
AWS4-HMAC-SHA256
20130524T000000Z
20130524/us-east-1/s3/aws4_request
2b851f69719f9d5a5ff7def31a06fc88685f7daf6fb8a73fd23c3a03c1193684
"#);
    assert!(
        error
            .extra("StringToSignBytes")
            .unwrap()
            .starts_with("41 57 53 34 2d")
    );
    assert!(
        error
            .extra("CanonicalRequestBytes")
            .unwrap()
            .starts_with("47 45 54 0a")
    );
    let text = format!("{error:?}");
    assert!(!text.contains(SECRET));
}

#[test]
fn a_presigned_url_signs_its_path_and_its_other_parameters() {
    for changed in [
        AMAZONS_PRESIGNED.replace("/test.txt", "/other.txt"),
        format!("{AMAZONS_PRESIGNED}&versionId=1"),
        AMAZONS_PRESIGNED.replace("86400", "86401"),
    ] {
        assert_eq!(
            refused(&presigned(&changed)).code(),
            ErrorCode::SignatureDoesNotMatch,
            "{changed}"
        );
    }
}

#[test]
fn a_skewed_clock_is_told_both_times() {
    let error = verify_at(&amazons_get(), NOW_MS + SKEW_MS_MAX + 1000).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RequestTimeTooSkewed);
    assert_eq!(error.extra("RequestTime"), Some("20130524T000000Z"));
    assert_eq!(error.extra("ServerTime"), Some("2013-05-24T00:15:01Z"));
    assert_eq!(error.extra("MaxAllowedSkewMilliseconds"), Some("900000"));
    verify_at(&amazons_get(), NOW_MS + SKEW_MS_MAX).unwrap();
    verify_at(&amazons_get(), NOW_MS - SKEW_MS_MAX).unwrap();
}

#[test]
fn a_missing_or_invalid_date_is_refused() {
    for bad in [
        without_header(amazons_get(), "x-amz-date"),
        with_header(amazons_get(), "x-amz-date", "yesterday"),
    ] {
        let error = refused(&bad);
        assert_eq!(error.code(), ErrorCode::AccessDenied);
        assert_eq!(
            error.message(),
            "AWS authentication requires a valid Date or x-amz-date header"
        );
    }
}

#[test]
fn a_wrong_scope_is_refused_by_the_place_it_stands_in() {
    for (from, to, code, region) in [
        (
            "us-east-1",
            "eu-west-1",
            ErrorCode::AuthorizationHeaderMalformed,
            Some("us-east-1"),
        ),
        (
            "/s3/",
            "/ec2/",
            ErrorCode::AuthorizationHeaderMalformed,
            None,
        ),
        (
            "20130524/",
            "20130525/",
            ErrorCode::AuthorizationHeaderMalformed,
            None,
        ),
        (
            "aws4_request",
            "aws5_request",
            ErrorCode::AuthorizationHeaderMalformed,
            None,
        ),
        (
            "SignedHeaders",
            "Signed",
            ErrorCode::AuthorizationHeaderMalformed,
            None,
        ),
        (
            "host;",
            "Host;",
            ErrorCode::AuthorizationHeaderMalformed,
            None,
        ),
        ("AWS4-HMAC-SHA256 ", "AWS ", ErrorCode::InvalidRequest, None),
        (
            "AWS4-HMAC-SHA256 ",
            "AWS4-ECDSA-P256-SHA256 ",
            ErrorCode::InvalidRequest,
            None,
        ),
        (
            "AWS4-HMAC-SHA256 ",
            "Bearer ",
            ErrorCode::InvalidArgument,
            None,
        ),
    ] {
        let get = amazons_get();
        let value = get.headers()["authorization"]
            .to_str()
            .unwrap()
            .replace(from, to);
        let error = refused(&with_header(get, "authorization", &value));
        assert_eq!(error.code(), code, "{to}");
        assert_eq!(error.extra("Region"), region);
    }
    for (from, to, region) in [
        ("us-east-1", "eu-west-1", Some("us-east-1")),
        ("%2Fs3%2F", "%2Fec2%2F", None),
        ("%2F20130524", "%2F20130525", None),
        ("%2Faws4_request", "", None),
        ("X-Amz-Expires=86400", "X-Amz-Expires=604801", None),
        ("X-Amz-Expires=86400", "X-Amz-Expires=-1", None),
        ("X-Amz-Expires=86400", "X-Amz-Expires=soon", None),
        ("&X-Amz-Expires=86400", "", None),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=2013", None),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", None),
    ] {
        let error = refused(&presigned(&AMAZONS_PRESIGNED.replace(from, to)));
        assert_eq!(
            error.code(),
            ErrorCode::AuthorizationQueryParametersError,
            "{to}"
        );
        assert_eq!(error.extra("Region"), region);
    }
}

#[test]
fn an_unknown_key_is_named() {
    let get = amazons_get();
    let value = get.headers()["authorization"]
        .to_str()
        .unwrap()
        .replace(ACCESS_KEY, "NOBODY");
    let error = refused(&with_header(get, "authorization", &value));
    assert_eq!(error.code(), ErrorCode::InvalidAccessKeyId);
    assert_eq!(error.extra("AWSAccessKeyId"), Some("NOBODY"));
}

#[test]
fn unsigned_amz_headers_are_refused() {
    for get in [amazons_get(), presigned(AMAZONS_PRESIGNED)] {
        let error = refused(&with_header(get, "x-amz-acl", "private"));
        assert_eq!(error.code(), ErrorCode::AccessDenied);
        assert_eq!(error.extra("HeadersNotSigned"), Some("x-amz-acl"));
    }
}

#[test]
fn a_host_and_headers_that_are_not_signed_are_named() {
    let get = with_header(amazons_get(), "x-amz-acl", "private");
    let only_the_date = get.headers()["authorization"]
        .to_str()
        .unwrap()
        .replace("host;range;x-amz-content-sha256;", "");
    let error = refused(&with_header(get, "authorization", &only_the_date));
    assert_eq!(error.extra("HeadersNotSigned"), Some("host, x-amz-acl"));
}

/// It is in what is signed, whether or not its header is.
#[test]
fn the_payload_hash_need_not_be_among_the_signed_headers() {
    const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
    let name = "x-amz-content-sha256";
    let no_header = PayloadChecksumKind::NoHeader;
    for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
        let put = signed_by_sdk_with("PUT", "http://h/b/k", &[], location, no_header);
        verify(&with_header(put.clone(), name, UNSIGNED)).unwrap();
        for other in [EMPTY_SHA256, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
            let error = refused(&with_header(put.clone(), name, other));
            assert_eq!(error.code(), ErrorCode::SignatureDoesNotMatch, "{other}");
        }
        let mut twice = with_header(put, name, UNSIGNED);
        let other = EMPTY_SHA256.parse().unwrap();
        twice.headers_mut().append(name, other);
        let error = refused(&twice);
        assert_eq!(error.extra("HeadersNotSigned"), Some(name));
    }
    // A URL's own parameter is what was signed.
    let uri = "http://h/b/k?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD";
    let put = signed_by_sdk("PUT", uri, &[], SignatureLocation::QueryParams);
    verify(&with_header(put.clone(), name, UNSIGNED)).unwrap();
    let error = refused(&with_header(put, name, EMPTY_SHA256));
    assert_eq!(error.extra("HeadersNotSigned"), Some(name));
}

#[test]
fn the_payload_hash_must_be_declared_and_known() {
    let error = refused(&without_header(amazons_get(), "x-amz-content-sha256"));
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    let error = refused(&with_header(amazons_get(), "x-amz-content-sha256", "abc"));
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
}

#[test]
fn version_2_and_double_signatures_are_refused() {
    let version_2 = "/b/k?AWSAccessKeyId=AK&Signature=x&Expires=1";
    assert_eq!(
        refused(&presigned(version_2)).code(),
        ErrorCode::InvalidRequest
    );
    let both = with_header(
        presigned(AMAZONS_PRESIGNED),
        "authorization",
        "AWS4-HMAC-SHA256 x",
    );
    assert_eq!(refused(&both).code(), ErrorCode::InvalidArgument);
}

/// The SDK for Java signs two slashes in a row and sends the second one escaped.
#[test]
fn a_slash_that_was_escaped_on_the_way_verifies() {
    let signed = |path: &str, location| {
        let uri = format!("http://h{path}");
        signed_by_sdk("GET", &uri, &[("x-amz-meta-a", "1")], location)
    };
    for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
        for (signed_path, sent_path) in [
            ("/b/a//b%20c", "/b/a/%2Fb%20c"),
            ("/b//leading///x", "/b/%2fleading/%2F/x"),
            ("/b/a%2Fb", "/b/a%2Fb"),
        ] {
            verify(&with_path(signed(signed_path, location), sent_path)).unwrap();
        }
        // Only a slash may change its form, and only from signed to sent.
        for (signed_path, sent_path) in [
            ("/b/a/%2Fb", "/b/a//b"),
            ("/b/a%252Fb", "/b/a%2Fb"),
            ("/b/a//b", "/b/a/%252Fb"),
            ("/b/a//b", "/b/a/%2Fc"),
        ] {
            let error = refused(&with_path(signed(signed_path, location), sent_path));
            assert_eq!(
                error.code(),
                ErrorCode::SignatureDoesNotMatch,
                "{sent_path}"
            );
        }
    }
}

fn with_path(mut request: Request<()>, path: &str) -> Request<()> {
    let query = request.uri().query().map(|query| format!("?{query}"));
    let uri = format!("{path}{}", query.unwrap_or_default());
    *request.uri_mut() = uri.parse().unwrap();
    request
}

#[test]
fn session_tokens_are_nobodys() {
    let error = refused(&with_header(amazons_get(), "x-amz-security-token", "t"));
    assert_eq!(error.code(), ErrorCode::InvalidToken);
}

#[test]
fn unsigned_requests_are_anonymous() {
    let authenticated = verify(&request("GET", "/b/k", &[("host", "h")])).unwrap();
    assert!(authenticated.principal.is_anonymous());
    assert!(authenticated.source.is_none());
    for blank in ["", " ", "\t "] {
        let get = request("GET", "/b/k", &[("host", "h"), ("authorization", blank)]);
        assert!(verify(&get).unwrap().principal.is_anonymous(), "{blank:?}");
    }
    let streaming = [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    assert_eq!(
        refused(&request("PUT", "/b/k", &streaming)).code(),
        ErrorCode::InvalidRequest
    );
}

/// What clients leave as it is in paths.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Signs as the AWS SDK for Rust does.
fn signed_by_sdk(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    location: SignatureLocation,
) -> Request<()> {
    let hash_header = match location {
        SignatureLocation::Headers => PayloadChecksumKind::XAmzSha256,
        _ => PayloadChecksumKind::NoHeader,
    };
    signed_by_sdk_with(method, uri, headers, location, hash_header)
}

fn signed_by_sdk_with(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    location: SignatureLocation,
    hash_header: PayloadChecksumKind,
) -> Request<()> {
    let credentials = Credentials::from_keys(ACCESS_KEY, SECRET, None);
    let identity: Identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = hash_header;
    settings.signature_location = location;
    settings.expires_in = Some(Duration::from_mins(1));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(timestamp::system_time(NOW_MS))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let mut request = request(method, uri, headers);
    let signable = SignableRequest::new(
        method,
        uri,
        headers.iter().map(|(name, value)| (*name, *value)),
        SignableBody::UnsignedPayload,
    )
    .unwrap();
    let (instructions, _signature) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    // What travels is the origin form and a Host header.
    let host = request.uri().authority().unwrap().to_string();
    if !request.headers().contains_key("host") {
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    *request.uri_mut() = request
        .uri()
        .path_and_query()
        .unwrap()
        .as_str()
        .parse()
        .unwrap();
    request
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the SDK signs, in either form, is what we would have signed.
    #[test]
    fn the_sdks_signatures_verify(
        key in "[ -~é😀]{1,20}",
        value in "[!-~]([ -~]{0,10}[!-~])?",
        parameter in "[ -~é]{0,10}",
        in_query in any::<bool>(),
    ) {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        // The SDK takes the path as it is, so it is given the form clients send.
        let path = percent_encoding::utf8_percent_encode(&key, PATH).to_string();
        let uri = format!("http://b.example.org:9000/{path}?prefix={}&uploads", encode(&parameter));
        let location = if in_query { SignatureLocation::QueryParams } else { SignatureLocation::Headers };
        let request = signed_by_sdk("PUT", &uri, &[("x-amz-meta-a", &value), ("content-type", "text/plain")], location);
        prop_assert!(verify(&request).is_ok(), "{:?}", verify(&request));
        let tampered = with_header(request, "x-amz-meta-a", "other value");
        if value != "other value" {
            prop_assert_eq!(refused(&tampered).code(), ErrorCode::SignatureDoesNotMatch);
        }
    }

    #[test]
    fn arbitrary_heads_never_panic(
        authorization in "(AWS4-HMAC-SHA256 )?(Credential=|SignedHeaders=|Signature=|[a-z0-9/;=, ]){0,12}",
        query in "(X-Amz-[A-Z][a-z]{0,9}|=|&|%2F|%|[a-z0-9]){0,20}",
    ) {
        let mut request = request("GET", "/", &[("authorization", &authorization), ("x-amz-date", "20130524T000000Z")]);
        drop(verify(&request));
        request.headers_mut().remove("authorization");
        if let Ok(uri) = format!("/?{query}").parse() {
            *request.uri_mut() = uri;
            drop(verify(&request));
        }
    }
}
