//! `DeleteObjects`: up to 1,000 keys in one request, each a success or a failure of its own.

use std::str::FromStr;
use std::sync::Arc;

use cairn_meta::{BucketRecord, VersionId};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use http::StatusCode;

use super::delete_object::{refused, told};
use super::request::{self, S3Request};
use super::write_condition::WriteCondition;
use super::xml_body::{self, Digest};
use crate::gateway::Gateway;
use crate::request_documents::{self, ObjectToDelete};
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};
use crate::xml::XmlWriter;

/// Deletes under way at once: enough for the metadata to commit in groups.
const CONCURRENCY: usize = 32;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let limit = request_documents::DELETE_OBJECTS_SIZE_BYTES_MAX;
    let (request, document) = xml_body::read(request, Digest::Required, limit).await?;
    let wanted = request_documents::parse_delete_objects(&document.bytes)?;
    // What was parsed takes their place, in the room of the document.
    drop(document.bytes);
    let bucket = request.bucket()?.clone();
    let names_versions = wanted
        .objects
        .iter()
        .any(|object| object.version_id.is_some());
    if names_versions {
        request::permit(&request.principal, request.operation.action(true), &bucket)?;
    }
    let gateway = Arc::clone(&request.gateway);
    // Nothing was deleted yet: the client may try again.
    let answer_bytes_max = wanted.objects.iter().map(answer_bytes_max).sum();
    let answer_room = gateway.answer_room(answer_bytes_max).await?;
    let now_ms = request.now_ms;
    let mut xml = XmlWriter::document();
    xml.open_root("DeleteResult");
    let mut waiting = wanted.objects.iter();
    let mut running = FuturesOrdered::new();
    for object in &wanted.objects {
        let free = CONCURRENCY.saturating_sub(running.len());
        for next in waiting.by_ref().take(free) {
            running.push_back(delete(&gateway, &bucket, next, now_ms));
        }
        match running.next().await {
            Some(Ok(_)) if wanted.quiet => {}
            Some(Ok(version)) => write_deleted(&mut xml, &bucket, object, version),
            Some(Err(error)) => write_error(&mut xml, object, &error),
            None => return Err(S3Error::of(ErrorCode::InternalError)),
        }
    }
    xml.close("DeleteResult");
    Ok(response::long_xml(
        StatusCode::OK,
        xml.finish(),
        answer_room,
    ))
}

/// What is said of an object at most: its key and version, each byte escaped to six, and what became of it.
fn answer_bytes_max(object: &ObjectToDelete) -> usize {
    let version_len = object.version_id.as_ref().map_or(0, String::len);
    512 + 6 * (object.key.len() + version_len)
}

/// The version that was made or removed, and whether it is a delete marker.
type Deleted = Option<(VersionId, bool)>;

async fn delete(
    gateway: &Gateway,
    bucket: &BucketRecord,
    object: &ObjectToDelete,
    now_ms: u64,
) -> Result<Deleted, S3Error> {
    let key = request::object_key(&object.key)?;
    // Of one object among many, what cannot be an id is the id of no version.
    let version = object.version_id.as_deref().map(VersionId::from_str);
    let version = version.transpose().map_err(|_| ErrorCode::NoSuchVersion)?;
    let condition = object
        .etag
        .as_deref()
        .map_or(WriteCondition::Always, WriteCondition::if_match);
    let check = |current: Option<&cairn_meta::ObjectRecord>| condition.check(&key, current);
    let outcome = gateway
        .meta()
        .delete_object(bucket, &key, version, now_ms, &check)
        .await;
    outcome.map(told).map_err(refused)
}

fn write_deleted(
    xml: &mut XmlWriter,
    bucket: &BucketRecord,
    object: &ObjectToDelete,
    deleted: Deleted,
) {
    xml.open("Deleted");
    xml.text("Key", &object.key);
    xml.optional_text("VersionId", object.version_id.as_deref());
    let has_versions = bucket.versioning != cairn_meta::Versioning::Never;
    if let (true, Some((version, true))) = (has_versions, deleted) {
        xml.value("DeleteMarker", true);
        xml.text("DeleteMarkerVersionId", &version.to_string());
    }
    xml.close("Deleted");
}

fn write_error(xml: &mut XmlWriter, object: &ObjectToDelete, error: &S3Error) {
    xml.open("Error");
    xml.text("Key", &object.key);
    xml.optional_text("VersionId", object.version_id.as_deref());
    xml.text("Code", error.code().as_str());
    xml.text("Message", error.message());
    xml.close("Error");
}
