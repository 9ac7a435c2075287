//! Half precision to float32 while weights are loaded.

use candle_core::{CpuStorage, Result, Storage, Tensor};
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// Entries that one core converts at a time.
const PART: usize = 1 << 15;

/// `x`, contiguous float16 or bfloat16, as float32.
pub fn widen(x: &Tensor) -> Result<Tensor> {
    let (storage, layout) = x.storage_and_layout();
    let mut out = vec![0f32; x.elem_count()];
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F16(values)), Some((from, to))) => convert(&values[from..to], &mut out),
        (Storage::Cpu(CpuStorage::BF16(values)), Some((from, to))) => convert(&values[from..to], &mut out),
        _ => candle_core::bail!("a tensor to widen is not contiguous half precision in main memory"),
    }
    Tensor::from_vec(out, x.shape(), x.device())
}

fn convert<T: Sync>(values: &[T], out: &mut [f32])
where
    [T]: HalfFloatSliceExt,
{
    let parts = out.par_chunks_mut(PART).zip(values.par_chunks(PART));
    parts.for_each(|(out, values)| values.convert_to_f32_slice(out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use half::{bf16, f16};

    #[test]
    fn every_half_is_the_same_number() {
        let bits = || (0..=u16::MAX).cycle().take(3 * PART + 7);
        let f16s: Vec<f16> = bits().map(f16::from_bits).collect();
        let bf16s: Vec<bf16> = bits().map(bf16::from_bits).collect();
        let cpu = &Device::Cpu;
        for x in [Tensor::new(f16s, cpu), Tensor::new(bf16s, cpu)] {
            let x = x.unwrap();
            // A view that begins elsewhere, too.
            for x in [x.clone(), x.narrow(0, 5, PART + 1).unwrap()] {
                let numbers = |x: Tensor| x.to_vec1::<f32>().unwrap();
                let (ours, theirs) = (numbers(widen(&x).unwrap()), numbers(x.to_dtype(DType::F32).unwrap()));
                let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same));
            }
        }
        assert!(widen(&Tensor::new(&[1f32], cpu).unwrap()).is_err());
    }
}
