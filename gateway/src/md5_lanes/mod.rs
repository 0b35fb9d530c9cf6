//! MD5 of many streams at once.
//!
//! One MD5 is a chain of dependent operations that leaves most of a core idle: 0.4 to 0.6 GiB/s however wide the core is.
//! Blocks of *independent* streams have nothing to do with each other, so a thread that hashes several of them
//! step by step together gets far more done. GiB/s of one thread for all streams together, on an Intel Xeon (Sapphire
//! Rapids) and an AMD EPYC (Zen 5, where four lanes of AVX-512 were not measured). A vector costs the same however few of
//! its lanes are used:
//!
//! | streams | one by one | interleaved | AVX2, 8 lanes | AVX-512, 4 lanes | AVX-512, 16 lanes |
//! | ---: | ---: | ---: | ---: | ---: | ---: |
//! | 1 | 0.4; 0.6 | | | | |
//! | 2 | 0.4; 0.6 | 0.5; 1.1 | 0.7; 0.6 | 0.9 | 0.7; 0.7 |
//! | 4 | 0.4; 0.6 | 0.6; 1.8 | 1.4; 1.1 | 1.8 | 1.5; 1.4 |
//! | 8 | 0.4; 0.6 | | 2.7; 2.3 | | 2.9; 2.7 |
//! | 16 | 0.4; 0.6 | | | | 5.9; 5.4 |
//!
//! - [`Md5Stream`] is the running hash of one stream.
//! - `compress` chooses how the blocks of some streams are hashed together; `interleaved` (plain Rust, any machine),
//!   `avx2`, `avx512` and `avx512_four` do it. `steps` is MD5 itself, written once for all of them. A lone stream is left to the
//!   `md-5` crate.
//! - `lane` is a stream with the bytes that wait for it.
//! - [`Md5Pool`] brings the streams of concurrent requests together.
//!
//! Invariant: a digest does not depend on who was hashed beside it, nor on how its bytes were cut.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_four;
mod compress;
mod interleaved;
mod lane;
mod pool;
mod steps;
mod stream;

pub use pool::Md5Pool;
pub use stream::Md5Stream;

/// What MD5 takes at a time.
type Block = [u8; 64];

/// The four words of a running MD5.
type State = [u32; 4];
