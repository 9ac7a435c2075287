//! Gain: a token of SmolLM2 reads 96 MB in place of 538, and costs 3.2 times less than transformers' in place of 1.2
//! times (`docs/performance.md`).
//!
//! Weights in the blocks of few bits in which a GGUF file keeps them. A product with few rows is bound by the bytes
//! that it reads, so that it reads these, where [`kernel`] knows them; every product with weights that are kept in
//! blocks alone makes the float32 tensor of them first. Either way the weights that it computes with are the same
//! float32 numbers to the bit. [`mod@format`] says what the bytes of a block mean, [`codebook`] holds the rows that some
//! types choose from.

use super::few::rows_of_columns;
use super::isa::arch;
use super::with_slice;
use candle_core::quantized::GgmlDType;
use candle_core::{Device, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

mod codebook;
mod format;
mod kernel;

pub use format::Format;

/// Up to this many rows [`Blocks::product`] beats the other kernels.
pub const MOST_ROWS: usize = 32;

/// Weights in a block, in every kind here.
const BLOCK: usize = 32;
/// Columns of the result that one task computes.
const COLUMNS: usize = 64;
/// Weights that one task de-quantises: whole blocks of every type.
const PIECE: usize = 1 << 14;

/// What there is a kernel for. `d`, `m`: float16; `q`: what the bits say. The first half of a block's 4-bit numbers
/// are its bytes' low halves.
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
    format: Format,
    kind: Option<Kind>,
    bytes: Arc<[u8]>,
    inner: usize,
    outer: usize,
}

impl Blocks {
    /// # Errors
    /// Bytes that are not this many whole rows.
    pub fn new(format: impl Into<Format>, [outer, inner]: [usize; 2], bytes: &[u8]) -> Result<Blocks> {
        let format = format.into();
        let kind = match format {
            Format::Candle(GgmlDType::Q4_0) => Some(Kind::Q4_0),
            Format::Candle(GgmlDType::Q4_1) => Some(Kind::Q4_1),
            Format::Candle(GgmlDType::Q8_0) => Some(Kind::Q8_0),
            _ => None,
        };
        let blocks = Blocks { format, kind, bytes: bytes.into(), inner, outer };
        if !inner.is_multiple_of(format.block_size()) || bytes.len() != outer * blocks.row_bytes() {
            candle_core::bail!("{} bytes are not {outer} × {inner} weights of {format:?}", bytes.len());
        }
        Ok(blocks)
    }

    /// Is there a kernel for this kind?
    pub fn multiplies(&self) -> bool {
        self.kind.is_some()
    }

    /// `(out, in)`
    pub fn dims(&self) -> (usize, usize) {
        (self.outer, self.inner)
    }

    fn row_bytes(&self) -> usize {
        self.inner / self.format.block_size() * self.format.type_size()
    }

    /// The matrix of these of its rows (the columns of the result), in this order.
    ///
    /// # Errors
    /// A row that it has not.
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Result<Blocks> {
        let width = self.row_bytes();
        let mut bytes = Vec::new();
        let mut outer = 0;
        for row in rows {
            let Some(row) = self.bytes.get(row * width..(row + 1) * width) else {
                candle_core::bail!("row {row} of {}", self.outer);
            };
            bytes.extend_from_slice(row);
            outer += 1;
        }
        Ok(Blocks { outer, bytes: bytes.into(), ..*self })
    }

    /// Some of its rows as float32, `[rows, in]`.
    pub fn dense(&self, rows: Range<usize>) -> Result<Tensor> {
        let width = self.row_bytes();
        match self.bytes.get(rows.start * width..rows.end * width) {
            Some(bytes) => dequantised(self.format, bytes, &[rows.len(), self.inner]),
            None => candle_core::bail!("rows {rows:?} of {}", self.outer),
        }
    }

    /// `x Wᵀ`: `x` `[rows, in]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or blocks without a kernel.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, inner) = x.dims2()?;
        if inner != self.inner {
            candle_core::bail!("a product of {rows} × {inner} and {} × {}", self.inner, self.outer);
        }
        let Some(kind) = self.kind else {
            candle_core::bail!("there is no kernel for blocks of {:?}", self.format);
        };
        let columns = self.columns(arch(), kind, x)?;
        rows_of_columns(columns, rows, x.device())
    }

    /// The product's entries column by column, by these vectors.
    fn columns(&self, arch: Arch, kind: Kind, x: &Tensor) -> Result<Vec<f32>> {
        let (rows, inner) = x.dims2()?;
        let mut columns = vec![0f32; rows * self.outer]; // [out, rows]
        with_slice(x, |x| {
            let blocks = self.bytes.par_chunks(COLUMNS * self.row_bytes());
            let at_once = kernel::rows_at_once(arch);
            columns.par_chunks_mut(COLUMNS * rows).zip(blocks).for_each(|(out, blocks)| {
                for first in (0..rows).step_by(at_once) {
                    let count = at_once.min(rows - first);
                    let x = &x[first * inner..(first + count) * inner];
                    let out = &mut out[first..];
                    kernel::Columns { kind, blocks, x, inner, out, stride: rows }.compute(arch);
                }
            });
            Ok(())
        })?;
        Ok(columns)
    }
}

/// The float32 numbers of a tensor that is kept in blocks of `format`, by all cores.
///
/// # Errors
/// Bytes that are not whole blocks of this shape, or do not begin where floats may.
pub fn dequantised(format: impl Into<Format>, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
    let format = format.into();
    let count: usize = shape.iter().product();
    let (block, size) = (format.block_size(), format.type_size());
    if !count.is_multiple_of(block) || bytes.len() != count / block * size || !format.may_begin_at(bytes) {
        candle_core::bail!("{} bytes are no tensor of {shape:?} and {format:?}", bytes.len());
    }
    let mut values = vec![0f32; count];
    let pieces = values.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE / block * size));
    pieces.try_for_each(|(values, bytes)| format.dequantise(bytes, values))?;
    Tensor::from_vec(values, shape, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cpu::isa;
    use candle_core::quantized::QTensor;

    const KINDS: [GgmlDType; 3] = [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q8_0];

    /// Blocks, and what candle makes of them.
    fn quantized(dtype: GgmlDType, outer: usize, inner: usize) -> (Blocks, Tensor) {
        let weight = Tensor::randn(0f32, 1.0, (outer, inner), &Device::Cpu).unwrap();
        let weight = QTensor::quantize(&weight, dtype).unwrap();
        let blocks = Blocks::new(dtype, [outer, inner], &weight.data().unwrap()).unwrap();
        (blocks, weight.dequantize(&Device::Cpu).unwrap())
    }

    #[test]
    fn every_kind_is_what_its_dequantised_weights_are() {
        for dtype in KINDS {
            // An odd number of columns, so that the last task has fewer.
            let (blocks, weight) = quantized(dtype, 151, 96);
            // Rows of the identity bring out the weights themselves.
            let eye = Tensor::eye(96, candle_core::DType::F32, &Device::Cpu).unwrap();
            for (isa, arch) in isa::tests::all() {
                let found = blocks.columns(arch, blocks.kind.unwrap(), &eye).unwrap();
                assert_eq!(
                    found,
                    weight.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                    "{dtype:?}, {isa}"
                );
                let first = eye.narrow(0, 0, 1).unwrap();
                let first = blocks.columns(arch, blocks.kind.unwrap(), &first).unwrap();
                let want = weight.narrow(1, 0, 1).unwrap().flatten_all().unwrap();
                assert_eq!(first, want.to_vec1::<f32>().unwrap(), "{dtype:?}, {isa}");
            }
            for rows in [1, 2, 7, 8, 9, 16, 31] {
                let x = Tensor::randn(0f32, 1.0, (rows, 96), &Device::Cpu).unwrap();
                let diff = (blocks.product(&x).unwrap() - x.matmul(&weight.t().unwrap()).unwrap()).unwrap();
                assert!(diff.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-4);
            }
        }
    }

    #[test]
    fn selected_rows_are_the_same_columns() {
        let (blocks, weight) = quantized(GgmlDType::Q4_1, 20, 64);
        let x = Tensor::randn(0f32, 1.0, (3, 64), &Device::Cpu).unwrap();
        let order = [7u32, 0, 19, 7];
        let some = blocks.select(order.map(|i| i as usize)).unwrap().product(&x).unwrap();
        let all =
            blocks.product(&x).unwrap().index_select(&Tensor::new(&order, &Device::Cpu).unwrap(), 1).unwrap();
        assert_eq!(some.to_vec2::<f32>().unwrap(), all.to_vec2::<f32>().unwrap());
        assert!(blocks.product(&weight).is_ok() && blocks.product(&weight.t().unwrap()).is_err());
    }

    #[test]
    fn rows_of_every_type_are_candles_numbers() {
        let kinds = [GgmlDType::Q2K, GgmlDType::Q6K, GgmlDType::Q5_1, GgmlDType::F16, GgmlDType::BF16];
        for dtype in kinds.into_iter().chain(KINDS) {
            // More than one piece.
            let (blocks, weight) = quantized(dtype, 70, 512);
            let (weight, rows) = (weight.to_vec2::<f32>().unwrap(), |t: Tensor| t.to_vec2::<f32>().unwrap());
            assert_eq!(rows(blocks.dense(0..70).unwrap()), weight, "{dtype:?}");
            assert_eq!(rows(blocks.dense(5..69).unwrap()), weight[5..69], "{dtype:?}");
            let some = blocks.select([69, 0]).unwrap();
            assert_eq!(rows(some.dense(0..2).unwrap()), [weight[69].clone(), weight[0].clone()], "{dtype:?}");
            assert!(blocks.dense(5..71).is_err() && blocks.select([70]).is_err());
        }
    }

    /// `tests/fixtures/make_codebooks.py` wrote the file.
    #[test]
    fn types_beyond_candles_are_what_the_package_gguf_reads() {
        use Format::*;
        let names = [
            ("IQ1_S", Iq1S),
            ("IQ1_M", Iq1M),
            ("IQ2_XXS", Iq2Xxs),
            ("IQ2_XS", Iq2Xs),
            ("IQ2_S", Iq2S),
            ("IQ3_XXS", Iq3Xxs),
            ("IQ3_S", Iq3S),
            ("IQ4_NL", Iq4Nl),
            ("IQ4_XS", Iq4Xs),
            ("TQ1_0", Tq1),
            ("TQ2_0", Tq2),
            ("MXFP4", Mxfp4),
        ];
        let golden =
            candle_core::safetensors::load("tests/golden/gguf_blocks.safetensors", &Device::Cpu).unwrap();
        for (name, format) in names {
            let bytes = golden[&format!("{name}.bytes")].to_vec1::<u8>().unwrap();
            let expected = golden[&format!("{name}.values")].to_vec1::<f32>().unwrap();
            let found = dequantised(format, &bytes, &[2, 512]).unwrap();
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            // Equal as numbers, so that the sign of zero says nothing.
            assert_eq!(found, expected, "{name}");
            let blocks = Blocks::new(format, [2, 512], &bytes).unwrap();
            assert!(!blocks.multiplies() && blocks.select([1]).unwrap().dense(0..1).is_ok());
        }
    }

    #[test]
    fn other_kinds_and_lengths_are_refused() {
        let (blocks, _) = quantized(GgmlDType::Q6K, 1, 256);
        assert!(
            !blocks.multiplies()
                && blocks.product(&Tensor::new(&[[0f32; 256]], &Device::Cpu).unwrap()).is_err()
        );
        assert!(Blocks::new(GgmlDType::Q8_0, [1, 64], &[0; 67]).is_err());
        assert!(Blocks::new(GgmlDType::Q8_0, [1, 33], &[0; 34]).is_err());
    }
}
