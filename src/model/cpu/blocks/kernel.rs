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
        macro_rules! for_rows {
            ($kind:ident) => {
                match self.x.len() / self.inner {
                    1 => self.run::<S, $kind, 1>(simd),
                    2 => self.run::<S, $kind, 2>(simd),
                    3 => self.run::<S, $kind, 3>(simd),
                    4 => self.run::<S, $kind, 4>(simd),
                    5 => self.run::<S, $kind, 5>(simd),
                    6 => self.run::<S, $kind, 6>(simd),
                    7 => self.run::<S, $kind, 7>(simd),
                    _ => self.run::<S, $kind, 8>(simd),
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
    fn run<S: Widen, const KIND: u8, const ROWS: usize>(self, simd: S) {
        let Columns { blocks, x, inner, out, stride, .. } = self;
        let x: [&[[f32; BLOCK]]; ROWS] =
            std::array::from_fn(|r| x[r * inner..(r + 1) * inner].as_chunks::<BLOCK>().0);
        let width = inner / BLOCK * bytes(KIND);
        for (column, out) in blocks.chunks_exact(width).zip(out.chunks_mut(stride)) {
            out[..ROWS].copy_from_slice(&sums::<S, KIND, ROWS>(simd, column, &x));
        }
    }
}

/// The results of one column, row by row. Their order of sums does not depend on what else is computed. (Two columns
/// at once would leave fewer sums waiting, but are read less evenly, and are slower.)
#[inline(always)]
fn sums<S: Widen, const KIND: u8, const ROWS: usize>(
    simd: S,
    column: &[u8],
    x: &[&[[f32; BLOCK]]; ROWS],
) -> [f32; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
    for (i, block) in column.chunks_exact(bytes(KIND)).enumerate() {
        let weights = weights::<S, KIND>(simd, block);
        let weights = S::as_simd_f32s(&weights).0;
        for r in 0..ROWS {
            let x = S::as_simd_f32s(&x[r][i]).0;
            for v in 0..weights.len() {
                sums[r][v % 2] = mul_add(simd, x[v], weights[v], sums[r][v % 2]);
            }
        }
    }
    let mut results = [0.0; ROWS];
    for r in 0..ROWS {
        let [even, odd] = sums[r];
        results[r] = simd.reduce_sum_f32s(simd.add_f32s(even, odd));
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
    let halves = scales.as_chunks::<2>().0;
    let d = simd.half(halves[0]);
    let vectors = S::as_mut_simd_f32s(&mut weights).0;
    for v in 0..vectors.len() {
        vectors[v] = simd.mul_f32s(vectors[v], d);
    }
    if KIND == Q4_1 {
        let m = simd.half(halves[1]);
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

    /// A float16 as float32, in every entry.
    #[inline(always)]
    fn half(self, bytes: [u8; 2]) -> Self::f32s {
        self.splat_f32s(float(u16::from_le_bytes(bytes)))
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

    #[inline(always)]
    fn half(self, bytes: [u8; 2]) -> Self::f32s {
        let mut lanes = [0u16; 16];
        lanes[0] = u16::from_le_bytes(bytes);
        let first = self.avx512f._mm512_castps512_ps128(self.avx512f._mm512_cvtph_ps(cast(lanes)));
        cast(self.avx512f._mm512_broadcastss_ps(first))
    }
}

/// A float16 as float32.
#[inline(always)]
fn float(bits: u16) -> f32 {
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
    use crate::model::cpu::isa;

    /// The first entry of what `float16` becomes.
    struct First(u16);

    impl First {
        fn with<S: Widen>(self, simd: S) -> f32 {
            let vector = [simd.half(self.0.to_le_bytes())];
            pulp::bytemuck::cast_slice::<_, f32>(&vector)[0]
        }
    }

    #[test]
    fn every_half_is_the_same_number() {
        for (isa, arch) in isa::tests::all() {
            for bits in 0..=u16::MAX {
                let found = match arch {
                    #[cfg(target_arch = "x86_64")]
                    Arch::V4(simd) => simd.vectorize(|| First(bits).with(simd)),
                    #[cfg(target_arch = "x86_64")]
                    Arch::V3(simd) => simd.vectorize(|| First(bits).with(simd)),
                    _ => First(bits).with(pulp::Scalar),
                };
                let want = half::f16::from_bits(bits).to_f32();
                let same = found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan();
                assert!(same, "{isa}: {bits:x}");
            }
        }
    }
}
