//! The table of settings. A setting has one name; its three spellings follow from it: `disk_reserve` in the
//! file, `CAIRN_DISK_RESERVE` in the environment, `--disk-reserve` as a flag.

/// Which process reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// `cairn serve`: everything in one process.
    Serve,
    /// `cairn gateway`: one of several gateways.
    Gateway,
    /// `cairn storage-node`: disks served to gateways.
    StorageNode,
    /// `cairn meta`: the metadata service.
    Meta,
}

impl Process {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Serve, Self::Gateway, Self::StorageNode, Self::Meta];

    /// The subcommand that starts it.
    pub const fn subcommand(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Gateway => "gateway",
            Self::StorageNode => "storage-node",
            Self::Meta => "meta",
        }
    }
}

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// One value.
    One,
    /// Several: an array in the file, separated by commas in the environment, the flag repeated.
    Many,
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Logged and shown in error messages.
    Plain,
    /// Never shown.
    Secret,
}

/// One setting of one or more processes.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: lower-case words joined by `_`.
    pub name: &'static str,
    /// Who reads it.
    pub processes: &'static [Process],
    /// One value or several.
    pub arity: Arity,
    /// Whether its value may be shown.
    pub exposure: Exposure,
    /// What the value must be, as a noun phrase ("a directory").
    pub rule: &'static str,
    /// A value that would be accepted.
    pub example: &'static str,
    /// What applies when it is not set, in words or as a value; empty if it must be set.
    pub default: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("CAIRN_{}", self.name.to_ascii_uppercase())
    }

    /// The flag, without the leading dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The settings of one process, in table order.
    pub fn of(process: Process) -> impl Iterator<Item = &'static Self> {
        SETTINGS
            .iter()
            .filter(move |setting| setting.processes.contains(&process))
    }
}

use Process::{Gateway, Meta, Serve, StorageNode};

const EVERY: &[Process] = &[Serve, Gateway, StorageNode, Meta];
const FRONT: &[Process] = &[Serve, Gateway];
const INTERNAL: &[Process] = &[Gateway, StorageNode, Meta];

const fn one(name: &'static str, processes: &'static [Process]) -> Setting {
    Setting {
        name,
        processes,
        arity: Arity::One,
        exposure: Exposure::Plain,
        rule: "",
        example: "",
        default: "",
        help: "",
    }
}

/// Every setting of every process. A name may appear more than once, with different processes, where its rule, default or
/// help differs.
pub static SETTINGS: &[Setting] = &[
    Setting {
        arity: Arity::Many,
        rule: "a directory; give one per disk",
        example: "/mnt/disk1",
        help: "Directories that hold the data, one per disk.",
        ..one("data", &[Serve, StorageNode])
    },
    Setting {
        rule: "a directory",
        example: "/var/lib/cairn/meta",
        help: "Directory of the metadata database.",
        ..one("data", &[Meta])
    },
    Setting {
        arity: Arity::Many,
        rule: "a directory, on another disk than `data`",
        example: "/mnt/disk2/cairn-meta-copy",
        default: "none: the loss of `data` loses the metadata",
        help: "Directories for copies of the metadata (journal and checkpoints). Half of them (rounded up) keep one; the others tell which metadata are the newest, and take the place of a copy that is lost.",
        ..one("copy", &[Meta])
    },
    Setting {
        rule: "a directory",
        example: "/ssd/cairn-meta",
        default: "the directory `meta` in the first data directory",
        help: "Directory of the metadata database; copies stay on the data disks.",
        ..one("meta", &[Serve])
    },
    Setting {
        rule: "`true` or `false`",
        example: "true",
        default: "false",
        help: "For one start, when disks with metadata are lost for good: go on although they may have newer metadata than the others. What only they have is given up.",
        ..one("accept_missing_metadata_copies", &[Serve, Meta])
    },
    Setting {
        rule: "the http:// or https:// URL of the metadata service",
        example: "https://meta.internal:9100",
        help: "The metadata service that all gateways share.",
        ..one("meta", &[Gateway])
    },
    Setting {
        arity: Arity::Many,
        rule: "the http:// or https:// URL of a storage node",
        example: "https://node1.internal:9200",
        help: "The storage nodes, each once; spell them the same on all gateways.",
        ..one("node", &[Gateway])
    },
    Setting {
        rule: "an address and a port",
        example: "0.0.0.0:9000",
        default: "127.0.0.1:9000",
        help: "Where S3 is served.",
        ..one("listen", FRONT)
    },
    Setting {
        rule: "an address and a port",
        example: "0.0.0.0:9200",
        default: "127.0.0.1:9200",
        help: "Where gateways reach this node.",
        ..one("listen", &[StorageNode])
    },
    Setting {
        rule: "an address and a port",
        example: "0.0.0.0:9100",
        default: "127.0.0.1:9100",
        help: "Where gateways reach the metadata service.",
        ..one("listen", &[Meta])
    },
    Setting {
        rule: "an address and a port",
        example: "127.0.0.1:9001",
        default: "the address of `listen`",
        help: "Where health, metrics and administration are served, if not on the S3 address.",
        ..one("admin_listen", FRONT)
    },
    Setting {
        rule: "an address and a port",
        example: "127.0.0.1:9201",
        default: "the address of `listen`",
        help: "Where health and metrics are served, if not where gateways call.",
        ..one("admin_listen", &[StorageNode, Meta])
    },
    Setting {
        exposure: Exposure::Secret,
        rule: "32 to 256 printable characters without spaces",
        example: "(64 random hexadecimal digits)",
        default: "none: without `admin_listen`, metrics are shown to callers on the same machine only",
        help: "The bearer token that shows `/-/metrics` on the address of `listen` to callers from other machines.",
        ..one("metrics_token", EVERY)
    },
    Setting {
        rule: "a readable file with the token",
        example: "/run/secrets/cairn-metrics-token",
        default: "none",
        help: "A file to read `metrics_token` from.",
        ..one("metrics_token_file", EVERY)
    },
    Setting {
        arity: Arity::Many,
        rule: "a DNS name",
        example: "s3.example.com",
        default: "none: path-style addressing only",
        help: "Domains under which BUCKET.DOMAIN addresses a bucket.",
        ..one("domain", FRONT)
    },
    Setting {
        rule: "letters, digits and `-`",
        example: "eu-west-1",
        default: "us-east-1",
        help: "The region that clients must sign for.",
        ..one("region", FRONT)
    },
    Setting {
        rule: "`true` or `false`",
        example: "false",
        default: "true",
        help: "Whether presigned URLs of the old Signature Version 2, which boto3, AWS CLI 1 and s3cmd make, are taken.",
        ..one("compat_presigned_v2", FRONT)
    },
    Setting {
        rule: "K+M with K from 1, M from 1 (0 only with K = 1), K+M at most 32, and at least K+M disks",
        example: "4+2",
        default: "by the number of disks: 1 copy, 2 copies, 2+1, 2+2, 3+2, then 4+2",
        help: "Data and parity shards of each chunk; any M disks may be lost.",
        ..one("erasure", &[Serve])
    },
    Setting {
        rule: "K+M with K from 1, M from 1 (0 only with K = 1), K+M at most 32, and at least K+M disks",
        example: "4+2",
        default: "by the number of disks (1 copy, 2 copies, 2+1, 2+2, 3+2, then 4+2) where no fewer may be lost than before; a new cluster waits for all nodes to count them",
        help: "Data and parity shards of each chunk; any M disks may be lost. The same on all gateways.",
        ..one("erasure", &[Gateway])
    },
    Setting {
        rule: "3 to 128 letters, digits, `_` and `-`",
        example: "cairn-root",
        default: "made at the first start and printed once",
        help: "Access key of the root user; needs `root_secret_key`.",
        ..one("root_access_key", &[Serve])
    },
    Setting {
        rule: "3 to 128 letters, digits, `_` and `-`",
        example: "cairn-root",
        help: "Access key of the root user; needs `root_secret_key`; the same on all gateways.",
        ..one("root_access_key", &[Gateway])
    },
    Setting {
        exposure: Exposure::Secret,
        rule: "8 to 128 printable characters without spaces",
        example: "(40 random characters)",
        default: "made at the first start and printed once",
        help: "Secret key of the root user; needs `root_access_key`.",
        ..one("root_secret_key", &[Serve])
    },
    Setting {
        exposure: Exposure::Secret,
        rule: "8 to 128 printable characters without spaces",
        example: "(40 random characters)",
        help: "Secret key of the root user; needs `root_access_key`; the same on all gateways.",
        ..one("root_secret_key", &[Gateway])
    },
    Setting {
        rule: "a file that holds 64 hexadecimal digits",
        example: "/run/secrets/cairn-master-key",
        default: "made at the first start and kept on the disks",
        help: "The master key that encrypts users' secret keys at rest.",
        ..one("master_key_file", &[Serve])
    },
    Setting {
        rule: "a file that holds 64 hexadecimal digits",
        example: "/run/secrets/cairn-master-key",
        help: "The master key that encrypts users' secret keys at rest; the same on all gateways.",
        ..one("master_key_file", &[Gateway])
    },
    Setting {
        exposure: Exposure::Secret,
        rule: "32 to 256 printable characters without spaces",
        example: "(64 random hexadecimal digits)",
        default: "none: this or `cluster_secret_file` must be set",
        help: "What gateways, storage nodes and the metadata service prove to each other.",
        ..one("cluster_secret", INTERNAL)
    },
    Setting {
        rule: "a readable file with the secret",
        example: "/run/secrets/cairn-cluster-secret",
        default: "none",
        help: "A file to read `cluster_secret` from.",
        ..one("cluster_secret_file", INTERNAL)
    },
    Setting {
        rule: "32 hexadecimal digits",
        example: "8f14e45fceea167a5a36dedd4bea2543",
        default: "derived from `cluster_secret`",
        help: "Identity written on new disks; set it before the cluster secret is changed.",
        ..one("cluster_id", INTERNAL)
    },
    Setting {
        rule: "1 to 63 letters, digits, `-`, `_` and `.`",
        example: "node1",
        default: "the machine's host name",
        help: "Failure domain between disk and zone: shards of a chunk avoid sharing a host.",
        ..one("host", &[StorageNode])
    },
    Setting {
        rule: "1 to 63 letters, digits, `-`, `_` and `.`",
        example: "rack-7",
        default: "default",
        help: "Largest failure domain: shards of a chunk are spread over zones.",
        ..one("zone", &[StorageNode])
    },
    Setting {
        rule: "a size",
        example: "10GiB",
        default: "1GiB",
        help: "Space left free on each disk; beyond it the disk reports itself full.",
        ..one("disk_reserve", &[Serve, StorageNode])
    },
    Setting {
        rule: "a size",
        example: "2TiB",
        default: "none: the whole file system",
        help: "What each disk may hold, where it shares its file system with something else.",
        ..one("disk_capacity_max", &[Serve, StorageNode])
    },
    Setting {
        rule: "a duration",
        example: "30m",
        default: "15m",
        help: "A disk that is away for longer counts as lost: its shards are made again on other disks.",
        ..one("disk_lost_after", FRONT)
    },
    Setting {
        rule: "a duration, the same on all gateways",
        example: "1h",
        default: "10m",
        help: "How long the bytes of deleted and overwritten objects are kept for the downloads that are under way.",
        ..one("delete_delay", FRONT)
    },
    Setting {
        rule: "a duration from 2s, the same on all gateways",
        example: "48h",
        default: "24h",
        help: "What interrupted writes left on the disks is collected when it is this old. A single write may take half as long. Less than some minutes is for tests: what one gateway is committing must not look old to another.",
        ..one("orphan_age", FRONT)
    },
    Setting {
        rule: "a PEM file with the certificate chain",
        example: "/etc/cairn/tls/fullchain.pem",
        default: "none: plain HTTP",
        help: "Certificate chain for HTTPS; needs `tls_key`. Read again when it changes.",
        ..one("tls_cert", EVERY)
    },
    Setting {
        rule: "a PEM file with the private key",
        example: "/etc/cairn/tls/key.pem",
        default: "none: plain HTTP",
        help: "Private key for HTTPS; needs `tls_cert`.",
        ..one("tls_key", EVERY)
    },
    Setting {
        rule: "a PEM file with CA certificates",
        example: "/etc/cairn/tls/cluster-ca.pem",
        default: "none: `meta` and `node` are http://",
        help: "The certificate authorities that may vouch for the metadata service and the storage nodes; needed to call them by https://.",
        ..one("cluster_ca_file", &[Gateway])
    },
    Setting {
        rule: "a duration up to 1h",
        example: "60s",
        default: "30s",
        help: "How long running requests may take to finish after SIGTERM.",
        ..one("drain_timeout", EVERY)
    },
    Setting {
        rule: "`auto`, `text` or `json`",
        example: "json",
        default: "auto: text on a terminal, otherwise json",
        help: "Format of the log on standard error.",
        ..one("log_format", EVERY)
    },
    Setting {
        rule: "a level (error, warn, info, debug, trace), or directives such as `info,cairn_gateway=debug`",
        example: "debug",
        default: "info",
        help: "What is logged.",
        ..one("log", EVERY)
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_names_follow_from_one() {
        let setting = Setting::of(Serve)
            .find(|setting| setting.name == "disk_reserve")
            .unwrap();
        assert_eq!(
            (setting.variable().as_str(), setting.flag().as_str()),
            ("CAIRN_DISK_RESERVE", "disk-reserve")
        );
    }

    #[test]
    fn no_process_has_a_setting_twice_and_all_are_explained() {
        for process in Process::ALL {
            let mut names: Vec<_> = Setting::of(process).map(|setting| setting.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{process:?}");
        }
        for setting in SETTINGS {
            assert!(
                !setting.rule.is_empty() && !setting.example.is_empty() && !setting.help.is_empty(),
                "{}",
                setting.name
            );
        }
    }
}
