//! The codes S3 puts into `<Code>`, and for each its HTTP status, what happens to the connection,
//! and the message used where the caller has nothing more particular to say.
//!
//! This table is the only place where a status is chosen. The macro expands to a `match` without a
//! `_` arm, so that a new code cannot be added without deciding all of it. Sources: the "List of
//! error codes" of the Amazon S3 API reference, and Amazon's observed answers where the list is silent.

use http::StatusCode;

/// What the server does with an HTTP/1.1 connection after it has sent the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The request was understood to its end (or its body can still be skipped): keep it.
    Keep,
    /// Where the next request begins is unknown, or the client is not to be waited for.
    Close,
}

macro_rules! error_codes {
    ($($code:ident $status:ident $connection:ident $message:literal;)+) => {
        /// A code of S3's, spelled exactly as it appears in `<Code>`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!("`", stringify!($code), "`: ", $message)] $code,)+
        }

        impl ErrorCode {
            /// All codes, in alphabetical order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$code,)+];

            /// The text of `<Code>`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$code => stringify!($code),)+ }
            }

            /// The HTTP status that goes with this code.
            pub const fn status(self) -> StatusCode {
                match self { $(ErrorCode::$code => StatusCode::$status,)+ }
            }

            /// Whether the connection outlives the answer.
            pub const fn connection(self) -> Connection {
                match self { $(ErrorCode::$code => Connection::$connection,)+ }
            }

            /// Amazon's own message, for callers that have nothing more particular to say.
            pub const fn default_message(self) -> &'static str {
                match self { $(ErrorCode::$code => $message,)+ }
            }
        }
    };
}

error_codes! {
    AccessDenied FORBIDDEN Keep "Access Denied";
    AccessForbidden FORBIDDEN Keep "CORSResponse: CORS is not enabled for this bucket.";
    AuthorizationHeaderMalformed BAD_REQUEST Keep "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError BAD_REQUEST Keep "The authorization query parameters that you provided are not valid.";
    BadDigest BAD_REQUEST Keep "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest BAD_REQUEST Keep "Bad Request";
    BucketAlreadyExists CONFLICT Keep "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Select a different name and try again.";
    BucketAlreadyOwnedByYou CONFLICT Keep "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty CONFLICT Keep "The bucket you tried to delete is not empty.";
    EntityTooLarge BAD_REQUEST Close "Your proposed upload exceeds the maximum allowed size.";
    EntityTooSmall BAD_REQUEST Keep "Your proposed upload is smaller than the minimum allowed size.";
    IncompleteBody BAD_REQUEST Close "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InternalError INTERNAL_SERVER_ERROR Keep "We encountered an internal error. Please try again.";
    InvalidAccessKeyId FORBIDDEN Keep "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument BAD_REQUEST Keep "Invalid Argument";
    InvalidBucketName BAD_REQUEST Keep "The specified bucket is not valid.";
    InvalidChunkSizeError BAD_REQUEST Close "Only the last chunk is allowed to have a size less than 8192 bytes.";
    InvalidDigest BAD_REQUEST Keep "The Content-MD5 you specified is not valid.";
    InvalidLocationConstraint BAD_REQUEST Keep "The specified location-constraint is not valid.";
    InvalidPart BAD_REQUEST Keep "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber RANGE_NOT_SATISFIABLE Keep "The requested partnumber is not satisfiable.";
    InvalidPartOrder BAD_REQUEST Keep "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidRange RANGE_NOT_SATISFIABLE Keep "The requested range is not satisfiable.";
    InvalidRequest BAD_REQUEST Keep "Invalid Request";
    InvalidTag BAD_REQUEST Keep "The tag provided was not a valid tag.";
    InvalidToken BAD_REQUEST Keep "The provided token is malformed or otherwise invalid.";
    InvalidURI BAD_REQUEST Keep "Couldn't parse the specified URI.";
    KeyTooLongError BAD_REQUEST Keep "Your key is too long.";
    MalformedTrailerError BAD_REQUEST Close "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML BAD_REQUEST Keep "The XML you provided was not well-formed or did not validate against our published schema.";
    MaxMessageLengthExceeded BAD_REQUEST Close "Your request was too big.";
    MetadataTooLarge BAD_REQUEST Keep "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed METHOD_NOT_ALLOWED Keep "The specified method is not allowed against this resource.";
    MissingContentLength LENGTH_REQUIRED Close "You must provide the Content-Length HTTP header.";
    NoSuchBucket NOT_FOUND Keep "The specified bucket does not exist.";
    NoSuchKey NOT_FOUND Keep "The specified key does not exist.";
    NoSuchUpload NOT_FOUND Keep "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion NOT_FOUND Keep "The specified version does not exist.";
    NotImplemented NOT_IMPLEMENTED Keep "A header or query parameter you provided implies functionality that is not implemented.";
    PreconditionFailed PRECONDITION_FAILED Keep "At least one of the pre-conditions you specified did not hold.";
    RequestHeaderSectionTooLarge BAD_REQUEST Close "Your request header section exceeds the maximum allowed request header section size.";
    RequestTimeTooSkewed FORBIDDEN Keep "The difference between the request time and the server's time is too large.";
    RequestTimeout BAD_REQUEST Close "Your socket connection to the server was not read from or written to within the timeout period.";
    ServiceUnavailable SERVICE_UNAVAILABLE Keep "Service is unable to handle request.";
    SignatureDoesNotMatch FORBIDDEN Keep "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown SERVICE_UNAVAILABLE Keep "Please reduce your request rate.";
    XAmzContentSHA256Mismatch BAD_REQUEST Keep "The provided 'x-amz-content-sha256' header does not match what was computed.";
}
