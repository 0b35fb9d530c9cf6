//! Where the server is.

use std::fmt;
use std::str::FromStr;

/// An `http://HOST:PORT` endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    authority: String,
    connect_to: String,
}

impl Endpoint {
    /// What goes into the `host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// `HOST:PORT`, with the port always there.
    pub(crate) fn connect_to(&self) -> &str {
        &self.connect_to
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text
            .parse()
            .map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        match (uri.scheme_str(), uri.authority(), uri.path()) {
            (Some("http"), Some(authority), "" | "/") if !authority.host().is_empty() => Ok(Self {
                authority: authority.to_string(),
                connect_to: format!(
                    "{}:{}",
                    authority.host(),
                    authority.port_u16().unwrap_or(80)
                ),
            }),
            (Some("https"), _, _) => {
                Err("only http:// endpoints are supported by this client".to_owned())
            }
            _ => Err(format!(
                "`{text}` is not an endpoint; write http://HOST:PORT"
            )),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_defaults_to_80_and_stays_out_of_the_host_header() {
        let endpoint: Endpoint = "http://s3.example.com/".parse().unwrap();
        assert_eq!(
            (endpoint.authority(), endpoint.connect_to()),
            ("s3.example.com", "s3.example.com:80")
        );
        let endpoint: Endpoint = "http://[::1]:9000".parse().unwrap();
        assert_eq!(
            (endpoint.authority(), endpoint.connect_to()),
            ("[::1]:9000", "[::1]:9000")
        );
    }

    #[test]
    fn other_schemes_and_paths_are_refused() {
        for wrong in ["https://a", "a:9000", "http://a/bucket", "http://", ""] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
