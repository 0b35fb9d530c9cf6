//! Four streams in the lanes of 128 bits, with AVX-512's instructions for MD5's functions and rotations: a step costs
//! what it costs with sixteen streams, and what surrounds the steps less.

#![expect(unsafe_code, reason = "vectors are loaded and stored by address")]
#![expect(
    clippy::indexing_slicing,
    reason = "lanes are below 4, words below 16, and block indexes below the shortest stream's count"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_loadu_si128, _mm_rol_epi32, _mm_set1_epi32, _mm_setzero_si128,
    _mm_storeu_si128, _mm_ternarylogic_epi32, _mm_unpackhi_epi32, _mm_unpackhi_epi64,
    _mm_unpacklo_epi32, _mm_unpacklo_epi64,
};

use super::steps::md5_steps;
use super::{Block, State};

/// How many streams are hashed together.
pub(super) const WIDTH: usize = 4;

/// One word of each stream, or four of one.
type Vector = __m128i;

/// Adds the blocks of each stream to its state. All streams have equally many.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn compress(states: &mut [State; WIDTH], blocks: &[&[Block]; WIDTH]) {
    let block_count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut state = transpose(states.map(|state| load(&bytes_of(state))));
    for index in 0..block_count {
        let mut words = [_mm_setzero_si128(); 16];
        for (quarter, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *words = transpose(
                blocks.map(|of_stream| load(&of_stream[index].as_chunks::<16>().0[quarter])),
            );
        }
        state = compress_one(state, &words);
    }
    for (state, row) in states.iter_mut().zip(transpose(state)) {
        *state = words_of(store(row));
    }
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn compress_one(state: [Vector; 4], words: &[Vector; 16]) -> [Vector; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($function:ident, $a:ident $b:ident $c:ident $d:ident, $word:literal, $turn:literal, $constant:literal) => {
            let constant = _mm_set1_epi32(u32::cast_signed($constant));
            let sum = add($a, add(words[$word], constant));
            let sum = add(sum, $function($b, $c, $d));
            $a = add(_mm_rol_epi32::<$turn>(sum), $b);
        };
    }
    md5_steps!(step, a b c d);
    let [a0, b0, c0, d0] = state;
    [add(a0, a), add(b0, b), add(c0, c), add(d0, d)]
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn add(x: Vector, y: Vector) -> Vector {
    _mm_add_epi32(x, y)
}

// The constants are truth tables: bit `4x + 2y + z` is the function of these three bits.

/// `x ? y : z`
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn f(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm_ternarylogic_epi32::<0b1100_1010>(x, y, z)
}

/// `z ? x : y`
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn g(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm_ternarylogic_epi32::<0b1110_0100>(x, y, z)
}

/// `x ^ y ^ z`
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn h(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm_ternarylogic_epi32::<0b1001_0110>(x, y, z)
}

/// `y ^ (x | !z)`
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn i(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm_ternarylogic_epi32::<0b0011_1001>(x, y, z)
}

/// Row `i` of the result is word `i` of each row.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn transpose([r0, r1, r2, r3]: [Vector; 4]) -> [Vector; 4] {
    let (low01, high01) = (_mm_unpacklo_epi32(r0, r1), _mm_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm_unpacklo_epi32(r2, r3), _mm_unpackhi_epi32(r2, r3));
    [
        _mm_unpacklo_epi64(low01, low23),
        _mm_unpackhi_epi64(low01, low23),
        _mm_unpacklo_epi64(high01, high23),
        _mm_unpackhi_epi64(high01, high23),
    ]
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn load(bytes: &[u8; 16]) -> Vector {
    // SAFETY: the 16 bytes that are read are those of the array; no alignment is asked for.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn store(vector: Vector) -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the 16 bytes that are written are those of the array; no alignment is asked for.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) };
    bytes
}

fn bytes_of(state: State) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

fn words_of(bytes: [u8; 16]) -> State {
    let mut state = [0; 4];
    for (word, bytes) in state.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    state
}
