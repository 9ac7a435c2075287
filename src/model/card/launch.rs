//! Compiling and starting kernels. Sources are compiled where they run, by NVRTC, once a process and dtype.

use candle_core::{DType, Device, Result, Tensor};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A source and what it is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Rows,
    Products,
    Attention {
        d_head: usize,
    },
    Scores {
        d_head: usize,
    },
    /// Of mixtures whose components have so many directions.
    Mixture {
        rank: usize,
    },
}

/// What a kernel is given.
pub enum Arg<'a> {
    /// Where the tensor's first number lies, to read or to write.
    Tensor(&'a Tensor),
    /// No tensor.
    Null,
    U32(u32),
    U64(u64),
    F32(f32),
}

/// How many blocks of how many threads, with how many bytes of shared memory each.
pub struct Shape {
    pub grid: [usize; 2],
    pub threads: usize,
    pub shared: usize,
}

static LAUNCHES: AtomicUsize = AtomicUsize::new(0);

/// How many kernels of ours this process has started.
pub fn launches() -> usize {
    LAUNCHES.load(Ordering::Relaxed)
}

/// Starts a kernel compiled for `dtype` on `device`.
pub fn launch(
    device: &Device,
    dtype: DType,
    source: Source,
    name: &'static str,
    shape: Shape,
    args: &[Arg],
) -> Result<()> {
    LAUNCHES.fetch_add(1, Ordering::Relaxed);
    started::launch(device, dtype, source, name, shape, args)
}

/// A tensor whose numbers a kernel is about to write, all of them.
pub fn uninitialised(shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: plain numbers, of which any bits are some; and a kernel writes them before anything reads them.
    unsafe { Tensor::empty(shape, dtype, device) }
}

pub use started::{able, address, shared_memory};

#[cfg(not(feature = "cuda"))]
mod started {
    use super::{Arg, Shape, Source};
    use candle_core::{DType, Device, Result, Tensor, bail};

    pub fn able(_: &Device) -> bool {
        false
    }

    pub fn shared_memory(_: &Device) -> usize {
        0
    }

    pub fn address(_: &Tensor) -> Result<u64> {
        bail!("built without `cuda`")
    }

    pub fn launch(_: &Device, _: DType, _: Source, _: &'static str, _: Shape, _: &[Arg]) -> Result<()> {
        bail!("built without `cuda`")
    }
}

#[cfg(feature = "cuda")]
mod started {
    use super::super::attend;
    use super::{Arg, Shape, Source};
    use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute as Attribute;
    use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as DYNAMIC;
    use candle_core::cuda_backend::cudarc::driver::{
        CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, sys,
    };
    use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
    use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
    use candle_core::{DType, Device, Error, Result, Storage, Tensor, bail};
    use std::collections::HashMap;
    use std::ffi::c_void;
    use std::sync::{Arc, LazyLock, Mutex, PoisonError};

    /// By card: its compute capability, and the most shared memory that a block may have.
    static CARDS: LazyLock<Mutex<HashMap<usize, (i32, usize)>>> = LazyLock::new(Mutex::default);

    /// What is loaded, and by name what is in it.
    type Modules = HashMap<(usize, DType, Source), (Arc<CudaModule>, HashMap<&'static str, CudaFunction>)>;
    static MODULES: LazyLock<Mutex<Modules>> = LazyLock::new(Mutex::default);

    fn card(context: &CudaContext) -> (i32, usize) {
        let mut cards = CARDS.lock().unwrap_or_else(PoisonError::into_inner);
        *cards.entry(context.ordinal()).or_insert_with(|| {
            let attribute = |which| context.attribute(which).unwrap_or(0);
            let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
            let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
            let shared = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
            (10 * major + minor, usize::try_from(shared).unwrap_or(0))
        })
    }

    /// Has the card the instructions that the kernels use?
    pub fn able(device: &Device) -> bool {
        device.as_cuda_device().is_ok_and(|device| card(device.cuda_stream().context()).0 >= 80)
    }

    /// The most shared memory that a block may have, in bytes.
    pub fn shared_memory(device: &Device) -> usize {
        device.as_cuda_device().map_or(0, |device| card(device.cuda_stream().context()).1)
    }

    /// Where a tensor's first number lies. Whoever uses it keeps the tensor until its kernel has been started: the card
    /// frees in the order of its one stream.
    pub fn address(x: &Tensor) -> Result<u64> {
        fn of<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> u64 {
            slice.device_ptr(stream).0
        }
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            bail!("a card's kernel was given a tensor in main memory")
        };
        let stream = storage.device.cuda_stream();
        let first = match &storage.slice {
            CudaStorageSlice::F32(slice) => of(slice, &stream),
            CudaStorageSlice::BF16(slice) => of(slice, &stream),
            CudaStorageSlice::F16(slice) => of(slice, &stream),
            CudaStorageSlice::U32(slice) => of(slice, &stream),
            _ => bail!("a card's kernel was given a tensor of {:?}", x.dtype()),
        };
        Ok(first + (layout.start_offset() * x.dtype().size_in_bytes()) as u64)
    }

    pub fn launch(
        device: &Device,
        dtype: DType,
        source: Source,
        name: &'static str,
        shape: Shape,
        args: &[Arg],
    ) -> Result<()> {
        let stream = device.as_cuda_device()?.cuda_stream();
        let function = function(stream.context(), dtype, source, name)?;
        let addresses: Vec<u64> = args
            .iter()
            .map(|arg| match arg {
                Arg::Tensor(x) => address(x),
                _ => Ok(0),
            })
            .collect::<Result<_>>()?;
        let mut places: Vec<*mut c_void> = args
            .iter()
            .zip(&addresses)
            .map(|(arg, address)| match arg {
                Arg::Tensor(_) | Arg::Null => std::ptr::from_ref(address).cast_mut().cast(),
                Arg::U32(x) => std::ptr::from_ref(x).cast_mut().cast(),
                Arg::U64(x) => std::ptr::from_ref(x).cast_mut().cast(),
                Arg::F32(x) => std::ptr::from_ref(x).cast_mut().cast(),
            })
            .collect();
        // Its blocks may start while the kernel before still runs; see `follow` of `numbers.cu`.
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: Default::default(),
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let [columns, rows] = shape.grid.map(|n| n as u32);
        let config = sys::CUlaunchConfig {
            gridDimX: columns,
            gridDimY: rows,
            gridDimZ: 1,
            blockDimX: shape.threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shape.shared as u32,
            hStream: stream.cu_stream(),
            attrs: &raw mut early,
            numAttrs: u32::from(card(stream.context()).0 >= 90),
        };
        stream.context().bind_to_thread().w()?;
        // SAFETY: the callers, in this folder alone, pass what the kernels' heads name, of the dtype that they were
        // compiled for, and tensors that are as large as the numbers beside them say.
        let started = unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.cu_function(),
                places.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        started.result().w()
    }

    fn function(
        context: &Arc<CudaContext>,
        dtype: DType,
        source: Source,
        name: &'static str,
    ) -> Result<CudaFunction> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (context.ordinal(), dtype, source);
        if !modules.contains_key(&key) {
            modules.insert(key, (compile(context, dtype, source)?, HashMap::new()));
        }
        let Some((module, functions)) = modules.get_mut(&key) else { bail!("a kernel was lost") };
        if !functions.contains_key(name) {
            let function = module.load_function(name).w()?;
            if let (Source::Attention { d_head }, "attend_tiles") = (source, name) {
                function.set_attribute(DYNAMIC, attend::shared_bytes(d_head) as i32).w()?;
            }
            functions.insert(name, function);
        }
        Ok(functions[name].clone())
    }

    fn compile(context: &Arc<CudaContext>, dtype: DType, source: Source) -> Result<Arc<CudaModule>> {
        let number = match dtype {
            DType::F32 => 0,
            DType::BF16 => 1,
            _ => 2,
        };
        let (d_head, rank, text) = match source {
            Source::Rows => (0, 0, include_str!("rows.cu")),
            Source::Products => (0, 0, include_str!("products.cu")),
            Source::Attention { d_head } => (d_head, 0, include_str!("attention.cu")),
            Source::Scores { d_head } => (d_head, 0, include_str!("scores.cu")),
            Source::Mixture { rank } => (0, rank, include_str!("mixture.cu")),
        };
        let text = format!("{}{text}", include_str!("numbers.cu"));
        let options = [
            format!("--gpu-architecture=compute_{}", card(context).0),
            format!("-DNUMBER={number}"),
            format!("-DD_HEAD={d_head}"),
            format!("-DRANK={rank}"),
            "--std=c++17".into(),
        ];
        let options = CompileOptions { options: options.to_vec(), ..CompileOptions::default() };
        let ptx = compile_ptx_with_opts(text, options).map_err(Error::wrap)?;
        context.load_module(ptx).w()
    }
}
