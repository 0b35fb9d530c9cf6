//! Makes the shards of a chunk.

use bytes::Bytes;
use cairn_meta::Coding;

use crate::engine::coding::{CodeError, shard_size_bytes};
use crate::engine::core::Core;
use crate::engine::read::INLINE_CODING_BYTES_MAX;

impl Core {
    /// The shards of a chunk in placement order. Data shards and copies are slices of `padded`, which must have
    /// enough zeros behind its `size_bytes` for the padding of the last data shard.
    pub(crate) async fn encode(
        &self,
        padded: &Bytes,
        size_bytes: u32,
        coding: Coding,
    ) -> Result<Vec<Bytes>, CodeError> {
        match coding {
            Coding::Copies { count } => {
                let copy = slice(padded, size_bytes as usize)?;
                Ok(vec![copy; usize::from(count)])
            }
            Coding::Erasure { data, parity } => {
                let shard_len = shard_size_bytes(size_bytes, coding) as usize;
                let data_shards = slice(padded, shard_len * usize::from(data))?;
                let coder = self.coders.coder(data, parity)?;
                let parity_len = shard_len * usize::from(parity);
                let mut buffer = self.pool.buffer(parity_len);
                let input = data_shards.clone();
                let work = move || {
                    buffer.resize(parity_len);
                    coder.encode(&input, buffer.as_mut_slice())?;
                    Ok(buffer.freeze())
                };
                let is_long = data_shards.len() > INLINE_CODING_BYTES_MAX;
                let parity_shards = if is_long {
                    self.off_thread(work).await?
                } else {
                    work()?
                };
                Ok(cut(&data_shards, shard_len)
                    .chain(cut(&parity_shards, shard_len))
                    .collect())
            }
        }
    }
}

fn slice(bytes: &Bytes, len: usize) -> Result<Bytes, CodeError> {
    if len > bytes.len() {
        return Err(CodeError::BadShards {
            detail: "the chunk's buffer is not padded".to_owned(),
        });
    }
    Ok(bytes.slice(..len))
}

fn cut(shards: &Bytes, shard_len: usize) -> impl Iterator<Item = Bytes> + '_ {
    (0..shards.len() / shard_len.max(1))
        .map(move |index| shards.slice(index * shard_len..(index + 1) * shard_len))
}
