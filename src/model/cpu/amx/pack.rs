//! Operands as the matrix unit wants them: strips of 32 rows, or columns, cut into steps of 32 along `in`, every
//! float32 split into three bfloat16.

use std::arch::x86_64::*;

/// Rows, and columns, of a tile of sums.
const TILE: usize = 16;
/// Rows, or columns, of two tiles.
pub const STRIP: usize = 2 * TILE;
/// Entries along `in` of one step.
pub const DEPTH: usize = 32;
/// Pairs of bfloat16 in a row of a tile.
const PAIRS: usize = DEPTH / 2;

/// One step of a strip: for each of the three parts two tiles of 16 rows, each row 16 pairs of bfloat16. In a tile
/// of `x` the rows are rows and the pairs go along `in`; in one of the weights the rows are pairs along `in`, and
/// a row holds one pair for each column.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Step([[[[u32; PAIRS]; TILE]; 2]; 3]);

impl Default for Step {
    fn default() -> Step {
        Step([[[[0; PAIRS]; TILE]; 2]; 3])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[in, out]`
    InOut,
    /// `[out, in]`
    OutIn,
}

#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub values: &'a [f32],
    pub inner: usize,
    pub outer: usize,
    pub layout: Layout,
}

/// Splits 16 pairs of neighbours along `in`, part by part: the first in the low half of a word. Each part holds the
/// leading eight significant bits of what is left, so the three together are exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(mut first: __m512, mut second: __m512, mut place: impl FnMut(usize, [u32; PAIRS])) {
    let high = _mm512_set1_epi32(0xffff_0000u32 as i32);
    for part in 0..3 {
        let low_bits = _mm512_and_si512(_mm512_castps_si512(first), high);
        let high_bits = _mm512_and_si512(_mm512_castps_si512(second), high);
        first = _mm512_sub_ps(first, _mm512_castsi512_ps(low_bits));
        second = _mm512_sub_ps(second, _mm512_castsi512_ps(high_bits));
        let words = _mm512_or_si512(_mm512_srli_epi32::<16>(low_bits), high_bits);
        // SAFETY: both are 64 bytes of any content.
        place(part, unsafe { std::mem::transmute::<__m512i, [u32; PAIRS]>(words) });
    }
}

/// Sixteen entries of `values` from `start` on, zeros after its end.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32], start: usize) -> __m512 {
    let count = values.len().saturating_sub(start).min(TILE);
    let mask = ((1u32 << count) - 1) as __mmask16;
    // SAFETY: the mask hides what is not in `values`.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr().wrapping_add(start)) }
}

/// Packs 32 rows of `x`, of `inner` entries each, from `row` on as an operand on the left, from step `start` on; zeros
/// after the last.
///
/// # Panics
/// Without AVX-512, which every CPU with the matrix unit has.
pub fn pack_rows(x: &[f32], inner: usize, row: usize, start: usize, steps: &mut [Step]) {
    assert!(is_x86_feature_detected!("avx512f"));
    let rows = std::array::from_fn(|r| x.get((row + r) * inner..(row + r + 1) * inner).unwrap_or_default());
    // SAFETY: AVX-512 is there.
    unsafe { pack_lines(&rows, start, steps) }
}

#[target_feature(enable = "avx512f")]
fn pack_lines(rows: &[&[f32]; STRIP], start: usize, steps: &mut [Step]) {
    let even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (index, step) in (start..).zip(steps.iter_mut()) {
        for (r, row) in rows.iter().enumerate() {
            let [near, far] = [0, TILE].map(|offset| load(row, index * DEPTH + offset));
            let first = _mm512_permutex2var_ps(near, even, far);
            let second = _mm512_permutex2var_ps(near, odd, far);
            split(first, second, |part, words| step.0[part][r / TILE][r % TILE] = words);
        }
    }
}

impl Matrix<'_> {
    /// Packs the 32 columns from `column` on as an operand on the right, from step `start` on; zeros after the last.
    ///
    /// # Panics
    /// Without AVX-512, which every CPU with the matrix unit has.
    pub fn pack_columns(&self, column: usize, start: usize, steps: &mut [Step]) {
        assert!(is_x86_feature_detected!("avx512f"));
        // SAFETY: AVX-512 is there.
        unsafe {
            match self.layout {
                Layout::InOut => self.pack_from_lines(column, start, steps),
                Layout::OutIn => self.pack_across_lines(column, start, steps),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn pack_from_lines(&self, column: usize, start: usize, steps: &mut [Step]) {
        let line = |i: usize| match i < self.inner {
            true => &self.values[i * self.outer..(i + 1) * self.outer],
            false => &[],
        };
        for (index, step) in (start..).zip(steps.iter_mut()) {
            for pair in 0..PAIRS {
                let i = index * DEPTH + 2 * pair;
                let (first, second) = (line(i), line(i + 1));
                for tile in 0..2 {
                    let column = column + tile * TILE;
                    split(load(first, column), load(second, column), |part, words| {
                        step.0[part][tile][pair] = words;
                    });
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn pack_across_lines(&self, column: usize, start: usize, steps: &mut [Step]) {
        let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let offsets = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(self.inner as i32));
        for tile in 0..2 {
            let column = column + tile * TILE;
            let count = self.outer.saturating_sub(column).min(TILE);
            let mask = ((1u32 << count) - 1) as __mmask16;
            let gather = |i: usize| {
                let mask = if i < self.inner { mask } else { 0 };
                let from = self.values.as_ptr().wrapping_add(column * self.inner + i);
                // SAFETY: entry `i` of `count` lines from `column` on is there; the mask hides the others.
                unsafe { _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), mask, offsets, from) }
            };
            for (index, step) in (start..).zip(steps.iter_mut()) {
                for pair in 0..PAIRS {
                    let i = index * DEPTH + 2 * pair;
                    split(gather(i), gather(i + 1), |part, words| step.0[part][tile][pair] = words);
                }
            }
        }
    }
}
