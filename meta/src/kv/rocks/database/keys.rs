//! Keys as RocksDB has them, with one byte in front: `k` for the store's records, `!` for our own.

pub(super) const USER_PREFIX: u8 = b'k';
/// First key behind those with [`USER_PREFIX`].
pub(super) const USER_END: &[u8] = b"l";
pub(super) const APPLIED_KEY: &[u8] = b"!applied";

pub(super) fn user_key(key: &[u8]) -> Vec<u8> {
    let mut user_key = Vec::with_capacity(key.len() + 1);
    user_key.push(USER_PREFIX);
    user_key.extend_from_slice(key);
    user_key
}
