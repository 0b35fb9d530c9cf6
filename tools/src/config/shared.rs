//! Groups of settings that several processes share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cairn_gateway::engine::Geometry;
use cairn_meta::MasterKey;
use cairn_rpc::{Endpoint, EndpointError};

use super::reader::Reader;
use super::value::{Secret, duration};

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// Filter directives.
    pub filter: String,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For log collectors.
    Json,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let format = reader.or("log_format", LogFormat::Auto, |text| match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(String::new()),
        });
        let filter = reader.or("log", "info".to_owned(), |text| {
            tracing_subscriber::EnvFilter::try_new(text)
                .map(|_| text.to_owned())
                .map_err(|error| error.to_string())
        });
        Self { format, filter }
    }
}

/// What faces S3 clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontConfig {
    /// Where S3 is served.
    pub listen: SocketAddr,
    /// Where health, metrics and administration are served, if elsewhere.
    pub admin_listen: Option<SocketAddr>,
    /// Shows the metrics to callers from other machines.
    pub metrics_token: Option<Secret>,
    /// Domains for virtual-hosted addressing, in lower case.
    pub domains: Vec<String>,
    /// The region clients sign for.
    pub region: String,
    /// Whether presigned URLs of Signature Version 2 are taken.
    pub compat_presigned_v2: bool,
    /// The coding asked for; `None`: by the number of disks.
    pub erasure: Option<Geometry>,
    /// After this long a missing disk counts as lost.
    pub disk_lost_after: Duration,
    /// How long deleted bytes are kept for readers.
    pub delete_delay: Duration,
    /// From this age on, shards that no metadata names are deleted.
    pub orphan_age: Duration,
    /// Certificate and key, if HTTPS is wanted.
    pub tls: Option<TlsFiles>,
}

/// The root user's key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCredentials {
    /// Shown in logs and requests.
    pub access_key: String,
    /// Never shown again after it was printed once.
    pub secret_key: Secret,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl FrontConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: reader.or("listen", SocketAddr::from(([127, 0, 0, 1], 9000)), address),
            admin_listen: reader.optional("admin_listen", address),
            metrics_token: read_metrics_token(reader),
            domains: reader.many("domain", dns_name),
            region: reader.or("region", "us-east-1".to_owned(), region),
            compat_presigned_v2: reader.or("compat_presigned_v2", true, yes_or_no),
            erasure: reader.optional("erasure", |text| {
                text.parse::<Geometry>().map_err(|error| error.to_string())
            }),
            disk_lost_after: reader.or("disk_lost_after", Duration::from_mins(15), duration),
            delete_delay: reader.or("delete_delay", cairn_meta::DELETE_DELAY_DEFAULT, duration),
            orphan_age: reader.or("orphan_age", Duration::from_hours(24), orphan_age),
            tls: read_tls(reader),
        }
    }

    /// How large chunks of new objects are coded on so many disks.
    pub(crate) fn geometry(&self, disk_count: usize) -> Geometry {
        self.erasure
            .unwrap_or_else(|| Geometry::for_disk_count(disk_count))
    }
}

pub(super) fn read_root(reader: &mut Reader<'_>) -> Option<RootCredentials> {
    let access_key = reader.optional("root_access_key", access_key);
    let secret_key = reader.optional("root_secret_key", secret_key);
    check_pair(reader, "root_access_key", "root_secret_key");
    Some(RootCredentials {
        access_key: access_key?,
        secret_key: secret_key?,
    })
}

pub(super) fn read_tls(reader: &mut Reader<'_>) -> Option<TlsFiles> {
    let certificate = reader.optional("tls_cert", file);
    let key = reader.optional("tls_key", file);
    check_pair(reader, "tls_cert", "tls_key");
    Some(TlsFiles {
        certificate: certificate?,
        key: key?,
    })
}

/// Two settings make sense only together.
fn check_pair(reader: &mut Reader<'_>, one: &'static str, other: &'static str) {
    match (reader.is_set(one), reader.is_set(other)) {
        (true, false) => reader.conflict(other, format!("must be set together with {one}")),
        (false, true) => reader.conflict(one, format!("must be set together with {other}")),
        (true, true) | (false, false) => {}
    }
}

/// Where a storage node or the metadata service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// Where gateways reach it.
    pub address: SocketAddr,
    /// Where health and metrics are served, if elsewhere.
    pub admin: Option<SocketAddr>,
    /// Shows the metrics to callers from other machines.
    pub metrics_token: Option<Secret>,
    /// Certificate and key, if calls shall come through TLS.
    pub tls: Option<TlsFiles>,
}

impl ListenConfig {
    pub(super) fn read(reader: &mut Reader<'_>, default_port: u16) -> Self {
        let default = SocketAddr::from(([127, 0, 0, 1], default_port));
        Self {
            address: reader.or("listen", default, address),
            admin: reader.optional("admin_listen", address),
            metrics_token: read_metrics_token(reader),
            tls: read_tls(reader),
        }
    }
}

/// What Cairn's own processes know of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Proven by each side of every internal request.
    pub secret: Secret,
}

impl ClusterConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let secret = read_long_secret(reader, "cluster_secret", "cluster_secret_file");
        if !reader.is_set("cluster_secret") && !reader.is_set("cluster_secret_file") {
            reader.conflict(
                "cluster_secret",
                "is not set, and cluster_secret_file neither; all processes of a cluster share one",
            );
        }
        secret.map(|secret| Self { secret })
    }
}

fn read_metrics_token(reader: &mut Reader<'_>) -> Option<Secret> {
    read_long_secret(reader, "metrics_token", "metrics_token_file")
}

/// A secret that is given itself or in a file, not both.
fn read_long_secret(
    reader: &mut Reader<'_>,
    name: &'static str,
    file_name: &'static str,
) -> Option<Secret> {
    let given = reader.optional(name, long_secret);
    let from_file = reader.optional(file_name, |path| {
        let text = read_bounded(path).map_err(|error| format!("{path}: {error}"))?;
        long_secret(text.trim_end())
            .map_err(|_| "the file must hold 32 to 256 printable characters".to_owned())
    });
    if reader.is_set(name) && reader.is_set(file_name) {
        reader.conflict(
            name,
            format!("is set together with {file_name}; set one of them"),
        );
    }
    given.or(from_file)
}

/// The beginning of a file, with room for more than any secret may have.
fn read_bounded(path: &str) -> std::io::Result<zeroize::Zeroizing<String>> {
    use std::io::Read as _;
    const SECRET_FILE_BYTES_MAX: usize = 4 << 10;
    // Room for all of it at once: growing would leave copies behind unwiped.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(SECRET_FILE_BYTES_MAX));
    let file = std::fs::File::open(path)?;
    file.take(SECRET_FILE_BYTES_MAX as u64)
        .read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn drain_timeout(reader: &mut Reader<'_>) -> Duration {
    reader.or("drain_timeout", Duration::from_secs(30), |text| {
        duration(text).and_then(|limit| {
            if limit <= Duration::from_hours(1) {
                Ok(limit)
            } else {
                Err("too long".to_owned())
            }
        })
    })
}

/// Half of it is what a write may take, which must be time enough for a small one.
fn orphan_age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age >= Duration::from_secs(2) {
        Ok(age)
    } else {
        Err("too short".to_owned())
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write IP:PORT, with an IPv6 address in brackets".to_owned())
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("empty".to_owned())
    } else {
        // One spelling for ever: disks are remembered by path, and must be found from any working directory.
        std::path::absolute(text).map_err(|error| error.to_string())
    }
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    match std::fs::File::open(text) {
        Ok(_) => Ok(PathBuf::from(text)),
        Err(error) => Err(error.to_string()),
    }
}

/// The key in a file.
pub(super) fn master_key(path: &str) -> Result<MasterKey, String> {
    let text = read_bounded(path).map_err(|error| error.to_string())?;
    MasterKey::from_hex(text.trim()).ok_or_else(|| {
        "the file must hold 64 hexadecimal digits and nothing else (openssl rand -hex 32 makes some)"
            .to_owned()
    })
}

pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse()
        .map_err(|error: EndpointError| format!("{}; write https://HOST:PORT", error.reason))
}

fn dns_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(String::new())
    }
}

fn region(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(String::new())
    }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| String::new())
}

fn access_key(text: &str) -> Result<String, String> {
    let fits = (3..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(String::new())
    }
}

fn secret_key(text: &str) -> Result<Secret, String> {
    let fits = (8..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(Secret::new(text))
    } else {
        Err(String::new())
    }
}

/// One that machines show each other: long enough that it cannot be guessed.
fn long_secret(text: &str) -> Result<Secret, String> {
    let fits = (32..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(Secret::new(text))
    } else {
        Err(String::new())
    }
}

pub(super) fn domain_label(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(String::new())
    }
}
