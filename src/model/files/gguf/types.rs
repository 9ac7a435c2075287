//! The types of tensors: numbers in the file, llama.cpp's names, and which can be read.

use crate::model::cpu::blocks::Format;
use candle_core::quantized::GgmlDType as G;

/// What can be de-quantised.
pub const READABLE: [(u32, Format, &str); 25] = [
    (0, Format::Candle(G::F32), "F32"),
    (1, Format::Candle(G::F16), "F16"),
    (30, Format::Candle(G::BF16), "BF16"),
    (2, Format::Candle(G::Q4_0), "Q4_0"),
    (3, Format::Candle(G::Q4_1), "Q4_1"),
    (6, Format::Candle(G::Q5_0), "Q5_0"),
    (7, Format::Candle(G::Q5_1), "Q5_1"),
    (8, Format::Candle(G::Q8_0), "Q8_0"),
    (10, Format::Candle(G::Q2K), "Q2_K"),
    (11, Format::Candle(G::Q3K), "Q3_K"),
    (12, Format::Candle(G::Q4K), "Q4_K"),
    (13, Format::Candle(G::Q5K), "Q5_K"),
    (14, Format::Candle(G::Q6K), "Q6_K"),
    (19, Format::Iq1S, "IQ1_S"),
    (29, Format::Iq1M, "IQ1_M"),
    (16, Format::Iq2Xxs, "IQ2_XXS"),
    (17, Format::Iq2Xs, "IQ2_XS"),
    (22, Format::Iq2S, "IQ2_S"),
    (18, Format::Iq3Xxs, "IQ3_XXS"),
    (21, Format::Iq3S, "IQ3_S"),
    (20, Format::Iq4Nl, "IQ4_NL"),
    (23, Format::Iq4Xs, "IQ4_XS"),
    (34, Format::Tq1, "TQ1_0"),
    (35, Format::Tq2, "TQ2_0"),
    (39, Format::Mxfp4, "MXFP4"),
];

/// The others that llama.cpp knows, or once knew.
const OTHERS: [(u32, &str); 17] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// A type that can be read, by its number.
pub fn readable(id: u32) -> Option<(Format, &'static str)> {
    READABLE.iter().find(|(known, ..)| *known == id).map(|(_, format, name)| (*format, *name))
}

/// What a type that cannot be read is called.
pub fn name(id: u32) -> String {
    let known = OTHERS.iter().find(|(known, _)| *known == id);
    known.map_or(format!("number {id}, which has no name yet"), |(_, name)| format!("`{name}`"))
}
