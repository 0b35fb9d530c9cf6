//! Who may read the metrics where strangers can knock: callers on this machine, and whoever has the token.
//!
//! Figures say how much is stored, how fast, and which disks fail: nothing for the public, and costly to collect. A
//! caller counts as one of this machine if its address is a loopback address and no header says that a proxy speaks
//! for somebody else. What an address proves ends there: a proxy on this machine that adds no such header must not
//! pass `/-/` on. On a listener of their own ([`Surface::Admin`](crate::server::Surface)) nobody is asked.

use std::fmt;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// What a refused caller is told.
pub const REFUSAL: &str = "Metrics are shown to callers on this machine that no proxy speaks for, and to bearers of \
     the token. Set metrics_token (or metrics_token_file) and send `Authorization: Bearer TOKEN`, or serve them on \
     another address with admin_listen.";

/// Headers with which proxies say for whom they ask, or that they do.
const FORWARDING_HEADERS: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Longest token that is looked at; no longer one can be set.
pub const TOKEN_LEN_MAX: usize = 256;

/// The token that shows the metrics to callers from elsewhere. Kept as its digest alone.
#[derive(Clone)]
pub struct MetricsToken(blake3::Hash);

impl MetricsToken {
    /// Takes a token of at most [`TOKEN_LEN_MAX`] bytes; a longer one would never match.
    pub fn new(token: &str) -> Self {
        Self(blake3::hash(token.as_bytes()))
    }

    /// In constant time: digests of one length are compared, whatever the length of what was sent.
    fn is(&self, candidate: &[u8]) -> bool {
        candidate.len() <= TOKEN_LEN_MAX
            && bool::from(self.0.as_bytes().ct_eq(blake3::hash(candidate).as_bytes()))
    }
}

impl fmt::Debug for MetricsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsToken(redacted)")
    }
}

/// Whether a request with these headers from `peer` may read the metrics. `peer` is `None` where the system did not say.
pub fn is_admitted(
    token: Option<&MetricsToken>,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> bool {
    is_of_this_machine(peer, headers)
        || token.is_some_and(|token| bearer(headers).is_some_and(|candidate| token.is(candidate)))
}

fn is_of_this_machine(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    // On a dual-stack listener, 127.0.0.1 comes as ::ffff:127.0.0.1.
    peer.is_some_and(|peer| peer.to_canonical().is_loopback())
        && !FORWARDING_HEADERS
            .iter()
            .any(|name| headers.contains_key(*name))
}

/// What stands behind `Bearer` (RFC 6750, section 2.1; the scheme in any case, RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn admitted(peer: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        is_admitted(Some(&MetricsToken::new(TOKEN)), peer.parse().ok(), &headers)
    }

    #[test]
    fn callers_on_this_machine_are_admitted_and_others_are_not() {
        for (peer, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", false),
            ("not known", false),
        ] {
            assert_eq!(admitted(peer, &[]), expected, "{peer}");
        }
    }

    #[test]
    fn whoever_is_forwarded_is_not_of_this_machine() {
        for name in FORWARDING_HEADERS {
            assert!(!admitted("127.0.0.1", &[(name, "")]), "{name}");
        }
        assert!(admitted("127.0.0.1", &[("x-other", "192.0.2.1")]));
    }

    #[test]
    fn the_token_admits_from_anywhere_and_nothing_like_it_does() {
        let from_afar = |value: &str| admitted("192.0.2.1", &[("authorization", value)]);
        assert!(from_afar(&format!("Bearer {TOKEN}")));
        assert!(from_afar(&format!("bearer  {TOKEN} ")));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            &format!("Bearer {TOKEN}0"),
            &format!("Bearer {}", TOKEN.trim_start_matches('0')),
            &format!("Basic {TOKEN}"),
            TOKEN,
            &format!("Bearer {}", "x".repeat(100_000)),
        ] {
            assert!(!from_afar(wrong), "{wrong:.50}");
        }
        assert!(admitted(
            "127.0.0.1",
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("authorization", &format!("Bearer {TOKEN}"))
            ]
        ));
    }

    #[test]
    fn without_a_token_none_admits() {
        let headers = [(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap())];
        let headers = headers.into_iter().collect();
        assert!(!is_admitted(None, "192.0.2.1".parse().ok(), &headers));
    }

    #[test]
    fn a_token_does_not_show() {
        assert_eq!(
            format!("{:?}", MetricsToken::new(TOKEN)),
            "MetricsToken(redacted)"
        );
    }
}
