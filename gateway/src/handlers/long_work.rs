//! Work that may outlive its request: copies and completions go on when their client has left, and may fail when it
//! was told 200 already.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Instrument;

use super::request::S3Request;
use crate::failure_answer;
use crate::gateway::Gateway;
use crate::keep_alive::{self, Pace};
use crate::request_id::RequestId;
use crate::request_log::RequestLog;
use crate::response::Response;
use crate::s3_error::S3Error;

/// What is kept of a request whose work is under way.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    gateway: Arc<Gateway>,
    id: RequestId,
    resource: String,
    /// Keeps the request's place, and makes draining wait, until the work is done.
    log: RequestLog,
}

impl Asker {
    pub(super) fn of(request: &S3Request) -> Self {
        Self {
            gateway: Arc::clone(&request.gateway),
            id: request.id,
            resource: request.resource.clone(),
            log: request.log.clone(),
        }
    }

    /// Answers with what `work` comes to, which is in time or, after a 200 and white space, late.
    pub(super) async fn answer(
        self,
        work: impl Future<Output = Result<Response, S3Error>> + Send + 'static,
    ) -> Result<Response, S3Error> {
        let interval = self.gateway.config().timeouts.keep_alive;
        let pace = Pace {
            patience: interval,
            interval,
        };
        let (gateway, id, resource) = (Arc::clone(&self.gateway), self.id, self.resource.clone());
        let work = self.see_through(work).in_current_span();
        keep_alive::answer(pace, work, move |error| {
            failure_answer::error_document(&gateway, id, &resource, error)
        })
        .await
    }

    /// Runs `work` to its end and notes how it failed: there may be nobody else to see it.
    async fn see_through(
        self,
        work: impl Future<Output = Result<Response, S3Error>>,
    ) -> Result<Response, S3Error> {
        let result = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(failure_answer::panicked(
                &self.gateway,
                &self.resource,
                &*panic,
            )),
        };
        if let Err(error) = &result {
            self.log.failed(error.status(), error.code());
        }
        result
    }
}
