//! The one error type of the protocol layer: a code of S3's, a message, and what S3 adds for that code.
//!
//! Code, status and the fate of the connection are decided in [`code`]; this file carries the particulars
//! of one failure and renders them as the XML document that clients parse. A message says what happened
//! and what to do; it never holds a secret or a `Debug` dump.

mod code;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, HeaderValue, StatusCode};

pub use code::{Connection, ErrorCode};

use crate::xml::{XmlError, XmlWriter};

/// What is echoed of a value at most, in bytes: all of a key, of a bucket's name and of most that is signed. What a client
/// sends may be much longer, escaping makes it up to six times as long, and the answer may wait long to be taken.
const ECHO_BYTES_MAX: usize = 4 << 10;

/// A failure as S3 tells it to clients.
///
/// Boxed inside, so that a `Result<T, S3Error>` is as small as `T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    code: ErrorCode,
    message: Cow<'static, str>,
    extras: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    close: bool,
}

/// What identifies the request an error answers; printed into the document for support.
#[derive(Debug, Clone, Copy)]
pub struct ErrorContext<'a> {
    /// The path of the request, `/bucket/key`, percent-encoded as it was sent.
    pub resource: &'a str,
    /// The same value as in the header `x-amz-request-id`.
    pub request_id: &'a str,
    /// The same value as in the header `x-amz-id-2`.
    pub host_id: &'a str,
}

impl S3Error {
    /// An error with a message of its own.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error(Box::new(Inner {
            code,
            message: message.into(),
            extras: Vec::new(),
            headers: Vec::new(),
            close: code.connection() == Connection::Close,
        }))
    }

    /// An error with the code's default message.
    pub fn of(code: ErrorCode) -> S3Error {
        S3Error::new(code, code.default_message())
    }

    /// 400 `InvalidArgument` naming the argument and its value, as S3 does.
    pub fn invalid_argument(
        message: impl Into<Cow<'static, str>>,
        argument: impl Into<String>,
        value: impl Into<String>,
    ) -> S3Error {
        S3Error::new(ErrorCode::InvalidArgument, message)
            .with("ArgumentName", argument)
            .with("ArgumentValue", value)
    }

    /// 501 for a header whose meaning Cairn does not implement (and therefore must not ignore).
    pub fn header_not_implemented(name: &str) -> S3Error {
        S3Error::new(
            ErrorCode::NotImplemented,
            "A header you provided implies functionality that is not implemented",
        )
        .with("Header", name)
    }

    /// Adds a child element to the document. Order is kept.
    #[must_use]
    pub fn with(mut self, element: &'static str, value: impl Into<String>) -> S3Error {
        self.0.extras.push((element, value.into()));
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> S3Error {
        self.0.headers.push((name, value));
        self
    }

    /// Makes the connection close after this answer, whatever the code says.
    #[must_use]
    pub fn closing(mut self) -> S3Error {
        self.0.close = true;
        self
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The additional child elements, in document order.
    pub fn extras(&self) -> &[(&'static str, String)] {
        &self.0.extras
    }

    /// The value of one additional element.
    pub fn extra(&self, element: &str) -> Option<&str> {
        let found = self.0.extras.iter().find(|(name, _)| *name == element)?;
        Some(&found.1)
    }

    /// Headers that belong into the response.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.headers
    }

    /// Whether an HTTP/1.1 connection must be closed after the answer.
    pub fn must_close(&self) -> bool {
        self.0.close
    }

    /// The document `<Error>…</Error>`; also what is sent inside a 200 that failed after it began.
    pub fn to_xml(&self, context: &ErrorContext<'_>) -> String {
        let mut xml = XmlWriter::document();
        xml.open("Error");
        xml.text("Code", self.0.code.as_str());
        xml.text("Message", &self.0.message);
        for (element, value) in &self.0.extras {
            xml.text(element, echoed(value));
        }
        xml.text("Resource", echoed(context.resource));
        xml.text("RequestId", context.request_id);
        xml.text("HostId", context.host_id);
        xml.close("Error");
        xml.finish()
    }
}

/// As much of a value as is echoed.
fn echoed(value: &str) -> &str {
    value
        .get(..value.floor_char_boundary(ECHO_BYTES_MAX))
        .unwrap_or_default()
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

impl std::error::Error for S3Error {}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> S3Error {
        S3Error::of(code)
    }
}

impl From<XmlError> for S3Error {
    fn from(error: XmlError) -> S3Error {
        S3Error::of(match error {
            XmlError::TooLong => ErrorCode::MaxMessageLengthExceeded,
            XmlError::Malformed => ErrorCode::MalformedXML,
        })
    }
}
