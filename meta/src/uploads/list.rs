//! Listing uploads of a bucket, and parts of an upload.

use bytes::Bytes;

use crate::codec::decode;
use crate::error::MetaError;
use crate::ids::{BucketId, ObjectKey, PART_NUMBER_MAX, PartNumber, UploadId};
use crate::keys;
use crate::kv::ScanEntry;
use crate::meta::Meta;
use crate::objects::common_prefix;
use crate::records::{PartRecord, UploadRecord};

/// How many uploads are read at first, and behind each group: all that are in one group are read for nothing.
const SCAN_COUNT_MIN: usize = 16;

/// A page of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPage {
    /// By number.
    pub parts: Vec<PartRecord>,
    /// Whether there are more behind these.
    pub is_truncated: bool,
}

/// Which uploads to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadListRequest {
    /// Only uploads for keys that begin with this.
    pub prefix: String,
    /// Uploads whose keys share what comes up to and including the first delimiter behind the prefix are one entry.
    pub delimiter: Option<String>,
    /// Only uploads for keys behind this one, and behind the group that it is in.
    pub key_marker: Option<String>,
    /// Together with `key_marker`: also uploads for that very key with a greater id. Ignored without it.
    pub upload_id_marker: Option<UploadId>,
    /// At most this many entries; a group counts as one.
    pub limit: usize,
}

/// A page of uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadListPage {
    /// By key, then by time of initiation; groups in between.
    pub entries: Vec<UploadListEntry>,
    /// Whether there are more behind these.
    pub is_truncated: bool,
    /// If there are: the last entry's key or common prefix, for `key_marker`, and its id, for `upload_id_marker`.
    pub next: Option<(String, Option<UploadId>)>,
}

/// One entry of a listing of uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadListEntry {
    /// An upload.
    Upload {
        /// The key it is for.
        key: ObjectKey,
        /// The upload.
        record: Box<UploadRecord>,
    },
    /// A group of keys: their common prefix, which ends with the delimiter.
    Prefix(String),
}

impl UploadListEntry {
    fn position(&self) -> (String, Option<UploadId>) {
        match self {
            Self::Upload { key, record } => (key.to_string(), Some(record.id)),
            Self::Prefix(prefix) => (prefix.clone(), None),
        }
    }
}

impl Meta {
    /// A page of the parts of an upload, behind part number `after`.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`]. An upload that does not exist has no parts.
    pub async fn list_parts(
        &self,
        id: UploadId,
        after: Option<u16>,
        limit: usize,
    ) -> Result<PartPage, MetaError> {
        let range = keys::parts(id);
        let first = after
            .map_or(Some(1), |after| after.checked_add(1))
            .filter(|first| *first <= PART_NUMBER_MAX);
        let first = first.map(|first| PartNumber::new(first.max(1)));
        let Some(Ok(first)) = first.filter(|_| limit > 0) else {
            return Ok(PartPage {
                parts: Vec::new(),
                is_truncated: false,
            });
        };
        let page = self.records(&range, keys::part(id, first), limit).await?;
        let parts = page
            .records
            .iter()
            .map(|(_, value)| decode(value))
            .collect::<Result<_, _>>()?;
        Ok(PartPage {
            parts,
            is_truncated: page.is_truncated,
        })
    }

    /// A page of the uploads in progress in a bucket.
    ///
    /// Groups are found here and not by the store, because a delimiter may occur by chance in the ids behind the
    /// keys. It costs one scan per group at most, of a few uploads; where there are none, each reads twice as many.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn list_uploads(
        &self,
        bucket: BucketId,
        request: &UploadListRequest,
    ) -> Result<UploadListPage, MetaError> {
        let range = keys::uploads(bucket, &request.prefix);
        let end = keys::end_of_prefix(&range);
        let delimiter = request
            .delimiter
            .as_deref()
            .filter(|delimiter| !delimiter.is_empty());
        let mut start = start_behind(bucket, request, delimiter).max(range);
        let mut page = UploadListPage::default();
        if request.limit == 0 {
            return Ok(page);
        }
        let mut scan_count = delimiter.map_or(usize::MAX, |_| SCAN_COUNT_MIN);
        while end.as_ref().is_none_or(|end| start < *end) {
            // One more than is asked for tells whether the page is the last.
            let wanted_count = request.limit + 1 - page.entries.len();
            let found = self
                .scan(start.clone(), end.clone(), wanted_count.min(scan_count))
                .await?;
            scan_count = scan_count.saturating_mul(2);
            for entry in found.entries {
                let ScanEntry::Record { key: kv_key, value } = entry else {
                    continue;
                };
                if kv_key < start {
                    continue; // in the group before
                }
                if page.entries.len() == request.limit {
                    page.is_truncated = true;
                    page.next = page.entries.last().map(UploadListEntry::position);
                    return Ok(page);
                }
                let (_, key, _) = keys::parse_upload(&kv_key)?;
                let group = delimiter
                    .and_then(|delimiter| common_prefix(key.as_str(), &request.prefix, delimiter));
                if let Some(group) = group {
                    start = behind_group(bucket, group);
                    scan_count = scan_count.min(SCAN_COUNT_MIN);
                    page.entries.push(UploadListEntry::Prefix(group.to_owned()));
                } else {
                    start = keys::successor(&kv_key);
                    page.entries.push(UploadListEntry::Upload {
                        key,
                        record: Box::new(decode(&value)?),
                    });
                }
            }
            if !found.is_truncated {
                break;
            }
        }
        Ok(page)
    }
}

fn behind_group(bucket: BucketId, group: &str) -> Bytes {
    keys::end_of_prefix(&keys::uploads(bucket, group)).unwrap_or_default()
}

/// Where a listing begins, by its markers.
fn start_behind(bucket: BucketId, request: &UploadListRequest, delimiter: Option<&str>) -> Bytes {
    let Some(marker) = &request.key_marker else {
        return keys::uploads(bucket, &request.prefix);
    };
    let group = delimiter.and_then(|delimiter| common_prefix(marker, &request.prefix, delimiter));
    let of_key = keys::uploads_of_key(bucket, marker);
    match (group, request.upload_id_marker) {
        (Some(group), _) => behind_group(bucket, group),
        (None, Some(id)) => {
            keys::successor(&Bytes::from([of_key.as_ref(), id.0.as_slice()].concat()))
        }
        (None, None) => keys::end_of_prefix(&of_key).unwrap_or_default(),
    }
}
