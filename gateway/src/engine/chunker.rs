//! Cuts a stream of bytes into chunks.
//!
//! Memory is paid for as bytes arrive. When it is used up, a chunk that needs more, or whose client is silent or slow, ends
//! with what there is of it and is stored, so that its memory is free again: many slow uploads make each other's chunks
//! smaller, and none waits for another to end.
//!
//! Invariants: a buffer is no larger than what is paid for, because one that was used before is resident as a whole; no
//! chunk of a stream is larger than the chunk size; one but the last is smaller only for want of memory; the last one is
//! marked. A chunk is given out when it is known whether anything follows it, or said by the client: one that falls silent
//! between two chunks keeps neither in memory. Where less came than was said, the last one is empty.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_meta::Coding;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout};

use super::coding::coded_bytes;
use super::memory::{BufferPool, MemoryBudget, OutOfBudget, PooledBuffer, Reservation};

/// Zeros behind the bytes of a chunk, so that data shards of every geometry are slices of its buffer.
pub(crate) const PADDING_LEN: usize = super::geometry::SHARD_COUNT_MAX;

/// So many bytes of a chunk are paid for at first: 0.4 s of a client with 5 Mbit/s.
const STEP_BYTES: usize = 256 << 10;

/// How much larger the buffer of a chunk becomes when it is full. What it held is copied: a third of a chunk's bytes at most.
const GROWTH: usize = 4;

/// How long a chunk waits for memory before it ends with what there is. Memory of writes that only the disks hold up is
/// free again sooner; for clients nobody waits longer.
const STEP_WAIT_MAX: Duration = Duration::from_millis(100);

/// A client that sends nothing for so long, or does not fill a buffer that grew within it, keeps no memory that others wait
/// for. Connections rarely pause longer.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(1);

/// So many chunks of a stream may be smaller for want of memory; those behind it wait. Each is an entry in the record
/// of its datum, and a batch must hold the record of 5 GiB with these.
const SHORT_CHUNK_COUNT_MAX: u32 = 1024;

/// What a chunker needs to know of its surroundings.
#[derive(Debug, Clone)]
pub(crate) struct ChunkerOptions {
    pub(crate) chunk_size_bytes: usize,
    /// Up to here a chunk that is the whole stream is not copied into a buffer.
    pub(crate) small_size_bytes_max: usize,
    /// How large chunks are coded on the disks that are there when the stream begins: memory is paid for that, parity
    /// included.
    pub(crate) coding: Coding,
    /// In production [`SILENCE_MAX`].
    pub(crate) silence_max: Duration,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) pool: Arc<BufferPool>,
}

/// A stream that is being cut.
#[derive(Debug)]
pub(crate) struct Chunker<S> {
    source: S,
    options: ChunkerOptions,
    /// How many bytes are still expected; they may be more or fewer.
    expected_bytes: Option<u64>,
    /// What was received and is in no chunk yet.
    rest: Bytes,
    next_index: u32,
    source_ended: bool,
    /// Whether chunks were given out, and not the last one.
    is_last_owed: bool,
}

/// One chunk.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) index: u32,
    /// The bytes, followed by [`PADDING_LEN`] zeros if longer than a small chunk.
    pub(crate) padded: Bytes,
    /// Without the padding.
    pub(crate) size_bytes: u32,
    pub(crate) is_last: bool,
    /// Given back when the chunk was written.
    pub(crate) memory: Option<Reservation>,
}

impl Chunk {
    /// All bytes of a small datum that were kept elsewhere until now.
    pub(crate) fn whole(payload: &Bytes) -> Self {
        Self::again(0, std::slice::from_ref(payload), true)
    }

    /// A chunk that was in memory before, and is paid for by who makes it.
    pub(crate) fn again(index: u32, pieces: &[Bytes], is_last: bool) -> Self {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let mut padded = Vec::with_capacity(len + PADDING_LEN);
        for piece in pieces {
            padded.extend_from_slice(piece);
        }
        padded.resize(len + PADDING_LEN, 0);
        Self {
            index,
            padded: padded.into(),
            // Chunks are at most as large as their records can say.
            size_bytes: u32::try_from(len).unwrap_or(u32::MAX),
            is_last,
            memory: None,
        }
    }

    /// The only chunk of a stream without bytes.
    pub(crate) fn empty() -> Self {
        Self {
            index: 0,
            padded: Bytes::new(),
            size_bytes: 0,
            is_last: true,
            memory: None,
        }
    }
}

/// Why there is no next chunk.
#[derive(Debug)]
pub(crate) enum ChunkerError<E> {
    Source(E),
    OutOfBudget,
    /// 2^32 chunks: far beyond any object's size limit.
    TooManyChunks,
}

impl<E> From<OutOfBudget> for ChunkerError<E> {
    fn from(_: OutOfBudget) -> Self {
        Self::OutOfBudget
    }
}

impl<S, E> Chunker<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    pub(crate) fn new(source: S, size_hint: Option<u64>, options: ChunkerOptions) -> Self {
        Self {
            source,
            options,
            expected_bytes: size_hint,
            rest: Bytes::new(),
            next_index: 0,
            source_ended: false,
            is_last_owed: false,
        }
    }

    /// The next chunk, or `None` behind the last. Not cancellation-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Chunk>, ChunkerError<E>> {
        if !self.receive().await? {
            return if self.is_last_owed {
                self.chunk(Bytes::new(), 0, true, None).map(Some)
            } else {
                Ok(None)
            };
        }
        if self.next_index == 0 && self.rest.len() <= self.options.small_size_bytes_max {
            // Most small bodies arrive in one piece: they become shards without a copy.
            let first = std::mem::take(&mut self.rest);
            if !self.receive().await? {
                return self.small_chunk(first).map(Some);
            }
            return self.buffered_chunk(&first).await.map(Some);
        }
        self.buffered_chunk(&[]).await.map(Some)
    }

    /// Makes `rest` not empty; `false` if nothing is left.
    async fn receive(&mut self) -> Result<bool, ChunkerError<E>> {
        while self.rest.is_empty() && !self.source_ended {
            match self.source.next().await {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Err(ChunkerError::Source(error)),
                None => self.source_ended = true,
            }
        }
        Ok(!self.rest.is_empty())
    }

    fn small_chunk(&mut self, bytes: Bytes) -> Result<Chunk, ChunkerError<E>> {
        let size_bytes = bytes.len();
        self.chunk(bytes, size_bytes, true, None)
    }

    /// Fills a buffer with `first` (a small frame that was received before `rest`) and what follows.
    async fn buffered_chunk(&mut self, first: &[u8]) -> Result<Chunk, ChunkerError<E>> {
        let chunk_size = self.options.chunk_size_bytes;
        let received = first.len() + self.rest.len();
        let expected = self.expected_bytes.map_or(chunk_size, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        let size_expected = expected.max(received).min(chunk_size);
        let mut paid = STEP_BYTES.max(first.len()).min(size_expected);
        let mut memory = self.options.budget.reserve(self.cost(paid)).await?;
        let mut buffer = self.options.pool.buffer(paid + PADDING_LEN);
        let mut has_grown_at = None;

        buffer.extend(first);
        while buffer.len() < chunk_size && self.receive_for(buffer.len(), has_grown_at).await? {
            if buffer.len() == paid {
                let goal = if paid < size_expected {
                    size_expected
                } else {
                    chunk_size
                };
                let size = (paid * GROWTH).min(goal);
                let Some(further) = self.pay_further(size - paid).await? else {
                    break;
                };
                memory.merge(further);
                paid = size;
                let mut larger = self.options.pool.buffer(paid + PADDING_LEN);
                larger.extend(buffer.as_ref());
                buffer = larger;
                has_grown_at = Some(Instant::now());
            }
            let part = self.rest.split_to(self.rest.len().min(paid - buffer.len()));
            buffer.extend(&part);
        }
        self.finish(buffer, memory).await
    }

    /// As [`Chunker::receive`], for a chunk that has `len` bytes by now; `false` also if it is to end with those: the client is
    /// silent, or slow to fill a buffer that has grown, and others wait for memory.
    async fn receive_for(
        &mut self,
        len: usize,
        has_grown_at: Option<Instant>,
    ) -> Result<bool, ChunkerError<E>> {
        let silence_max = self.options.silence_max;
        loop {
            let received = timeout(silence_max, self.receive()).await;
            let is_slow = has_grown_at.is_some_and(|at| at.elapsed() >= silence_max);
            match received {
                Ok(received) if !is_slow => return received,
                Ok(received) => return Ok(received? && !self.is_to_end(len)),
                Err(_) if self.is_to_end(len) => return Ok(false),
                Err(_) => {}
            }
        }
    }

    /// Whether a chunk of `len` bytes may end, and others wait for its memory.
    fn is_to_end(&self, len: usize) -> bool {
        self.next_index < SHORT_CHUNK_COUNT_MAX
            && self.is_followed(len)
            && self.options.budget.is_used_up()
    }

    /// Whether more is said to follow than a chunk of `len` bytes.
    fn is_followed(&self, len: usize) -> bool {
        !self.source_ended
            && self
                .expected_bytes
                .is_some_and(|expected| expected > len as u64)
    }

    /// Memory for so many further bytes of a chunk; `None` if the chunk is to end instead.
    async fn pay_further(&mut self, bytes: usize) -> Result<Option<Reservation>, OutOfBudget> {
        let (budget, cost) = (&self.options.budget, self.cost(bytes));
        if self.next_index >= SHORT_CHUNK_COUNT_MAX {
            return budget.reserve(cost).await.map(Some);
        }
        Ok(budget.reserve_within(cost, STEP_WAIT_MAX).await.ok())
    }

    fn cost(&self, chunk_bytes: usize) -> usize {
        coded_bytes(chunk_bytes, self.options.coding)
    }

    async fn finish(
        &mut self,
        mut buffer: PooledBuffer,
        memory: Reservation,
    ) -> Result<Chunk, ChunkerError<E>> {
        let size_bytes = buffer.len();
        // What is said to follow is not waited for, which may take long.
        let is_last = !self.is_followed(size_bytes) && !self.receive().await?;
        let padded = if size_bytes <= self.options.small_size_bytes_max {
            // A short tail must not keep the memory of a whole chunk.
            Bytes::copy_from_slice(buffer.as_ref())
        } else {
            buffer.resize(size_bytes + PADDING_LEN);
            buffer.freeze()
        };
        self.chunk(padded, size_bytes, is_last, Some(memory))
    }

    fn chunk(
        &mut self,
        padded: Bytes,
        size_bytes: usize,
        is_last: bool,
        memory: Option<Reservation>,
    ) -> Result<Chunk, ChunkerError<E>> {
        self.is_last_owed = !is_last;
        let index = self.next_index;
        self.next_index = index.checked_add(1).ok_or(ChunkerError::TooManyChunks)?;
        self.expected_bytes = self
            .expected_bytes
            .map(|bytes| bytes.saturating_sub(size_bytes as u64));
        let size_bytes = u32::try_from(size_bytes).map_err(|_| ChunkerError::TooManyChunks)?;
        Ok(Chunk {
            index,
            padded,
            size_bytes,
            is_last,
            memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, poll, stream};
    use proptest::prelude::*;

    use super::*;

    const CHUNK: usize = 100;
    const SMALL: usize = 30;

    fn options() -> ChunkerOptions {
        ChunkerOptions {
            chunk_size_bytes: CHUNK,
            small_size_bytes_max: SMALL,
            coding: Coding::Erasure { data: 2, parity: 1 },
            silence_max: Duration::from_millis(1),
            budget: Arc::new(MemoryBudget::new(1 << 20, Duration::from_secs(1))),
            pool: BufferPool::new(CHUNK + PADDING_LEN, 2),
        }
    }

    async fn cut(frames: Vec<Vec<u8>>, size_hint: Option<u64>) -> Vec<Chunk> {
        let source = stream::iter(
            frames
                .into_iter()
                .map(|frame| Ok::<_, Infallible>(Bytes::from(frame))),
        );
        let mut chunker = Chunker::new(source, size_hint, options());
        let mut chunks = Vec::new();
        while let Some(chunk) = chunker.next().await.unwrap() {
            chunks.push(chunk);
        }
        chunks
    }

    proptest! {
        #[test]
        fn chunks_are_the_stream_cut_at_chunk_size(
            lens in proptest::collection::vec(0usize..250, 0..12),
            size_hint in proptest::option::of(0u64..2000),
        ) {
            let mut next = 0u8;
            let frames: Vec<Vec<u8>> = lens.iter().map(|len| (0..*len).map(|_| { next = next.wrapping_add(1); next }).collect()).collect();
            let whole = frames.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let chunks = runtime.block_on(cut(frames, size_hint));

            let mut expected: Vec<&[u8]> = whole.chunks(CHUNK).collect();
            let is_cut_at_end = !whole.is_empty() && whole.len() % CHUNK == 0;
            if is_cut_at_end && size_hint.is_some_and(|hint| hint > whole.len() as u64) {
                expected.push(&[]);
            }
            prop_assert_eq!(chunks.len(), expected.len());
            for (index, (chunk, expected)) in chunks.iter().zip(&expected).enumerate() {
                prop_assert_eq!(chunk.index as usize, index);
                prop_assert_eq!(chunk.is_last, index + 1 == chunks.len());
                let size = chunk.size_bytes as usize;
                prop_assert_eq!(&chunk.padded[..size], *expected);
                let padding = if size <= SMALL { 0 } else { PADDING_LEN };
                prop_assert_eq!(chunk.padded[size..].to_vec(), vec![0; padding]);
            }
        }
    }

    #[tokio::test]
    async fn a_chunk_does_not_wait_for_what_is_said_to_follow_it() {
        for (size_hint, is_given_out) in [(2 * CHUNK, true), (CHUNK + 1, true), (CHUNK, false)] {
            let frame = Ok::<_, Infallible>(Bytes::from(vec![1; CHUNK]));
            let source = stream::iter([frame]).chain(stream::pending());
            let mut chunker = Chunker::new(source, Some(size_hint as u64), options());
            let chunk = chunker.next().now_or_never().map(Result::unwrap);
            assert_eq!(chunk.is_some(), is_given_out, "{size_hint}");
            assert!(chunk.flatten().is_none_or(|chunk| !chunk.is_last));
        }
    }

    #[tokio::test]
    async fn a_client_that_is_silent_keeps_no_memory_that_others_need() {
        let options = options();
        let budget = Arc::clone(&options.budget);
        let frame = Ok::<_, Infallible>(Bytes::from(vec![1; CHUNK / 2]));
        let source = stream::iter([frame]).chain(stream::pending());
        let mut chunker = Chunker::new(source, Some(CHUNK as u64), options);
        let mut next = Box::pin(chunker.next());
        assert!(poll!(&mut next).is_pending());
        let rest = (1 << 20) - usize::try_from(budget.used_bytes()).unwrap();
        let _others = budget.try_reserve(rest).unwrap();
        let given_out = timeout(Duration::from_secs(10), next).await;
        let chunk = given_out.unwrap().unwrap().unwrap();
        assert_eq!((chunk.size_bytes, chunk.is_last), (50, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_slow_keeps_no_memory_that_others_need() {
        const PIECE: usize = STEP_BYTES / 8;
        let silence_max = Duration::from_secs(1);
        let options = ChunkerOptions {
            chunk_size_bytes: GROWTH * STEP_BYTES,
            silence_max,
            budget: Arc::new(MemoryBudget::new(64 * STEP_BYTES, silence_max)),
            ..options()
        };
        let budget = Arc::clone(&options.budget);
        // Never silent for long: the first step is full after 0.8 s.
        let piece = Bytes::from(vec![1; PIECE]);
        let source = Box::pin(stream::repeat(piece).then(|piece| async {
            tokio::time::sleep(silence_max / 10).await;
            Ok::<_, Infallible>(piece)
        }));
        let mut chunker = Chunker::new(source, Some(100 * STEP_BYTES as u64), options);
        let whole = chunker.next().await.unwrap().unwrap();
        assert_eq!(
            whole.size_bytes as usize,
            GROWTH * STEP_BYTES,
            "nobody waits"
        );
        drop(whole);

        let mut next = Box::pin(chunker.next());
        let has_grown = async {
            while budget.used_bytes() <= 2 * STEP_BYTES as u64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! { _ = &mut next => panic!("ended early"), () = has_grown => {} }
        let rest = 64 * STEP_BYTES - usize::try_from(budget.used_bytes()).unwrap();
        let _others = budget.try_reserve(rest).unwrap();
        let chunk = next.await.unwrap().unwrap();
        // What came within a second after it grew.
        assert_eq!(chunk.size_bytes as usize, STEP_BYTES + 10 * PIECE);
        assert!(!chunk.is_last);
    }

    #[tokio::test]
    async fn for_want_of_memory_a_chunk_ends_and_the_next_goes_on() {
        let chunk_size_bytes = 4 * STEP_BYTES;
        let options = ChunkerOptions {
            chunk_size_bytes,
            budget: Arc::new(MemoryBudget::new(
                // One step with its parity, and too little for a second.
                2 * STEP_BYTES,
                Duration::from_secs(1),
            )),
            ..options()
        };
        let whole: Vec<u8> = (0u8..=250).cycle().take(3 * STEP_BYTES + 7).collect();
        let frames = whole.chunks(STEP_BYTES + 1).map(Bytes::copy_from_slice);
        let frames: Vec<Result<Bytes, Infallible>> = frames.map(Ok).collect();
        let mut chunker = Chunker::new(stream::iter(frames), None, options);
        let (mut sizes, mut bytes) = (Vec::new(), Vec::new());
        while let Some(chunk) = chunker.next().await.unwrap() {
            sizes.push(chunk.size_bytes as usize);
            bytes.extend_from_slice(&chunk.padded[..chunk.size_bytes as usize]);
            assert_eq!(chunk.is_last, sizes.len() == 4);
        }
        assert_eq!(sizes, [STEP_BYTES, STEP_BYTES, STEP_BYTES, 7]);
        assert!(bytes == whole);
    }

    #[tokio::test]
    async fn an_error_of_the_source_is_handed_on() {
        let source = stream::iter([Ok(Bytes::from_static(b"abc")), Err("broken")]);
        let error = Chunker::new(source, None, options())
            .next()
            .await
            .unwrap_err();
        assert!(matches!(error, ChunkerError::Source("broken")));
    }
}
