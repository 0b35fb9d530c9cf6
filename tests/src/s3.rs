//! The AWS SDK for Rust, pointed at a server under test.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::serve::{ACCESS_KEY, SECRET_KEY};

/// A client with the SDK's defaults but for retries, which would hide what a test looks for.
pub fn client(endpoint: &str) -> Client {
    client_with_keys(endpoint, ACCESS_KEY, SECRET_KEY)
}

/// As [`client`], for another user.
pub fn client_with_keys(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys(access_key, secret_key, None))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// As [`client`], after it has made a bucket.
pub async fn client_with_bucket(endpoint: &str, bucket: &str) -> Client {
    let client = client(endpoint);
    client.create_bucket().bucket(bucket).send().await.unwrap();
    client
}

/// Stores one object.
///
/// # Errors
/// S3's error code, or what happened to the connection.
pub async fn put(
    client: &Client,
    bucket: &str,
    key: &str,
    body: Vec<u8>,
) -> Result<String, String> {
    let answer = client
        .put_object()
        .bucket(bucket)
        .key(key)
        .body(ByteStream::from(body))
        .send()
        .await;
    answer
        .map(|put| put.e_tag.expect("every PUT returns an ETag"))
        .map_err(|error| code(&error))
}

/// Reads one object whole.
///
/// # Errors
/// S3's error code, or what happened to the connection.
pub async fn get(client: &Client, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
    let answer = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .map_err(|error| code(&error))?;
    let body = answer
        .body
        .collect()
        .await
        .map_err(|error| format!("broken body: {error}"))?;
    Ok(body.to_vec())
}

/// Deletes one object.
///
/// # Errors
/// S3's error code, or what happened to the connection.
pub async fn delete(client: &Client, bucket: &str, key: &str) -> Result<(), String> {
    let request = client.delete_object().bucket(bucket).key(key);
    let answer = request.send().await;
    answer.map(drop).map_err(|error| code(&error))
}

/// Begins an upload and stores its parts, numbered from 1; its identity, and what its completion lists.
///
/// # Errors
/// S3's error code, or what happened to the connection.
pub async fn upload_parts(
    client: &Client,
    bucket: &str,
    key: &str,
    bodies: impl IntoIterator<Item = Vec<u8>>,
) -> Result<(String, CompletedMultipartUpload), String> {
    let request = client.create_multipart_upload().bucket(bucket).key(key);
    let created = request.send().await.map_err(|error| code(&error))?;
    let upload = created.upload_id.expect("every upload has an identity");
    let mut parts = Vec::new();
    for (number, body) in (1..).zip(bodies) {
        let request = client.upload_part().bucket(bucket).key(key);
        let request = request.upload_id(&upload).part_number(number);
        let stored = request
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|error| code(&error))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(stored.e_tag)
            .set_checksum_crc32(stored.checksum_crc32);
        parts.push(part.build());
    }
    let listed = CompletedMultipartUpload::builder().set_parts(Some(parts));
    Ok((upload, listed.build()))
}

/// All keys of a bucket in the order they are listed.
///
/// # Errors
/// S3's error code, or what happened to the connection.
pub async fn list(client: &Client, bucket: &str) -> Result<Vec<String>, String> {
    let mut pages = client
        .list_objects_v2()
        .bucket(bucket)
        .into_paginator()
        .send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| code(&error))?;
        keys.extend(
            page.contents
                .unwrap_or_default()
                .into_iter()
                .filter_map(|object| object.key),
        );
    }
    Ok(keys)
}

/// S3's error code where there is one, otherwise a description of the failure.
pub fn code<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    error: &SdkError<E, R>,
) -> String {
    error
        .code()
        .map_or_else(|| format!("{error:?}"), str::to_owned)
}

/// Status and S3's error code of a refusal, as `503 ServiceUnavailable`; a description of any other failure.
pub fn refusal<E: ProvideErrorMetadata + std::fmt::Debug>(
    error: &SdkError<E, HttpResponse>,
) -> String {
    match error.raw_response() {
        Some(answer) => format!("{} {}", answer.status().as_u16(), code(error)),
        None => format!("{error:?}"),
    }
}
