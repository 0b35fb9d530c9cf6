//! Where the server is.

use std::fmt;
use std::str::FromStr;

/// An `http://HOST:PORT` or `https://HOST:PORT` endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    authority: String,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Endpoint {
    /// Whether the server is asked through TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// What goes into the `host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone; an IPv6 address in its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `HOST:PORT`, with the port always there.
    pub(crate) fn connect_to(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text
            .parse()
            .map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https, 443),
            _ => return Err(not_an_endpoint(text)),
        };
        match (uri.authority(), uri.path()) {
            (Some(authority), "" | "/") if !authority.host().is_empty() => Ok(Self {
                scheme,
                authority: authority.to_string(),
                host: authority.host().to_owned(),
                port: authority.port_u16().unwrap_or(default_port),
            }),
            _ => Err(not_an_endpoint(text)),
        }
    }
}

fn not_an_endpoint(text: &str) -> String {
    format!("`{text}` is not an endpoint; write http://HOST:PORT or https://HOST:PORT")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_from_the_scheme_and_stays_out_of_the_host_header() {
        for (text, authority, host, connect_to) in [
            (
                "http://s3.example.com/",
                "s3.example.com",
                "s3.example.com",
                "s3.example.com:80",
            ),
            (
                "https://s3.example.com",
                "s3.example.com",
                "s3.example.com",
                "s3.example.com:443",
            ),
            ("http://[::1]:9000", "[::1]:9000", "[::1]", "[::1]:9000"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (
                    endpoint.authority(),
                    endpoint.host(),
                    endpoint.connect_to().as_str()
                ),
                (authority, host, connect_to)
            );
            assert_eq!(endpoint.to_string(), text.trim_end_matches('/'));
            assert_eq!(endpoint.is_tls(), text.starts_with("https"));
        }
    }

    #[test]
    fn other_schemes_and_paths_are_refused() {
        for wrong in [
            "ftp://a",
            "a:9000",
            "http://a/bucket",
            "https://a/bucket",
            "http://",
            "",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
