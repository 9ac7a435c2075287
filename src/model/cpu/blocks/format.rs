//! What the bytes of a block mean. Candle reads the older types; those with codebooks, of three values and of 4-bit
//! floats are read here.
//!
//! Formulas: `gguf/quants.py` of the Python package `gguf` 0.19, which follows llama.cpp's `ggml-quants.c`.

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Result};

use super::super::with_slice;
use super::codebook::{self, Codebook};

/// The type of a tensor's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Candle(GgmlDType),
    Iq1S,
    Iq1M,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
    Tq1,
    Tq2,
    Mxfp4,
}

/// The values of 4 bits in `IQ4_NL` and `IQ4_XS`.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of the 4-bit floats E2M1.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/// What is added to a codebook's entries in `IQ1_S` and `IQ1_M`.
const IQ1_DELTA: f32 = 0.125;

impl From<GgmlDType> for Format {
    fn from(dtype: GgmlDType) -> Format {
        Format::Candle(dtype)
    }
}

impl Format {
    /// Weights in a block.
    pub fn block_size(self) -> usize {
        match self {
            Format::Candle(dtype) => dtype.block_size(),
            Format::Iq4Nl | Format::Mxfp4 => 32,
            _ => 256,
        }
    }

    /// Bytes of a block.
    pub fn type_size(self) -> usize {
        match self {
            Format::Candle(dtype) => dtype.type_size(),
            Format::Iq1S => 2 + 32 + 16,
            Format::Iq1M => 32 + 16 + 8,
            Format::Iq2Xxs => 2 + 64,
            Format::Iq2Xs => 2 + 64 + 8,
            Format::Iq2S => 2 + 64 + 8 + 8,
            Format::Iq3Xxs => 2 + 64 + 32,
            Format::Iq3S => 2 + 64 + 8 + 32 + 4,
            Format::Iq4Nl => 2 + 16,
            Format::Iq4Xs => 2 + 2 + 4 + 128,
            Format::Tq1 => 48 + 4 + 2,
            Format::Tq2 => 64 + 2,
            Format::Mxfp4 => 1 + 16,
        }
    }

    /// Whether blocks may begin at this address: candle reads them where they lie, and one of 2 or 6 bytes (modulo 8)
    /// holds nothing wider than two.
    pub fn may_begin_at(self, bytes: &[u8]) -> bool {
        match self {
            Format::Candle(dtype) => {
                bytes.as_ptr().addr().is_multiple_of(1 << dtype.type_size().trailing_zeros().min(2))
            }
            _ => true,
        }
    }

    /// The float32 numbers of whole blocks.
    pub fn dequantise(self, bytes: &[u8], values: &mut [f32]) -> Result<()> {
        if let Format::Candle(dtype) = self {
            let piece = qtensor_from_ggml(dtype, bytes, vec![values.len()], &Device::Cpu)?;
            return with_slice(&piece.dequantize(&Device::Cpu)?, |piece| {
                values.copy_from_slice(piece);
                Ok(())
            });
        }
        let blocks = bytes.chunks_exact(self.type_size()).zip(values.chunks_exact_mut(self.block_size()));
        blocks.for_each(|(block, values)| self.block(block, values));
        Ok(())
    }

    fn block(self, b: &[u8], values: &mut [f32]) {
        match self {
            Format::Candle(_) => {}
            Format::Iq1S => iq1_s(b, values),
            Format::Iq1M => iq1_m(b, values),
            Format::Iq2Xxs => iq2_xxs(b, values),
            Format::Iq2Xs => iq2_xs(b, values),
            Format::Iq2S => iq2_s(b, values),
            Format::Iq3Xxs => iq3_xxs(b, values),
            Format::Iq3S => iq3_s(b, values),
            Format::Iq4Nl => nibbles(&IQ4, float16(b, 0), &b[2..], values),
            Format::Iq4Xs => iq4_xs(b, values),
            Format::Tq1 => tq1(b, values),
            Format::Tq2 => tq2(b, values),
            Format::Mxfp4 => nibbles(&E2M1, half_power(b[0]), &b[1..], values),
        }
    }
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn float16(b: &[u8], at: usize) -> f32 {
    half::f16::from_bits(u16_at(b, at)).to_f32()
}

/// Half of the power of two that an E8M0 number is.
fn half_power(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        e => u32::from(e - 1) << 23,
    })
}

/// The `i`-th of the 4-bit numbers, low halves first.
fn nibble(b: &[u8], i: usize) -> u8 {
    b[i / 2] >> (4 * (i % 2)) & 15
}

/// Values of 4 bits: those of the low halves, then those of the high ones.
fn nibbles(of: &[i8; 16], d: f32, q: &[u8], values: &mut [f32]) {
    let (low, high) = values.split_at_mut(q.len());
    for ((q, low), high) in q.iter().zip(low).zip(high) {
        *low = d * f32::from(of[usize::from(q & 15)]);
        *high = d * f32::from(of[usize::from(q >> 4)]);
    }
}

/// The eighth sign makes their number even.
fn signs(seven: u32) -> u8 {
    let seven = (seven & 127) as u8;
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

/// Entries times `d`, those with a set bit in `signs` negative.
fn signed<'a>(d: f32, entries: impl IntoIterator<Item = &'a i8>, signs: u8, values: &mut [f32]) {
    for (i, (value, entry)) in values.iter_mut().zip(entries).enumerate() {
        let size = d * f32::from(*entry);
        *value = if signs >> i & 1 == 1 { -size } else { size };
    }
}

fn iq2_xxs(b: &[u8], values: &mut [f32]) {
    let (d, book) = (float16(b, 0), Codebook::get(codebook::IQ2_XXS));
    for (i, values) in values.chunks_exact_mut(32).enumerate() {
        let (entries, word) = (&b[2 + 8 * i..6 + 8 * i], u32_at(b, 6 + 8 * i));
        let d = d * (0.5 + (word >> 28) as f32) * 0.25;
        for (k, values) in values.chunks_exact_mut(8).enumerate() {
            signed(d, book.row(entries[k].into()), signs(word >> (7 * k)), values);
        }
    }
}

fn iq2_xs(b: &[u8], values: &mut [f32]) {
    let (d, book) = (float16(b, 0), Codebook::get(codebook::IQ2_XS));
    for (k, values) in values.chunks_exact_mut(8).enumerate() {
        let d = d * (0.5 + f32::from(nibble(&b[66..], k / 2))) * 0.25;
        let q = u16_at(b, 2 + 2 * k);
        signed(d, book.row((q & 511).into()), signs((q >> 9).into()), values);
    }
}

fn iq2_s(b: &[u8], values: &mut [f32]) {
    let (d, book) = (float16(b, 0), Codebook::get(codebook::IQ2_S));
    for (k, values) in values.chunks_exact_mut(8).enumerate() {
        let d = d * (0.5 + f32::from(nibble(&b[74..], k / 2))) * 0.25;
        let high = b[66 + k / 4] >> (2 * (k % 4)) & 3;
        signed(d, book.row(usize::from(b[2 + k]) | usize::from(high) << 8), b[34 + k], values);
    }
}

fn iq3_xxs(b: &[u8], values: &mut [f32]) {
    let (d, book) = (float16(b, 0), Codebook::get(codebook::IQ3_XXS));
    for (i, values) in values.chunks_exact_mut(32).enumerate() {
        let word = u32_at(b, 66 + 4 * i);
        let d = d * (0.5 + (word >> 28) as f32) * 0.5;
        for (k, values) in values.chunks_exact_mut(8).enumerate() {
            let [first, second] = [0, 1].map(|half| book.row(b[2 + 8 * i + 2 * k + half].into()));
            signed(d, first.iter().chain(second), signs(word >> (7 * k)), values);
        }
    }
}

fn iq3_s(b: &[u8], values: &mut [f32]) {
    let (d, book) = (float16(b, 0), Codebook::get(codebook::IQ3_S));
    let row = |at: usize| book.row(usize::from(b[2 + at]) | usize::from(b[66 + at / 8] >> (at % 8) & 1) << 8);
    for (k, values) in values.chunks_exact_mut(8).enumerate() {
        let d = d * f32::from(1 + 2 * nibble(&b[106..], k / 4));
        signed(d, row(2 * k).iter().chain(row(2 * k + 1)), b[74 + k], values);
    }
}

/// A codebook's entries with a delta added, times `d`.
fn shifted(d: f32, entries: &[i8], delta: f32, values: &mut [f32]) {
    for (value, entry) in values.iter_mut().zip(entries) {
        *value = d * (f32::from(*entry) + delta);
    }
}

fn iq1_s(b: &[u8], values: &mut [f32]) {
    let (d, book) = (float16(b, 0), Codebook::get(codebook::IQ1_S));
    for (k, values) in values.chunks_exact_mut(8).enumerate() {
        let high = u16_at(b, 34 + 2 * (k / 4));
        let d = d * f32::from(2 * (high >> 12 & 7) + 1);
        let delta = if high & 0x8000 == 0 { IQ1_DELTA } else { -IQ1_DELTA };
        let entry = usize::from(b[2 + k]) | usize::from(high >> (3 * (k % 4)) & 7) << 8;
        shifted(d, book.row(entry), delta, values);
    }
}

fn iq1_m(b: &[u8], values: &mut [f32]) {
    let book = Codebook::get(codebook::IQ1_S);
    let scales = [48, 50, 52, 54].map(|at| u16_at(b, at));
    // The block's own scale is spread over the highest bits of the others.
    let d = scales.iter().rev().fold(0, |bits, scale| bits << 4 | scale >> 12);
    let d = half::f16::from_bits(d).to_f32();
    for (k, values) in values.chunks_exact_mut(8).enumerate() {
        let scale = scales[k / 8] >> (3 * (k / 2 % 4)) & 7;
        let high = nibble(&b[32..], k);
        let delta = if high & 8 == 0 { IQ1_DELTA } else { -IQ1_DELTA };
        let entry = usize::from(b[k]) | usize::from(high & 7) << 8;
        shifted(d * f32::from(2 * scale + 1), book.row(entry), delta, values);
    }
}

fn iq4_xs(b: &[u8], values: &mut [f32]) {
    let (d, high) = (float16(b, 0), u16_at(b, 2));
    for (i, values) in values.chunks_exact_mut(32).enumerate() {
        let scale = i16::from(nibble(&b[4..], i)) | ((high >> (2 * i) & 3) << 4) as i16;
        nibbles(&IQ4, d * f32::from(scale - 32), &b[8 + 16 * i..24 + 16 * i], values);
    }
}

/// Five numbers of three values in a byte, as the first digits after the point of a number to base 3.
fn tq1(b: &[u8], values: &mut [f32]) {
    let d = float16(b, 52);
    let mut values = values.iter_mut();
    for (bytes, digits) in [(&b[..32], 5), (&b[32..48], 5), (&b[48..52], 4)] {
        for power in [1u8, 3, 9, 27, 81].into_iter().take(digits) {
            for (byte, value) in bytes.iter().zip(values.by_ref()) {
                let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                *value = d * (f32::from(digit) - 1.0);
            }
        }
    }
}

fn tq2(b: &[u8], values: &mut [f32]) {
    let d = float16(b, 64);
    for (i, values) in values.chunks_exact_mut(32).enumerate() {
        let bytes = &b[32 * (i / 4)..];
        for (byte, value) in bytes.iter().zip(values) {
            *value = d * (f32::from(byte >> (2 * (i % 4)) & 3) - 1.0);
        }
    }
}
