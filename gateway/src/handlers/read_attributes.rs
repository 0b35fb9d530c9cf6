//! `GetObjectAttributes`.

use cairn_meta::{ManifestPart, ObjectBody, ObjectRecord};
use http::StatusCode;
use http::header::LAST_MODIFIED;

use super::object_headers;
use super::page_query::PAGE_SIZE_MAX;
use super::read_object;
use super::request::S3Request;
use super::upload_part::part_checksum;
use super::version_id;
use crate::response::{self, Response};
use crate::s3_error::S3Error;
use crate::timestamp;
use crate::xml::XmlWriter;

/// What a part takes in the document at most: its number, size and checksum.
const PART_BYTES_MAX: usize = 256;
const HEADER: &str = "x-amz-object-attributes";

/// What is asked for.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each attribute is asked for by itself"
)]
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
}

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let (bucket, key) = request.object()?;
    let wanted = Wanted::of(&request)?;
    let page = PartsPage::of(&request)?;
    let version = version_id::requested(&request.query)?;
    let part_count_max = if wanted.parts { page.limit } else { 0 };
    let room = request
        .gateway
        .answer_room(part_count_max.saturating_mul(PART_BYTES_MAX))
        .await?;
    let record = version_id::find(request.gateway.meta(), bucket, key, version).await?;
    let parts = match (wanted.parts, &record.body) {
        (true, ObjectBody::Parts { .. }) => {
            read_object::manifest(&request.gateway, &record).await?
        }
        _ => Vec::new(),
    };

    let mut xml = XmlWriter::document();
    xml.open_root("GetObjectAttributesResponse");
    if wanted.etag {
        // Without quotes, here alone.
        xml.text("ETag", &record.etag);
    }
    if wanted.checksum {
        write_checksum(&mut xml, &record);
    }
    if !parts.is_empty() {
        page.write(&mut xml, &record, &parts);
    }
    if wanted.storage_class {
        xml.text("StorageClass", &record.storage_class);
    }
    if wanted.size {
        xml.value("ObjectSize", record.size_bytes);
    }
    xml.close("GetObjectAttributesResponse");
    let mut response = response::long_xml(StatusCode::OK, xml.finish(), room);
    let headers = response.headers_mut();
    object_headers::set(
        headers,
        LAST_MODIFIED,
        &timestamp::http_date(record.last_modified_ms),
    );
    object_headers::version(headers, bucket, record.version);
    Ok(response)
}

impl Wanted {
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let mut wanted = Self::default();
        let values = request
            .headers
            .get_all(HEADER)
            .iter()
            .filter_map(|value| value.to_str().ok());
        for name in values.flat_map(|value| value.split(',')).map(str::trim) {
            match name {
                "ETag" => wanted.etag = true,
                "Checksum" => wanted.checksum = true,
                "ObjectParts" => wanted.parts = true,
                "StorageClass" => wanted.storage_class = true,
                "ObjectSize" => wanted.size = true,
                _ => {
                    return Err(S3Error::invalid_argument(
                        "Invalid attribute name specified.",
                        HEADER,
                        name,
                    ));
                }
            }
        }
        if wanted == Self::default() {
            return Err(S3Error::invalid_argument(
                "The x-amz-object-attributes header must name an attribute.",
                HEADER,
                "",
            ));
        }
        Ok(wanted)
    }
}

fn write_checksum(xml: &mut XmlWriter, record: &ObjectRecord) {
    let Some(checksum) = &record.checksum else {
        return;
    };
    let text = object_headers::checksum_text(checksum);
    // The number of parts is told apart from it, in `ObjectParts`.
    let value = text
        .split_once('-')
        .map_or(text.as_str(), |(value, _)| value);
    xml.open("Checksum");
    xml.text(
        object_headers::algorithm(checksum.algorithm).xml_element(),
        value,
    );
    xml.text("ChecksumType", object_headers::kind(checksum.kind).name());
    xml.close("Checksum");
}

/// Which parts are listed.
struct PartsPage {
    limit: usize,
    marker: u16,
}

impl PartsPage {
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let number = |name: &'static str| match request.header(name)? {
            None => Ok(None),
            Some(text) => match text.parse::<u32>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(S3Error::invalid_argument(
                    format!("Provided {name} not an integer or within integer range"),
                    name,
                    text,
                )),
            },
        };
        let limit = number("x-amz-max-parts")?
            .map_or(PAGE_SIZE_MAX, |limit| (limit as usize).min(PAGE_SIZE_MAX));
        let marker = number("x-amz-part-number-marker")?.unwrap_or(0);
        Ok(Self {
            limit,
            marker: u16::try_from(marker).unwrap_or(u16::MAX),
        })
    }

    fn write(&self, xml: &mut XmlWriter, record: &ObjectRecord, parts: &[ManifestPart]) {
        // A part of an object has its place for a number, as in reads by `partNumber`; its number in the upload is history.
        let behind = || (1_u16..).zip(parts).skip(usize::from(self.marker));
        let listed = || behind().take(self.limit);
        xml.open("ObjectParts");
        xml.value("PartsCount", parts.len());
        xml.value("PartNumberMarker", self.marker);
        xml.value(
            "NextPartNumberMarker",
            listed().last().map_or(0, |(number, _)| number),
        );
        xml.value("MaxParts", self.limit);
        xml.value("IsTruncated", behind().count() > self.limit);
        let algorithm = record
            .checksum
            .as_ref()
            .map(|checksum| object_headers::algorithm(checksum.algorithm));
        for (number, part) in listed() {
            xml.open("Part");
            if let Some(checksum) =
                algorithm.and_then(|algorithm| part_checksum(algorithm, part.checksum.as_deref()))
            {
                xml.text(checksum.algorithm().xml_element(), &checksum.to_base64());
            }
            xml.value("PartNumber", number);
            xml.value("Size", part.size_bytes);
            xml.close("Part");
        }
        xml.close("ObjectParts");
    }
}
