//! Which vector instructions serve: the best that the CPU has, unless `PATCHSCRIPT_CPU` limits them.

use crate::help::Help;
use pulp::Arch;
use std::ffi::OsString;
use std::fmt;
use std::sync::LazyLock;

/// The environment variable that limits the instructions.
pub const VARIABLE: &str = "PATCHSCRIPT_CPU";

/// Sets of instructions, each better than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every CPU of the architecture has.
    Scalar,
    /// 128-bit vectors of ARM.
    Neon,
    /// 256-bit vectors of x86, with fused multiplication and addition.
    Avx2,
    /// 512-bit vectors of x86.
    Avx512,
    /// These, and the matrix unit.
    Amx,
}

/// A value of [`VARIABLE`] that names no instructions of this architecture.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{VARIABLE}` is `{0}`, which names no instructions of this architecture")]
pub struct UnknownIsa(String);

impl Help for UnknownIsa {
    fn help(&self) -> Option<String> {
        let names: Vec<String> = Isa::KNOWN.iter().map(|isa| format!("`{isa}`")).collect();
        Some(format!("it may be {}; without it the best that the CPU has serve", names.join(", ")))
    }
}

impl Isa {
    /// Those of this architecture.
    #[cfg(target_arch = "x86_64")]
    pub const KNOWN: &[Isa] = &[Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Amx];
    #[cfg(target_arch = "aarch64")]
    pub const KNOWN: &[Isa] = &[Isa::Scalar, Isa::Neon];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const KNOWN: &[Isa] = &[Isa::Scalar];

    /// Has this machine them?
    fn available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Amx => super::amx::available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => pulp::x86::V3::try_new().is_some() && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => pulp::aarch64::Neon::try_new().is_some(),
            #[allow(unreachable_patterns, reason = "each architecture knows its own")]
            _ => false,
        }
    }

    /// The best that this machine has, up to `limit`.
    fn best(limit: Option<Isa>) -> Isa {
        let within = |isa: &Isa| limit.is_none_or(|limit| *isa <= limit) && isa.available();
        Isa::KNOWN.iter().copied().filter(within).max().unwrap_or(Isa::Scalar)
    }

    fn of(value: Option<OsString>) -> Result<Isa, UnknownIsa> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(Isa::best(None)) };
        let value = value.to_string_lossy();
        let named = Isa::KNOWN.iter().copied().find(|isa| isa.to_string() == value);
        named.map(|isa| Isa::best(Some(isa))).ok_or_else(|| UnknownIsa(value.into_owned()))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Isa::Scalar => "scalar",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
        })
    }
}

/// The instructions that serve in this process.
///
/// # Errors
/// A value of [`VARIABLE`] that names none.
pub fn chosen() -> Result<Isa, UnknownIsa> {
    static CHOSEN: LazyLock<Result<Isa, UnknownIsa>> = LazyLock::new(|| Isa::of(std::env::var_os(VARIABLE)));
    CHOSEN.clone()
}

/// The same for those who come after someone has looked at the error: without a name that is known, the least.
pub fn serving() -> Isa {
    static SERVING: LazyLock<Isa> = LazyLock::new(|| chosen().unwrap_or(Isa::Scalar));
    *SERVING
}

/// What serves, and what this machine has beyond it.
pub fn description() -> String {
    match (serving(), Isa::best(None)) {
        (isa, best) if isa == best => isa.to_string(),
        (isa, best) => format!("{isa}, of {best}: limited by `{VARIABLE}`"),
    }
}

/// The vectors of the serving instructions.
pub fn arch() -> Arch {
    static ARCH: LazyLock<Arch> = LazyLock::new(|| vectors(serving()));
    *ARCH
}

fn vectors(isa: Isa) -> Arch {
    match isa {
        Isa::Scalar => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The vectors of every set of instructions that this machine has, so that one run tests them all.
    pub fn all() -> impl Iterator<Item = (Isa, Arch)> {
        Isa::KNOWN.iter().filter(|isa| isa.available()).map(|&isa| (isa, vectors(isa)))
    }

    #[test]
    fn a_name_limits_what_serves_and_another_is_refused() {
        let of = |value: &str| Isa::of(Some(value.into()));
        assert_eq!(of("scalar").unwrap(), Isa::Scalar);
        assert_eq!(of("").unwrap(), Isa::best(None));
        for isa in Isa::KNOWN {
            let served = of(&isa.to_string()).unwrap();
            assert!(served <= *isa && served.available());
            assert_eq!(served == *isa, isa.available());
        }
        for unknown in ["AVX2", "avx", "sse2", "fast", " avx2"] {
            let error = of(unknown).unwrap_err();
            assert!(error.to_string().contains(&format!("`PATCHSCRIPT_CPU` is `{unknown}`")), "{error}");
            assert!(Isa::KNOWN.iter().all(|isa| error.help().unwrap().contains(&format!("`{isa}`"))));
        }
    }

    #[test]
    fn vectors_are_those_that_were_chosen() {
        let best = Isa::best(None);
        assert!(serving() <= best);
        if std::env::var_os(VARIABLE).is_none() {
            assert_eq!(serving(), best);
        }
        #[cfg(target_arch = "x86_64")]
        for (isa, arch) in all() {
            let fits = match isa {
                Isa::Scalar => matches!(arch, Arch::Scalar),
                Isa::Avx2 => matches!(arch, Arch::V3(_)),
                _ => matches!(arch, Arch::V4(_)),
            };
            assert!(fits, "{isa}: {arch:?}");
        }
    }
}
