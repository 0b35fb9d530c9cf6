//! Finds the handler of an administrative request, after its signature was verified to be root's.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::refusal::Refusal;
use super::{keys, status, users};
use crate::admin_api::{BODY_SIZE_BYTES_MAX, PATH_PREFIX};
use crate::auth::{PayloadMode, Principal, RequestHead};
use crate::gateway::Gateway;
use crate::operation::Query;
use crate::request_body::RequestBody;
use crate::request_id::RequestId;
use crate::response::{self, Response, ResponseBody};

/// Answers a request under the admin API's path.
pub(crate) async fn respond(
    gateway: &Arc<Gateway>,
    id: RequestId,
    parts: Parts,
    body: RequestBody,
) -> Response {
    match answer(gateway, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => json(refusal.status, &refusal.document(id)),
    }
}

async fn answer(gateway: &Gateway, parts: &Parts, body: RequestBody) -> Result<Response, Refusal> {
    let authenticated = gateway
        .verifier()
        .verify(RequestHead::of(parts), gateway.keyring(), gateway.now_ms())
        .await?;
    if !matches!(authenticated.principal, Principal::Root { .. }) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "AccessDenied",
            "only the root credentials may administer",
        ));
    }
    let body = read_body(body, &authenticated.payload).await?;
    let query = Query::parse(parts.uri.query())?;
    let path = parts
        .uri
        .path()
        .strip_prefix(PATH_PREFIX)
        .unwrap_or_default();
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    match (&parts.method, segments.as_slice()) {
        (&Method::POST, ["users"]) => Ok(json(
            StatusCode::CREATED,
            &users::create(gateway, parse(&body)?).await?,
        )),
        (&Method::GET, ["users"]) => Ok(json(StatusCode::OK, &users::list(gateway).await?)),
        (&Method::GET, ["users", name]) => Ok(json(
            StatusCode::OK,
            &users::show(gateway, &decode(name)?).await?,
        )),
        (&Method::DELETE, ["users", name]) => {
            users::delete(gateway, &decode(name)?).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (&Method::POST, ["keys"]) => Ok(json(
            StatusCode::CREATED,
            &keys::create(gateway, parse(&body)?).await?,
        )),
        (&Method::GET, ["keys"]) => Ok(json(
            StatusCode::OK,
            &keys::list(gateway, query.get("user")).await?,
        )),
        (&Method::DELETE, ["keys", access_key]) => {
            keys::delete(gateway, &decode(access_key)?).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (&Method::GET, ["cluster"]) => {
            Ok(json(StatusCode::OK, &status::cluster_status(gateway).await))
        }
        (_, ["users" | "keys" | "cluster"] | ["users" | "keys", _]) => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "this resource has no such method",
        )),
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "NoSuchResource",
            "there is no such resource in the admin API",
        )),
    }
}

/// The whole body, which must be the one that was signed.
async fn read_body(body: RequestBody, payload: &PayloadMode) -> Result<Vec<u8>, Refusal> {
    let PayloadMode::Signed(expected) = payload else {
        return Err(Refusal::invalid(
            "administrative requests must sign their body in x-amz-content-sha256",
        ));
    };
    let body = Limited::new(body, BODY_SIZE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "EntityTooLarge",
                    format!("a body has at most {BODY_SIZE_BYTES_MAX} bytes"),
                )
            } else {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "IncompleteBody",
                    "the body ended early",
                )
            }
        })?;
    let body = body.to_bytes();
    let actual: [u8; 32] = Sha256::digest(&body).into();
    if !bool::from(actual.ct_eq(expected)) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "XAmzContentSHA256Mismatch",
            "the body does not have the SHA-256 in x-amz-content-sha256",
        ));
    }
    Ok(body.to_vec())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::invalid(format!("the body is not the document expected: {error}"))
    })
}

fn decode(segment: &str) -> Result<String, Refusal> {
    crate::percent::percent_decode(segment).ok_or_else(|| Refusal::invalid("the path is not UTF-8"))
}

fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(bytes) => {
            let mut response = response::empty(status);
            *response.body_mut() = ResponseBody::whole(bytes);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an administrative answer cannot be written");
            response::empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
