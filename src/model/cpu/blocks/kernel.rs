//! Products of few rows with blocks of 32 weights.

#![expect(
    clippy::needless_range_loop,
    reason = "closures of iterators are compiled without the vectors, unless they vanish"
)]

use super::{BLOCK, Kind};
use crate::model::cpu::simd::mul_add;
use pulp::{Arch, Simd, cast};

const Q4_0: u8 = Kind::Q4_0 as u8;
const Q4_1: u8 = Kind::Q4_1 as u8;
const Q8_0: u8 = Kind::Q8_0 as u8;
const HALF: usize = BLOCK / 2;

/// Rows of `x` that one reading of a block serves: their sums stay in registers.
pub fn rows_at_once(arch: Arch) -> usize {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => 4,
        _ => 8,
    }
}

/// The columns whose weights are `blocks`, for one to eight rows of `x`, `inner` entries each. A column's results
/// go to the beginning of its `stride` entries of `out`.
pub struct Columns<'a> {
    pub kind: Kind,
    pub blocks: &'a [u8],
    pub x: &'a [f32],
    pub inner: usize,
    pub out: &'a mut [f32],
    pub stride: usize,
}

impl Columns<'_> {
    /// Computes them by these vectors.
    pub fn compute(self, arch: Arch) {
        match arch {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(simd) => simd.vectorize(
                #[inline(always)]
                || self.with(simd),
            ),
            #[cfg(target_arch = "x86_64")]
            Arch::V3(simd) => simd.vectorize(
                #[inline(always)]
                || self.with(simd),
            ),
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(simd) => simd.vectorize(
                #[inline(always)]
                || self.with(simd),
            ),
            _ => self.with(pulp::Scalar),
        }
    }

    #[inline(always)]
    fn with<S: Widen>(self, simd: S) {
        /// For one row or two two columns at once: each sum waits for the one before it.
        macro_rules! for_rows {
            ($kind:ident) => {
                match self.x.len() / self.inner {
                    1 => self.run::<S, $kind, 1, 2>(simd),
                    2 => self.run::<S, $kind, 2, 2>(simd),
                    3 => self.run::<S, $kind, 3, 1>(simd),
                    4 => self.run::<S, $kind, 4, 1>(simd),
                    5 => self.run::<S, $kind, 5, 1>(simd),
                    6 => self.run::<S, $kind, 6, 1>(simd),
                    7 => self.run::<S, $kind, 7, 1>(simd),
                    _ => self.run::<S, $kind, 8, 1>(simd),
                }
            };
        }
        match self.kind {
            Kind::Q4_0 => for_rows!(Q4_0),
            Kind::Q4_1 => for_rows!(Q4_1),
            Kind::Q8_0 => for_rows!(Q8_0),
        }
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn run<S: Widen, const KIND: u8, const ROWS: usize, const AT_ONCE: usize>(self, simd: S) {
        let Columns { blocks, x, inner, out, stride, .. } = self;
        let x: [&[[f32; BLOCK]]; ROWS] =
            std::array::from_fn(|r| x[r * inner..(r + 1) * inner].as_chunks::<BLOCK>().0);
        let width = inner / BLOCK * bytes(KIND);
        let mut columns = blocks.chunks_exact(AT_ONCE * width);
        let mut outs = out.chunks_mut(AT_ONCE * stride);
        for (columns, out) in columns.by_ref().zip(outs.by_ref()) {
            let mut each = [columns; AT_ONCE];
            for (c, column) in each.iter_mut().enumerate() {
                *column = &columns[c * width..(c + 1) * width];
            }
            let sums = sums::<S, KIND, ROWS, AT_ONCE>(simd, each, &x);
            for (sums, out) in sums.iter().zip(out.chunks_mut(stride)) {
                out[..ROWS].copy_from_slice(sums);
            }
        }
        for (column, out) in columns.remainder().chunks_exact(width).zip(outs) {
            let [sums] = sums::<S, KIND, ROWS, 1>(simd, [column], &x);
            out[..ROWS].copy_from_slice(&sums);
        }
    }
}

/// The results of some columns, row by row. Their order of sums does not depend on what else is computed.
#[inline(always)]
fn sums<S: Widen, const KIND: u8, const ROWS: usize, const AT_ONCE: usize>(
    simd: S,
    columns: [&[u8]; AT_ONCE],
    x: &[&[[f32; BLOCK]]; ROWS],
) -> [[f32; ROWS]; AT_ONCE] {
    let mut sums = [[[simd.splat_f32s(0.0); 2]; ROWS]; AT_ONCE];
    for (i, from) in (0..columns[0].len()).step_by(bytes(KIND)).enumerate() {
        for c in 0..AT_ONCE {
            let weights = weights::<S, KIND>(simd, &columns[c][from..from + bytes(KIND)]);
            let weights = S::as_simd_f32s(&weights).0;
            for r in 0..ROWS {
                let x = S::as_simd_f32s(&x[r][i]).0;
                for v in 0..weights.len() {
                    sums[c][r][v % 2] = mul_add(simd, x[v], weights[v], sums[c][r][v % 2]);
                }
            }
        }
    }
    let mut results = [[0.0; ROWS]; AT_ONCE];
    for c in 0..AT_ONCE {
        for r in 0..ROWS {
            let [even, odd] = sums[c][r];
            results[c][r] = simd.reduce_sum_f32s(simd.add_f32s(even, odd));
        }
    }
    results
}

const fn bytes(kind: u8) -> usize {
    match kind {
        Q4_0 => 2 + HALF,
        Q4_1 => 4 + HALF,
        _ => 2 + BLOCK,
    }
}

/// The 32 weights of a block, rounded as a de-quantised tensor's are.
#[inline(always)]
fn weights<S: Widen, const KIND: u8>(simd: S, block: &[u8]) -> [f32; BLOCK] {
    let scales = bytes(KIND) - if KIND == Q8_0 { BLOCK } else { HALF };
    let (scales, numbers) = block.split_at(scales);
    let mut numbers: [[u8; HALF]; 2] = match KIND {
        Q8_0 => cast(*numbers.first_chunk::<BLOCK>().unwrap_or(&[0; BLOCK])),
        _ => [*numbers.first_chunk().unwrap_or(&[0; HALF]); 2],
    };
    if KIND != Q8_0 {
        for i in 0..HALF {
            numbers[0][i] &= 15;
            numbers[1][i] >>= 4;
        }
    }
    if KIND == Q4_0 {
        for i in 0..HALF {
            numbers[0][i] = numbers[0][i].wrapping_sub(8);
            numbers[1][i] = numbers[1][i].wrapping_sub(8);
        }
    }
    let mut weights: [f32; BLOCK] = cast([simd.signed(numbers[0]), simd.signed(numbers[1])]);
    let d = simd.splat_f32s(float(scales[0], scales[1]));
    let vectors = S::as_mut_simd_f32s(&mut weights).0;
    for v in 0..vectors.len() {
        vectors[v] = simd.mul_f32s(vectors[v], d);
    }
    if KIND == Q4_1 {
        let m = simd.splat_f32s(float(scales[2], scales[3]));
        for v in 0..vectors.len() {
            vectors[v] = simd.add_f32s(vectors[v], m);
        }
    }
    weights
}

/// Vectors whose numbers can come from bytes.
trait Widen: Simd {
    /// Bytes with sign as float32.
    #[inline(always)]
    fn signed(self, bytes: [u8; HALF]) -> [f32; HALF] {
        let mut numbers = [0.0; HALF];
        for i in 0..HALF {
            numbers[i] = f32::from(bytes[i] as i8);
        }
        numbers
    }
}

impl Widen for pulp::Scalar {}

#[cfg(target_arch = "aarch64")]
impl Widen for pulp::aarch64::Neon {}

#[cfg(target_arch = "x86_64")]
impl Widen for pulp::x86::V3 {
    #[inline(always)]
    fn signed(self, bytes: [u8; HALF]) -> [f32; HALF] {
        let bytes = cast(bytes);
        let low = self.avx2._mm256_cvtepi8_epi32(bytes);
        let high = self.avx2._mm256_cvtepi8_epi32(self.sse2._mm_srli_si128::<8>(bytes));
        cast([self.avx._mm256_cvtepi32_ps(low), self.avx._mm256_cvtepi32_ps(high)])
    }
}

#[cfg(target_arch = "x86_64")]
impl Widen for pulp::x86::V4 {
    #[inline(always)]
    fn signed(self, bytes: [u8; HALF]) -> [f32; HALF] {
        cast(self.avx512f._mm512_cvtepi32_ps(self.avx512f._mm512_cvtepi8_epi32(cast(bytes))))
    }
}

/// A float16 as float32.
#[inline(always)]
fn float(low: u8, high: u8) -> f32 {
    let bits = u16::from_le_bytes([low, high]);
    if (0x0400..0x7c00).contains(&(bits & 0x7fff)) {
        // The exponent counts from another number; the sign, spread over the upper bits, is moved along.
        let moved = ((i32::from(bits as i16) << 13) as u32) & 0x8fff_e000;
        f32::from_bits(moved + ((127 - 15) << 23))
    } else {
        rare(bits)
    }
}

/// Zeros, subnormal numbers, infinities and what is not a number.
#[cold]
fn rare(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_the_same_number() {
        for bits in 0..=u16::MAX {
            let [low, high] = bits.to_le_bytes();
            let (found, want) = (float(low, high), half::f16::from_bits(bits).to_f32());
            assert!(found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan(), "{bits:x}");
        }
    }
}
