//! Operands as the matrix unit wants them: strips of 32 rows, or columns, cut into steps of 32 along `in`, every
//! float32 split into three bfloat16, or into two that come near it.

use crate::model::cpu::simd::widest;
use pulp::cast;

/// Rows, and columns, of a tile of sums.
const TILE: usize = 16;
/// Rows, or columns, of two tiles.
pub const STRIP: usize = 2 * TILE;
/// So many bfloat16 make a float32, to the bit.
pub const EXACT: usize = 3;
/// Entries along `in` of one step.
pub const DEPTH: usize = 32;
/// Pairs of bfloat16 in a row of a tile.
const PAIRS: usize = DEPTH / 2;

/// One of the bfloat16 of every entry of a step of a strip: two tiles of 16 rows, each row 16 pairs of bfloat16. In a
/// tile of `x` the rows are rows and the pairs go along `in`; in one of the weights the rows are pairs along `in`, and
/// a row holds one pair for each column.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
pub struct Part([[[u32; PAIRS]; TILE]; 2]);

/// One step of a strip, the most significant part first.
pub type Step<const PARTS: usize> = [Part; PARTS];

#[cfg(test)]
impl Part {
    /// This part of an entry of packed rows.
    pub fn of_rows(&self, row: usize, depth: usize) -> f32 {
        half(self.0[row / TILE][row % TILE][depth / 2], depth % 2)
    }

    /// This part of an entry of packed columns.
    pub fn of_columns(&self, column: usize, depth: usize) -> f32 {
        half(self.0[column / TILE][depth / 2][column % TILE], depth % 2)
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

/// The bits of a bfloat16 that `x` begins with: its leading eight significant bits where `PARTS` of them are the whole
/// of a float32, else the nearest ones, whose errors have no common sign.
#[inline(always)]
fn leading<const PARTS: usize>(x: f32) -> u32 {
    /// From here on there is no larger bfloat16, or no number.
    const LARGEST: u32 = 0x7f7f_8000;
    let bits = x.to_bits();
    match PARTS < EXACT && (bits & i32::MAX as u32) < LARGEST {
        true => (bits + 0x8000) & HIGH,
        false => bits & HIGH,
    }
}

/// Splits 16 pairs of neighbours along `in`, part by part: the first in the low half of a word. Each part begins what the
/// parts before it left.
#[inline(always)]
fn split<const PARTS: usize>(
    mut first: [f32; TILE],
    mut second: [f32; TILE],
    mut place: impl FnMut(usize, [u32; PAIRS]),
) {
    for part in 0..PARTS {
        let mut words = [0; PAIRS];
        for lane in 0..TILE {
            let (low, high) = (leading::<PARTS>(first[lane]), leading::<PARTS>(second[lane]));
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
fn split_pairs<const PARTS: usize>(pairs: &[Pair; PAIRS], place: impl FnMut(usize, [u32; PAIRS])) {
    let (mut first, mut second) = ([0.0; PAIRS], [0.0; PAIRS]);
    for i in 0..PAIRS {
        [first[i], second[i]] = pairs[i];
    }
    split::<PARTS>(first, second, place);
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
pub fn pack_rows<const PARTS: usize>(
    x: &[f32],
    inner: usize,
    row: usize,
    start: usize,
    steps: &mut [Step<PARTS>],
) {
    let rows: [&[f32]; STRIP] =
        std::array::from_fn(|r| x.get((row + r) * inner..(row + r + 1) * inner).unwrap_or_default());
    widest(
        #[inline(always)]
        || {
            for (index, step) in (start..).zip(steps.iter_mut()) {
                for (r, row) in rows.iter().enumerate() {
                    split_pairs::<PARTS>(&load_pairs(row, index * DEPTH), |part, words| {
                        step[part].0[r / TILE][r % TILE] = words;
                    });
                }
            }
        },
    );
}

impl Matrix<'_> {
    /// Packs the 32 columns from `column` on as an operand on the right, from step `start` on; zeros after the last.
    pub fn pack_columns<const PARTS: usize>(&self, column: usize, start: usize, steps: &mut [Step<PARTS>]) {
        widest(
            #[inline(always)]
            || match self.layout {
                Layout::InOut => self.pack_from_lines(column, start, steps),
                Layout::OutIn => self.pack_across_lines(column, start, steps),
            },
        );
    }

    #[inline(always)]
    fn pack_from_lines<const PARTS: usize>(&self, column: usize, start: usize, steps: &mut [Step<PARTS>]) {
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
                    split::<PARTS>(load(first, column), load(second, column), |part, words| {
                        step[part].0[tile][pair] = words;
                    });
                }
            }
        }
    }

    #[inline(always)]
    fn pack_across_lines<const PARTS: usize>(&self, column: usize, start: usize, steps: &mut [Step<PARTS>]) {
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
                    split_pairs::<PARTS>(pairs, |part, words| step[part].0[tile][row] = words);
                }
            }
        }
    }
}
