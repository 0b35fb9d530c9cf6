//! `ListBuckets`: the caller's own, by name, in pages.

use cairn_meta::BucketName;
use http::StatusCode;

use super::object_owner::OwnerNames;
use super::page_query;
use super::request::S3Request;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;
use crate::xml::XmlWriter;

/// Buckets on a page at most, and where nothing is said.
const PAGE_SIZE_MAX: usize = 10_000;

/// What a bucket takes on a page at most: a name of 63 bytes, its time and region.
const BUCKET_BYTES_MAX: usize = 256;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let account = request.account()?;
    let region = &request.gateway.config().region;
    let prefix = request.query.get("prefix").unwrap_or_default();
    let limit = page_size(&request)?;
    let after = match page_query::text(&request.query, "continuation-token") {
        None => None,
        Some(token) => Some(parse_token(token)?),
    };
    let gateway = &request.gateway;
    let room = gateway
        .answer_room(limit.saturating_mul(BUCKET_BYTES_MAX))
        .await?;
    let meta = gateway.meta();
    let wants_this_region =
        page_query::text(&request.query, "bucket-region").is_none_or(|wanted| wanted == region);
    let (buckets, next) = if wants_this_region {
        let page = meta
            .list_buckets(account, prefix, after.as_ref(), limit)
            .await?;
        (page.buckets, page.next)
    } else {
        (Vec::new(), None)
    };
    let owners = OwnerNames::of(meta, &[account]).await?;

    let mut xml = XmlWriter::document();
    xml.open_root("ListAllMyBucketsResult");
    owners.write(&mut xml, "Owner", account);
    xml.open("Buckets");
    for bucket in &buckets {
        xml.open("Bucket");
        xml.text("Name", bucket.name.as_str());
        xml.text("CreationDate", &timestamp::iso8601(bucket.created_at_ms));
        xml.text("BucketRegion", &bucket.region);
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.optional_text(
        "ContinuationToken",
        next.map(|next| page_query::token(next.as_str())).as_deref(),
    );
    if !prefix.is_empty() {
        xml.text("Prefix", prefix);
    }
    xml.close("ListAllMyBucketsResult");
    Ok(response::long_xml(StatusCode::OK, xml.finish(), room))
}

fn page_size(request: &S3Request) -> Result<usize, S3Error> {
    let Some(text) = page_query::text(&request.query, "max-buckets") else {
        return Ok(PAGE_SIZE_MAX);
    };
    let number = text
        .parse::<usize>()
        .ok()
        .filter(|number| (1..=PAGE_SIZE_MAX).contains(number));
    number.ok_or_else(|| {
        S3Error::invalid_argument(
            "Argument max-buckets must be an integer between 1 and 10000",
            "max-buckets",
            text,
        )
    })
}

fn parse_token(token: &str) -> Result<BucketName, S3Error> {
    let name = page_query::parse_token(token)?;
    BucketName::parse(name).map_err(|_| {
        S3Error::new(
            ErrorCode::InvalidArgument,
            "The continuation token provided is incorrect",
        )
    })
}
