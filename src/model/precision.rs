//! How exactly float32 numbers are multiplied.

use super::cpu::isa::{Isa, serving};
use super::error::{ModelError, Result};
use candle_core::Device;
use std::fmt;

/// In the words of PyTorch's `set_float32_matmul_precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As float32 is.
    #[default]
    Highest,
    /// On a CPU's matrix unit by three products of bfloat16 for one, errors near 1e-5 of the sum of the products' sizes. On a
    /// card by its tensor cores, which round float32 to 11 bits (tf32): each factor is off by 2⁻¹¹ (5e-4) at most.
    High,
}

impl Precision {
    /// # Errors
    /// Another word than `highest` and `high`.
    pub fn of(name: &str) -> Result<Precision> {
        [Precision::Highest, Precision::High]
            .into_iter()
            .find(|precision| precision.to_string() == name)
            .ok_or_else(|| ModelError::Precision(name.into()))
    }

    /// What a device has of it: the highest where nothing is faster.
    pub fn on(self, device: &Device) -> Precision {
        match self {
            Precision::High if device.is_cuda() || serving() == Isa::Amx => Precision::High,
            _ => Precision::Highest,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Precision::Highest => "highest",
            Precision::High => "high",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_pytorchs_and_others_are_refused() {
        for (name, precision) in [("highest", Precision::Highest), ("high", Precision::High)] {
            assert_eq!(Precision::of(name).unwrap(), precision);
            assert_eq!(precision.to_string(), name);
        }
        for name in ["medium", "High", ""] {
            let error = Precision::of(name).unwrap_err();
            assert_eq!(error.to_string(), format!("precision `{name}` is not known"));
        }
    }

    #[test]
    fn on_a_cpu_only_the_matrix_unit_multiplies_less_exactly() {
        assert_eq!(Precision::Highest.on(&Device::Cpu), Precision::Highest);
        assert_eq!(Precision::High.on(&Device::Cpu) == Precision::High, serving() == Isa::Amx);
    }
}
