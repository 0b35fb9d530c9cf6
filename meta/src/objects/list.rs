//! Listing the current objects of a bucket.

use bytes::Bytes;

use crate::codec::decode;
use crate::error::MetaError;
use crate::ids::{BucketId, ObjectKey};
use crate::keys;
use crate::kv::{Direction, Grouping, Scan, ScanEntry};
use crate::meta::Meta;
use crate::records::ObjectRecord;

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that share what comes up to and including the first delimiter behind the prefix are one entry. An
    /// empty one is none.
    pub delimiter: Option<String>,
    /// Only what comes after this: S3's `marker`, `start-after` or the last page's `next`. If it is in a group,
    /// or is the group's common prefix, the group is behind it as a whole.
    pub start_after: Option<String>,
    /// At most this many entries; a group counts as one.
    pub limit: usize,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// In byte order of keys and common prefixes.
    pub entries: Vec<ListEntry>,
    /// Whether there are more behind these.
    pub is_truncated: bool,
    /// If there are: the last entry's key or common prefix, for `start_after`.
    pub next: Option<String>,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry {
    /// An object.
    Object {
        /// Its key.
        key: ObjectKey,
        /// Its current version.
        record: Box<ObjectRecord>,
    },
    /// A group of keys: their common prefix, which ends with the delimiter.
    Prefix(String),
}

impl ListEntry {
    /// The key or the common prefix.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Object { key, .. } => key.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

impl Meta {
    /// A page of the current objects of a bucket, as they were at one instant. Its cost grows with the page, not with
    /// the keys that groups skip.
    ///
    /// A page is one scan, which is one snapshot: it ends before the limit where that ends, with many large records.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn list_objects(
        &self,
        bucket: BucketId,
        request: &ListRequest,
    ) -> Result<ListPage, MetaError> {
        let range = keys::objects(bucket, &request.prefix);
        let delimiter = request
            .delimiter
            .as_deref()
            .filter(|delimiter| !delimiter.is_empty());
        let group = delimiter.map(|delimiter| Grouping {
            prefix_len: range.len(),
            delimiter: Bytes::copy_from_slice(delimiter.as_bytes()),
        });
        let end = keys::end_of_prefix(&range);
        let start = match &request.start_after {
            Some(start_after) => {
                start_behind(bucket, start_after, &request.prefix, delimiter).max(range)
            }
            None => range,
        };
        // A marker behind the prefix's last key leaves nothing; a limit of 0 asks for nothing.
        if request.limit == 0 || end.as_ref().is_some_and(|end| start >= *end) {
            return Ok(ListPage::default());
        }
        let scan = Scan {
            start,
            end,
            direction: Direction::Ascending,
            limit: request.limit,
            group,
        };
        let found = self.kv.scan(scan).await?;
        let entries: Vec<ListEntry> = found
            .entries
            .iter()
            .map(list_entry)
            .collect::<Result<_, _>>()?;
        let last = entries.last().filter(|_| found.is_truncated);
        Ok(ListPage {
            is_truncated: found.is_truncated,
            next: last.map(|last| last.as_str().to_owned()),
            entries,
        })
    }
}

fn list_entry(entry: &ScanEntry) -> Result<ListEntry, MetaError> {
    match entry {
        ScanEntry::Record { key, value } => {
            let key =
                ObjectKey::parse(keys::object_text(key)?).map_err(|error| MetaError::Corrupt {
                    record: "object record",
                    detail: error.to_string(),
                })?;
            Ok(ListEntry::Object {
                key,
                record: Box::new(decode(value)?),
            })
        }
        ScanEntry::Group { prefix } => Ok(ListEntry::Prefix(keys::object_text(prefix)?.to_owned())),
    }
}

/// The first key that is behind `marker`, and behind the group that `marker` is in.
fn start_behind(bucket: BucketId, marker: &str, prefix: &str, delimiter: Option<&str>) -> Bytes {
    match delimiter.and_then(|delimiter| common_prefix(marker, prefix, delimiter)) {
        // Bucket tables end before byte FF, so there always is an end.
        Some(group) => keys::end_of_prefix(&keys::objects(bucket, group)).unwrap_or_default(),
        None => keys::successor(&keys::objects(bucket, marker)),
    }
}

/// The common prefix of the group that `key` belongs to: `prefix`, and on to the end of the first `delimiter`
/// behind it; `None` if it belongs to none.
pub(crate) fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let behind = key.strip_prefix(prefix)?;
    let end = prefix.len() + behind.find(delimiter)? + delimiter.len();
    key.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefixes_end_with_the_first_delimiter_behind_the_prefix() {
        assert_eq!(common_prefix("a/b/c", "", "/"), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(common_prefix("a/b/c", "a/b/", "/"), None);
        assert_eq!(common_prefix("a/b/c", "x", "/"), None);
        assert_eq!(common_prefix("/a", "", "/"), Some("/"));
        assert_eq!(common_prefix("a::b", "a:", "::"), None);
    }
}
