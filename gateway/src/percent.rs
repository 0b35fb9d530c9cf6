//! Percent escapes in paths and queries.

use std::borrow::Cow;

/// Decodes percent escapes; `None` if one is malformed or the result is not UTF-8.
///
/// Stricter than most decoders, which pass a stray `%` through: two texts must not mean one key.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_escape = byte != b'%'
            || (bytes.next()?.is_ascii_hexdigit() && bytes.next()?.is_ascii_hexdigit());
        if !is_escape {
            return None;
        }
    }
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode_str(text).into();
    String::from_utf8(decoded.into_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn decoding_never_panics(text in "(%|[0-9a-f]|.){0,30}") {
            drop(percent_decode(&text));
        }
    }
}
