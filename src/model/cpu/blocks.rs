//! Weights in the blocks of few bits in which a GGUF file keeps them. A product with few rows is bound by the bytes
//! that it reads, so that it reads these; the weights that it computes with are the same float32 numbers to the bit.

use super::few::rows_of_columns;
use super::tile;
use super::with_slice;
use candle_core::quantized::GgmlDType;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Up to this many rows [`Blocks::product`] beats the other kernels.
pub const MOST_ROWS: usize = tile::MOST_ROWS;

/// Weights in a block, in every kind here.
const BLOCK: usize = 32;
/// Rows of `x` that one reading of a block serves.
const ROWS_AT_ONCE: usize = 8;
/// Columns of the result that one task computes.
const COLUMNS: usize = 64;

/// `d`, `m`: float16; `q`: what the bits say. The first half of a block's 4-bit numbers are its bytes' low halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `d (q - 8)`: `d`, 32 × 4 bits
    Q4_0,
    /// `d q + m`: `d`, `m`, 32 × 4 bits
    Q4_1,
    /// `d q`: `d`, 32 × 8 bits with sign
    Q8_0,
}

/// A weight matrix `[out, in]` of blocks along `in`.
#[derive(Debug, Clone)]
pub struct Blocks {
    kind: Kind,
    bytes: Vec<u8>,
    inner: usize,
    outer: usize,
}

impl Blocks {
    /// `None` where there is no kernel for this kind on this machine.
    pub fn new(dtype: GgmlDType, [outer, inner]: [usize; 2], bytes: &[u8]) -> Option<Blocks> {
        let kind = match dtype {
            GgmlDType::Q4_0 => Kind::Q4_0,
            GgmlDType::Q4_1 => Kind::Q4_1,
            GgmlDType::Q8_0 => Kind::Q8_0,
            _ => return None,
        };
        let fits = inner.is_multiple_of(BLOCK) && bytes.len() == outer * inner / BLOCK * kind.bytes();
        (fits && available()).then(|| Blocks { kind, bytes: bytes.to_vec(), inner, outer })
    }

    fn row_bytes(&self) -> usize {
        self.inner / BLOCK * self.kind.bytes()
    }

    /// The matrix of these of its rows (the columns of the result), in this order.
    pub fn select(&self, rows: impl Iterator<Item = usize>) -> Blocks {
        let width = self.row_bytes();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for row in rows {
            bytes.extend_from_slice(&self.bytes[row * width..(row + 1) * width]);
        }
        Blocks { outer: bytes.len() / width.max(1), bytes, ..*self }
    }

    /// `x Wᵀ`: `x` `[rows, in]`.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, inner) = x.dims2()?;
        if inner != self.inner {
            candle_core::bail!("a product of {rows} × {inner} and {} × {}", self.inner, self.outer);
        }
        let mut columns = vec![0f32; rows * self.outer]; // [out, rows]
        with_slice(x, |x| {
            let blocks = self.bytes.par_chunks(COLUMNS * self.row_bytes());
            columns.par_chunks_mut(COLUMNS * rows).zip(blocks).for_each(|(out, blocks)| {
                for first in (0..rows).step_by(ROWS_AT_ONCE) {
                    let count = ROWS_AT_ONCE.min(rows - first);
                    let x = &x[first * inner..(first + count) * inner];
                    kernel::columns(self.kind, blocks, x, inner, &mut out[first..], rows);
                }
            });
            Ok(())
        })?;
        rows_of_columns(columns, rows, x.device())
    }
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::Q4_0 => 2 + BLOCK / 2,
            Kind::Q4_1 => 4 + BLOCK / 2,
            Kind::Q8_0 => 2 + BLOCK,
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn available() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("f16c")
}

#[cfg(not(target_arch = "x86_64"))]
mod kernel {
    pub fn columns(_: super::Kind, _: &[u8], _: &[f32], _: usize, _: &mut [f32], _: usize) {
        unreachable!("blocks are not made on this machine")
    }
}

#[cfg(target_arch = "x86_64")]
mod kernel {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_core::quantized::QTensor;

    const KINDS: [GgmlDType; 3] = [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q8_0];

    fn quantized(dtype: GgmlDType, outer: usize, inner: usize) -> (Option<Blocks>, Tensor) {
        let weight = Tensor::randn(0f32, 1.0, (outer, inner), &Device::Cpu).unwrap();
        let weight = QTensor::quantize(&weight, dtype).unwrap();
        let blocks = Blocks::new(dtype, [outer, inner], &weight.data().unwrap());
        (blocks, weight.dequantize(&Device::Cpu).unwrap())
    }

    #[test]
    fn every_kind_is_what_its_dequantised_weights_are() {
        for dtype in KINDS {
            let (blocks, weight) = quantized(dtype, 150, 96);
            let Some(blocks) = blocks else { return };
            // Rows of the identity bring out the weights themselves.
            let eye = Tensor::eye(96, candle_core::DType::F32, &Device::Cpu).unwrap();
            let found = blocks.product(&eye).unwrap().t().unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(found, weight.to_vec2::<f32>().unwrap(), "{dtype:?}");
            for rows in [1, 2, 7, 8, 9, 16, 31] {
                let x = Tensor::randn(0f32, 1.0, (rows, 96), &Device::Cpu).unwrap();
                let diff = (blocks.product(&x).unwrap() - x.matmul(&weight.t().unwrap()).unwrap()).unwrap();
                assert!(diff.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-4);
            }
        }
    }

    #[test]
    fn selected_rows_are_the_same_columns() {
        let (Some(blocks), weight) = quantized(GgmlDType::Q4_1, 20, 64) else { return };
        let x = Tensor::randn(0f32, 1.0, (3, 64), &Device::Cpu).unwrap();
        let order = [7u32, 0, 19, 7];
        let some = blocks.select(order.iter().map(|&i| i as usize)).product(&x).unwrap();
        let all =
            blocks.product(&x).unwrap().index_select(&Tensor::new(&order, &Device::Cpu).unwrap(), 1).unwrap();
        assert_eq!(some.to_vec2::<f32>().unwrap(), all.to_vec2::<f32>().unwrap());
        assert!(blocks.product(&weight).is_ok() && blocks.product(&weight.t().unwrap()).is_err());
    }

    #[test]
    fn other_kinds_and_lengths_are_refused() {
        assert!(Blocks::new(GgmlDType::Q6K, [1, 256], &[0; 210]).is_none());
        assert!(Blocks::new(GgmlDType::Q8_0, [1, 64], &[0; 67]).is_none());
        assert!(Blocks::new(GgmlDType::Q8_0, [1, 33], &[0; 34]).is_none());
    }
}
