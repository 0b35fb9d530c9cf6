//! What version 2 signs, rebuilt from what arrived:
//!
//! ```text
//! PUT                                    method
//! 1B2M2Y8AsgTpgAmY7PhCfg==               Content-MD5, or nothing
//! text/plain                             Content-Type, or nothing
//! 1175139620                             Expires, as sent
//! x-amz-acl:private                      x-amz-* headers, sorted, one a line
//! /bucket/key%20name?partNumber=1        resource: bucket, path as sent, sub-resources sorted
//! ```
//!
//! No line but the last can hold a line end (a header cannot, and [`super::parameters`] sees to those in the
//! query), and the last begins with the only slash that a line can begin with: no two requests share a text,
//! except that a value in the query may hold `&` and so look like two. That is how S3 defined it.

use std::collections::BTreeMap;

use super::parameters::Parameter;
use crate::addressing::Domains;
use crate::auth::RequestHead;
use crate::operation::Query;

/// The text, but for the path, which has two accepted forms when it names a bucket and nothing else.
#[derive(Debug)]
pub(super) struct StringToSign {
    /// Method to headers.
    lines: Vec<u8>,
    path: String,
    /// `?acl&versionId=3`, or nothing.
    sub_resources: String,
}

impl StringToSign {
    pub(super) fn new(
        head: &RequestHead<'_>,
        query: &Query,
        domains: &Domains,
        expires: &str,
    ) -> StringToSign {
        let mut lines = Vec::with_capacity(256);
        for line in [
            head.method.as_str().as_bytes(),
            header(head, "content-md5"),
            header(head, "content-type"),
            expires.as_bytes(),
        ] {
            lines.extend_from_slice(line);
            lines.push(b'\n');
        }
        for (name, value) in amz_headers(head, query) {
            lines.extend_from_slice(name.as_bytes());
            lines.push(b':');
            lines.extend_from_slice(&value);
            lines.push(b'\n');
        }
        StringToSign {
            lines,
            path: path(head, domains),
            sub_resources: sub_resources(query),
        }
    }

    /// With the path as it was sent: what S3 signs, and names when signatures differ.
    pub(super) fn as_sent(&self) -> Vec<u8> {
        self.with_path(&self.path)
    }

    /// All texts whose signature is accepted.
    ///
    /// boto3 sends `/bucket` and signs `/bucket/`, the form that a bucket's own host name would give. Both name
    /// the bucket and nothing else, so whoever signed one has permitted the other.
    pub(super) fn forms(&self) -> impl Iterator<Item = Vec<u8>> {
        let is_bare_bucket = self.path.len() > 1 && self.path.rfind('/') == Some(0);
        let with_slash = is_bare_bucket.then(|| self.with_path(&format!("{}/", self.path)));
        [self.as_sent()].into_iter().chain(with_slash)
    }

    fn with_path(&self, path: &str) -> Vec<u8> {
        [&self.lines, path.as_bytes(), self.sub_resources.as_bytes()].concat()
    }
}

fn header<'a>(head: &RequestHead<'a>, name: &str) -> &'a [u8] {
    let value = head.headers.get(name);
    value.map_or(&[], |value| value.as_bytes().trim_ascii())
}

/// The headers that S3 interprets, sent or carried in the query; one that is both says the same in both places
/// ([`crate::auth::with_hoisted_headers`]). Repeated ones are joined by commas.
fn amz_headers(head: &RequestHead<'_>, query: &Query) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (name, value) in head.headers {
        if name.as_str().starts_with("x-amz-") {
            join(&mut all, name.as_str().to_owned(), value.as_bytes());
        }
    }
    let mut carried = BTreeMap::new();
    for (name, value) in query.iter() {
        if Parameter::of(name, value) == Parameter::Header {
            join(&mut carried, name.to_ascii_lowercase(), value.as_bytes());
        }
    }
    for (name, value) in carried {
        all.entry(name).or_insert(value);
    }
    all
}

fn join(all: &mut BTreeMap<String, Vec<u8>>, name: String, value: &[u8]) {
    let value = value.trim_ascii();
    all.entry(name)
        .and_modify(|joined| {
            joined.push(b',');
            joined.extend_from_slice(value);
        })
        .or_insert_with(|| value.to_vec());
}

/// The bucket stands before the path even if the host named it. The path stays as encoded as it was sent.
fn path(head: &RequestHead<'_>, domains: &Domains) -> String {
    let path = match head.uri.path() {
        "" => "/",
        path => path,
    };
    match head.host().and_then(|host| domains.bucket_of(host)) {
        Some(bucket) => format!("/{bucket}{path}"),
        None => path.to_owned(),
    }
}

/// Of a parameter that was sent twice the first counts, as it does for the operations.
fn sub_resources(query: &Query) -> String {
    let mut signed: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (name, value) in query.iter() {
        match Parameter::of(name, value) {
            Parameter::SubResource => {
                signed.entry(name).or_insert(None);
            }
            Parameter::Value => {
                signed.entry(name).or_insert(Some(value));
            }
            Parameter::OfTheClaim
            | Parameter::Header
            | Parameter::OfVersion4
            | Parameter::Harmless
            | Parameter::Unsigned => {}
        }
    }
    let mut text = String::new();
    for (name, value) in signed {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}
