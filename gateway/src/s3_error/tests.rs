use super::*;

const CONTEXT: ErrorContext<'_> = ErrorContext {
    resource: "/bucket/key",
    request_id: "4442587FB7D0A2F9",
    host_id: "node-1",
};

/// Pins code, status, connection and message of every variant in one readable table.
#[test]
fn every_code_keeps_its_status_connection_and_xml() {
    let mut table = String::new();
    for &code in ErrorCode::ALL {
        let error = S3Error::of(code);
        let xml = error.to_xml(&CONTEXT);
        assert_eq!(
            xml,
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>\
                 <Resource>/bucket/key</Resource><RequestId>4442587FB7D0A2F9</RequestId>\
                 <HostId>node-1</HostId></Error>",
                code.as_str(),
                code.default_message(),
            )
        );
        let status = code.status().as_u16().to_string();
        let connection = format!("{:?}", code.connection());
        table.extend([code.as_str(), " ", &status, " ", &connection, "\n"]);
    }
    insta::assert_snapshot!(table, @r#"
AccessDenied 403 Keep
AccessForbidden 403 Keep
AuthorizationHeaderMalformed 400 Keep
AuthorizationQueryParametersError 400 Keep
BadDigest 400 Keep
BadRequest 400 Keep
BucketAlreadyExists 409 Keep
BucketAlreadyOwnedByYou 409 Keep
BucketNotEmpty 409 Keep
EntityTooLarge 400 Close
EntityTooSmall 400 Keep
IncompleteBody 400 Close
InternalError 500 Keep
InvalidAccessKeyId 403 Keep
InvalidArgument 400 Keep
InvalidBucketName 400 Keep
InvalidChunkSizeError 400 Close
InvalidDigest 400 Keep
InvalidLocationConstraint 400 Keep
InvalidPart 400 Keep
InvalidPartNumber 416 Keep
InvalidPartOrder 400 Keep
InvalidRange 416 Keep
InvalidRequest 400 Keep
InvalidTag 400 Keep
InvalidToken 400 Keep
InvalidURI 400 Keep
KeyTooLongError 400 Keep
MalformedTrailerError 400 Close
MalformedXML 400 Keep
MaxMessageLengthExceeded 400 Close
MetadataTooLarge 400 Keep
MethodNotAllowed 405 Keep
MissingContentLength 411 Close
NoSuchBucket 404 Keep
NoSuchKey 404 Keep
NoSuchUpload 404 Keep
NoSuchVersion 404 Keep
NotImplemented 501 Keep
PreconditionFailed 412 Keep
RequestHeaderSectionTooLarge 400 Close
RequestTimeTooSkewed 403 Keep
RequestTimeout 400 Close
ServiceUnavailable 503 Keep
SignatureDoesNotMatch 403 Keep
SlowDown 503 Keep
XAmzContentSHA256Mismatch 400 Keep
"#);
}

#[test]
fn codes_are_sorted_and_unique() {
    let names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

#[test]
fn extras_come_in_order_between_message_and_resource_and_are_escaped() {
    let error = S3Error::new(ErrorCode::NoSuchVersion, "gone")
        .with("Key", "a<b>&\u{1}")
        .with("VersionId", "1");
    insta::assert_snapshot!(error.to_xml(&CONTEXT), @r#"
<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchVersion</Code><Message>gone</Message><Key>a&lt;b&gt;&amp;&#x1;</Key><VersionId>1</VersionId><Resource>/bucket/key</Resource><RequestId>4442587FB7D0A2F9</RequestId><HostId>node-1</HostId></Error>
"#);
}

#[test]
fn an_error_can_force_the_connection_to_close_and_add_headers() {
    let error = S3Error::of(ErrorCode::AccessDenied)
        .with_header(http::header::ALLOW, HeaderValue::from_static("DELETE"))
        .closing();
    assert!(error.must_close());
    assert!(!S3Error::of(ErrorCode::AccessDenied).must_close());
    assert!(S3Error::of(ErrorCode::IncompleteBody).must_close());
    assert_eq!(error.headers()[0].1, "DELETE");
}

/// What clients send may be long, and is longer when it is escaped.
#[test]
fn what_is_echoed_is_bounded() {
    let long = "&".repeat(60_000);
    let error = S3Error::of(ErrorCode::NoSuchBucket).with("BucketName", long.clone());
    let xml = error.to_xml(&ErrorContext {
        resource: &long,
        ..CONTEXT
    });
    assert!(xml.len() < 2 * 5 * ECHO_BYTES_MAX + 1024, "{}", xml.len());
    // Characters stay whole, and a key is never cut.
    let wide = "\u{1f6f6}".repeat(ECHO_BYTES_MAX);
    assert!(wide.starts_with(echoed(&wide)));
    let key = "x".repeat(1024);
    assert_eq!(echoed(&key), key);
}
