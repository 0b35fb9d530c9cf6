//! What the metadata backend says of itself, through whoever assembled the process.

use std::fmt;

use async_trait::async_trait;

use crate::admin_api::MetadataStatus;
use crate::metrics::MetadataRequests;

/// Tells the state of the metadata backend. The gateway sees only the key-value contract; size, journal copies
/// and their lag are known to whoever opened the backend.
#[async_trait]
pub trait MetadataState: Send + Sync + fmt::Debug + 'static {
    /// The state as of now; quick, and never an error: what does not answer is not healthy.
    async fn status(&self) -> MetadataStatus;

    /// Why no commit would be taken now: reads may go on meanwhile. As quick as the state.
    async fn refusal(&self) -> Option<String> {
        None
    }

    /// The calls to the backend as they were seen here, where it is another process.
    fn requests(&self) -> Option<&MetadataRequests> {
        None
    }
}

/// For backends that have nothing to say, as the in-memory one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentMetadata;

#[async_trait]
impl MetadataState for SilentMetadata {
    async fn status(&self) -> MetadataStatus {
        MetadataStatus {
            backend: "memory".to_owned(),
            healthy: true,
            ..MetadataStatus::default()
        }
    }
}
