//! `CreateBucket`, `DeleteBucket`, `HeadBucket`, `GetBucketLocation`, `GetBucketVersioning`.

use cairn_meta::{BucketName, BucketRecord, MetaError};
use http::{HeaderValue, StatusCode, header};

use super::request::{Place, S3Request};
use super::xml_body::{self, Digest};
use crate::request_documents;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};
use crate::xml;

/// The region that has no location constraint, and where creating one's own bucket again succeeds.
const US_EAST_1: &str = "us-east-1";

pub(super) async fn create(request: S3Request) -> Result<Response, S3Error> {
    let limit = request_documents::CREATE_BUCKET_SIZE_BYTES_MAX;
    let (request, document) = xml_body::read(request, Digest::Optional, limit).await?;
    let constraint = request_documents::parse_create_bucket(&document.bytes)?.location_constraint;
    let gateway = &request.gateway;
    check_location(constraint.as_deref(), &gateway.config().region)?;
    let Place::NewBucket(name, _) = &request.place else {
        return Err(S3Error::of(ErrorCode::InternalError));
    };
    let owner = request.account()?;
    match gateway
        .meta()
        .create_bucket(
            name.clone(),
            owner,
            gateway.config().region.as_str(),
            request.now_ms,
        )
        .await
    {
        Ok(_) => created(name),
        Err(MetaError::BucketExists { owner: existing }) if existing != owner => {
            Err(S3Error::of(ErrorCode::BucketAlreadyExists).with("BucketName", name.as_str()))
        }
        Err(MetaError::BucketExists { .. }) if gateway.config().region == US_EAST_1 => {
            created(name)
        }
        Err(MetaError::BucketExists { .. }) => {
            Err(S3Error::of(ErrorCode::BucketAlreadyOwnedByYou).with("BucketName", name.as_str()))
        }
        Err(error) => Err(error.into()),
    }
}

fn created(name: &BucketName) -> Result<Response, S3Error> {
    let mut response = response::empty(StatusCode::OK);
    response
        .headers_mut()
        .insert(header::LOCATION, header_value(&format!("/{name}"))?);
    Ok(response)
}

/// A bucket is where its gateway is; anything else is a wish that cannot be granted.
fn check_location(constraint: Option<&str>, region: &str) -> Result<(), S3Error> {
    match constraint {
        Some(constraint) if constraint == region => Ok(()),
        // Clients of one-region stores rarely say where; AWS insists on it outside us-east-1.
        None | Some("") => Ok(()),
        Some(constraint) => Err(S3Error::new(
            ErrorCode::InvalidLocationConstraint,
            format!(
                "The specified location-constraint is not valid: this store's region is {region}"
            ),
        )
        .with("LocationConstraint", constraint)),
    }
}

pub(super) async fn delete(request: S3Request) -> Result<Response, S3Error> {
    let bucket = request.bucket()?;
    request
        .gateway
        .meta()
        .delete_bucket(&bucket.name, request.now_ms)
        .await
        .map_err(|error| of_bucket(error, bucket))?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

fn of_bucket(error: MetaError, bucket: &BucketRecord) -> S3Error {
    S3Error::from(error).with("BucketName", bucket.name.as_str())
}

pub(super) fn head(request: &S3Request) -> Result<Response, S3Error> {
    let mut response = response::empty(StatusCode::OK);
    response.headers_mut().insert(
        "x-amz-bucket-region",
        header_value(&request.bucket()?.region)?,
    );
    Ok(response)
}

pub(super) fn location(request: &S3Request) -> Result<Response, S3Error> {
    let region = request.bucket()?.region.as_str();
    Ok(response::xml(
        StatusCode::OK,
        xml::location_constraint((region != US_EAST_1).then_some(region)),
    ))
}

/// Versioning cannot be switched on, so no bucket has ever had it: then S3 says nothing of a state. Tools ask for it before
/// they delete all of a bucket.
pub(super) fn versioning() -> Response {
    response::xml(StatusCode::OK, xml::versioning_configuration())
}

fn header_value(text: &str) -> Result<HeaderValue, S3Error> {
    HeaderValue::from_str(text).map_err(|_| S3Error::of(ErrorCode::InternalError))
}
