//! The canonical request and the string to sign, rebuilt from what arrived.
//!
//! `aws-sigv4` builds these for a client that is about to sign: it adds headers, leaves out others and shows
//! neither text. A server must sign exactly the headers the client listed, in whatever order and number
//! they came, and S3 returns both texts with `SignatureDoesNotMatch`; so they are built here, and tested to
//! give the same signature as that crate does. The cryptography (key derivation, HMAC) stays the crate's.

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::{Claim, RequestHead};

/// The query parameter that holds a presigned URL's signature and is therefore not signed itself.
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// A canonical request. Bytes rather than text: header values may be anything.
#[derive(Debug)]
pub(super) struct CanonicalRequest {
    pub(super) bytes: Vec<u8>,
}

impl CanonicalRequest {
    /// The request that a claim is about.
    pub(super) fn build(
        head: &RequestHead<'_>,
        path_form: PathForm,
        claim: &Claim<'_>,
    ) -> CanonicalRequest {
        let signed_headers = claim.signed_headers;
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(head.method.as_str().as_bytes());
        bytes.push(b'\n');
        push_path(&mut bytes, head.uri.path(), path_form);
        bytes.push(b'\n');
        push_query(&mut bytes, head.uri.query().unwrap_or_default());
        bytes.push(b'\n');
        for name in signed_headers.split(';') {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b':');
            push_header(&mut bytes, head, name);
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(signed_headers.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(claim.payload.as_bytes());
        CanonicalRequest { bytes }
    }

    /// The string to sign for this request.
    pub(super) fn string_to_sign(&self, amz_date: &str, scope: &str) -> String {
        let hash = hex::encode(Sha256::digest(&self.bytes));
        ["AWS4-HMAC-SHA256", amz_date, scope, &hash].join("\n")
    }
}

/// What an escaped slash in a path was when the client signed it. For any other path both forms are one.
///
/// Most clients sign the path that they send. The SDK for Java signs `/bucket/a//b` and lets its HTTP client,
/// which cannot send two slashes in a row, send `/bucket/a/%2Fb`; S3 decodes a path and encodes it anew, so that
/// there the slash stands for itself.
///
/// Taking both gives nobody anything: what is addressed is decided from the path decoded once
/// ([`crate::addressing`]), in which both forms are the same key of the same bucket. The one place where they
/// differ is the slash behind the bucket; escaped, it makes a bucket name that no bucket can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathForm {
    /// An escaped slash was signed escaped.
    AsSent,
    /// An escaped slash was signed as a slash.
    SlashesDecoded,
}

impl PathForm {
    /// The forms in which a path may have been signed.
    pub(super) fn of(path: &str) -> &'static [PathForm] {
        if path.contains("%2F") || path.contains("%2f") {
            &[PathForm::AsSent, PathForm::SlashesDecoded]
        } else {
            &[PathForm::AsSent]
        }
    }
}

/// S3 encodes the path once: what is unreserved stands for itself, everything else is escaped in upper case.
fn push_path(out: &mut Vec<u8>, path: &str, form: PathForm) {
    if path.is_empty() {
        out.push(b'/');
    }
    match form {
        PathForm::AsSent => push_normalized(out, path, b'/'),
        PathForm::SlashesDecoded => {
            let path = path.replace("%2F", "/").replace("%2f", "/");
            push_normalized(out, &path, b'/');
        }
    }
}

/// Parameters are normalized one by one and then sorted, as text, by name and value.
fn push_query(out: &mut Vec<u8>, query: &str) {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != SIGNATURE_PARAMETER)
        .map(|(name, value)| (normalized_parameter(name), normalized_parameter(value)))
        .collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

fn normalized_parameter(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    // A `+` is how forms write a space; signers write `%20`.
    if text.contains('+') {
        push_normalized(&mut out, &text.replace('+', "%20"), b'%');
    } else {
        push_normalized(&mut out, text, b'%');
    }
    out
}

/// Brings percent-encoding into the one form that is signed, without decoding anything reserved.
/// `literal` is one more byte that stands for itself; `%` for none.
fn push_normalized(out: &mut Vec<u8>, text: &str, literal: u8) {
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let mut byte = *byte;
        let mut is_escape = false;
        if byte == b'%'
            && let Some((decoded, tail)) = decode_escape(rest)
        {
            byte = decoded;
            rest = tail;
            is_escape = true;
        }
        let is_unreserved =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_unreserved || (byte == literal && byte != b'%' && !is_escape) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', upper_hex(byte >> 4), upper_hex(byte & 0xf)]);
        }
    }
}

fn decode_escape(rest: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, tail @ ..] = rest else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    Some(((digit(*high)? << 4) | digit(*low)?, tail))
}

const fn upper_hex(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'A' + (nibble - 10),
    }
}

/// The values of a header, trimmed, runs of spaces made one, repeated headers joined by commas.
fn push_header(out: &mut Vec<u8>, head: &RequestHead<'_>, name: &str) {
    // HTTP/2 has no Host header; clients sign the authority under that name.
    if name == "host" {
        push_trimmed(out, head.host().unwrap_or_default().as_bytes());
        return;
    }
    for (index, value) in head.headers.get_all(name).iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_trimmed(out, value.as_bytes());
    }
}

fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    let mut was_space = false;
    for &byte in value.trim_ascii() {
        let is_space = byte == b' ';
        if !(is_space && was_space) {
            out.push(byte);
        }
        was_space = is_space;
    }
}

/// The `x-amz-*` headers (and `host`) that were sent without being signed, sorted, comma-separated; `None` if
/// there are none. Whoever can add such a header to somebody's signed request changes what it does.
///
/// `x-amz-content-sha256` need not be among the signed ones, as at S3: its value is the canonical request's last line.
/// One that says something else than that line (a URL's own parameter comes before it) is covered by nothing.
pub(super) fn headers_not_signed(headers: &HeaderMap, claim: &Claim<'_>) -> Option<String> {
    let is_signed = |name: &str| {
        let mut signed_headers = claim.signed_headers.split(';');
        signed_headers.any(|signed| signed == name)
    };
    let is_payload_line = |name: &str| {
        let mut values = headers.get_all(name).iter();
        name == "x-amz-content-sha256" && values.all(|value| value == claim.payload)
    };
    let mut missing: Vec<&str> = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !is_signed(name) && !is_payload_line(name))
        .collect();
    if !is_signed("host") {
        missing.push("host");
    }
    missing.sort_unstable();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        path_in(PathForm::AsSent, text)
    }

    fn path_in(form: PathForm, text: &str) -> String {
        let mut out = Vec::new();
        push_path(&mut out, text, form);
        String::from_utf8(out).unwrap()
    }

    fn query(text: &str) -> String {
        let mut out = Vec::new();
        push_query(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_are_encoded_once() {
        assert_eq!(path(""), "/");
        assert_eq!(path("/b//a/../k"), "/b//a/../k");
        assert_eq!(path("/b/a%20b+c%7e%2f%c3%a9"), "/b/a%20b%2Bc~%2F%C3%A9");
        assert_eq!(path("/b/a!'()*:@=é"), "/b/a%21%27%28%29%2A%3A%40%3D%C3%A9");
        assert_eq!(path("/b/%zz%"), "/b/%25zz%25");
        assert_eq!(path("/b/%2525"), "/b/%2525");
    }

    #[test]
    fn an_escaped_slash_may_have_been_signed_as_a_slash() {
        let decoded = |text| path_in(PathForm::SlashesDecoded, text);
        assert_eq!(decoded("/b/a/%2Fb"), "/b/a//b");
        assert_eq!(decoded("/b/%2fa%2F"), "/b//a/");
        assert_eq!(decoded("/b/a%252Fb"), "/b/a%252Fb");
        assert_eq!(decoded("/b/%252f%2F%2"), "/b/%252f/%252");
        assert_eq!(PathForm::of("/b/a%2fb").len(), 2);
        assert_eq!(PathForm::of("/b/a%252Fb").len(), 1);
        assert_eq!(PathForm::of("/b/a//b").len(), 1);
    }

    #[test]
    fn queries_are_sorted_after_encoding_and_keep_empty_values() {
        assert_eq!(query("uploads"), "uploads=");
        assert_eq!(
            query("b=2&a=%7e&a=1+2&X-Amz-Signature=x"),
            "a=1%202&a=~&b=2"
        );
        assert_eq!(
            query("prefix=a/b&A=1&a-b=1&a=1"),
            "A=1&a=1&a-b=1&prefix=a%2Fb"
        );
        assert_eq!(query("k==&&%3D"), "%3D=&k=%3D");
    }

    #[test]
    fn header_values_are_trimmed_and_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-meta-a", "  a   b \t".parse().unwrap());
        headers.append("x-amz-meta-a", "c".parse().unwrap());
        let uri = "/".parse().unwrap();
        let head = RequestHead {
            method: &http::Method::GET,
            uri: &uri,
            headers: &headers,
        };
        let mut out = Vec::new();
        push_header(&mut out, &head, "x-amz-meta-a");
        assert_eq!(out, b"a b,c");
    }
}
