//! Products of few rows with blocks of 32 weights, by vectors of 512 bits.

use super::{BLOCK, Kind};
use std::arch::x86_64::*;

const Q4_0: u8 = Kind::Q4_0 as u8;
const Q4_1: u8 = Kind::Q4_1 as u8;
const Q8_0: u8 = Kind::Q8_0 as u8;

/// The columns whose weights are `blocks`, for one to eight rows of `x`, `inner` entries each. A column's results
/// go to the beginning of its `stride` entries of `out`.
pub fn columns(kind: Kind, blocks: &[u8], x: &[f32], inner: usize, out: &mut [f32], stride: usize) {
    assert!(super::available());
    macro_rules! for_rows {
        ($kind:ident: $($count:literal)*) => {
            // SAFETY: the instructions are there.
            match x.len() / inner { $($count => unsafe { run::<$kind, $count>(blocks, x, inner, out, stride) },)* _ => unreachable!() }
        };
    }
    match kind {
        Kind::Q4_0 => for_rows!(Q4_0: 1 2 3 4 5 6 7 8),
        Kind::Q4_1 => for_rows!(Q4_1: 1 2 3 4 5 6 7 8),
        Kind::Q8_0 => for_rows!(Q8_0: 1 2 3 4 5 6 7 8),
    }
}

#[target_feature(enable = "avx512f,f16c")]
fn run<const KIND: u8, const ROWS: usize>(
    blocks: &[u8],
    x: &[f32],
    inner: usize,
    out: &mut [f32],
    stride: usize,
) {
    let bytes = bytes::<KIND>();
    let x: [&[[f32; BLOCK]]; ROWS] =
        std::array::from_fn(|r| x[r * inner..(r + 1) * inner].as_chunks::<BLOCK>().0);
    for (column, out) in blocks.chunks_exact(inner / BLOCK * bytes).zip(out.chunks_mut(stride)) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (i, block) in column.chunks_exact(bytes).enumerate() {
            let [low, high] = weights::<KIND>(block);
            for (sums, x) in sums.iter_mut().zip(&x) {
                let x = x[i].as_ptr();
                // SAFETY: a block of `x` is two vectors long.
                let [x_low, x_high] = unsafe { [_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(BLOCK / 2))] };
                sums[0] = _mm512_fmadd_ps(x_low, low, sums[0]);
                sums[1] = _mm512_fmadd_ps(x_high, high, sums[1]);
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            *out = _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
        }
    }
}

const fn bytes<const KIND: u8>() -> usize {
    match KIND {
        Q4_0 => 2 + BLOCK / 2,
        Q4_1 => 4 + BLOCK / 2,
        _ => 2 + BLOCK,
    }
}

/// The 32 weights of a block, rounded as a de-quantised tensor's are.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
fn weights<const KIND: u8>(block: &[u8]) -> [__m512; 2] {
    let half = |at: usize| {
        let bits = i32::from(u16::from_le_bytes([block[at], block[at + 1]]));
        _mm512_set1_ps(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))))
    };
    let quarter = |at: usize| -> __m128i {
        let bytes = &block[at..at + 16];
        // SAFETY: sixteen bytes.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let d = half(0);
    if KIND == Q8_0 {
        return [2, 18].map(|at| _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quarter(at))), d));
    }
    let pairs = _mm512_cvtepu8_epi32(quarter(if KIND == Q4_0 { 2 } else { 4 }));
    let low = _mm512_and_si512(pairs, _mm512_set1_epi32(15));
    let high = _mm512_srli_epi32::<4>(pairs);
    [low, high].map(|q| match KIND {
        Q4_0 => _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(8))), d),
        _ => _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(q), d), half(2)),
    })
}
