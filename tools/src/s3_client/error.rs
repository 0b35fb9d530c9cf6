//! Why a request did not succeed.

use http::StatusCode;

use crate::command::CommandError;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection.
    #[error(
        "cannot connect to {endpoint}: {source}; is the server running, and is the endpoint right?"
    )]
    Connect {
        /// Where to.
        endpoint: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is a connection, and no TLS on it.
    #[error(transparent)]
    Handshake(#[from] cairn_rpc::tls::HandshakeError),
    /// The connection broke or broke the protocol.
    #[error("the connection failed: {0}{advice}", advice = if .0.is_parse() {
        "; if the server speaks TLS, write https://"
    } else {
        ""
    })]
    Http(#[from] hyper::Error),
    /// The request could not be expressed.
    #[error("the request is invalid: {0}")]
    Invalid(#[from] http::Error),
    /// The server took too long.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The server stopped in the middle of an answer.
    #[error("the answer broke off: nothing more came within {0:?}")]
    Stalled(std::time::Duration),
    /// The server refused.
    #[error("{status}: {}", .code.as_deref().map_or_else(|| message.clone(), |code| format!("{code}: {message}")))]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// S3's error code, if the answer has one.
        code: Option<String>,
        /// The server's message, or the beginning of the answer.
        message: String,
    },
    /// The answer is not what was stored or not what the protocol says.
    #[error("wrong answer: {0}")]
    Wrong(String),
}

impl ClientError {
    /// Reads S3's XML error or the admin API's JSON error out of an answer's body.
    pub(crate) fn refused(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>"))
                .map(|(value, _)| value.to_owned())
        };
        let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let field = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let code = element("Code").or_else(|| field("code"));
        let message = element("Message")
            .or_else(|| field("message"))
            .or_else(|| field("error"))
            .unwrap_or_else(|| text.chars().take(200).collect());
        Self::Refused {
            status,
            code,
            message,
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_errors_show_code_and_message() {
        let body =
            b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>";
        assert_eq!(
            ClientError::refused(StatusCode::NOT_FOUND, body).to_string(),
            "404 Not Found: NoSuchKey: gone"
        );
    }

    #[test]
    fn json_errors_and_plain_text_show_their_message() {
        let json = ClientError::refused(
            StatusCode::CONFLICT,
            br#"{"code":"UserExists","message":"taken"}"#,
        );
        assert_eq!(json.to_string(), "409 Conflict: UserExists: taken");
        assert_eq!(
            ClientError::refused(StatusCode::BAD_GATEWAY, b"oops").to_string(),
            "502 Bad Gateway: oops"
        );
    }
}
