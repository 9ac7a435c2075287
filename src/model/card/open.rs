//! A card and its memory.

use candle_core::{Device, Result};

/// Opens a card, with one stream of its own: the default per-thread stream loses the order between threads. Memory once
/// taken is kept.
pub fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    #[cfg(feature = "cuda")]
    pool::prepare(&device)?;
    Ok(device)
}

/// Bytes that are free on the device, if it is a card.
pub fn free(device: &Device) -> Option<usize> {
    #[cfg(feature = "cuda")]
    return pool::free(device);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        None
    }
}

/// What a card is called, if it is one: cards of one name compute the same numbers.
pub fn kind(device: &Device) -> Option<String> {
    #[cfg(feature = "cuda")]
    return device.as_cuda_device().ok()?.cuda_stream().context().name().ok();
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        None
    }
}

#[cfg(feature = "cuda")]
mod pool {
    use candle_core::cuda_backend::WrapErr;
    use candle_core::cuda_backend::cudarc::driver::result::{device as card, mem_pool};
    use candle_core::cuda_backend::cudarc::driver::sys::{
        CUmemPool_attribute as Attribute, CUmemoryPool as Pool,
    };
    use candle_core::{Device, Result};

    pub fn prepare(device: &Device) -> Result<()> {
        let device = device.as_cuda_device()?;
        // SAFETY: all that this device holds is used on its one stream, which keeps the order.
        unsafe { device.disable_event_tracking() };
        let pool = of(device.cuda_stream().context().cu_device())?;
        let mut most = u64::MAX;
        let value = std::ptr::from_mut(&mut most).cast();
        // SAFETY: the pool is the card's own, and the attribute a `u64`.
        unsafe { mem_pool::set_attribute(pool, Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, value) }.w()
    }

    fn of(card_: i32) -> Result<Pool> {
        // SAFETY: the card has been opened.
        unsafe { card::get_default_mem_pool(card_) }.w()
    }

    /// What nobody has taken, and what the pool keeps though nobody uses it.
    pub fn free(device: &Device) -> Option<usize> {
        let stream = device.as_cuda_device().ok()?.cuda_stream();
        let (free, _) = stream.context().mem_get_info().ok()?;
        let pool = of(stream.context().cu_device()).ok()?;
        let attribute = |which| {
            let mut bytes = 0u64;
            // SAFETY: the pool is the card's own, and the attribute a `u64`.
            unsafe { mem_pool::get_attribute(pool, which, std::ptr::from_mut(&mut bytes).cast()) }.ok()?;
            usize::try_from(bytes).ok()
        };
        let reserved = attribute(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        Some(free + reserved.saturating_sub(attribute(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?))
    }
}
