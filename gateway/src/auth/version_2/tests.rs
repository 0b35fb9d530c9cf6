//! Presigned URLs of version 2: Amazon's published example, URLs that botocore's `HmacV1QueryAuth` made, every
//! refusal, and that whatever an operation acts upon was signed.

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::auth::Verifier;
use crate::auth::tests::{ACCESS_KEY, NOW_MS, SECRET, request, verify_with, with_header};

/// 2013-05-24T01:00:00Z: an hour after [`NOW_MS`], when botocore's URLs expire.
const EXPIRY_MS: u64 = 1_369_357_200_000;

fn verifier() -> Verifier {
    Verifier::new("us-east-1")
        .with_presigned_version_2(Domains::new(["s3.example.org", "s3.amazonaws.com"]))
}

fn verify(request: &Request<()>) -> Result<Authenticated, S3Error> {
    verify_with(&verifier(), request, NOW_MS)
}

fn code(request: &Request<()>) -> ErrorCode {
    verify(request).unwrap_err().code()
}

fn sent(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    with_header(request(method, uri, headers), "host", "s3.example.org")
}

fn get(uri: &str) -> Request<()> {
    sent("GET", uri, &[])
}

const CLAIM: &str = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1369357200";
/// `GET /b-1/pre signed/+é//x`.
const PLAIN: &str = "/b-1/pre%20signed/%2B%C3%A9//x?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE\
    &Signature=fuwfofWiO4VzMR%2FXYMQWELBjXrs%3D&Expires=1369357200";
/// `PUT /b-1/k` with a type, an MD5, an ACL and metadata, which botocore repeats in the query.
const WITH_HEADERS: &str = "/b-1/k?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=s4oPjJg0Y3N1XIpMIt8KOyXblmo%3D\
    &content-type=text%2Fplain&content-md5=1B2M2Y8AsgTpgAmY7PhCfg%3D%3D&x-amz-meta-b=%20two%20%20words%20\
    &x-amz-meta-a=1&x-amz-acl=private&Expires=1369357200";
const TYPE_AND_MD5: [(&str, &str); 2] = [
    ("content-type", "text/plain"),
    ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
];

/// "Query string request authentication example" of "Signing and authenticating REST requests".
#[test]
fn amazons_example_verifies() {
    let get = request(
        "GET",
        "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D\
         &Expires=1175139620",
        &[("host", "johnsmith.s3.amazonaws.com")],
    );
    let authenticated = verify_with(&verifier(), &get, 1_175_139_620_000).unwrap();
    assert_eq!(authenticated.principal.canonical_id(), Some("id"));
    assert_eq!(authenticated.source, Some(ClaimSource::Query));
    assert!(matches!(authenticated.payload, PayloadMode::Unsigned));
}

#[test]
fn urls_made_by_botocore_verify() {
    verify(&get(PLAIN)).unwrap();
    for (method, path, signature) in [
        (
            "GET",
            "/b-1/k?versionId=v%2B1&response-content-disposition=attachment%3B%20filename%3D%22a%20%2B%26b.txt%22\
             &response-content-type=text%2Fplain",
            "v8eE1Qcv8shFow37UL%2FvE70%2BrFw%3D",
        ),
        (
            "PUT",
            "/b-1/k?uploadId=u&partNumber=1",
            "NOgD4GiiBtZjr7VF5XEGyE2j6CA%3D",
        ),
        ("POST", "/b-1/k?uploads", "KdqWtP1fx80riRg7B4tg6XDmxlk%3D"),
        (
            "GET",
            "/b-1?list-type=2&prefix=p&encoding-type=url",
            "pze9csQD6LxS6hB4rHFYGHyvcEs%3D",
        ),
        (
            "GET",
            "/b-1/?prefix=photos&max-keys=50",
            "pze9csQD6LxS6hB4rHFYGHyvcEs%3D",
        ),
        ("GET", "/?max-buckets=1", "2atzAsMyY7DGKrWIDEMKgNMBhyg%3D"),
        ("POST", "/b-1?delete", "PFT%2Bazng%2Fmr8u6LBbJSMqreirjo%3D"),
    ] {
        let uri = format!("{path}&Signature={signature}&{CLAIM}");
        verify(&sent(method, &uri, &[])).unwrap_or_else(|error| panic!("{path}: {error:?}"));
    }
}

#[test]
fn the_bucket_is_signed_wherever_it_was_named() {
    let uri = format!("/photos/puppy.jpg?{CLAIM}&Signature=zXsKfXy9AyIYGv9p8SijbCZYBRk%3D");
    let by_host = request("GET", &uri, &[("host", "b-1.s3.example.org:9000")]);
    verify(&by_host).unwrap();
    verify(&get(&format!("/b-1{uri}"))).unwrap();
    let other = with_header(by_host, "host", "b-2.s3.example.org");
    assert_eq!(code(&other), ErrorCode::SignatureDoesNotMatch);
}

#[test]
fn headers_may_be_sent_or_stay_in_the_url() {
    verify(&sent("PUT", WITH_HEADERS, &TYPE_AND_MD5)).unwrap();
    let put = sent("PUT", WITH_HEADERS, &TYPE_AND_MD5);
    verify(&with_header(put, "x-amz-acl", "private")).unwrap();

    let put = || sent("PUT", WITH_HEADERS, &TYPE_AND_MD5);
    for (name, value) in [
        ("content-type", "text/html"),
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("x-amz-acl", "public-read"),
        ("x-amz-copy-source", "b-1/other"),
    ] {
        let changed = with_header(put(), name, value);
        assert_eq!(code(&changed), ErrorCode::SignatureDoesNotMatch, "{name}");
    }
    let without_type = sent("PUT", WITH_HEADERS, &TYPE_AND_MD5[1..]);
    assert_eq!(code(&without_type), ErrorCode::SignatureDoesNotMatch);
    for changed in [
        WITH_HEADERS.replace("acl=private", "acl=public-read"),
        WITH_HEADERS.replace("&x-amz-acl=private", ""),
        format!("{WITH_HEADERS}&x-amz-storage-class=STANDARD"),
    ] {
        let put = sent("PUT", &changed, &TYPE_AND_MD5);
        assert_eq!(code(&put), ErrorCode::SignatureDoesNotMatch, "{changed}");
    }
}

#[test]
fn a_wrong_signature_is_refused_with_what_was_signed() {
    let error = verify(&sent("HEAD", PLAIN, &[])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SignatureDoesNotMatch);
    assert_eq!(error.extra("AWSAccessKeyId"), Some(ACCESS_KEY));
    assert_eq!(
        error.extra("SignatureProvided"),
        Some("fuwfofWiO4VzMR/XYMQWELBjXrs=")
    );
    assert_eq!(
        error.extra("StringToSign"),
        Some("HEAD\n\n\n1369357200\n/b-1/pre%20signed/%2B%C3%A9//x")
    );
    assert!(
        error
            .extra("StringToSignBytes")
            .unwrap()
            .starts_with("48 45 41 44 0a 0a 0a 31")
    );
    assert!(!format!("{error:?}").contains(SECRET));

    for changed in [
        PLAIN.replace("//x", "//y"),
        PLAIN.replace("/b-1/", "/b-2/"),
        PLAIN.replace("1369357200", "1369357201"),
        PLAIN.replace("fuwf", "fuwg"),
        PLAIN.replace("Xrs%3D", "Xrs"),
        PLAIN.replace("fuwfofWiO4VzMR%2FXYMQWELBjXrs%3D", "%F0%9F%98%80"),
        format!("{PLAIN}&versionId=1"),
        format!("{PLAIN}&uploads"),
        format!("{PLAIN}&response-content-type=text%2Fhtml"),
    ] {
        assert_eq!(
            code(&get(&changed)),
            ErrorCode::SignatureDoesNotMatch,
            "{changed}"
        );
    }
}

#[test]
fn a_url_is_valid_until_it_expires_and_for_a_week_at_most() {
    let at = |now_ms| verify_with(&verifier(), &get(PLAIN), now_ms);
    at(EXPIRY_MS).unwrap();
    let error = at(EXPIRY_MS + 1000).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (ErrorCode::AccessDenied, "Request has expired")
    );
    assert_eq!(error.extra("Expires"), Some("2013-05-24T01:00:00Z"));
    assert_eq!(error.extra("ServerTime"), Some("2013-05-24T01:00:01Z"));

    // Its maker's clock may be a quarter of an hour ahead of ours.
    let week_before_ms = EXPIRY_MS - (7 * 24 * 60 + 15) * 60_000;
    at(week_before_ms).unwrap();
    assert_eq!(
        at(week_before_ms - 1).unwrap_err().code(),
        ErrorCode::AuthorizationQueryParametersError
    );
}

#[test]
fn a_claim_that_cannot_be_read_is_refused_as_s3_does() {
    for missing in ["AWSAccessKeyId", "Signature", "Expires"] {
        for instead in ["Other", &format!("{missing}=&Other")] {
            let error = verify(&get(&PLAIN.replace(missing, instead))).unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                (
                    ErrorCode::AccessDenied,
                    "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
                ),
                "{missing}"
            );
        }
    }
    for date in [
        "soon",
        "-1",
        "%2B1369357200",
        "1369357200.0",
        "99999999999999999999",
        "18446744073709552",
    ] {
        let error = verify(&get(&PLAIN.replace("1369357200", date))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AccessDenied, "{date}");
        assert!(
            error
                .message()
                .starts_with("Invalid date (should be seconds since epoch): "),
            "{date}"
        );
    }
}

#[test]
fn an_unknown_key_is_named() {
    let error = verify(&get(&PLAIN.replace(ACCESS_KEY, "NOBODY"))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidAccessKeyId);
    assert_eq!(error.extra("AWSAccessKeyId"), Some("NOBODY"));
}

#[test]
fn parameters_that_are_not_signed_are_refused() {
    for parameter in [
        "retention",
        "attributes",
        "renameObject",
        "x",
        "versionid=1",
        "x-amz-meta-a=%0A",
        "id=1",
    ] {
        let error = verify(&get(&format!("{PLAIN}&{parameter}"))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AccessDenied, "{parameter}");
        let name = parameter.split('=').next();
        assert_eq!(error.extra("ParameterNotSigned"), name);
    }
    verify(&get(&format!("{PLAIN}&prefix=x&x-id=GetObject&max-keys=1"))).unwrap();
}

#[test]
fn the_two_versions_do_not_mix() {
    for parameter in [
        "X-Amz-Date=20130524T000000Z",
        "x-amz-expires=1",
        "X-Amz-Signature=x",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    ] {
        let mixed = get(&format!("{PLAIN}&{parameter}"));
        assert_eq!(code(&mixed), ErrorCode::InvalidArgument, "{parameter}");
    }
    let both = with_header(get(PLAIN), "authorization", "AWS4-HMAC-SHA256 x");
    assert_eq!(code(&both), ErrorCode::InvalidArgument);
    let header = with_header(
        get("/b-1/k"),
        "authorization",
        "AWS AKIAIOSFODNN7EXAMPLE:x=",
    );
    assert_eq!(code(&header), ErrorCode::InvalidRequest);
}

#[test]
fn bodies_are_never_framed() {
    for (name, value) in [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        (
            "x-amz-content-sha256",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("content-encoding", "gzip, AWS-Chunked"),
    ] {
        let put = with_header(get(PLAIN), name, value);
        assert_eq!(code(&put), ErrorCode::InvalidRequest, "{value}");
    }
    verify(&with_header(get(PLAIN), "content-encoding", "gzip")).unwrap();
}

#[test]
fn session_tokens_are_nobodys() {
    let in_header = with_header(get(PLAIN), "x-amz-security-token", "t");
    assert_eq!(code(&in_header), ErrorCode::InvalidToken);
    let in_query = get(&format!("{PLAIN}&x-amz-security-token=t"));
    assert_eq!(code(&in_query), ErrorCode::InvalidToken);
}

#[test]
fn nothing_of_it_is_taken_where_it_is_switched_off() {
    let strict = Verifier::new("us-east-1");
    let error = verify_with(&strict, &get(PLAIN), NOW_MS).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    assert!(error.message().contains("AWS4-HMAC-SHA256"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Of a URL that verifies, whatever is added is refused or harmless: it never verifies as something else.
    #[test]
    fn additions_are_refused_or_harmless(
        name in "(versionId|uploads|acl|x-amz-[a-z]{1,8}|response-expires|partNumber|prefix|[a-zA-Z-]{1,12})",
        value in "[ -~]{0,8}",
    ) {
        let value = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
        let changed = get(&format!("{PLAIN}&{name}={value}"));
        let parameter = Parameter::of(&name, "");
        let is_known_harmless = matches!(parameter, Parameter::Harmless | Parameter::OfTheClaim);
        prop_assert_eq!(verify(&changed).is_ok(), is_known_harmless, "{}", name);
    }

    #[test]
    fn arbitrary_requests_never_panic(
        query in "(AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE|Signature=|Expires=1369357200|X-Amz-|x-amz-a|versionId|acl|=|&|%2F|%|%F0|[ -~]){0,24}",
        path in "/[!-~é]{0,12}",
        host in "[a-z.:0-9\\[\\]]{0,20}",
        content_type in "[ -~]{0,8}",
    ) {
        for query in [query.clone(), format!("{CLAIM}&Signature=x&{query}")] {
            let Ok(uri) = format!("{path}?{query}").parse::<http::Uri>() else { continue };
            let mut get = request("GET", "/", &[("host", &host), ("content-type", &content_type)]);
            *get.uri_mut() = uri;
            drop(verify(&get));
        }
    }
}
