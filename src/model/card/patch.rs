//! Patches by the kernel of `rows.cu`: all pieces of rows that change at one place, in one launch.

use super::launch::{Arg, Shape, Source, address, launch};
use super::serves;
use candle_core::{DType, Result, Tensor};

/// What is done to a piece of a row, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    Set,
    Add,
    Zero,
    Scale(f32),
    Lerp(f32),
    /// Takes out what lies along the value, which has length 1.
    ProjectOut,
}

/// Columns `column..column + len` of row `row`.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    pub row: usize,
    pub column: usize,
    pub len: usize,
    pub act: Act,
    /// Where what it brings starts.
    pub value: Option<Place>,
    /// Which of the changes it counts to.
    pub change: usize,
}

/// A place among what patches bring.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// Of the numbers from main memory.
    Host(usize),
    /// On the card: an address, and whether float32 lies there.
    Card(u64, bool),
}

/// May the kernel change `x` `[rows, width]`?
pub fn applies(x: &Tensor) -> bool {
    x.rank() == 2 && serves(&[x]) && u32::try_from(x.dims()[0]).is_ok()
}

/// The place of a value `[rows, width]` that lies on `near`'s card, if a kernel of its dtype can read its rows there.
/// Whoever uses it keeps the value until [`patch`] has returned.
pub fn place(value: &Tensor, near: &Tensor) -> Option<Place> {
    let wide = value.dtype() == DType::F32;
    let here = value.device().same_device(near.device());
    if !here || !(wide || value.dtype() == near.dtype()) || *value.stride().last()? != 1 {
        return None;
    }
    Some(Place::Card(address(value).ok()?, wide))
}

/// Changes pieces of `x` in a copy, those of one round in one launch: pieces of a round do not overlap. `host` holds what
/// comes from main memory. With `hides`, minus infinity stays what it is. Returns the copy and `max |Δ|` of each of `changes`, float32, left on the card.
pub fn patch(
    x: &Tensor,
    rounds: &[Vec<Piece>],
    host: Vec<f32>,
    changes: usize,
    hides: bool,
) -> Result<(Tensor, Tensor)> {
    let device = x.device();
    let width = x.dim(1)?;
    let out = x.force_contiguous()?;
    let most = Tensor::zeros(changes, DType::F32, device)?;
    let host = match host.is_empty() {
        true => None,
        false => Some(Tensor::new(host, device)?),
    };
    let from = host.as_ref().map_or(Ok(0), address)?;
    for pieces in rounds.iter().filter(|pieces| !pieces.is_empty()) {
        let words = pieces.iter().flat_map(|piece| words(piece, from)).collect();
        let table = Tensor::from_vec(words, (pieces.len(), WORDS), device)?;
        let (width, hides) = (Arg::U32(width as u32), Arg::U32(hides.into()));
        let args = [Arg::Tensor(&out), Arg::Tensor(&table), Arg::Tensor(&most), width, hides];
        let shape = Shape { grid: [pieces.len(), 1], threads: 128, shared: 0 };
        launch(device, x.dtype(), Source::Rows, "patch", shape, &args)?;
    }
    Ok((out, most))
}

/// Words of `struct Piece`.
const WORDS: usize = 10;

fn words(piece: &Piece, host: u64) -> [u32; WORDS] {
    let (kind, amount) = match piece.act {
        Act::Set => (0, 0.0),
        Act::Add => (1, 0.0),
        Act::Zero => (2, 0.0),
        Act::Scale(a) => (3, a),
        Act::Lerp(a) => (4, a),
        Act::ProjectOut => (5, 0.0),
    };
    let (value, wide) = match piece.value {
        None => (0, false),
        Some(Place::Host(entry)) => (host + (entry * size_of::<f32>()) as u64, true),
        Some(Place::Card(address, wide)) => (address, wide),
    };
    let [row, column, len, change] = [piece.row, piece.column, piece.len, piece.change].map(|n| n as u32);
    [value as u32, (value >> 32) as u32, row, column, len, kind, wide.into(), change, amount.to_bits(), 0]
}
