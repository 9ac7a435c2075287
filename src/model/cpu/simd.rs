//! Arithmetic that compilers turn into vector instructions, run with the widest ones that serve. `f32::mul_add` has no
//! place in it: without an instruction for it, it is a call of the C library for every number.

use super::isa;
use pulp::Simd;

/// Runs `f`, which must be `#[inline(always)]` down to its loops, compiled for the width of the vectors that serve.
#[inline(always)]
pub fn widest<R>(f: impl FnOnce() -> R) -> R {
    isa::arch().dispatch(f)
}

/// `a b + c`, rounded once where there is an instruction for it.
#[inline(always)]
pub fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if S::IS_SCALAR { simd.add_f32s(simd.mul_f32s(a, b), c) } else { simd.mul_add_f32s(a, b, c) }
}

/// `e^x` to about 2 units in the last place for x in -87.3..88; beyond, the value at the nearer end.
///
/// `2^n · e^r` with `n = round(x log2 e)` and a polynomial of degree 6 in `r` (the coefficients of Cephes' `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to a whole number
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    // The whole number sits in the low bits of `shifted`; as an exponent it multiplies by 2^n.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    e * scale
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent to about 1e-7, which near 0 is not relative to its value.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_a_few_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / want - 1.0).abs());
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(1e9).is_finite());
    }

    #[test]
    fn tangents_are_right_to_a_unit_of_single_precision() {
        for i in -200_000..200_000 {
            let x = i as f32 * 1e-4;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2.5e-7, "{x}");
        }
    }

    #[test]
    fn vectors_compute_what_scalars_do() {
        let xs: Vec<f32> = (-500..500).map(|i| i as f32 * 0.173).collect();
        let narrow: Vec<f32> = xs.iter().map(|&x| exp(x)).collect();
        for (isa, arch) in isa::tests::all() {
            let wide: Vec<f32> = arch.dispatch(
                #[inline(always)]
                || xs.iter().map(|&x| exp(x)).collect(),
            );
            assert_eq!(wide, narrow, "{isa}");
        }
    }
}
