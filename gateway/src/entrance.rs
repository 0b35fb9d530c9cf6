//! How a request came in: by which listener, from where, and how protected.

use std::net::IpAddr;

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// S3, and health, metrics and administration under `/-/`.
    All,
    /// S3 and health only: metrics and administration have a listener of their own.
    S3,
    /// Only what is under `/-/`.
    Admin,
}

/// How a connection is protected, as it stands in a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Not at all.
    Http,
    /// By TLS.
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entrance {
    /// What is served there.
    pub(crate) surface: Surface,
    /// The other end of the connection; `None` where the system does not say.
    pub(crate) peer: Option<IpAddr>,
    /// Whether by TLS.
    pub(crate) scheme: Scheme,
}
