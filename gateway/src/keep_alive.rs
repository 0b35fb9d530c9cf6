//! Answers that take long: a copy or completion that outlasts a client's patience is announced with a 200 at once,
//! kept alive with white space, and ends with the document, which is then an `<Error>` if the work failed.
//!
//! The work runs in a task of its own: a client that leaves does not stop it half-way.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;

use crate::response::{Response, ResponseBody, StreamError};
use crate::s3_error::{ErrorCode, S3Error};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// When a running operation begins to speak, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Work that ends before this is answered like any other, with its true status.
    pub(crate) patience: Duration,
    /// Pause between two pieces of white space.
    pub(crate) interval: Duration,
}

enum State {
    Declaration,
    Working,
    Done,
}

/// Runs `work` to its end whatever the client does, and answers as described above. `render_error` gives the
/// document of a failure that comes after the 200.
pub(crate) async fn answer(
    pace: Pace,
    work: impl Future<Output = Result<Response, S3Error>> + Send + 'static,
    render_error: impl Fn(&S3Error) -> String + Send + Sync + 'static,
) -> Result<Response, S3Error> {
    let mut task = tokio::spawn(work);
    match tokio::time::timeout(pace.patience, &mut task).await {
        Ok(result) => joined(result),
        Err(_) => Ok(streaming(pace.interval, task, render_error)),
    }
}

fn streaming(
    interval: Duration,
    task: JoinHandle<Result<Response, S3Error>>,
    render_error: impl Fn(&S3Error) -> String + Send + Sync + 'static,
) -> Response {
    let body = stream::unfold(
        (State::Declaration, task, render_error),
        move |(state, mut task, render_error)| async move {
            match state {
                State::Declaration => Some((
                    Ok(Bytes::from_static(DECLARATION.as_bytes())),
                    (State::Working, task, render_error),
                )),
                State::Working => match tokio::time::timeout(interval, &mut task).await {
                    Err(_) => Some((
                        Ok(Bytes::from_static(b" ")),
                        (State::Working, task, render_error),
                    )),
                    Ok(result) => {
                        let document = match joined(result) {
                            Ok(response) => whole_body(response).await,
                            Err(error) => Bytes::from(render_error(&error)),
                        };
                        Some((
                            Ok(without_declaration(&document)),
                            (State::Done, task, render_error),
                        ))
                    }
                },
                State::Done => None::<(Result<Bytes, StreamError>, _)>,
            }
        },
    );
    let mut response = Response::new(ResponseBody::chunked(body));
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn joined(
    result: Result<Result<Response, S3Error>, tokio::task::JoinError>,
) -> Result<Response, S3Error> {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "a long operation ended without an answer");
        Err(S3Error::of(ErrorCode::InternalError))
    })
}

async fn whole_body(response: Response) -> Bytes {
    // The work's answers are documents in memory.
    response
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default()
}

fn without_declaration(document: &Bytes) -> Bytes {
    let end = document
        .windows(2)
        .position(|pair| pair == b"?>")
        .map_or(0, |start| start + 2);
    document.slice(end..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response;

    const PACE: Pace = Pace {
        patience: Duration::from_millis(20),
        interval: Duration::from_millis(20),
    };

    async fn run(
        delay: Duration,
        result: Result<&'static str, S3Error>,
    ) -> Result<(StatusCode, String), S3Error> {
        let work = async move {
            tokio::time::sleep(delay).await;
            result.map(|text| response::xml(StatusCode::OK, format!("{DECLARATION}{text}")))
        };
        let response = answer(PACE, work, |error| {
            format!("{DECLARATION}<Error>{}</Error>", error.code().as_str())
        })
        .await?;
        let status = response.status();
        let text = whole_body(response).await;
        Ok((status, String::from_utf8(text.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn quick_work_has_its_true_status() {
        let error = run(Duration::ZERO, Err(S3Error::of(ErrorCode::InvalidPart)))
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidPart);
        assert_eq!(
            run(Duration::ZERO, Ok("<A/>")).await.unwrap().1,
            format!("{DECLARATION}<A/>")
        );
    }

    /// White space may stand between the declaration and the document, and nothing before the declaration.
    fn parts(text: &str) -> (usize, &str) {
        let rest = text.strip_prefix(DECLARATION).unwrap();
        let document = rest.trim_start();
        (rest.len() - document.len(), document)
    }

    #[tokio::test]
    async fn slow_work_is_announced_kept_alive_and_ends_with_its_document() {
        let (status, text) = run(Duration::from_millis(200), Ok("<A/>")).await.unwrap();
        let (space, document) = parts(&text);
        assert_eq!((status, document), (StatusCode::OK, "<A/>"));
        assert!(space >= 3, "{text:?}");
    }

    #[tokio::test]
    async fn slow_work_that_fails_ends_with_an_error_inside_the_200() {
        let (status, text) = run(
            Duration::from_millis(100),
            Err(S3Error::of(ErrorCode::InternalError)),
        )
        .await
        .unwrap();
        assert_eq!(
            (status, parts(&text).1),
            (StatusCode::OK, "<Error>InternalError</Error>")
        );
    }
}
