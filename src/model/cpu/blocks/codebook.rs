//! The codebooks of the IQ types: rows of 4 or 8 weights that a few bits choose. They are a part of the format;
//! `codebooks.bin` has them as the Python package `gguf` does (`tests/fixtures/make_codebooks.py`).

use std::sync::LazyLock;

static PACKED: &[u8] = include_bytes!("codebooks.bin");

/// Rows of one codebook.
#[derive(Debug)]
pub struct Codebook {
    width: usize,
    entries: Vec<i8>,
}

pub const IQ2_XXS: usize = 0;
pub const IQ2_XS: usize = 1;
pub const IQ2_S: usize = 2;
pub const IQ3_XXS: usize = 3;
pub const IQ3_S: usize = 4;
/// Of `IQ1_M` too.
pub const IQ1_S: usize = 5;

/// Rows, entries in a row, and what the packed numbers stand for.
const SHAPES: [(usize, usize, &[i8]); 6] = [
    (256, 8, &IQ2),
    (512, 8, &IQ2),
    (1024, 8, &IQ2),
    (256, 4, &[0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e]),
    (512, 4, &[0x01, 0x03, 0x05, 0x07, 0x09, 0x0b, 0x0d, 0x0f]),
    (2048, 8, &[-1, 0, 1]),
];
const IQ2: [i8; 3] = [0x08, 0x19, 0x2b];

impl Codebook {
    /// One of those above.
    pub fn get(which: usize) -> &'static Codebook {
        static ALL: LazyLock<Vec<Codebook>> = LazyLock::new(unpack);
        &ALL[which]
    }

    pub fn row(&self, row: usize) -> &[i8] {
        &self.entries[row * self.width..][..self.width]
    }
}

fn unpack() -> Vec<Codebook> {
    let mut rest = PACKED;
    let mut books = Vec::with_capacity(SHAPES.len());
    for (rows, width, values) in SHAPES {
        let bits = if values.len() <= 4 { 2 } else { 4 };
        let (packed, after) = rest.split_at(rows * width * bits / 8);
        let numbers =
            packed.iter().flat_map(|byte| (0..8).step_by(bits).map(move |at| byte >> at & ((1 << bits) - 1)));
        books.push(Codebook { width, entries: numbers.map(|number| values[usize::from(number)]).collect() });
        rest = after;
    }
    books
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_them_all() {
        let bits = |values: &[i8]| if values.len() <= 4 { 2 } else { 4 };
        let bytes: usize = SHAPES.iter().map(|(rows, width, values)| rows * width * bits(values) / 8).sum();
        assert_eq!(PACKED.len(), bytes);
        for (which, (rows, width, _)) in SHAPES.into_iter().enumerate() {
            assert_eq!(Codebook::get(which).row(rows - 1).len(), width);
        }
    }
}
