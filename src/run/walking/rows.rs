//! Rows that hold nothing but themselves. A view keeps all of the storage that it looks into, and so a whole batch for
//! the sake of one prompt; candle's `Tensor::copy` clones that storage, and `contiguous` copies nothing where the
//! view happens to lie in order.

use crate::model::ops;
use crate::run::error::Result;
use candle_core::Tensor;
use std::ops::Range;

/// These rows of `x`, which may be all that is kept of it: a copy unless they are all.
pub fn own_rows(x: &Tensor, rows: &Range<usize>) -> Result<Tensor> {
    match rows.len() == x.dim(0)? {
        true => Ok(x.clone()),
        false => own(&x.narrow(0, rows.start, rows.len())?),
    }
}

/// The ranges of parts of these lengths that follow one another.
pub fn in_turn(lengths: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let ends = lengths.scan(0, |end, length| {
        *end += length;
        Some(*end - length..*end)
    });
    ends.collect()
}

/// The rows of each of several ranges, in as few steps as the device likes.
pub fn own_rows_of_all(x: &Tensor, ranges: &[Range<usize>]) -> Result<Vec<Tensor>> {
    if let [range] = ranges {
        return Ok(vec![own_rows(x, range)?]);
    }
    let views = ranges.iter().map(|rows| x.narrow(0, rows.start, rows.len()));
    let views = views.collect::<candle_core::Result<Vec<_>>>()?;
    Ok(ops::own_all(&views.iter().collect::<Vec<_>>())?)
}

/// A copy of what a view shows.
pub fn own(view: &Tensor) -> Result<Tensor> {
    Ok(view.force_contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{CpuStorage, Device, Storage};

    fn stored(x: &Tensor) -> usize {
        match &*x.storage_and_layout().0 {
            Storage::Cpu(CpuStorage::F32(numbers)) => numbers.len(),
            _ => panic!("float32 on the CPU"),
        }
    }

    #[test]
    fn rows_keep_no_others() {
        let all = Tensor::randn(0f32, 1.0, (100, 7), &Device::Cpu).unwrap();
        let some = own_rows(&all, &(40..43)).unwrap();
        assert_eq!(some.to_vec2::<f32>().unwrap(), all.to_vec2::<f32>().unwrap()[40..43]);
        assert_eq!(stored(&some), 21);
        assert_eq!(stored(&own_rows(&all, &(0..100)).unwrap()), 700);
    }
}
