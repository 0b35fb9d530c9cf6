//! What the store generates and must not lose: root credentials and the master key, in `cairn-secrets.json`.
//!
//! ```json
//! {"format_version":1,"revision":1,"cluster_id":"…","root_access_key":"…","root_secret_key":"…","master_key":"64 hex digits"}
//! ```
//! The file is 0600 and the same on `m + 1` disks, so that it survives what the data survives; a copy that is
//! missing is made anew at the next start. What is given from outside is used and not kept: those fields are absent. Other
//! root credentials that were kept before are removed then, or they would be valid again without those from outside. A
//! disk that was away meanwhile brings them back: the copies of the highest revision say who root is.
//!
//! Invariant: a master key is made only for a store that has none yet. Making a second one would leave every user's
//! secret key unreadable.

use std::fmt;
use std::path::{Path, PathBuf};

use cairn_meta::MasterKey;
use cairn_rpc::random::random_bytes;
use cairn_storage_node::ClusterId;
use serde::{Deserialize, Serialize};

use crate::config::{RootCredentials, Secret};
use crate::durable_file::{self, Access};

const FILE_NAME: &str = "cairn-secrets.json";
const FORMAT_VERSION: u32 = 1;
/// Letters and digits that nobody confuses, and that need no quoting anywhere: 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why there are no secrets to start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// No copy is left.
    #[error(
        "the master key is missing: none of the disks that are there holds {FILE_NAME}. Bring back the disks that do, \
         copy the file onto one of these, or give the key with --master-key-file"
    )]
    MasterKeyMissing,
    /// Copies that contradict each other.
    #[error("{} and {} hold different {what}; they belong to different stores, or one was changed by hand. Remove the wrong one", first.display(), second.display())]
    Contradiction {
        /// One copy.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Which field.
        what: &'static str,
    },
    /// No copy can be read.
    #[error("{}: {detail}", path.display())]
    Unreadable {
        /// The copy.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

/// The secrets in force.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// Root's key pair.
    pub(crate) root: RootCredentials,
    /// Wraps users' secret keys.
    pub(crate) master_key: MasterKey,
    /// Whether root's key pair was made just now, and has to be shown.
    pub(crate) is_root_new: bool,
}

/// What the operator gives from outside.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Root's key pair.
    pub(crate) root: Option<RootCredentials>,
    /// The master key.
    pub(crate) master_key: Option<MasterKey>,
}

/// The content of one copy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    format_version: u32,
    /// Grows with each change; absent, as 0, in copies of versions that did not count.
    #[serde(default)]
    revision: u64,
    cluster_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_access_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_secret_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master_key: Option<String>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

/// The disks' copies and what to do about them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping<'a> {
    /// Directories of the disks that are there.
    pub(crate) directories: &'a [&'a Path],
    /// How many copies there should be.
    pub(crate) copy_count: usize,
    /// Whose secrets these are.
    pub(crate) cluster_id: ClusterId,
    /// Whether this store was in use before: then it has a master key somewhere.
    pub(crate) is_initialized: bool,
}

/// Finds or makes the secrets, and sees to their copies.
///
/// # Errors
/// When they are lost, contradict each other, or cannot be kept.
pub(crate) fn establish(keeping: Keeping<'_>, given: Given) -> Result<Secrets, SecretsError> {
    let copies = read_copies(&keeping)?;
    let found = merge(&copies, keeping.cluster_id)?;
    let mut kept = found.clone();

    let master_key = match (given.master_key, &kept.master_key) {
        (Some(key), _) => key,
        (None, Some(text)) => MasterKey::from_hex(text)
            .ok_or_else(|| unreadable(&copies, "the master key is not 64 hexadecimal digits"))?,
        (None, None) if keeping.is_initialized => return Err(SecretsError::MasterKeyMissing),
        (None, None) => {
            let key = MasterKey::random();
            kept.master_key = Some(hex::encode(key.expose()));
            key
        }
    };
    let stored_root = kept
        .root_access_key
        .clone()
        .zip(kept.root_secret_key.clone());
    let stored_root = stored_root.map(|(access_key, secret_key)| RootCredentials {
        access_key,
        secret_key: Secret::new(secret_key),
    });
    let is_root_new = given.root.is_none() && stored_root.is_none();
    if given.root.is_some() && given.root != stored_root {
        (kept.root_access_key, kept.root_secret_key) = (None, None);
    }
    let root = match (given.root, stored_root) {
        (Some(root), _) | (None, Some(root)) => root,
        (None, None) => {
            let root = random_credentials();
            kept.root_access_key = Some(root.access_key.clone());
            kept.root_secret_key = Some(root.secret_key.reveal().to_owned());
            root
        }
    };
    if kept != found {
        kept.revision = found.revision.saturating_add(1);
    }
    spread(&keeping, &copies, &kept)?;
    Ok(Secrets {
        root,
        master_key,
        is_root_new,
    })
}

/// The copies that can be read. Damaged ones are passed over as long as there is another.
fn read_copies(keeping: &Keeping<'_>) -> Result<Vec<(PathBuf, Document)>, SecretsError> {
    let mut copies = Vec::new();
    let mut damage = None;
    for directory in keeping.directories {
        let path = directory.join(FILE_NAME);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                damage = Some(SecretsError::Unreadable {
                    path,
                    detail: error.to_string(),
                });
            }
            Ok(bytes) => match serde_json::from_slice::<Document>(&bytes) {
                Ok(document) if document.format_version == FORMAT_VERSION => {
                    copies.push((path, document));
                }
                Ok(document) => {
                    let detail = format!(
                        "format version {} is not known; start a newer version of Cairn",
                        document.format_version
                    );
                    return Err(SecretsError::Unreadable { path, detail });
                }
                Err(error) => {
                    // The parser's message may quote what it read; position and kind are enough.
                    let detail =
                        format!("damaged at line {} column {}", error.line(), error.column());
                    damage = Some(SecretsError::Unreadable { path, detail });
                }
            },
        }
    }
    match damage {
        Some(error) if copies.is_empty() => Err(error),
        Some(error) => {
            tracing::warn!(%error, "a copy of the secrets cannot be read; it is made anew from another one");
            Ok(copies)
        }
        None => Ok(copies),
    }
}

/// One document with what any copy knows, and with the root credentials of the newest ones.
fn merge(copies: &[(PathBuf, Document)], cluster_id: ClusterId) -> Result<Document, SecretsError> {
    let id = cluster_id.to_string();
    let revisions = copies.iter().map(|(_, document)| document.revision);
    let revision = revisions.max().unwrap_or(0);
    let field = |what, oldest, of: fn(&Document) -> Option<&String>| {
        let mut known: Option<(&PathBuf, &String)> = None;
        let counted = copies.iter().filter(|(_, copy)| copy.revision >= oldest);
        for (path, document) in counted {
            match (known, of(document)) {
                (Some((first, value)), Some(other)) if value != other => {
                    return Err(SecretsError::Contradiction {
                        first: first.clone(),
                        second: path.clone(),
                        what,
                    });
                }
                (None, Some(value)) => known = Some((path, value)),
                _ => {}
            }
        }
        Ok(known.map(|(_, value)| value.clone()))
    };
    let found = field("cluster ids", 0, |document| Some(&document.cluster_id))?;
    if let (Some(found), Some((path, _))) = (found.filter(|found| *found != id), copies.first()) {
        let detail = format!("it belongs to cluster {found}, this is cluster {id}; remove it");
        return Err(SecretsError::Unreadable {
            path: path.clone(),
            detail,
        });
    }
    Ok(Document {
        format_version: FORMAT_VERSION,
        revision,
        cluster_id: id,
        root_access_key: field("root access keys", revision, |document| {
            document.root_access_key.as_ref()
        })?,
        root_secret_key: field("root secret keys", revision, |document| {
            document.root_secret_key.as_ref()
        })?,
        master_key: field("master keys", 0, |document| document.master_key.as_ref())?,
    })
}

/// Makes the copies equal and enough.
fn spread(
    keeping: &Keeping<'_>,
    copies: &[(PathBuf, Document)],
    document: &Document,
) -> Result<(), SecretsError> {
    let bytes = serde_json::json!(document).to_string().into_bytes();
    let has_copy = |directory: &Path| {
        copies
            .iter()
            .find(|(path, _)| path.parent() == Some(directory))
            .map(|(_, copy)| copy)
    };
    let mut good_count = keeping
        .directories
        .iter()
        .filter(|directory| has_copy(directory) == Some(document))
        .count();
    // First those that have an old copy, then others as far as needed.
    let outdated = keeping
        .directories
        .iter()
        .filter(|directory| has_copy(directory).is_some_and(|copy| copy != document));
    let vacant = keeping
        .directories
        .iter()
        .filter(|directory| has_copy(directory).is_none());
    let mut failure = None;
    for (directory, is_needed_anyway) in outdated
        .map(|it| (it, true))
        .chain(vacant.map(|it| (it, false)))
    {
        if good_count >= keeping.copy_count && !is_needed_anyway {
            break;
        }
        match durable_file::replace(directory, FILE_NAME, &bytes, Access::Private) {
            Ok(()) => good_count += 1,
            Err(source) => {
                failure = Some(SecretsError::Io {
                    path: directory.join(FILE_NAME),
                    source,
                });
            }
        }
    }
    match failure {
        Some(error) if good_count == 0 => Err(error),
        Some(error) => {
            tracing::warn!(%error, "a copy of the secrets could not be written");
            Ok(())
        }
        None => Ok(()),
    }
}

fn random_credentials() -> RootCredentials {
    let text = |bytes: &[u8]| -> String {
        let letter = |byte: &u8| {
            ALPHABET
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or(b'a')
        };
        bytes.iter().map(|byte| char::from(letter(byte))).collect()
    };
    RootCredentials {
        access_key: format!("cairn{}", text(&random_bytes::<15>())),
        secret_key: Secret::new(text(&random_bytes::<40>())),
    }
}

fn unreadable(copies: &[(PathBuf, Document)], detail: &str) -> SecretsError {
    let path = copies
        .first()
        .map_or_else(|| PathBuf::from(FILE_NAME), |(path, _)| path.clone());
    SecretsError::Unreadable {
        path,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const CLUSTER: ClusterId = ClusterId([3; 16]);

    /// The directories last as long as the first field, which is only held.
    struct Disks(
        #[expect(dead_code, reason = "held for its drop")] tempfile::TempDir,
        Vec<PathBuf>,
    );

    impl Disks {
        fn new(count: usize) -> Self {
            let root = tempfile::tempdir().unwrap();
            let dirs: Vec<PathBuf> = (0..count)
                .map(|n| root.path().join(format!("disk{n}")))
                .collect();
            for dir in &dirs {
                std::fs::create_dir(dir).unwrap();
            }
            Self(root, dirs)
        }

        fn establish(&self, is_initialized: bool, given: Given) -> Result<Secrets, SecretsError> {
            let directories: Vec<&Path> = self
                .1
                .iter()
                .map(PathBuf::as_path)
                .filter(|dir| dir.exists())
                .collect();
            establish(
                Keeping {
                    directories: &directories,
                    copy_count: 3,
                    cluster_id: CLUSTER,
                    is_initialized,
                },
                given,
            )
        }

        fn copies(&self) -> Vec<PathBuf> {
            self.1
                .iter()
                .map(|dir| dir.join(FILE_NAME))
                .filter(|path| path.exists())
                .collect()
        }
    }

    fn keys(secrets: &Secrets) -> (String, String, [u8; 32]) {
        (
            secrets.root.access_key.clone(),
            secrets.root.secret_key.reveal().to_owned(),
            *secrets.master_key.expose(),
        )
    }

    #[test]
    fn the_first_start_makes_secrets_on_m_plus_1_disks_that_only_the_owner_can_read() {
        let disks = Disks::new(6);
        let first = disks.establish(false, Given::default()).unwrap();
        assert!(first.is_root_new);
        assert_eq!(disks.copies().len(), 3);
        for copy in disks.copies() {
            assert_eq!(
                std::fs::metadata(copy).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let second = disks.establish(true, Given::default()).unwrap();
        assert!(!second.is_root_new);
        assert_eq!(keys(&first), keys(&second));
    }

    #[test]
    fn secrets_survive_the_loss_of_any_two_copies_and_are_spread_again() {
        let disks = Disks::new(6);
        let first = disks.establish(false, Given::default()).unwrap();
        std::fs::remove_dir_all(&disks.1[0]).unwrap();
        std::fs::remove_file(disks.1[1].join(FILE_NAME)).unwrap();
        assert_eq!(
            keys(&disks.establish(true, Given::default()).unwrap()),
            keys(&first)
        );
        assert_eq!(disks.copies().len(), 3);
    }

    #[test]
    fn a_lost_master_key_stops_the_start_instead_of_being_made_anew() {
        let disks = Disks::new(3);
        assert!(matches!(
            disks.establish(true, Given::default()),
            Err(SecretsError::MasterKeyMissing)
        ));
        assert_eq!(disks.copies().len(), 0);
    }

    #[test]
    fn a_damaged_copy_is_made_anew_and_two_stores_are_not_mixed() {
        let disks = Disks::new(3);
        let first = disks.establish(false, Given::default()).unwrap();
        durable_file::replace(&disks.1[0], FILE_NAME, b"{", Access::Private).unwrap();
        assert_eq!(
            keys(&disks.establish(true, Given::default()).unwrap()),
            keys(&first)
        );
        assert_eq!(
            std::fs::read(disks.1[0].join(FILE_NAME)).unwrap(),
            std::fs::read(disks.1[1].join(FILE_NAME)).unwrap()
        );

        let others = Disks::new(3);
        others.establish(false, Given::default()).unwrap();
        std::fs::copy(others.1[0].join(FILE_NAME), disks.1[0].join(FILE_NAME)).unwrap();
        let error = disks.establish(true, Given::default()).unwrap_err();
        assert!(
            matches!(error, SecretsError::Contradiction { .. }),
            "{error}"
        );
    }

    #[test]
    fn what_is_given_from_outside_is_used_and_not_kept() {
        let disks = Disks::new(3);
        let root = RootCredentials {
            access_key: "outside".to_owned(),
            secret_key: Secret::new("outside-secret"),
        };
        let given = || Given {
            root: Some(root.clone()),
            master_key: Some(MasterKey::new([5; 32])),
        };
        let secrets = disks.establish(false, given()).unwrap();
        assert_eq!(
            keys(&secrets),
            ("outside".to_owned(), "outside-secret".to_owned(), [5; 32])
        );
        for copy in disks.copies() {
            let text = std::fs::read_to_string(copy).unwrap();
            assert!(
                !text.contains("outside") && !text.contains("0505"),
                "{text}"
            );
        }
        // Without the outside key file, the store must not make another master key.
        assert!(
            disks
                .establish(
                    true,
                    Given {
                        root: Some(root.clone()),
                        master_key: None
                    }
                )
                .is_err()
        );
    }

    #[test]
    fn root_credentials_that_were_replaced_from_outside_do_not_come_back() {
        let disks = Disks::new(6);
        let first = disks.establish(false, Given::default()).unwrap();
        let outside = Given {
            root: Some(RootCredentials {
                access_key: "outside".to_owned(),
                secret_key: Secret::new("outside-secret"),
            }),
            master_key: None,
        };
        disks.establish(true, outside).unwrap();
        for copy in disks.copies() {
            let text = std::fs::read_to_string(copy).unwrap();
            assert!(!text.contains(first.root.secret_key.reveal()), "{text}");
        }
        let later = disks.establish(true, Given::default()).unwrap();
        assert!(later.is_root_new, "they have to be shown");
        assert_ne!(keys(&later).1, keys(&first).1);
        assert_eq!(keys(&later).2, keys(&first).2, "the master key stays");
    }

    #[test]
    fn root_credentials_that_were_replaced_do_not_come_back_with_a_disk_that_was_away() {
        let disks = Disks::new(3);
        let first = disks.establish(false, Given::default()).unwrap();
        let (place, away) = (&disks.1[0], disks.1[0].with_extension("away"));
        std::fs::rename(place, &away).unwrap();
        let outside = || Given {
            root: Some(RootCredentials {
                access_key: "outside".to_owned(),
                secret_key: Secret::new("outside-secret"),
            }),
            master_key: None,
        };
        disks.establish(true, outside()).unwrap();
        let second = disks.establish(true, Given::default()).unwrap();
        assert!(second.is_root_new);

        std::fs::rename(&away, place).unwrap();
        let third = disks.establish(true, Given::default()).unwrap();
        assert_eq!(keys(&third), keys(&second));
        assert_ne!(keys(&third).1, keys(&first).1);
        for copy in disks.copies() {
            let text = std::fs::read_to_string(copy).unwrap();
            assert!(!text.contains(first.root.secret_key.reveal()), "{text}");
        }
    }

    #[test]
    fn a_copy_from_before_revisions_were_counted_is_read() {
        let disks = Disks::new(3);
        let first = disks.establish(false, Given::default()).unwrap();
        let path = disks.1[0].join(FILE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        let old = text.replace("\"revision\":1,", "");
        assert_ne!(old, text);
        for directory in &disks.1 {
            durable_file::replace(directory, FILE_NAME, old.as_bytes(), Access::Private).unwrap();
        }
        let later = disks.establish(true, Given::default()).unwrap();
        assert_eq!(keys(&later), keys(&first));
        assert_eq!(
            std::fs::read_to_string(&path)
                .unwrap()
                .matches("root_access_key")
                .count(),
            1
        );
    }

    #[test]
    fn root_credentials_that_are_given_as_they_are_kept_stay_kept() {
        let disks = Disks::new(3);
        let first = disks.establish(false, Given::default()).unwrap();
        let same = Given {
            root: Some(first.root.clone()),
            master_key: None,
        };
        assert_eq!(keys(&disks.establish(true, same).unwrap()), keys(&first));
        let later = disks.establish(true, Given::default()).unwrap();
        assert!(!later.is_root_new);
        assert_eq!(keys(&later), keys(&first));
    }
}
