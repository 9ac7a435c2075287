//! Gain: the choice of instructions; the kernels, and so the speed, are those that candle calls.
//!
//! Products with many rows, by the kernels of `gemm` for the instructions that serve. (The crate's own entry, which
//! candle calls, takes the best that the CPU has.)

use super::isa::{Isa, serving};
use super::with_slice;
use candle_core::{Result, Tensor};
use gemm::Parallelism;

/// A matrix in memory: entry `(i, j)` lies `i * row + j * column` entries after the first.
#[derive(Debug, Clone, Copy)]
pub struct At<P> {
    pub first: P,
    pub row: usize,
    pub column: usize,
}

/// `x W`: `x` `[rows, in]`, `weight` `[in, out]`.
pub fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (inner, outer) = weight.dims2()?;
    dense(x, weight, [inner, outer], [outer, 1])
}

/// `x Wᵀ`: `x` `[rows, in]`, `weight` `[out, in]`.
pub fn product_transposed(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (outer, inner) = weight.dims2()?;
    dense(x, weight, [inner, outer], [1, inner])
}

/// `x` by `[in, out]` weights whose rows and columns are so many entries apart.
fn dense(x: &Tensor, weight: &Tensor, [inner, outer]: [usize; 2], apart: [usize; 2]) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    if width != inner {
        candle_core::bail!("a product of {rows} × {width} and {inner} × {outer}");
    }
    let mut out: Vec<f32> = Vec::with_capacity(rows * outer);
    with_slice(x, |x| {
        with_slice(weight, |weight| {
            let to = At { first: out.as_mut_ptr(), row: outer, column: 1 };
            let a = At { first: x.as_ptr(), row: inner, column: 1 };
            let b = At { first: weight.as_ptr(), row: apart[0], column: apart[1] };
            let all = Parallelism::Rayon(rayon::current_num_threads());
            // SAFETY: the operands are whole tensors of these shapes, `out` has room for the result and is its own.
            unsafe { multiply([rows, inner, outer], to, a, b, false, all) };
            Ok(())
        })
    })?;
    // SAFETY: the product has written every entry.
    unsafe { out.set_len(rows * outer) };
    Tensor::from_vec(out, (rows, outer), x.device())
}

/// `to = a b`, or `to += a b` with `accumulate`: `[m, k]` by `[k, n]`.
///
/// # Safety
/// Every entry of the three matrices may be read, those of `to` written (without `accumulate` they need not be
/// initialised), and `to` overlaps neither operand.
pub unsafe fn multiply(
    [m, k, n]: [usize; 3],
    to: At<*mut f32>,
    a: At<*const f32>,
    b: At<*const f32>,
    accumulate: bool,
    parallelism: Parallelism,
) {
    /// Calls the kernels of one set of instructions. They want the columns of the result to be contiguous, so that
    /// they get the product transposed: `toᵀ = bᵀ aᵀ`.
    macro_rules! with {
        ($module:ident, $lanes:literal, $simd:ty) => {{
            use gemm_common::simd::MixedSimd;
            use gemm_f32::microkernel::$module::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
            if let Some(simd) = <$simd as MixedSimd<f32, f32, f32, f32>>::try_new() {
                let [row, column] = [to.row as isize, to.column as isize];
                // SAFETY: the instructions are there; the caller vouches for the matrices.
                return unsafe {
                    gemm_common::gemm::gemm_basic_generic::<
                        _,
                        f32,
                        $lanes,
                        { MR_DIV_N * $lanes },
                        NR,
                        MR_DIV_N,
                        H_M,
                        H_N,
                    >(
                        simd,
                        n,
                        m,
                        k,
                        to.first,
                        row,
                        column,
                        accumulate,
                        b.first,
                        b.row as isize,
                        b.column as isize,
                        a.first,
                        a.row as isize,
                        a.column as isize,
                        1.0,
                        1.0,
                        false,
                        false,
                        false,
                        |a, b, c| a * b + c,
                        &UKR,
                        &H_UKR,
                        false,
                        parallelism,
                    )
                };
            }
        }};
    }
    match serving() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => with!(avx512f, 16, gemm_common::simd::V4),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => with!(fma, 8, gemm_common::simd::V3),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => with!(neon, 4, gemm_common::simd::Scalar),
        _ => {}
    }
    with!(scalar, 1, gemm_common::simd::Scalar);
    unreachable!("every machine has scalar kernels");
}
