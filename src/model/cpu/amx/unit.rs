//! The matrix unit's own instructions, and whether this machine has them.

use super::pack::{Part, STRIP, Step};
use super::product::{Multiplier, ahead};
use std::sync::LazyLock;

/// May this process use the unit? Asks the CPU for it and the system for permission, once.
pub fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(supported);
    *AVAILABLE
}

fn supported() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// A call of Linux's `arch_prctl`, and the number of the tiles among the parts of a thread's state.
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let wanted = AMX_BF16 | AMX_TILE;
    if !is_x86_feature_detected!("avx512f") {
        return false;
    }
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & wanted != wanted {
        return false;
    }
    // SAFETY: the call changes nothing but what this process may do; an unknown request is refused with an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// The unit, set up for this thread until dropped.
pub struct Unit(std::marker::PhantomData<*const ()>);

impl Unit {
    /// # Panics
    /// Where the unit is not [`available`].
    fn set_up() -> Unit {
        /// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
        #[repr(C, align(64))]
        struct Shapes {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        assert!(available(), "no matrix unit");
        let mut shapes =
            Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        shapes.row_bytes[..8].fill(64);
        shapes.rows[..8].fill(16);
        // SAFETY: the unit is there, and `shapes` is a valid description of 64 bytes.
        unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
        Unit(std::marker::PhantomData)
    }
}

/// [`Multiplier::add_product`] of numbers in so many parts: what is done for one step, and around it what is the same for
/// all. Steps load as few tiles as possible, and visit each of the four tiles of sums in turn, as the unit takes 52 cycles
/// for each.
macro_rules! multiplies {
    ($parts:literal, $($line:literal,)*) => {
        impl Multiplier<$parts> for Unit {
            fn new() -> Unit {
                Unit::set_up()
            }

            unsafe fn add_product(
                &self,
                a: &[Step<$parts>],
                b: &[Step<$parts>],
                sums: &mut [f32; STRIP * STRIP],
                more: bool,
                next: [*const u8; 2],
                out: Option<(*mut f32, usize)>,
            ) {
                assert!(a.len() == b.len() && !a.is_empty());
                let (out, stride) = out.unwrap_or((sums.as_mut_ptr(), STRIP));
                // SAFETY: `self` says that the unit is set up. Fetching ahead reads nothing. It reads `a.len()` steps of
                // `a` and of `b`, which have as many, reads the sums, and writes 32 rows of 32 entries to them or where
                // the caller vouches for; tiles are only used inside.
                unsafe {
                    std::arch::asm!(
                        "test {more}, {more}",
                        "jnz 2f",
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "jmp 3f",
                        "2:",
                        "tileloadd tmm0, [{sums} + 2*{row}]",
                        "tileloadd tmm1, [{sums} + 2*{row} + 64]",
                        "tileloadd tmm2, [{sums} + 2*{row} + 2048]",
                        "tileloadd tmm3, [{sums} + 2*{row} + 2112]",
                        "3:",
                        $($line,)*
                        "add {a}, {step}",
                        "add {b}, {step}",
                        "add {ahead_a}, {ahead_a_step}",
                        "add {ahead_b}, {ahead_b_step}",
                        "dec {steps}",
                        "jnz 3b",
                        "tilestored [{out} + {stride}], tmm0",
                        "tilestored [{out} + {stride} + 64], tmm1",
                        "tilestored [{lower} + {stride}], tmm2",
                        "tilestored [{lower} + {stride} + 64], tmm3",
                        a = inout(reg) a.as_ptr() => _,
                        b = inout(reg) b.as_ptr() => _,
                        steps = inout(reg) a.len() => _,
                        ahead_a = inout(reg) next[0] => _,
                        ahead_b = inout(reg) next[1] => _,
                        sums = in(reg) sums.as_ptr(),
                        out = in(reg) out,
                        lower = in(reg) out.wrapping_add(stride * STRIP / 2),
                        stride = in(reg) stride * size_of::<f32>(),
                        more = in(reg) usize::from(more),
                        row = in(reg) 64usize,
                        step = const $parts * size_of::<Part>(),
                        ahead_a_step = const ahead($parts)[0],
                        ahead_b_step = const ahead($parts)[1],
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

multiplies! {
    3,
    "tileloadd tmm4, [{a} + {row}]", // a, part 1
    "tileloadd tmm6, [{b} + {row} + 4096]", // b, part 3
    "tileloadd tmm5, [{a} + {row} + 1024]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tileloadd tmm7, [{b} + {row} + 5120]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 0]",
    "tileloadd tmm6, [{b} + {row}]", // b, part 1
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 0]",
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 64]",
    "tileloadd tmm7, [{b} + {row} + 1024]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 128]",
    "tileloadd tmm6, [{b} + {row} + 2048]", // b, part 2
    "tdpbf16ps tmm1, tmm4, tmm7",
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 192]",
    "tileloadd tmm7, [{b} + {row} + 3072]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "prefetcht1 [{ahead_a} + 64]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 256]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 128]",
    "tileloadd tmm4, [{a} + {row} + 2048]", // a, part 2
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 320]",
    "tileloadd tmm5, [{a} + {row} + 3072]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "prefetcht1 [{ahead_a} + 192]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 384]",
    "tileloadd tmm6, [{b} + {row}]", // b, part 1
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 256]",
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 448]",
    "tileloadd tmm7, [{b} + {row} + 1024]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "prefetcht1 [{ahead_a} + 320]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 512]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 384]",
    "tileloadd tmm4, [{a} + {row} + 4096]", // a, part 3
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 576]",
    "tileloadd tmm5, [{a} + {row} + 5120]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "prefetcht1 [{ahead_a} + 448]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 640]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 704]",
}

multiplies! {
    2,
    "tileloadd tmm4, [{a} + {row}]", // a, part 1
    "tileloadd tmm6, [{b} + {row} + 2048]", // b, part 2
    "tileloadd tmm5, [{a} + {row} + 1024]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tileloadd tmm7, [{b} + {row} + 3072]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 0]",
    "tileloadd tmm6, [{b} + {row}]", // b, part 1
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 0]",
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 64]",
    "tileloadd tmm7, [{b} + {row} + 1024]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "prefetcht1 [{ahead_a} + 64]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_b} + 128]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 128]",
    "tileloadd tmm4, [{a} + {row} + 2048]", // a, part 2
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 192]",
    "tileloadd tmm5, [{a} + {row} + 3072]",
    "prefetcht1 [{ahead_a} + 192]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "prefetcht1 [{ahead_b} + 256]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "prefetcht1 [{ahead_a} + 256]",
    "prefetcht1 [{ahead_b} + 320]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "prefetcht1 [{ahead_a} + 320]",
    "prefetcht1 [{ahead_b} + 384]",
    "tdpbf16ps tmm3, tmm5, tmm7",
    "prefetcht1 [{ahead_b} + 448]",
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: the unit is there; this gives its state back.
        unsafe { std::arch::asm!("tilerelease", options(nostack, nomem)) };
    }
}
