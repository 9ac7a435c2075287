//! Stands in for [`unit`](super::unit) where no CPU has one.

use super::pack::{STRIP, Step};
use super::product::Multiplier;

pub fn available() -> bool {
    false
}

/// There is none.
pub enum Unit {}

impl<const PARTS: usize> Multiplier<PARTS> for Unit {
    fn new() -> Unit {
        unreachable!("no CPU of this kind has a matrix unit")
    }

    unsafe fn add_product(
        &self,
        _: &[Step<PARTS>],
        _: &[Step<PARTS>],
        _: &mut [f32; STRIP * STRIP],
        _: bool,
        _: [*const u8; 2],
        _: Option<(*mut f32, usize)>,
    ) {
        match *self {}
    }
}
