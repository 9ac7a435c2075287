//! Operands as the matrix unit wants them: strips of 32 rows, or columns, cut into steps of 32 along `in`, every
//! float32 split into three bfloat16.

use crate::model::cpu::simd::widest;
use pulp::cast;

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

#[cfg(test)]
impl Step {
    /// A part of an entry of packed rows.
    pub fn of_rows(&self, part: usize, row: usize, depth: usize) -> f32 {
        half(self.0[part][row / TILE][row % TILE][depth / 2], depth % 2)
    }

    /// A part of an entry of packed columns.
    pub fn of_columns(&self, part: usize, column: usize, depth: usize) -> f32 {
        half(self.0[part][column / TILE][depth / 2][column % TILE], depth % 2)
    }
}

/// One of the two bfloat16 of a pair.
#[cfg(test)]
fn half(pair: u32, index: usize) -> f32 {
    f32::from_bits(if index == 0 { pair << 16 } else { pair & HIGH })
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

/// The bits of a float32 that make a bfloat16.
const HIGH: u32 = 0xffff_0000;

/// Splits 16 pairs of neighbours along `in`, part by part: the first in the low half of a word. Each part holds the
/// leading eight significant bits of what is left, so the three together are exact.
#[inline(always)]
fn split(mut first: [f32; TILE], mut second: [f32; TILE], mut place: impl FnMut(usize, [u32; PAIRS])) {
    for part in 0..3 {
        let mut words = [0; PAIRS];
        for lane in 0..TILE {
            let (low, high) = (first[lane].to_bits() & HIGH, second[lane].to_bits() & HIGH);
            first[lane] -= f32::from_bits(low);
            second[lane] -= f32::from_bits(high);
            words[lane] = low >> 16 | high;
        }
        place(part, words);
    }
}

/// Neighbours along `in`.
type Pair = [f32; 2];

/// The same of pairs that lie one after the other.
#[inline(always)]
fn split_pairs(pairs: &[Pair; PAIRS], place: impl FnMut(usize, [u32; PAIRS])) {
    let (mut first, mut second) = ([0.0; PAIRS], [0.0; PAIRS]);
    for i in 0..PAIRS {
        [first[i], second[i]] = pairs[i];
    }
    split(first, second, place);
}

/// `N` entries of `values` from `start` on, zeros after its end.
#[inline(always)]
fn load<const N: usize>(values: &[f32], start: usize) -> [f32; N] {
    let rest = values.get(start..).unwrap_or_default();
    match rest.first_chunk() {
        Some(whole) => *whole,
        None => padded(rest),
    }
}

#[cold]
fn padded<const N: usize>(values: &[f32]) -> [f32; N] {
    let mut padded = [0.0; N];
    padded[..values.len()].copy_from_slice(values);
    padded
}

#[inline(always)]
fn load_pairs(values: &[f32], start: usize) -> [Pair; PAIRS] {
    cast(load::<DEPTH>(values, start))
}

/// Packs 32 rows of `x`, of `inner` entries each, from `row` on as an operand on the left, from step `start` on; zeros
/// after the last.
pub fn pack_rows(x: &[f32], inner: usize, row: usize, start: usize, steps: &mut [Step]) {
    let rows: [&[f32]; STRIP] =
        std::array::from_fn(|r| x.get((row + r) * inner..(row + r + 1) * inner).unwrap_or_default());
    widest(
        #[inline(always)]
        || {
            for (index, step) in (start..).zip(steps.iter_mut()) {
                for (r, row) in rows.iter().enumerate() {
                    split_pairs(&load_pairs(row, index * DEPTH), |part, words| {
                        step.0[part][r / TILE][r % TILE] = words;
                    });
                }
            }
        },
    );
}

impl Matrix<'_> {
    /// Packs the 32 columns from `column` on as an operand on the right, from step `start` on; zeros after the last.
    pub fn pack_columns(&self, column: usize, start: usize, steps: &mut [Step]) {
        widest(
            #[inline(always)]
            || match self.layout {
                Layout::InOut => self.pack_from_lines(column, start, steps),
                Layout::OutIn => self.pack_across_lines(column, start, steps),
            },
        );
    }

    #[inline(always)]
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

    #[inline(always)]
    fn pack_across_lines(&self, column: usize, start: usize, steps: &mut [Step]) {
        let line = |column: usize| match column < self.outer {
            true => &self.values[column * self.inner..(column + 1) * self.inner],
            false => &[],
        };
        let mut turned = [[Pair::default(); TILE]; PAIRS];
        for (index, step) in (start..).zip(steps.iter_mut()) {
            for tile in 0..2 {
                for lane in 0..TILE {
                    let pairs = load_pairs(line(column + tile * TILE + lane), index * DEPTH);
                    for (row, pair) in turned.iter_mut().zip(pairs) {
                        row[lane] = pair;
                    }
                }
                for (row, pairs) in turned.iter().enumerate() {
                    split_pairs(pairs, |part, words| step.0[part][tile][row] = words);
                }
            }
        }
    }
}
