//! What a gateway is told at its start. The binary reads files, environment and flags; here are the parsed values.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::metrics_access::MetricsToken;

/// Settings of one gateway: data, no components.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The region clients sign for.
    pub region: String,
    /// Base domains of virtual-hosted-style addresses, in lower case without a leading dot: with `s3.example.com`,
    /// a request to `photos.s3.example.com` addresses the bucket `photos`.
    pub domains: Vec<String>,
    /// The account that may do everything and administers users.
    pub root: RootCredentials,
    /// Shows the metrics to callers from other machines, where the listener is not one for administration.
    pub metrics_token: Option<MetricsToken>,
    /// What is done for older clients.
    pub compat: Compat,
    /// How much at once.
    pub limits: Limits,
    /// How long at most.
    pub timeouts: Timeouts,
}

impl GatewayConfig {
    /// Defaults for everything but the credentials.
    pub fn new(root: RootCredentials) -> Self {
        Self {
            region: "us-east-1".to_owned(),
            domains: Vec::new(),
            root,
            metrics_token: None,
            compat: Compat::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What is done for clients that lag behind, though S3 has something better by now.
#[derive(Debug, Clone)]
pub struct Compat {
    /// Presigned URLs of Signature Version 2 are verified rather than refused.
    pub presigned_v2: bool,
}

impl Default for Compat {
    /// What clients do by default works by default.
    fn default() -> Self {
        Self { presigned_v2: true }
    }
}

/// The root account's key pair. Never printed.
#[derive(Clone)]
pub struct RootCredentials {
    /// Names the key.
    pub access_key: String,
    /// Signs with it.
    pub secret_key: Zeroizing<String>,
}

impl RootCredentials {
    /// A key pair.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: Zeroizing::new(secret_key.into()),
        }
    }
}

impl fmt::Debug for RootCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCredentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// How much a gateway takes on at once. Beyond it, it says so at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open client connections; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Requests being served; further ones get 503 `SlowDown`. Each holds a few chunks of 4 MiB at most.
    pub requests_max: usize,
    /// All header names and values of a request together, in bytes, as S3 counts them.
    pub header_section_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            requests_max: 512,
            header_section_bytes_max: 8 << 10,
        }
    }
}

/// How long a gateway waits.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a TLS handshake, for a whole request header, and between the requests of a connection, be it of HTTP/1.1
    /// or HTTP/2.
    pub header_read: Duration,
    /// For the next bytes of a request body.
    pub body_idle: Duration,
    /// For a whole request document, besides a second for each 64 KiB of it: it is held whole, in memory that others wait
    /// for.
    pub document_read: Duration,
    /// For a client to take any of the bytes that are written to it.
    pub write_stall: Duration,
    /// For running requests after a stop was asked for.
    pub drain: Duration,
    /// For a copy or completion before the client is told to keep waiting, and between two such signs.
    pub keep_alive: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            document_read: Duration::from_secs(30),
            write_stall: Duration::from_mins(1),
            drain: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
        }
    }
}
