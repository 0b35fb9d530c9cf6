//! Sixteen streams in the lanes of AVX-512's registers, which also have MD5's functions and rotations as single
//! instructions.

#![expect(unsafe_code, reason = "vectors are loaded and stored by address")]
#![expect(
    clippy::indexing_slicing,
    reason = "lanes and words are below 16, and block indexes below the shortest stream's count"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::steps::md5_steps;
use super::{Block, State};

/// How many streams are hashed together.
pub(super) const WIDTH: usize = 16;

/// One word of each stream.
type Vector = __m512i;

/// Adds the blocks of each stream to its state. All streams have equally many.
#[target_feature(enable = "avx512f")]
pub(super) fn compress(states: &mut [State; WIDTH], blocks: &[&[Block]; WIDTH]) {
    let block_count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut state = load_states(states);
    for index in 0..block_count {
        let mut rows = [_mm512_setzero_si512(); WIDTH];
        for (row, blocks) in rows.iter_mut().zip(blocks) {
            *row = load(&blocks[index]);
        }
        state = compress_one(state, &transpose(&rows));
    }
    store_states(state, states);
}

#[target_feature(enable = "avx512f")]
#[inline]
fn compress_one(state: [Vector; 4], words: &[Vector; 16]) -> [Vector; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($function:ident, $a:ident $b:ident $c:ident $d:ident, $word:literal, $turn:literal, $constant:literal) => {
            let constant = _mm512_set1_epi32(u32::cast_signed($constant));
            let sum = add($a, add(words[$word], constant));
            let sum = add(sum, $function($b, $c, $d));
            $a = add(_mm512_rol_epi32::<$turn>(sum), $b);
        };
    }
    md5_steps!(step, a b c d);
    let [a0, b0, c0, d0] = state;
    [add(a0, a), add(b0, b), add(c0, c), add(d0, d)]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(x: Vector, y: Vector) -> Vector {
    _mm512_add_epi32(x, y)
}

// The constants are truth tables: bit `4x + 2y + z` is the function of these three bits.

/// `x ? y : z`
#[target_feature(enable = "avx512f")]
#[inline]
fn f(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b1100_1010>(x, y, z)
}

/// `z ? x : y`
#[target_feature(enable = "avx512f")]
#[inline]
fn g(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b1110_0100>(x, y, z)
}

/// `x ^ y ^ z`
#[target_feature(enable = "avx512f")]
#[inline]
fn h(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b1001_0110>(x, y, z)
}

/// `y ^ (x | !z)`
#[target_feature(enable = "avx512f")]
#[inline]
fn i(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b0011_1001>(x, y, z)
}

/// Row `i` of the result is word `i` of each row.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: &[Vector; 16]) -> [Vector; 16] {
    // First within 128 bits: `fours[4 * i + j]` has, of rows `4i` to `4i + 3`, the words `j`, `4 + j`, `8 + j`, `12 + j`.
    let mut fours = [_mm512_setzero_si512(); 16];
    for (fours, rows) in fours
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(rows.as_chunks::<4>().0)
    {
        let [r0, r1, r2, r3] = *rows;
        let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        *fours = [
            _mm512_unpacklo_epi64(low01, low23),
            _mm512_unpackhi_epi64(low01, low23),
            _mm512_unpacklo_epi64(high01, high23),
            _mm512_unpackhi_epi64(high01, high23),
        ];
    }
    // Then the 128 bits themselves, four by four.
    let mut words = [_mm512_setzero_si512(); 16];
    for word in 0..4 {
        let (r0, r1) = (fours[word], fours[4 + word]);
        let (r2, r3) = (fours[8 + word], fours[12 + word]);
        let even01 = _mm512_shuffle_i32x4::<0b10_00_10_00>(r0, r1);
        let odd01 = _mm512_shuffle_i32x4::<0b11_01_11_01>(r0, r1);
        let even23 = _mm512_shuffle_i32x4::<0b10_00_10_00>(r2, r3);
        let odd23 = _mm512_shuffle_i32x4::<0b11_01_11_01>(r2, r3);
        words[word] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even01, even23);
        words[4 + word] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd01, odd23);
        words[8 + word] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even01, even23);
        words[12 + word] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd01, odd23);
    }
    words
}

#[target_feature(enable = "avx512f")]
fn load_states(states: &[State; WIDTH]) -> [Vector; 4] {
    let mut turned = [[0_u8; 64]; 4];
    for (word, turned) in turned.iter_mut().enumerate() {
        for (bytes, state) in turned.as_chunks_mut::<4>().0.iter_mut().zip(states) {
            *bytes = state[word].to_le_bytes();
        }
    }
    let [a, b, c, d] = &turned;
    [load(a), load(b), load(c), load(d)]
}

#[target_feature(enable = "avx512f")]
fn store_states(vectors: [Vector; 4], states: &mut [State; WIDTH]) {
    for (word, vector) in vectors.into_iter().enumerate() {
        let mut turned = [0_u8; 64];
        // SAFETY: the 64 bytes that are written are those of the array; no alignment is asked for.
        unsafe { _mm512_storeu_si512(turned.as_mut_ptr().cast(), vector) };
        for (bytes, state) in turned.as_chunks::<4>().0.iter().zip(states.iter_mut()) {
            state[word] = u32::from_le_bytes(*bytes);
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> Vector {
    // SAFETY: the 64 bytes that are read are those of the array; no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}
