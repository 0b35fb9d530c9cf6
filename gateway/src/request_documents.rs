//! The documents clients send, parsed into types that cannot be wrong.

use cairn_meta::PartNumber;

use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::s3_error::{ErrorCode, S3Error};
use crate::xml::{DOCUMENT_SIZE_BYTES_MAX, Element};

/// A `DeleteObjects` request names at most this many objects.
pub const DELETE_OBJECTS_MAX: usize = 1000;

/// `DeleteObjects`: a thousand keys of 1,024 bytes, their versions, `ETag`s and markup, and as much again for escapes.
pub const DELETE_OBJECTS_SIZE_BYTES_MAX: usize = 2 << 20;

/// `CreateBucket`: a region, and what S3 has beside it.
pub const CREATE_BUCKET_SIZE_BYTES_MAX: usize = 64 << 10;

/// `CompleteMultipartUpload`: the longest of all.
pub const COMPLETE_UPLOAD_SIZE_BYTES_MAX: usize = DOCUMENT_SIZE_BYTES_MAX;

/// A multipart upload has at most this many parts.
const PARTS_MAX: usize = 10_000;

/// A part's `ETag` is 32 digits; room for what others make of it.
const PART_ETAG_BYTES_MAX: usize = 256;

/// `<Delete>`: what `DeleteObjects` is to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectsToDelete {
    /// Between 1 and [`DELETE_OBJECTS_MAX`], in the client's order.
    pub objects: Vec<ObjectToDelete>,
    /// Whether only failures are to be reported.
    pub quiet: bool,
}

/// One object to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectToDelete {
    /// The key, not empty; its length is for the operation to judge, as a failure of this object alone.
    pub key: String,
    /// The version, unparsed.
    pub version_id: Option<String>,
    /// The ETag the current object must have, as it was sent.
    pub etag: Option<String>,
}

/// Parses the body of `DeleteObjects`.
///
/// # Errors
/// `MalformedXML`; `NotImplemented` for conditions that only directory buckets have.
pub fn parse_delete_objects(document: &[u8]) -> Result<ObjectsToDelete, S3Error> {
    let root = Element::parse(document, "Delete")?;
    let quiet = match root.child_text("Quiet")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(malformed()),
    };
    let objects: Vec<ObjectToDelete> = root
        .children
        .iter()
        .filter(|child| child.name != "Quiet")
        .map(object_to_delete)
        .collect::<Result<_, _>>()?;
    if objects.is_empty() || objects.len() > DELETE_OBJECTS_MAX {
        return Err(malformed());
    }
    Ok(ObjectsToDelete { objects, quiet })
}

fn object_to_delete(element: &Element) -> Result<ObjectToDelete, S3Error> {
    if element.name != "Object" {
        return Err(malformed());
    }
    let mut object = ObjectToDelete {
        key: String::new(),
        version_id: None,
        etag: None,
    };
    for child in &element.children {
        match child.name.as_str() {
            "Key" if object.key.is_empty() => object.key.clone_from(&child.text),
            "VersionId" if object.version_id.is_none() => {
                object.version_id =
                    Some(child.text.trim().to_owned()).filter(|text| !text.is_empty());
            }
            "ETag" if object.etag.is_none() => object.etag = Some(child.text.trim().to_owned()),
            "LastModifiedTime" | "Size" => {
                return Err(S3Error::new(
                    ErrorCode::NotImplemented,
                    "Deletes conditional on size or time are not implemented",
                ));
            }
            _ => return Err(malformed()),
        }
    }
    if object.key.is_empty() {
        Err(malformed())
    } else {
        Ok(object)
    }
}

/// A part that `CompleteMultipartUpload` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub part_number: PartNumber,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksum, if the client repeats it.
    pub checksum: Option<Checksum>,
}

impl CompletedPart {
    /// What it takes of a list of parts.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.etag.capacity()
    }
}

/// Parses the body of `CompleteMultipartUpload`: at least one part, in the client's order.
///
/// # Errors
/// `MalformedXML`; `InvalidArgument` for numbers no part can have; `InvalidRequest` for malformed checksums;
/// `NotImplemented` for checksums Cairn does not have.
pub fn parse_complete_multipart_upload(document: &[u8]) -> Result<Vec<CompletedPart>, S3Error> {
    let root = Element::parse(document, "CompleteMultipartUpload")?;
    if root.children.is_empty() || root.children.len() > PARTS_MAX {
        return Err(malformed());
    }
    root.children.iter().map(completed_part).collect()
}

fn completed_part(element: &Element) -> Result<CompletedPart, S3Error> {
    if element.name != "Part" {
        return Err(malformed());
    }
    let number = element.child_text("PartNumber")?.ok_or_else(malformed)?;
    let etag = element.child_text("ETag")?.ok_or_else(malformed)?;
    if etag.len() > PART_ETAG_BYTES_MAX {
        return Err(malformed());
    }
    let number: i64 = number.parse().map_err(|_| malformed())?;
    let part_number = u16::try_from(number)
        .ok()
        .and_then(|number| PartNumber::new(number).ok())
        .ok_or_else(|| {
            S3Error::invalid_argument(
                "Part number must be an integer between 1 and 10000, inclusive",
                "PartNumber",
                number.to_string(),
            )
        })?;
    Ok(CompletedPart {
        part_number,
        etag: etag.trim_matches('"').to_owned(),
        checksum: part_checksum(element)?,
    })
}

fn part_checksum(part: &Element) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for child in part
        .children
        .iter()
        .filter(|child| child.name.starts_with("Checksum"))
    {
        let algorithm = ChecksumAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.xml_element() == child.name);
        let Some(algorithm) = algorithm else {
            return Err(S3Error::new(
                ErrorCode::NotImplemented,
                format!("{} is not implemented", child.name),
            ));
        };
        if found.is_some() {
            return Err(malformed());
        }
        let checksum = Checksum::from_base64(algorithm, &child.text).ok_or_else(|| {
            S3Error::new(
                ErrorCode::InvalidRequest,
                format!("Value for {} is invalid.", child.name),
            )
        })?;
        found = Some(checksum);
    }
    Ok(found)
}

/// `<CreateBucketConfiguration>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateBucketConfiguration {
    /// The region the client wants, if it names one.
    pub location_constraint: Option<String>,
}

/// Parses the body of `CreateBucket`, which may be empty.
///
/// # Errors
/// `MalformedXML`; `NotImplemented` for what only directory buckets have, and for tags.
pub fn parse_create_bucket(document: &[u8]) -> Result<CreateBucketConfiguration, S3Error> {
    if document.is_empty() {
        return Ok(CreateBucketConfiguration::default());
    }
    let root = Element::parse(document, "CreateBucketConfiguration")?;
    for child in &root.children {
        match child.name.as_str() {
            "LocationConstraint" => {}
            "Location" | "Bucket" | "Tags" => {
                return Err(S3Error::new(
                    ErrorCode::NotImplemented,
                    format!(
                        "CreateBucketConfiguration with {} is not implemented",
                        child.name
                    ),
                ));
            }
            _ => return Err(malformed()),
        }
    }
    let location = root
        .child_text("LocationConstraint")?
        .filter(|text| !text.is_empty());
    Ok(CreateBucketConfiguration {
        location_constraint: location.map(str::to_owned),
    })
}

/// 400 `MalformedXML`.
fn malformed() -> S3Error {
    ErrorCode::MalformedXML.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T, S3Error>) -> ErrorCode {
        result.unwrap_err().code()
    }

    #[test]
    fn deletes_are_parsed() {
        let parsed = parse_delete_objects(
            b"<Delete><Quiet>true</Quiet><Object><Key> a&amp;b\n</Key></Object>\
              <Object><Key>c</Key><VersionId>v1</VersionId><ETag>\"e\"</ETag></Object></Delete>",
        )
        .unwrap();
        assert!(parsed.quiet);
        assert_eq!(
            parsed.objects,
            [
                ObjectToDelete {
                    key: " a&b\n".to_owned(),
                    version_id: None,
                    etag: None
                },
                ObjectToDelete {
                    key: "c".to_owned(),
                    version_id: Some("v1".to_owned()),
                    etag: Some("\"e\"".to_owned())
                },
            ]
        );
    }

    #[test]
    fn deletes_are_limited_and_strict() {
        let objects = |count: usize| {
            format!(
                "<Delete>{}</Delete>",
                "<Object><Key>k</Key></Object>".repeat(count)
            )
            .into_bytes()
        };
        assert_eq!(
            parse_delete_objects(&objects(1000)).unwrap().objects.len(),
            1000
        );
        for bad in [
            objects(1001),
            objects(0),
            b"<Delete><Object></Object></Delete>".to_vec(),
            b"<Delete><Object><Key></Key></Object></Delete>".to_vec(),
            b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>".to_vec(),
            b"<Delete><Objekt/></Delete>".to_vec(),
            b"<Delete><Quiet>maybe</Quiet><Object><Key>a</Key></Object></Delete>".to_vec(),
        ] {
            assert_eq!(code(parse_delete_objects(&bad)), ErrorCode::MalformedXML);
        }
        let sized = b"<Delete><Object><Key>a</Key><Size>1</Size></Object></Delete>";
        assert_eq!(code(parse_delete_objects(sized)), ErrorCode::NotImplemented);
    }

    #[test]
    fn completions_are_parsed() {
        let parts = parse_complete_multipart_upload(
            b"<CompleteMultipartUpload xmlns=\"x\"><Part><PartNumber>1</PartNumber><ETag>\"abc\"</ETag></Part>\
              <Part><ETag>def</ETag><PartNumber> 10000 </PartNumber><ChecksumCRC32C>sOO8/Q==</ChecksumCRC32C></Part>\
              </CompleteMultipartUpload>",
        )
        .unwrap();
        assert_eq!(parts[0].part_number.get(), 1);
        assert_eq!(parts[0].etag, "abc");
        assert_eq!(parts[0].checksum, None);
        assert_eq!(parts[1].part_number.get(), 10000);
        assert_eq!(
            parts[1].checksum,
            Checksum::from_base64(ChecksumAlgorithm::Crc32c, "sOO8/Q==")
        );
    }

    #[test]
    fn completions_are_strict() {
        let with = |part: &str| {
            let document = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
            code(parse_complete_multipart_upload(document.as_bytes()))
        };
        let part = |inner: &str| with(&format!("<Part>{inner}</Part>"));
        assert_eq!(with(""), ErrorCode::MalformedXML);
        assert_eq!(with("<Peace/>"), ErrorCode::MalformedXML);
        assert_eq!(part("<PartNumber>1</PartNumber>"), ErrorCode::MalformedXML);
        assert_eq!(part("<ETag>a</ETag>"), ErrorCode::MalformedXML);
        let long = "a".repeat(257);
        assert_eq!(
            part(&format!("<PartNumber>1</PartNumber><ETag>{long}</ETag>")),
            ErrorCode::MalformedXML
        );
        assert_eq!(
            part("<PartNumber>x</PartNumber><ETag>a</ETag>"),
            ErrorCode::MalformedXML
        );
        assert_eq!(
            part("<PartNumber>0</PartNumber><ETag>a</ETag>"),
            ErrorCode::InvalidArgument
        );
        assert_eq!(
            part("<PartNumber>10001</PartNumber><ETag>a</ETag>"),
            ErrorCode::InvalidArgument
        );
        assert_eq!(
            part("<PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>x</ChecksumCRC32>"),
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            part("<PartNumber>1</PartNumber><ETag>a</ETag><ChecksumSHA512>x</ChecksumSHA512>"),
            ErrorCode::NotImplemented
        );
    }

    #[test]
    fn bucket_configurations_are_parsed() {
        let location = |document: &[u8]| parse_create_bucket(document).unwrap().location_constraint;
        assert_eq!(location(b""), None);
        assert_eq!(location(b"<CreateBucketConfiguration/>"), None);
        assert_eq!(
            location(b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>")
                .as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(code(parse_create_bucket(b" ")), ErrorCode::MalformedXML);
        assert_eq!(
            code(parse_create_bucket(
                b"<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>"
            )),
            ErrorCode::NotImplemented
        );
        assert_eq!(
            code(parse_create_bucket(
                b"<CreateBucketConfiguration><X/></CreateBucketConfiguration>"
            )),
            ErrorCode::MalformedXML
        );
    }
}
