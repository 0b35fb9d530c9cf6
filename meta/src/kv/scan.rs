//! What a scan returns, decided once for every backend that can move a cursor over its keys.
//!
//! A backend implements [`Cursor`] and calls [`scan`]. The bounds of a page ([`SCAN_LIMIT_MAX`],
//! [`SCAN_BYTES_MAX`]) and the collapsing of groups are decided here and nowhere else, so that backends cannot
//! differ in them. The cost is one cursor move per entry returned: a group costs one seek, however many keys
//! it stands for.

use bytes::Bytes;

use super::{
    Direction, Grouping, KvError, SCAN_BYTES_MAX, SCAN_LIMIT_MAX, Scan, ScanEntry, ScanPage,
};

/// A position in an ordered set of records, as one snapshot: moves never see later commits.
///
/// A cursor is either on a record or off the end; moving off the end is no error.
pub trait Cursor {
    /// Moves to the first record whose key is at or after `key`.
    ///
    /// # Errors
    /// The backend's read failure.
    fn seek(&mut self, key: &[u8]) -> Result<(), KvError>;

    /// Moves to the last record whose key is before `key`; `None` is the end of all keys.
    ///
    /// # Errors
    /// The backend's read failure.
    fn seek_before(&mut self, key: Option<&[u8]>) -> Result<(), KvError>;

    /// Moves to the next record in ascending order.
    ///
    /// # Errors
    /// The backend's read failure.
    fn next(&mut self) -> Result<(), KvError>;

    /// Moves to the next record in descending order.
    ///
    /// # Errors
    /// The backend's read failure.
    fn prev(&mut self) -> Result<(), KvError>;

    /// Key and value at the position, or `None` off the end.
    fn current(&self) -> Option<(&[u8], &[u8])>;
}

/// Runs `scan` over `cursor`.
///
/// # Errors
/// Those of the cursor.
pub fn scan(cursor: &mut impl Cursor, scan: &Scan) -> Result<ScanPage, KvError> {
    match scan.direction {
        Direction::Ascending => cursor.seek(&scan.start)?,
        Direction::Descending => cursor.seek_before(scan.end.as_deref())?,
    }
    let limit = scan.limit.min(SCAN_LIMIT_MAX);
    let mut page = ScanPage::default();
    let mut held_bytes = 0;
    while let Some((key, value)) = cursor.current().filter(|(key, _)| in_range(scan, key)) {
        if page.entries.len() >= limit || held_bytes >= SCAN_BYTES_MAX {
            page.is_truncated = true;
            break;
        }
        if let Some(prefix) = group_of(key, scan.group.as_ref()) {
            let prefix = Bytes::copy_from_slice(prefix);
            held_bytes += prefix.len();
            skip_group(cursor, &prefix, scan.direction)?;
            page.entries.push(ScanEntry::Group { prefix });
        } else {
            held_bytes += key.len() + value.len();
            page.entries.push(ScanEntry::Record {
                key: Bytes::copy_from_slice(key),
                value: Bytes::copy_from_slice(value),
            });
            match scan.direction {
                Direction::Ascending => cursor.next()?,
                Direction::Descending => cursor.prev()?,
            }
        }
    }
    Ok(page)
}

/// The smallest key greater than every key that begins with `prefix`; `None` if there is no such key (the
/// prefix is empty or all `0xff`).
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end.into())
}

/// Whether a key met on the way is still inside; the other bound was dealt with by the first seek.
fn in_range(scan: &Scan, key: &[u8]) -> bool {
    match scan.direction {
        Direction::Ascending => scan.end.as_ref().is_none_or(|end| key < end.as_ref()),
        Direction::Descending => key >= scan.start.as_ref(),
    }
}

/// The group that `key` belongs to: its bytes up to and including the first delimiter at or after
/// `prefix_len`. An empty delimiter groups nothing.
pub fn group_of<'key>(key: &'key [u8], group: Option<&Grouping>) -> Option<&'key [u8]> {
    let group = group?;
    let delimiter = group.delimiter.as_ref();
    let tail = key.get(group.prefix_len..)?;
    let found = match delimiter {
        [] => None,
        [byte] => tail.iter().position(|candidate| candidate == byte),
        _ => tail
            .windows(delimiter.len())
            .position(|window| window == delimiter),
    }?;
    key.get(..group.prefix_len + found + delimiter.len())
}

fn skip_group(
    cursor: &mut impl Cursor,
    prefix: &[u8],
    direction: Direction,
) -> Result<(), KvError> {
    match (direction, prefix_end(prefix)) {
        (Direction::Descending, _) => cursor.seek_before(Some(prefix)),
        (Direction::Ascending, Some(end)) => cursor.seek(&end),
        // All keys from here on are in the group: walk off the end.
        (Direction::Ascending, None) => {
            cursor.seek_before(None)?;
            cursor.next()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_end_is_the_first_key_behind_the_prefix() {
        assert_eq!(prefix_end(b"a/").as_deref(), Some(b"a0".as_slice()));
        assert_eq!(prefix_end(b"a\xff\xff").as_deref(), Some(b"b".as_slice()));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    #[test]
    fn group_is_cut_behind_the_first_delimiter_at_or_after_the_prefix() {
        let group = |key: &'static [u8], prefix_len, delimiter: &'static [u8]| {
            group_of(
                key,
                Some(&Grouping {
                    prefix_len,
                    delimiter: Bytes::from_static(delimiter),
                }),
            )
        };
        assert_eq!(group(b"a/b/c", 0, b"/"), Some(b"a/".as_slice()));
        assert_eq!(group(b"a/b/c", 2, b"/"), Some(b"a/b/".as_slice()));
        assert_eq!(group(b"a/b/c", 1, b"/"), Some(b"a/".as_slice()));
        assert_eq!(group(b"a/b/c", 4, b"/"), None);
        assert_eq!(group(b"a/b", 9, b"/"), None);
        assert_eq!(group(b"a--b", 0, b"--"), Some(b"a--".as_slice()));
        assert_eq!(group(b"a-b", 0, b"--"), None);
        assert_eq!(group(b"abc", 0, b""), None);
    }
}
