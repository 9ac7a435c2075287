//! Weights that no file holds as they are: random ones of any shape, and a model's own in another order. Controls for
//! experiments, and models to measure with.

use super::assemble::Target;
use crate::model::card;
use crate::model::error::Result;
use candle_core::{DType, Device, Tensor, WithDType};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

/// The standard deviation of random matrices, transformers' usual `initializer_range`.
const SPREAD: f64 = 0.02;
/// The mean and the standard deviation of the sum of four numbers of 16 bits.
const MEAN: i32 = 2 * 0xffff;
const DEVIATION: f64 = 37837.2;
/// Numbers that one thread makes in a row.
const PIECE: usize = 1 << 16;

/// A random matrix: entries nearly normal with mean 0 and standard deviation 0.02, each the sum of four uniform numbers,
/// the same on every device and whatever else is made. A vector, a bias, is 0.
pub fn random(seed: u64, name: &str, shape: &[usize], target: &Target) -> Result<Tensor> {
    let Target { device, dtype, .. } = target;
    if shape.len() < 2 {
        return Ok(Tensor::zeros(shape, *dtype, device)?);
    }
    let (key, scale) = (key(seed, name), (SPREAD / DEVIATION) as f32);
    if card::rows::randomises(device, *dtype) {
        return Ok(card::rows::random(shape, *dtype, device, key, scale)?);
    }
    let mut values = vec![0f32; shape.iter().product()];
    values.par_chunks_mut(PIECE).enumerate().for_each(|(piece, values)| {
        for (i, value) in (piece * PIECE..).zip(values) {
            let bits = mixed(key.wrapping_add((i as u64 + 1).wrapping_mul(STEP)));
            let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
            *value = (sum as i32 - MEAN) as f32 * scale;
        }
    });
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?.to_dtype(*dtype)?)
}

/// The same entries in an order that `seed` and the tensor's name decide.
pub fn shuffled(tensor: &Tensor, seed: u64, name: &str) -> Result<Tensor> {
    fn in_disorder<T: WithDType>(tensor: &Tensor, key: u64) -> Result<Tensor> {
        let mut entries = tensor.flatten_all()?.to_vec1::<T>()?;
        entries.shuffle(&mut StdRng::seed_from_u64(key));
        Ok(Tensor::from_vec(entries, tensor.shape(), tensor.device())?)
    }
    let key = key(seed, name);
    match tensor.dtype() {
        DType::BF16 => in_disorder::<half::bf16>(tensor, key),
        DType::F16 => in_disorder::<half::f16>(tensor, key),
        _ => in_disorder::<f32>(&tensor.to_dtype(DType::F32)?, key),
    }
}

/// The step of Steele, Lea and Flood's SplitMix64 (2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output of a state.
fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn key(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mixed(seed.wrapping_add(STEP)), |key, byte| mixed(key ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            device: Device::Cpu,
            dtype: DType::F32,
            quantized: false,
            shuffled: None,
            spread: Default::default(),
        }
    }

    #[test]
    fn random_entries_are_nearly_normal() {
        let numbers = |seed, name| {
            let tensor = random(seed, name, &[300, 500], &target()).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let x = numbers(1, "a");
        let moment =
            |power| x.iter().map(|&x| (f64::from(x) / SPREAD).powi(power)).sum::<f64>() / x.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02 && moment(3).abs() < 0.05);
        // The sum of four uniform numbers has 2.7, a normal one 3.
        assert!((moment(4) - 2.7).abs() < 0.1);
        let together = |y: Vec<f32>| {
            x.iter().zip(y).map(|(a, b)| f64::from(a * b)).sum::<f64>() / x.len() as f64 / (SPREAD * SPREAD)
        };
        assert!(together(x[1..].to_vec()).abs() < 0.02, "neighbours");
        assert!(together(numbers(2, "a")).abs() < 0.02 && together(numbers(1, "b")).abs() < 0.02);
        assert_eq!(x, numbers(1, "a"));
    }

    #[test]
    fn shuffling_keeps_the_entries() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let tensor = Tensor::arange(0f32, 200.0, &Device::Cpu).unwrap().reshape((10, 20)).unwrap();
            let tensor = tensor.to_dtype(dtype).unwrap();
            let numbers =
                |x: &Tensor| x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let mut moved = numbers(&shuffled(&tensor, 5, "a").unwrap());
            assert_ne!(moved, numbers(&tensor));
            assert_ne!(moved, numbers(&shuffled(&tensor, 6, "a").unwrap()));
            assert_ne!(moved, numbers(&shuffled(&tensor, 5, "b").unwrap()));
            moved.sort_by(f32::total_cmp);
            assert_eq!(moved, numbers(&tensor));
        }
    }
}
