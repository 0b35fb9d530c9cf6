//! GetObject and `HeadObject`: one path, so that they cannot differ in anything but the body.

use std::borrow::Cow;
use std::ops::Range;

use cairn_meta::{
    BucketRecord, ChecksumKind, DataId, ManifestPart, ObjectBody, ObjectChecksum, ObjectRecord,
};
use futures_util::TryStreamExt;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, EXPIRES, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::byte_range;
use super::object_headers;
use super::part_number;
use super::read_condition::{self, Verdict};
use super::request::S3Request;
use super::version_id;
use crate::engine::{ReadError, ReadStream};
use crate::gateway::Gateway;
use crate::response::{self, Response, ResponseBody, StreamError};
use crate::s3_error::{ErrorCode, S3Error};

/// How often a read starts again because the object was replaced between its record and its bytes.
const LOOKUPS_MAX: usize = 3;
/// Bodies up to this size are collected before they are answered, so that they leave in one write.
const WHOLE_BODY_BYTES_MAX: u64 = 256 << 10;

/// Whether the body is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// GET.
    Body,
    /// HEAD.
    HeadersOnly,
}

pub(super) async fn handle(request: &S3Request, wanted: Wanted) -> Result<Response, S3Error> {
    let mut lookup = 1;
    loop {
        match attempt(request, wanted).await {
            Err(Failure::Gone) if lookup < LOOKUPS_MAX => lookup += 1,
            Err(Failure::Gone) => {
                return Err(S3Error::new(
                    ErrorCode::SlowDown,
                    "The object is being replaced too often to be read.",
                ));
            }
            Err(Failure::Refused(error)) => return Err(error),
            Ok(response) => return Ok(response),
        }
    }
}

enum Failure {
    /// Between the record and its bytes the object was replaced: look it up again.
    Gone,
    Refused(S3Error),
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

async fn attempt(request: &S3Request, wanted: Wanted) -> Result<Response, Failure> {
    let (bucket, key) = request.object()?;
    let gateway = &*request.gateway;
    let overrides = response_overrides(request)?;
    let version = version_id::requested(&request.query)?;
    let part_number = part_number::of_read(&request.query, request.headers.contains_key(RANGE))?;
    let record = version_id::find(gateway.meta(), bucket, key, version).await?;
    match read_condition::judge(
        &request.headers,
        read_condition::READ,
        &record,
        request.now_ms,
    )? {
        Verdict::Proceed => {}
        Verdict::NotModified(_) => return Ok(not_modified(bucket, &record)),
        Verdict::Failed(condition) => return Err(read_condition::failed(condition).into()),
    }
    let parts = match (&record.body, part_number) {
        (ObjectBody::Parts { .. }, Some(_)) => Some(manifest(gateway, &record).await?),
        _ => None,
    };
    let selection = select(request, &record, part_number, parts.as_deref())?;

    let mut response = match wanted {
        Wanted::HeadersOnly => response::empty(selection.status()),
        Wanted::Body => {
            let parts = match &parts {
                Some(parts) => data_of_parts(parts),
                None => data_of(gateway, &record).await?,
            };
            let stream = gateway
                .engine()
                .open_read(&parts, selection.range.clone())
                .await
                .map_err(read_failure)?;
            let mut response = response::empty(selection.status());
            *response.body_mut() = body(stream, selection.len()).await.map_err(read_failure)?;
            response
        }
    };
    let headers = response.headers_mut();
    object_headers::describe(headers, bucket, &record);
    selection.describe(headers, &record);
    if wants_checksum(request)?
        && let Some(checksum) = selection.checksum(&record)
    {
        object_headers::checksum(headers, &checksum);
    }
    headers.extend(overrides);
    Ok(response)
}

/// Which bytes of the object are answered.
struct Selection<'a> {
    range: Range<u64>,
    extent: Extent<'a>,
}

/// What was asked for.
enum Extent<'a> {
    Whole,
    Range,
    /// A part, of so many.
    Part(&'a ManifestPart, usize),
    /// The only part of an object that was not uploaded in parts.
    OnlyPart,
}

impl Selection<'_> {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn is_partial(&self) -> bool {
        match self.extent {
            Extent::Whole => false,
            Extent::Range => true,
            // `Content-Range` cannot express an empty range.
            Extent::Part(..) | Extent::OnlyPart => !self.range.is_empty(),
        }
    }

    fn status(&self) -> StatusCode {
        if self.is_partial() {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        }
    }

    /// Which bytes of the object these are.
    fn describe(&self, headers: &mut HeaderMap, record: &ObjectRecord) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.len()));
        if self.is_partial() {
            object_headers::set(
                headers,
                CONTENT_RANGE,
                &byte_range::content_range(&self.range, record.size_bytes),
            );
        }
        if let Extent::Part(_, part_count) = self.extent {
            headers.insert(
                HeaderName::from_static("x-amz-mp-parts-count"),
                HeaderValue::from(part_count),
            );
        }
    }

    /// The checksum of the bytes that are answered, as far as S3 tells one: of a part its own where the object's is
    /// composed of those, else only one that is the whole.
    fn checksum<'r>(&self, record: &'r ObjectRecord) -> Option<Cow<'r, ObjectChecksum>> {
        let checksum = record.checksum.as_ref()?;
        match (&self.extent, checksum.kind) {
            (Extent::Range, _) => None,
            (Extent::Part(part, _), ChecksumKind::Composite) => Some(Cow::Owned(ObjectChecksum {
                value: part.checksum.clone()?,
                part_count: None,
                ..checksum.clone()
            })),
            _ => (self.len() == record.size_bytes).then_some(Cow::Borrowed(checksum)),
        }
    }
}

fn select<'a>(
    request: &S3Request,
    record: &ObjectRecord,
    part_number: Option<u16>,
    parts: Option<&'a [ManifestPart]>,
) -> Result<Selection<'a>, S3Error> {
    let size = record.size_bytes;
    let whole = |extent| Selection {
        range: 0..size,
        extent,
    };
    match (part_number, parts) {
        (None, _) => {}
        (Some(number), None) => {
            part_number::check_only(number)?;
            return Ok(whole(Extent::OnlyPart));
        }
        (Some(number), Some(parts)) => {
            let (part, range) = part_number::find(number, parts)?;
            return Ok(Selection {
                range,
                extent: Extent::Part(part, parts.len()),
            });
        }
    }
    let Some(header) = request
        .headers
        .get(RANGE)
        .and_then(|value| value.to_str().ok())
    else {
        return Ok(whole(Extent::Whole));
    };
    if !read_condition::range_counts(&request.headers, record)? {
        return Ok(whole(Extent::Whole));
    }
    let range = byte_range::resolve(header, size)?;
    Ok(match range {
        None => whole(Extent::Whole),
        Some(range) => Selection {
            range,
            extent: Extent::Range,
        },
    })
}

fn not_modified(bucket: &BucketRecord, record: &ObjectRecord) -> Response {
    let mut response = response::empty(StatusCode::NOT_MODIFIED);
    object_headers::identify(response.headers_mut(), bucket, record);
    for (name, stored) in [
        (CACHE_CONTROL, &record.headers.cache_control),
        (EXPIRES, &record.headers.expires),
    ] {
        if let Some(stored) = stored {
            object_headers::set(response.headers_mut(), name, stored);
        }
    }
    response
}

/// The body: what is in memory already in one piece, anything longer as it comes.
async fn body(stream: ReadStream, len: u64) -> Result<ResponseBody, ReadError> {
    if len == 0 {
        return Ok(ResponseBody::empty());
    }
    if len > WHOLE_BODY_BYTES_MAX {
        return Ok(ResponseBody::sized(
            stream.map_err(|error| Box::new(error) as StreamError),
            len,
        ));
    }
    let mut pieces: Vec<_> = stream.try_collect().await?;
    let only = if pieces.len() == 1 {
        pieces.pop()
    } else {
        None
    };
    Ok(ResponseBody::whole(
        only.unwrap_or_else(|| pieces.concat().into()),
    ))
}

/// The data that hold an object's bytes, in order, with their sizes.
pub(super) async fn data_of(
    gateway: &Gateway,
    record: &ObjectRecord,
) -> Result<Vec<(DataId, u64)>, S3Error> {
    match &record.body {
        ObjectBody::Empty => Ok(Vec::new()),
        ObjectBody::Single(data_id) => Ok(vec![(*data_id, record.size_bytes)]),
        ObjectBody::Parts { .. } => Ok(data_of_parts(&manifest(gateway, record).await?)),
    }
}

fn data_of_parts(parts: &[ManifestPart]) -> Vec<(DataId, u64)> {
    parts
        .iter()
        .filter_map(|part| Some((part.data_id?, part.size_bytes)))
        .collect()
}

/// The parts of an object that was uploaded in parts; none for others.
pub(super) async fn manifest(
    gateway: &Gateway,
    record: &ObjectRecord,
) -> Result<Vec<ManifestPart>, S3Error> {
    let ObjectBody::Parts { manifest, .. } = record.body else {
        return Ok(Vec::new());
    };
    let parts = gateway.meta().manifest(manifest).await?;
    // It goes with its object, which was there a moment ago.
    parts.ok_or_else(|| {
        S3Error::new(
            ErrorCode::SlowDown,
            "The object was replaced while it was read. Please try again.",
        )
    })
}

/// What an unreadable object looks like to a client.
pub(super) fn refusal(error: ReadError) -> S3Error {
    match error {
        ReadError::Gone { .. } => S3Error::of(ErrorCode::SlowDown),
        ReadError::Unavailable { .. } => {
            tracing::error!(%error, "object unavailable");
            S3Error::new(
                ErrorCode::ServiceUnavailable,
                "Too few disks are available to read this object. Please try again when they are back.",
            )
        }
        ReadError::Meta(error) => error.into(),
        ReadError::Lost { .. } | ReadError::Damaged { .. } => {
            tracing::error!(%error, "object unreadable");
            S3Error::of(ErrorCode::InternalError)
        }
    }
}

fn read_failure(error: ReadError) -> Failure {
    match error {
        ReadError::Gone { .. } => Failure::Gone,
        error => Failure::Refused(refusal(error)),
    }
}

/// Whether the client asked for the checksum.
fn wants_checksum(request: &S3Request) -> Result<bool, S3Error> {
    match request.header("x-amz-checksum-mode")? {
        None => Ok(false),
        Some(mode) if mode.eq_ignore_ascii_case("ENABLED") => Ok(true),
        Some(mode) => Err(S3Error::invalid_argument(
            "Checksum mode must be ENABLED",
            "x-amz-checksum-mode",
            mode,
        )),
    }
}

/// The `response-*` parameters: headers that the client wants instead of the stored ones.
fn response_overrides(request: &S3Request) -> Result<HeaderMap, S3Error> {
    let mut overrides = HeaderMap::new();
    for (parameter, header) in [
        ("response-content-type", CONTENT_TYPE),
        ("response-content-language", CONTENT_LANGUAGE),
        ("response-expires", EXPIRES),
        ("response-cache-control", CACHE_CONTROL),
        ("response-content-disposition", CONTENT_DISPOSITION),
        ("response-content-encoding", CONTENT_ENCODING),
    ] {
        let Some(text) = request.query.get(parameter) else {
            continue;
        };
        let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
            S3Error::invalid_argument("Header value cannot be represented.", parameter, text)
        })?;
        overrides.insert(header, value);
    }
    Ok(overrides)
}
