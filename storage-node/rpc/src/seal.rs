//! The seals of requests and replies: what they cover, and how they are written into headers.
//!
//! ```text
//! authorization: Cairn1 TIMESTAMP.SESSION.COUNTER.RUN.BODY.MAC
//! cairn-seal:    RUN.BODY.MAC
//! ```
//! `TIMESTAMP` is decimal milliseconds since the Unix epoch, `COUNTER` 16 hex digits, `SESSION` and `RUN` 32,
//! `BODY` (the BLAKE3 digest) and `MAC` 64; the request's `RUN` is all zeros while the caller does not know it.
//! Parsing is strict: exactly these fields, lower-case hex of exactly these lengths.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::ClusterSecret;

/// The header that carries the seal of a reply.
pub(crate) const REPLY_HEADER: &str = "cairn-seal";
const SCHEME: &str = "Cairn1 ";

/// One client's life; its requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(crate) [u8; 16]);

/// One run of a serving process; random, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId(pub(crate) [u8; 16]);

impl RunId {
    /// What a caller says that has not met this server yet.
    pub(crate) const UNKNOWN: Self = Self([0; 16]);
}

/// BLAKE3 of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyDigest(pub(crate) [u8; 32]);

/// HMAC-SHA256 under the cluster secret. Compared in constant time only, hence no `PartialEq`.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; 32]);

impl Tag {
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// What the seal of a request says, the request line aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestSeal {
    pub(crate) timestamp_ms: u64,
    pub(crate) session: SessionId,
    pub(crate) counter: u64,
    pub(crate) run: RunId,
    pub(crate) body: BodyDigest,
}

impl RequestSeal {
    pub(crate) fn tag(&self, secret: &ClusterSecret, method: &str, path_and_query: &str) -> Tag {
        tag(
            secret,
            &[
                b"cairn-rpc-1 request",
                method.as_bytes(),
                path_and_query.as_bytes(),
                &self.timestamp_ms.to_be_bytes(),
                &self.session.0,
                &self.counter.to_be_bytes(),
                &self.run.0,
                &self.body.0,
            ],
        )
    }

    pub(crate) fn header(&self, tag: &Tag) -> String {
        format!(
            "{SCHEME}{}.{}.{:016x}.{}.{}.{}",
            self.timestamp_ms,
            hex::encode(self.session.0),
            self.counter,
            hex::encode(self.run.0),
            hex::encode(self.body.0),
            hex::encode(tag.0),
        )
    }

    /// `None` if `header` is anything but what [`RequestSeal::header`] writes.
    pub(crate) fn parse(header: &[u8]) -> Option<(Self, Tag)> {
        let fields = std::str::from_utf8(header).ok()?.strip_prefix(SCHEME)?;
        let mut fields = fields.split('.');
        let timestamp_ms = parse_decimal(fields.next()?)?;
        let session = SessionId(parse_hex(fields.next()?)?);
        let counter = u64::from_be_bytes(parse_hex(fields.next()?)?);
        let run = RunId(parse_hex(fields.next()?)?);
        let body = BodyDigest(parse_hex(fields.next()?)?);
        let tag = Tag(parse_hex(fields.next()?)?);
        fields.next().is_none().then_some((
            Self {
                timestamp_ms,
                session,
                counter,
                run,
                body,
            },
            tag,
        ))
    }
}

/// What the seal of a reply says; it also covers which request is answered, and the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplySeal {
    pub(crate) run: RunId,
    pub(crate) body: BodyDigest,
}

impl ReplySeal {
    pub(crate) fn tag(&self, secret: &ClusterSecret, request: &RequestSeal, status: u16) -> Tag {
        tag(
            secret,
            &[
                b"cairn-rpc-1 reply",
                &request.session.0,
                &request.counter.to_be_bytes(),
                &status.to_be_bytes(),
                &self.run.0,
                &self.body.0,
            ],
        )
    }

    pub(crate) fn header(&self, tag: &Tag) -> String {
        format!(
            "{}.{}.{}",
            hex::encode(self.run.0),
            hex::encode(self.body.0),
            hex::encode(tag.0)
        )
    }

    pub(crate) fn parse(header: &[u8]) -> Option<(Self, Tag)> {
        let mut fields = std::str::from_utf8(header).ok()?.split('.');
        let run = RunId(parse_hex(fields.next()?)?);
        let body = BodyDigest(parse_hex(fields.next()?)?);
        let tag = Tag(parse_hex(fields.next()?)?);
        fields.next().is_none().then_some((Self { run, body }, tag))
    }
}

/// Each field goes in behind its length, so that no two lists of fields look alike.
fn tag(secret: &ClusterSecret, fields: &[&[u8]]) -> Tag {
    #[expect(
        clippy::expect_used,
        reason = "HMAC is defined for keys of every length (RFC 2104, section 2)"
    )]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.key()).expect("a key of any length");
    for field in fields {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    Tag(mac.finalize().into_bytes().into())
}

fn parse_decimal(text: &str) -> Option<u64> {
    // `str::parse` would take a leading plus sign and any number of zeros.
    let is_canonical = text == "0" || !text.starts_with(['0', '+']);
    is_canonical.then(|| text.parse().ok())?
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_canonical = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .ok()
        .filter(|()| is_canonical)?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> ClusterSecret {
        ClusterSecret::new("0123456789abcdef0123456789abcdef").unwrap()
    }

    fn seal() -> RequestSeal {
        RequestSeal {
            timestamp_ms: 1_700_000_000_000,
            session: SessionId([1; 16]),
            counter: 42,
            run: RunId([2; 16]),
            body: BodyDigest([3; 32]),
        }
    }

    /// Computed with Python's `hmac` from the bytes that `docs/formats/rpc.md` names.
    #[test]
    fn the_tags_are_those_of_the_documented_bytes() {
        let request = seal().tag(&secret(), "POST", "/node/v1/disks?x=1");
        assert_eq!(
            hex::encode(request.0),
            "6ae9b718abddc45dd9eeab386e3ab0d07a14ff9955dfd480d313d92cbf853bb5"
        );
        let reply = ReplySeal {
            run: RunId([2; 16]),
            body: BodyDigest([4; 32]),
        };
        assert_eq!(
            hex::encode(reply.tag(&secret(), &seal(), 200).0),
            "19b15534762de511301d9cbbb51088c2b2b2af9df66fafe8bf9b87d59dc00423"
        );
    }

    #[test]
    fn every_field_changes_the_tag() {
        let base = seal().tag(&secret(), "POST", "/a");
        assert!(base.matches(&seal().tag(&secret(), "POST", "/a")));
        let other_secret = ClusterSecret::new("0123456789abcdef0123456789abcdee").unwrap();
        for other in [
            seal().tag(&other_secret, "POST", "/a"),
            seal().tag(&secret(), "PUT", "/a"),
            seal().tag(&secret(), "POST", "/b"),
            seal().tag(&secret(), "POST/", "a"),
            RequestSeal {
                timestamp_ms: 1,
                ..seal()
            }
            .tag(&secret(), "POST", "/a"),
            RequestSeal {
                session: SessionId([9; 16]),
                ..seal()
            }
            .tag(&secret(), "POST", "/a"),
            RequestSeal {
                counter: 43,
                ..seal()
            }
            .tag(&secret(), "POST", "/a"),
            RequestSeal {
                run: RunId([9; 16]),
                ..seal()
            }
            .tag(&secret(), "POST", "/a"),
            RequestSeal {
                body: BodyDigest([9; 32]),
                ..seal()
            }
            .tag(&secret(), "POST", "/a"),
        ] {
            assert!(!base.matches(&other));
        }
    }

    #[test]
    fn a_header_that_was_not_written_here_is_malformed() {
        let header = seal().header(&seal().tag(&secret(), "POST", "/"));
        assert!(RequestSeal::parse(header.as_bytes()).is_some());
        for bad in [
            format!("{header}."),
            format!(" {header}"),
            header.replace("Cairn1", "Cairn2"),
            header.replace(' ', " +"),
            header.replace(' ', " 0"),
            header.replace("000000000000002a", "000000000000002A"),
            header.replace("000000000000002a", "2a"),
            String::new(),
            "Cairn1 .....".to_owned(),
        ] {
            assert!(RequestSeal::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(bytes: Vec<u8>, text in "(Cairn1 )?[0-9a-f.+]{0,80}") {
            for header in [&bytes[..], text.as_bytes()] {
                prop_assert!(RequestSeal::parse(header).is_none());
                prop_assert!(ReplySeal::parse(header).is_none());
            }
        }

        #[test]
        fn headers_round_trip(timestamp_ms: u64, session: [u8; 16], counter: u64, run: [u8; 16], body: [u8; 32]) {
            let (session, run, body) = (SessionId(session), RunId(run), BodyDigest(body));
            let seal = RequestSeal { timestamp_ms, session, counter, run, body };
            let tag = seal.tag(&secret(), "POST", "/");
            let (parsed, parsed_tag) = RequestSeal::parse(seal.header(&tag).as_bytes()).unwrap();
            prop_assert!(parsed == seal && parsed_tag.matches(&tag));
            let reply = ReplySeal { run, body };
            let tag = reply.tag(&secret(), &seal, 422);
            let (parsed, parsed_tag) = ReplySeal::parse(reply.header(&tag).as_bytes()).unwrap();
            prop_assert!(parsed == reply && parsed_tag.matches(&tag));
        }
    }
}
