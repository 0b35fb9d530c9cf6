//! `ListMultipartUploads`: by key, then by time of initiation.

use cairn_meta::{
    CanonicalId, UploadId, UploadListEntry, UploadListPage, UploadListRequest, UploadRecord,
};
use http::StatusCode;

use super::object_headers;
use super::object_owner::OwnerNames;
use super::page_query::{self, Encoding};
use super::request::S3Request;
use crate::response::{self, Response};
use crate::s3_error::S3Error;
use crate::timestamp;
use crate::xml::XmlWriter;

/// What an entry of a page takes at most: a key of 1,024 bytes, each escaped to six, two people whose names are escaped too,
/// and 1 KiB of markup.
const ENTRY_BYTES_MAX: usize = 10 << 10;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let bucket = request.bucket()?;
    let encoding = Encoding::of(&request.query)?;
    let prefix = request.query.get("prefix").unwrap_or_default();
    let delimiter = page_query::text(&request.query, "delimiter");
    let key_marker = page_query::text(&request.query, "key-marker");
    let id_marker =
        page_query::text(&request.query, "upload-id-marker").filter(|_| key_marker.is_some());
    let list = UploadListRequest {
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        key_marker: key_marker.map(str::to_owned),
        upload_id_marker: id_marker.map(parse_marker).transpose()?,
        limit: page_query::page_size(&request.query, "max-uploads")?,
    };
    let gateway = &request.gateway;
    let room = gateway
        .answer_room(list.limit.saturating_mul(ENTRY_BYTES_MAX))
        .await?;
    let meta = gateway.meta();
    let page = meta.list_uploads(bucket.id, &list).await?;
    let owners = OwnerNames::of(meta, &people_of(&page)).await?;

    let mut xml = XmlWriter::document();
    xml.open_root("ListMultipartUploadsResult");
    xml.text("Bucket", bucket.name.as_str());
    xml.text("KeyMarker", &encoding.apply(key_marker.unwrap_or_default()));
    xml.text("UploadIdMarker", id_marker.unwrap_or_default());
    let (next_key, next_id) = end_of(&page);
    xml.text("NextKeyMarker", &encoding.apply(next_key));
    xml.text(
        "NextUploadIdMarker",
        &next_id.map(|id| id.to_string()).unwrap_or_default(),
    );
    xml.text("Prefix", &encoding.apply(prefix));
    if let Some(delimiter) = delimiter {
        xml.text("Delimiter", &encoding.apply(delimiter));
    }
    xml.optional_text("EncodingType", encoding.name());
    xml.value("MaxUploads", list.limit);
    xml.value("IsTruncated", page.is_truncated);
    for entry in &page.entries {
        if let UploadListEntry::Upload { key, record } = entry {
            write_upload(&mut xml, &encoding.apply(key.as_str()), record, &owners);
        }
    }
    for entry in &page.entries {
        if let UploadListEntry::Prefix(prefix) = entry {
            xml.open("CommonPrefixes");
            xml.text("Prefix", &encoding.apply(prefix));
            xml.close("CommonPrefixes");
        }
    }
    xml.close("ListMultipartUploadsResult");
    Ok(response::long_xml(StatusCode::OK, xml.finish(), room))
}

/// Where a page ends, which S3 tells of the last one too.
fn end_of(page: &UploadListPage) -> (&str, Option<UploadId>) {
    if let Some((key, id)) = &page.next {
        return (key.as_str(), *id);
    }
    match page.entries.last() {
        Some(UploadListEntry::Upload { key, record }) => (key.as_str(), Some(record.id)),
        Some(UploadListEntry::Prefix(prefix)) => (prefix.as_str(), None),
        None => ("", None),
    }
}

fn people_of(page: &UploadListPage) -> Vec<CanonicalId> {
    let people = |entry: &UploadListEntry| match entry {
        UploadListEntry::Upload { record, .. } => vec![record.owner, record.initiator],
        UploadListEntry::Prefix(_) => Vec::new(),
    };
    page.entries.iter().flat_map(people).collect()
}

fn write_upload(xml: &mut XmlWriter, key: &str, upload: &UploadRecord, owners: &OwnerNames) {
    xml.open("Upload");
    xml.text("Key", key);
    xml.text("UploadId", &upload.id.to_string());
    owners.write(xml, "Initiator", upload.initiator);
    owners.write(xml, "Owner", upload.owner);
    xml.text("StorageClass", &upload.storage_class);
    xml.text("Initiated", &timestamp::iso8601(upload.initiated_ms));
    if let Some((algorithm, kind)) = upload.checksum {
        xml.text(
            "ChecksumAlgorithm",
            object_headers::algorithm(algorithm).name(),
        );
        xml.text("ChecksumType", object_headers::kind(kind).name());
    }
    xml.close("Upload");
}

fn parse_marker(text: &str) -> Result<UploadId, S3Error> {
    text.parse()
        .map_err(|_| S3Error::invalid_argument("Invalid uploadId marker", "upload-id-marker", text))
}
