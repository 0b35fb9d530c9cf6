//! The one place where this crate draws randomness: identities and nonces.

/// `N` bytes from the operating system's seeded generator; unpredictable, never repeated in practice from
/// eight bytes on (and every eight-byte use is also checked or compared together with a sequence number).
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes
}
