//! What an object has of the parts that it was uploaded in: their bytes together, and an `ETag` made of theirs.

use cairn_meta::PartRecord;
use md5::{Digest, Md5};

/// How large an object of these parts is.
pub(crate) fn size_bytes<'a>(parts: impl IntoIterator<Item = &'a PartRecord>) -> u64 {
    let sizes = parts.into_iter().map(|part| part.size_bytes);
    sizes.fold(0, u64::saturating_add)
}

/// MD5 of the parts' MD5s: what its [`etag`] begins with.
pub(crate) fn md5<'a>(parts: impl IntoIterator<Item = &'a PartRecord>) -> [u8; 16] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part.etag_md5);
    }
    hasher.finalize().into()
}

/// The `ETag` of an object of so many parts, without quotes.
pub(crate) fn etag(md5: [u8; 16], part_count: usize) -> String {
    format!("{}-{part_count}", hex::encode(md5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::PartNumber;

    #[test]
    fn sizes_are_added_and_md5s_hashed_in_order() {
        let parts = [1u8, 3].map(|number| PartRecord {
            part_number: PartNumber::new(number.into()).unwrap(),
            size_bytes: u64::from(number),
            etag_md5: [number; 16],
            checksum: None,
            data_id: None,
            last_modified_ms: 0,
        });
        assert_eq!(size_bytes(&parts), 4);
        // As md5sum says of sixteen bytes 1 and sixteen bytes 3.
        assert_eq!(etag(md5(&parts), 2), "f0bcf233bc7a1938a18571a43cb5c60f-2");
    }
}
