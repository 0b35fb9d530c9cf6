//! Memory for documents, which are held whole: taken as their bytes come, so that who sends slowly keeps only what was
//! sent, and given back when the last who needs it is done.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory that documents share.
#[derive(Debug, Clone)]
pub(crate) struct DocumentMemory {
    free_bytes: Arc<Semaphore>,
    /// How long somebody waits for room who has none. Who holds some waits a tenth of it for more, so that two who hold
    /// parts of it do not keep each other waiting (ADR 17).
    patience: Duration,
}

/// There was no room for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl DocumentMemory {
    pub(crate) fn new(size_bytes: u32, patience: Duration) -> Self {
        Self {
            free_bytes: Arc::new(Semaphore::new(size_bytes as usize)),
            patience,
        }
    }

    /// Room for nothing yet.
    pub(crate) fn room(&self) -> DocumentRoom {
        DocumentRoom {
            memory: self.clone(),
            permit: None,
        }
    }
}

/// Room for one document, given back when dropped.
#[derive(Debug)]
pub(crate) struct DocumentRoom {
    memory: DocumentMemory,
    /// `None` as long as the room is for nothing.
    permit: Option<OwnedSemaphorePermit>,
}

impl DocumentRoom {
    /// Waits for room for `more_bytes` more.
    pub(crate) async fn grow(&mut self, more_bytes: usize) -> Result<(), NoRoom> {
        let more = u32::try_from(more_bytes).map_err(|_| NoRoom)?;
        if more == 0 {
            return Ok(());
        }
        let patience = match &self.permit {
            None => self.memory.patience,
            Some(_) => self.memory.patience / 10,
        };
        let free = Arc::clone(&self.memory.free_bytes);
        let permit = tokio::time::timeout(patience, free.acquire_many_owned(more))
            .await
            .map_err(|_| NoRoom)?
            .map_err(|_| NoRoom)?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }

    /// Gives back what is more than `size_bytes`.
    pub(crate) fn shrink_to(&mut self, size_bytes: usize) {
        if let Some(held) = &mut self.permit {
            drop(held.split(held.num_permits().saturating_sub(size_bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_taken_bit_by_bit_and_given_back_whole() {
        let memory = DocumentMemory::new(100, Duration::from_millis(20));
        let mut room = memory.room();
        let mut other = memory.room();
        room.grow(40).await.unwrap();
        room.grow(40).await.unwrap();
        assert_eq!(other.grow(21).await, Err(NoRoom));
        other.grow(20).await.unwrap();
        assert_eq!(room.grow(1).await, Err(NoRoom));
        room.shrink_to(30);
        other.grow(50).await.unwrap();
        room.shrink_to(40);
        assert_eq!(other.grow(1).await, Err(NoRoom));
        drop(room);
        other.grow(30).await.unwrap();
    }
}
