//! What is measured, and the requests it takes.

use clap::ValueEnum;
use http::Method;

use super::payload::Payload;
use crate::s3_client::{Request, canonical_query, encode_path};

/// Objects per directory of the key scheme, and keys per listing page: one directory is one page.
pub(crate) const KEYS_PER_DIRECTORY: u64 = 1_000;

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// Store new objects.
    Put,
    /// Read objects that were stored, in random order.
    Get,
    /// List a page of 1,000 keys from a random place.
    List,
    /// List what is in one directory, with the delimiter `/`: 1,000 keys.
    ListDirectory,
    /// List the first page of directories, with the delimiter `/`: 1,000 of them, of 1,000 keys each.
    ListDelimiter,
    /// Delete objects that were stored, each once.
    Delete,
}

impl Operation {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::ListDirectory => "list-directory",
            Self::ListDelimiter => "list-delimiter",
            Self::Delete => "delete",
        }
    }
}

/// Names the objects of one sweep.
#[derive(Debug, Clone)]
pub(crate) struct Keyspace {
    /// The bucket.
    pub(crate) bucket: String,
    /// Directory of all objects of this size; ends with `/`.
    pub(crate) prefix: String,
}

impl Keyspace {
    /// The key of an object.
    pub(crate) fn key(&self, object: u64) -> String {
        let number = object % KEYS_PER_DIRECTORY;
        format!("{}{number:03}", self.directory(object))
    }

    /// The directory that an object is in; ends with `/`.
    fn directory(&self, object: u64) -> String {
        format!("{}{:07}/", self.prefix, object / KEYS_PER_DIRECTORY)
    }

    fn path(&self, object: u64) -> String {
        encode_path(&format!("/{}/{}", self.bucket, self.key(object)))
    }

    /// PUT of an object.
    pub(crate) fn put(&self, object: u64, payload: &Payload) -> Request {
        Request::new(Method::PUT, self.path(object)).unsigned_body(payload.body())
    }

    /// GET of an object.
    pub(crate) fn get(&self, object: u64) -> Request {
        Request::new(Method::GET, self.path(object))
    }

    /// DELETE of an object.
    pub(crate) fn delete(&self, object: u64) -> Request {
        Request::new(Method::DELETE, self.path(object))
    }

    /// A page of keys behind `object`.
    pub(crate) fn list(&self, object: u64) -> Request {
        self.page(&self.prefix, &[("start-after", &self.key(object))])
    }

    /// The keys of the directory that `object` is in.
    pub(crate) fn list_directory(&self, object: u64) -> Request {
        self.page(&self.directory(object), &[("delimiter", "/")])
    }

    /// The first page of directories.
    pub(crate) fn list_delimiter(&self) -> Request {
        self.page(&self.prefix, &[("delimiter", "/")])
    }

    /// A page from the start or from where the last one ended.
    pub(crate) fn list_page(&self, continuation: Option<&str>) -> Request {
        match continuation {
            Some(token) => self.page(&self.prefix, &[("continuation-token", token)]),
            None => self.page(&self.prefix, &[]),
        }
    }

    fn page(&self, prefix: &str, parameters: &[(&str, &str)]) -> Request {
        let mut all = vec![("list-type", "2"), ("max-keys", "1000"), ("prefix", prefix)];
        all.extend_from_slice(parameters);
        Request {
            query: canonical_query(&all),
            ..Request::new(Method::GET, self.bucket_path())
        }
    }

    /// The bucket itself.
    pub(crate) fn bucket_path(&self) -> String {
        encode_path(&format!("/{}", self.bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_and_a_thousand_share_a_directory() {
        let keyspace = Keyspace {
            bucket: "b".into(),
            prefix: "bench/4KiB/".into(),
        };
        assert_eq!(keyspace.key(1_234_567), "bench/4KiB/0001234/567");
        assert!(keyspace.key(999) < keyspace.key(1000));
        assert_eq!(keyspace.directory(999), keyspace.directory(0));
        assert_ne!(keyspace.directory(999), keyspace.directory(1000));
    }
}
