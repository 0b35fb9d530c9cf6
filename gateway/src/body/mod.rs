//! Request bodies: from what arrives to the content, verified.
//!
//! A body passes three stages, none of which copies it or holds more than a few pieces:
//! an idle time-out on the wire (`timed`), the framing and its signatures ([`decoder`]), and the digests
//! (`digests`), computed beside the stream on other threads. [`BodyPlan`] is what the request's head says
//! about all this; [`UploadBody`] is the stream of content that the plan makes of a body.
//!
//! Invariant: content may be stored as it streams, but nothing may become visible before
//! [`UploadBody::finish`] has returned `Ok`; only then have length, signatures, trailers and digests been verified.

mod chunked;
mod decoder;
mod digests;
mod plan;
#[cfg(test)]
mod tests;
mod trailer;
mod upload;

pub use digests::DigestSet;
pub use plan::{BODY_SIZE_BYTES_MAX, BodyPlan};
pub use upload::{BodyOptions, RATE_BYTES_PER_SECOND_MIN, RATE_WINDOW, UploadBody};
