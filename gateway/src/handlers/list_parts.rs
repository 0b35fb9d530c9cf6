//! `ListParts`.

use http::StatusCode;

use super::object_headers;
use super::object_owner::OwnerNames;
use super::page_query::{self, Encoding};
use super::request::S3Request;
use super::upload_id;
use super::upload_part::part_checksum;
use crate::response::{self, Response};
use crate::s3_error::S3Error;
use crate::timestamp;
use crate::xml::XmlWriter;

/// What a part takes on a page at most: its number, size, time, `ETag` and checksum.
const PART_BYTES_MAX: usize = 512;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let (bucket, key) = request.object()?;
    let id = upload_id::requested(&request.query)?;
    let encoding = Encoding::of(&request.query)?;
    let limit = page_query::page_size(&request.query, "max-parts")?;
    let marker = marker(&request)?;
    let gateway = &request.gateway;
    let room = gateway
        .answer_room(limit.saturating_mul(PART_BYTES_MAX))
        .await?;
    let meta = gateway.meta();
    let upload = upload_id::find(meta, bucket, key, id).await?;
    let page = meta.list_parts(id, marker, limit).await?;
    let owners = OwnerNames::of(meta, &[upload.owner, upload.initiator]).await?;

    let mut xml = XmlWriter::document();
    xml.open_root("ListPartsResult");
    xml.text("Bucket", bucket.name.as_str());
    xml.text("Key", &encoding.apply(key.as_str()));
    xml.text("UploadId", &id.to_string());
    owners.write(&mut xml, "Initiator", upload.initiator);
    owners.write(&mut xml, "Owner", upload.owner);
    xml.text("StorageClass", &upload.storage_class);
    xml.value("PartNumberMarker", marker.unwrap_or(0));
    let last = page.parts.last().map_or(0, |part| part.part_number.get());
    xml.value("NextPartNumberMarker", last);
    xml.value("MaxParts", limit);
    xml.value("IsTruncated", page.is_truncated);
    xml.optional_text("EncodingType", encoding.name());
    // S3's default, which an upload gets that asked for no checksum, is told only once the object is complete.
    let algorithm = upload.checksum.map(|(algorithm, kind)| {
        let algorithm = object_headers::algorithm(algorithm);
        xml.text("ChecksumAlgorithm", algorithm.name());
        xml.text("ChecksumType", object_headers::kind(kind).name());
        algorithm
    });
    for part in &page.parts {
        xml.open("Part");
        xml.value("PartNumber", part.part_number);
        xml.text("LastModified", &timestamp::iso8601(part.last_modified_ms));
        xml.quoted_text("ETag", &hex::encode(part.etag_md5));
        let checksum =
            algorithm.and_then(|algorithm| part_checksum(algorithm, part.checksum.as_deref()));
        if let Some(checksum) = checksum {
            xml.text(checksum.algorithm().xml_element(), &checksum.to_base64());
        }
        xml.value("Size", part.size_bytes);
        xml.close("Part");
    }
    xml.close("ListPartsResult");
    Ok(response::long_xml(StatusCode::OK, xml.finish(), room))
}

fn marker(request: &S3Request) -> Result<Option<u16>, S3Error> {
    let Some(text) = page_query::text(&request.query, "part-number-marker") else {
        return Ok(None);
    };
    let number = text
        .parse::<u32>()
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.ok_or_else(|| {
        S3Error::invalid_argument(
            "Provided part-number-marker not an integer or within integer range",
            "part-number-marker",
            text,
        )
    })?;
    Ok(Some(u16::try_from(number).unwrap_or(u16::MAX)))
}
