//! Eight streams in the lanes of AVX2's registers.
//!
//! Written with intrinsics: left to the compiler, the plain code becomes vectors in some builds and not in others.

#![expect(unsafe_code, reason = "vectors are loaded and stored by address")]
#![expect(
    clippy::indexing_slicing,
    reason = "lanes are below 8, words below 16, and block indexes below the shortest stream's count"
)]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::steps::md5_steps;
use super::{Block, State};

/// How many streams are hashed together.
pub(super) const WIDTH: usize = 8;

/// One word of each stream.
type Vector = __m256i;

/// Adds the blocks of each stream to its state. All streams have equally many.
#[target_feature(enable = "avx2")]
pub(super) fn compress(states: &mut [State; WIDTH], blocks: &[&[Block]; WIDTH]) {
    let block_count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut state = load_states(states);
    for index in 0..block_count {
        let mut words = [_mm256_setzero_si256(); 16];
        let (low, high) = words.split_at_mut(8);
        for (half, words) in [low, high].into_iter().enumerate() {
            let mut rows = [_mm256_setzero_si256(); WIDTH];
            for (row, blocks) in rows.iter_mut().zip(blocks) {
                *row = load(&blocks[index].as_chunks::<32>().0[half]);
            }
            words.copy_from_slice(&transpose(rows));
        }
        state = compress_one(state, &words);
    }
    store_states(state, states);
}

#[target_feature(enable = "avx2")]
#[inline]
fn compress_one(state: [Vector; 4], words: &[Vector; 16]) -> [Vector; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($function:ident, $a:ident $b:ident $c:ident $d:ident, $word:literal, $turn:literal, $constant:literal) => {
            let constant = _mm256_set1_epi32(u32::cast_signed($constant));
            let sum = add($a, add(words[$word], constant));
            let sum = add(sum, $function($b, $c, $d));
            let turned = _mm256_or_si256(
                _mm256_slli_epi32::<$turn>(sum),
                _mm256_srli_epi32::<{ 32 - $turn }>(sum),
            );
            $a = add(turned, $b);
        };
    }
    md5_steps!(step, a b c d);
    let [a0, b0, c0, d0] = state;
    [add(a0, a), add(b0, b), add(c0, c), add(d0, d)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: Vector, y: Vector) -> Vector {
    _mm256_add_epi32(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn f(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn g(x: Vector, y: Vector, z: Vector) -> Vector {
    f(z, x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn h(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm256_xor_si256(x, _mm256_xor_si256(y, z))
}

#[target_feature(enable = "avx2")]
#[inline]
fn i(x: Vector, y: Vector, z: Vector) -> Vector {
    let not_z = _mm256_xor_si256(z, _mm256_set1_epi32(-1));
    _mm256_xor_si256(y, _mm256_or_si256(x, not_z))
}

/// Row `i` of the result is word `i` of each row.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: [Vector; 8]) -> [Vector; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let [a0, a1, a2, a3] = transpose_fours(r0, r1, r2, r3);
    let [b0, b1, b2, b3] = transpose_fours(r4, r5, r6, r7);
    [
        _mm256_permute2x128_si256::<0x20>(a0, b0),
        _mm256_permute2x128_si256::<0x20>(a1, b1),
        _mm256_permute2x128_si256::<0x20>(a2, b2),
        _mm256_permute2x128_si256::<0x20>(a3, b3),
        _mm256_permute2x128_si256::<0x31>(a0, b0),
        _mm256_permute2x128_si256::<0x31>(a1, b1),
        _mm256_permute2x128_si256::<0x31>(a2, b2),
        _mm256_permute2x128_si256::<0x31>(a3, b3),
    ]
}

/// Transposes the four by four words in each 128 bits.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose_fours(r0: Vector, r1: Vector, r2: Vector, r3: Vector) -> [Vector; 4] {
    let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
    [
        _mm256_unpacklo_epi64(low01, low23),
        _mm256_unpackhi_epi64(low01, low23),
        _mm256_unpacklo_epi64(high01, high23),
        _mm256_unpackhi_epi64(high01, high23),
    ]
}

#[target_feature(enable = "avx2")]
fn load_states(states: &[State; WIDTH]) -> [Vector; 4] {
    let mut turned = [[0_u8; 32]; 4];
    for (word, turned) in turned.iter_mut().enumerate() {
        for (bytes, state) in turned.as_chunks_mut::<4>().0.iter_mut().zip(states) {
            *bytes = state[word].to_le_bytes();
        }
    }
    let [a, b, c, d] = &turned;
    [load(a), load(b), load(c), load(d)]
}

#[target_feature(enable = "avx2")]
fn store_states(vectors: [Vector; 4], states: &mut [State; WIDTH]) {
    for (word, vector) in vectors.into_iter().enumerate() {
        let mut turned = [0_u8; 32];
        // SAFETY: the 32 bytes that are written are those of the array; no alignment is asked for.
        unsafe { _mm256_storeu_si256(turned.as_mut_ptr().cast(), vector) };
        for (bytes, state) in turned.as_chunks::<4>().0.iter().zip(states.iter_mut()) {
            state[word] = u32::from_le_bytes(*bytes);
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> Vector {
    // SAFETY: the 32 bytes that are read are those of the array; no alignment is asked for.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
