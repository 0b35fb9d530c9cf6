//! Brings the streams of concurrent requests together, so that their bytes are hashed side by side.
//!
//! A request hands over its stream with a batch of bytes and gets the stream back when they are in it. Batches wait
//! in a queue until a worker has a lane free: a worker hashes as many streams as its [`Kernel`] has lanes, looks
//! into the queue after each round, and hands each stream back as soon as it is done. Workers are blocking tasks of
//! the runtime; one begins when a batch comes that the running ones have no lane for, and ends when others have
//! lanes for all there is. So a lone stream is hashed at once, by a thread that does nothing else, as if there were
//! no pool; further ones join it, and take no core of their own before its lanes are full.
//!
//! Invariants:
//! - There is at most one batch of a stream, since the stream goes with it: the queue is never longer than there
//!   are requests, and its bytes are bounded by what a request may hand over.
//! - While batches wait, a worker runs or is about to: who enqueues one and who ends decide under the same lock.
//! - A batch waits for one round where a lane is free, else for a lane, in order. A stream that gets no bytes has no
//!   batch, and so no lane: nobody waits for it.
//! - A request that is gone has dropped its receiver: its batch is dropped before the next round.
//! - If a worker fails (a bug), the streams in it are lost and their requests get an error; if no worker is left
//!   then, so are those that wait.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Md5Stream;
use super::compress::Kernel;
use super::lane::{Lane, advance};

/// Hashes the streams of concurrent requests together. Clones are one pool.
#[derive(Debug, Clone)]
pub struct Md5Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kernel: Kernel,
    worker_count_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Batch>,
    /// Batches that wait or are in a lane.
    batch_count: usize,
    /// Workers that take batches, or are about to begin.
    worker_count: usize,
}

/// Bytes for a stream, and who wants it back.
#[derive(Debug)]
struct Batch {
    lane: Lane,
    reply: oneshot::Sender<Md5Stream>,
}

impl Md5Pool {
    /// Uses the best instructions of this machine, and at most as many threads as it has cores.
    pub fn new() -> Self {
        let core_count = available_parallelism().map_or(1, NonZero::get);
        Self::with(Kernel::best(), core_count)
    }

    fn with(kernel: Kernel, worker_count_max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                kernel,
                worker_count_max,
                queue: Mutex::default(),
            }),
        }
    }

    /// Adds `pieces` to `stream`, which comes back when that is done; an error means that hashing failed.
    /// Dropping the receiver takes the work back.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn update(&self, stream: Md5Stream, pieces: Vec<Bytes>) -> oneshot::Receiver<Md5Stream> {
        let (reply, receiver) = oneshot::channel();
        let lane = Lane::new(stream, pieces);
        if self.shared.enqueue(Batch { lane, reply }) {
            let worker = Worker {
                shared: Arc::clone(&self.shared),
                batches: Vec::new(),
                is_retired: false,
            };
            // Detached: all that depends on it are the receivers, which learn of its end either way.
            drop(tokio::task::spawn_blocking(move || worker.run()));
        }
        receiver
    }
}

impl Default for Md5Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing between two of its changes can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a further worker is needed, and counted already.
    fn enqueue(&self, batch: Batch) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(batch);
        queue.batch_count += 1;
        let is_needed = queue.worker_count < self.needed_count(&queue);
        if is_needed {
            queue.worker_count += 1;
        }
        is_needed
    }

    /// How many workers have lanes for all batches.
    fn needed_count(&self, queue: &Queue) -> usize {
        queue
            .batch_count
            .div_ceil(self.kernel.width())
            .min(self.worker_count_max)
    }
}

/// Hashes what is in its lanes and takes more from the queue, until there is nothing left.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    batches: Vec<Batch>,
    /// Finishes what it has and takes nothing more: others have lanes for all that comes. Without it, streams that
    /// were once spread over two workers would never come together again.
    is_retired: bool,
}

impl Worker {
    fn run(mut self) {
        while self.fill_lanes() {
            advance(
                self.shared.kernel,
                self.batches.iter_mut().map(|batch| &mut batch.lane),
            );
            self.empty_lanes();
        }
    }

    /// Takes batches into free lanes; `false` if all lanes are empty, which ends the worker.
    fn fill_lanes(&mut self) -> bool {
        if !self.is_retired {
            let mut queue = self.shared.queue();
            let is_surplus = queue.worker_count > self.shared.needed_count(&queue);
            if is_surplus || (self.batches.is_empty() && queue.waiting.is_empty()) {
                queue.worker_count -= 1;
                self.is_retired = true;
            } else {
                let free_count = self.shared.kernel.width() - self.batches.len();
                let taken_count = free_count.min(queue.waiting.len());
                self.batches.extend(queue.waiting.drain(..taken_count));
            }
        }
        !self.batches.is_empty()
    }

    /// Gives back what is done, and forgets what nobody waits for.
    fn empty_lanes(&mut self) {
        let is_over = |batch: &mut Batch| batch.lane.is_done() || batch.reply.is_closed();
        let over: Vec<Batch> = self.batches.extract_if(.., is_over).collect();
        if over.is_empty() {
            return;
        }
        self.shared.queue().batch_count -= over.len();
        for Batch { lane, reply } in over {
            // Nobody may be there any more to take it.
            drop(reply.send(lane.into_stream()));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_retired && self.batches.is_empty() {
            return;
        }
        // It panicked, or the runtime ended before it began.
        let mut queue = self.shared.queue();
        queue.batch_count -= self.batches.len();
        if !self.is_retired {
            queue.worker_count -= 1;
        }
        if queue.worker_count == 0 {
            queue.batch_count -= queue.waiting.len();
            queue.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests;
