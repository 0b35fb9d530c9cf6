//! `ListObjects` and `ListObjectsV2`: the same pages, continued by a marker or by a token.

use cairn_meta::{CanonicalId, ListEntry, ListPage, ListRequest, ObjectRecord};
use http::StatusCode;

use super::object_headers;
use super::object_owner::OwnerNames;
use super::page_query::{self, Encoding};
use super::request::S3Request;
use crate::document_memory::DocumentRoom;
use crate::response::{self, Response};
use crate::s3_error::S3Error;
use crate::timestamp;
use crate::xml::XmlWriter;

/// What an entry of a page takes at most: a key of 1,024 bytes, each escaped to six, an owner whose name is escaped too, and
/// 1 KiB of markup.
const ENTRY_BYTES_MAX: usize = 9 << 10;

/// What an entry of a page takes usually, beside its key.
const ENTRY_BYTES: usize = 320;

/// What both versions are asked.
struct Query<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    encoding: Encoding,
    limit: usize,
}

impl<'a> Query<'a> {
    fn of(request: &'a S3Request) -> Result<Self, S3Error> {
        Ok(Self {
            prefix: request.query.get("prefix").unwrap_or_default(),
            delimiter: page_query::text(&request.query, "delimiter"),
            encoding: Encoding::of(&request.query)?,
            limit: page_query::page_size(&request.query, "max-keys")?,
        })
    }

    async fn answer_room(&self, request: &S3Request) -> Result<DocumentRoom, S3Error> {
        let size_bytes_max = self.limit.saturating_mul(ENTRY_BYTES_MAX);
        request.gateway.answer_room(size_bytes_max).await
    }

    async fn page(
        &self,
        request: &S3Request,
        start_after: Option<String>,
    ) -> Result<ListPage, S3Error> {
        let list = ListRequest {
            prefix: self.prefix.to_owned(),
            delimiter: self.delimiter.map(str::to_owned),
            start_after,
            limit: self.limit,
        };
        Ok(request
            .gateway
            .meta()
            .list_objects(request.bucket()?.id, &list)
            .await?)
    }
}

pub(super) async fn handle_v1(request: S3Request) -> Result<Response, S3Error> {
    let query = Query::of(&request)?;
    let room = query.answer_room(&request).await?;
    let marker = request.query.get("marker").unwrap_or_default();
    let start_after = (!marker.is_empty()).then(|| marker.to_owned());
    let page = query.page(&request, start_after).await?;
    let owners = OwnerNames::of(request.gateway.meta(), &owners_of(&page)).await?;

    let mut xml = document(&page);
    xml.open_root("ListBucketResult");
    xml.text("Name", request.bucket()?.name.as_str());
    xml.text("Prefix", &query.encoding.apply(query.prefix));
    xml.text("Marker", &query.encoding.apply(marker));
    // Without a delimiter a client goes on from the last key itself.
    if let (Some(next), Some(_)) = (&page.next, query.delimiter) {
        xml.text("NextMarker", &query.encoding.apply(next));
    }
    write_page(&mut xml, &query, &page, Some(&owners));
    Ok(response::long_xml(StatusCode::OK, xml.finish(), room))
}

pub(super) async fn handle_v2(request: S3Request) -> Result<Response, S3Error> {
    let query = Query::of(&request)?;
    let room = query.answer_room(&request).await?;
    let token = request.query.get("continuation-token");
    let start_after = page_query::text(&request.query, "start-after");
    let after = match token {
        Some(token) => Some(page_query::parse_token(token)?),
        None => start_after.map(str::to_owned),
    };
    let page = query.page(&request, after).await?;
    let wants_owner = request.query.get("fetch-owner") == Some("true");
    let owners = if wants_owner {
        Some(OwnerNames::of(request.gateway.meta(), &owners_of(&page)).await?)
    } else {
        None
    };

    let mut xml = document(&page);
    xml.open_root("ListBucketResult");
    xml.text("Name", request.bucket()?.name.as_str());
    xml.text("Prefix", &query.encoding.apply(query.prefix));
    if let Some(start_after) = start_after {
        xml.text("StartAfter", &query.encoding.apply(start_after));
    }
    xml.optional_text("ContinuationToken", token);
    xml.optional_text(
        "NextContinuationToken",
        page.next.as_deref().map(page_query::token).as_deref(),
    );
    xml.value("KeyCount", page.entries.len());
    write_page(&mut xml, &query, &page, owners.as_ref());
    Ok(response::long_xml(StatusCode::OK, xml.finish(), room))
}

/// An empty document with about as much room as the page takes.
fn document(page: &ListPage) -> XmlWriter {
    let names = page.entries.iter().map(|entry| entry.as_str().len());
    XmlWriter::document_of(names.map(|len| len + ENTRY_BYTES).sum::<usize>() + 1024)
}

fn owners_of(page: &ListPage) -> Vec<CanonicalId> {
    let owner = |entry: &ListEntry| match entry {
        ListEntry::Object { record, .. } => Some(record.owner),
        ListEntry::Prefix(_) => None,
    };
    page.entries.iter().filter_map(owner).collect()
}

/// What both documents have in common, to the end of the document. Objects come before common prefixes, as at S3;
/// each kind is in order.
fn write_page(
    xml: &mut XmlWriter,
    query: &Query<'_>,
    page: &ListPage,
    owners: Option<&OwnerNames>,
) {
    xml.value("MaxKeys", query.limit);
    if let Some(delimiter) = query.delimiter {
        xml.text("Delimiter", &query.encoding.apply(delimiter));
    }
    xml.value("IsTruncated", page.is_truncated);
    xml.optional_text("EncodingType", query.encoding.name());
    for entry in &page.entries {
        if let ListEntry::Object { key, record } = entry {
            write_object(xml, &query.encoding.apply(key.as_str()), record, owners);
        }
    }
    for entry in &page.entries {
        if let ListEntry::Prefix(prefix) = entry {
            xml.open("CommonPrefixes");
            xml.text("Prefix", &query.encoding.apply(prefix));
            xml.close("CommonPrefixes");
        }
    }
    xml.close("ListBucketResult");
}

fn write_object(
    xml: &mut XmlWriter,
    key: &str,
    record: &ObjectRecord,
    owners: Option<&OwnerNames>,
) {
    xml.open("Contents");
    xml.text("Key", key);
    xml.text("LastModified", &timestamp::iso8601(record.last_modified_ms));
    xml.quoted_text("ETag", &record.etag);
    if let Some(checksum) = &record.checksum {
        xml.text(
            "ChecksumAlgorithm",
            object_headers::algorithm(checksum.algorithm).name(),
        );
        xml.text("ChecksumType", object_headers::kind(checksum.kind).name());
    }
    xml.value("Size", record.size_bytes);
    if let Some(owners) = owners {
        owners.write(xml, "Owner", record.owner);
    }
    xml.text("StorageClass", &record.storage_class);
    xml.close("Contents");
}
