//! Tensors that go from one device to another.

use candle_core::{Device, Result, Tensor};

/// `x` on `device`: itself where it lies there, else a copy of no more than it shows. Between two cards nobody waits: the copy
/// starts once the one has made `x`, and the one frees `x` once the copy has ended.
pub fn moved(x: &Tensor, device: &Device) -> Result<Tensor> {
    if x.device().same_device(device) {
        return Ok(x.clone());
    }
    let own = x.force_contiguous()?;
    in_order(x.device(), device)?;
    let there = own.to_device(device)?;
    in_order(device, x.device())?;
    Ok(there)
}

/// Lets `second` wait for what `first` has been given, where both are cards.
#[cfg(feature = "cuda")]
fn in_order(first: &Device, second: &Device) -> Result<()> {
    use candle_core::cuda_backend::WrapErr;
    if let (Ok(first), Ok(second)) = (first.as_cuda_device(), second.as_cuda_device()) {
        second.cuda_stream().join(&first.cuda_stream()).w()?;
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn in_order(_: &Device, _: &Device) -> Result<()> {
    Ok(())
}
