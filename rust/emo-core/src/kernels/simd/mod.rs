//! Instruction-set tiers, chosen when the program runs; every tier gives the same bits.
//!
//! Each kernel fixes the order of the operations on every column or lane, and all tiers round each
//! of them alike (a fused multiply-add is one rounding everywhere), so the tier is a matter of
//! speed alone. Only what is no number may differ, in its sign or payload, and the kernels refuse
//! that. `EMO_SIMD` forces a tier.
#![allow(
    unsafe_code,
    reason = "SIMD is one of the two named places; each block says why it is sound"
)]

pub mod centred;
pub mod columns;
pub mod distances;
pub mod dots;
pub mod draws;
pub mod outer;
pub mod panels;
pub mod permuted;
pub mod products;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// A set of vector instructions that this processor has; there is no other way to make one.
///
/// ```
/// use emo_core::kernels::simd::Tier;
/// assert!(Tier::available_tiers().any(|tier| tier == Tier::SCALAR));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(Instructions);

static FASTEST: OnceLock<Tier> = OnceLock::new();

/// Kinds of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    /// What every processor of the architecture has.
    Scalar,
    /// The vectors of 64-bit Arm, which every such processor has.
    Neon,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
}

impl Instructions {
    fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::has_avx512(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

impl Tier {
    /// What every processor of the architecture has.
    pub const SCALAR: Self = Self(Instructions::Scalar);

    /// Name as in `EMO_SIMD`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Instructions::Scalar => "scalar",
            Instructions::Neon => "neon",
            Instructions::Avx2 => "avx2",
            Instructions::Avx512 => "avx512",
        }
    }

    /// The fastest tier of this processor, or the one that `EMO_SIMD` names.
    ///
    /// Where there are several kinds of vectors they are tried for a few milliseconds, once in a
    /// process: wider ones are not always faster. They are taken unless they are clearly slower, as
    /// there is more to gain by them elsewhere.
    ///
    /// ```
    /// println!("{}", emo_core::kernels::simd::Tier::current()?.name());
    /// # Ok::<(), emo_core::error::Error>(())
    /// ```
    pub fn current() -> Result<Self> {
        match std::env::var("EMO_SIMD") {
            Ok(name) if !name.trim().is_empty() => Self::forced(name.trim()),
            _ => Ok(*FASTEST.get_or_init(columns::fastest)),
        }
    }

    /// Tiers of this processor, the best last.
    #[must_use]
    pub fn available_tiers() -> impl DoubleEndedIterator<Item = Self> {
        [Instructions::Scalar, Instructions::Neon, Instructions::Avx2, Instructions::Avx512]
            .into_iter()
            .filter(|instructions| instructions.available())
            .map(Self)
    }

    fn forced(name: &str) -> Result<Self> {
        let known = Self::available_tiers().find(|tier| tier.name() == name);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::available_tiers().map(Self::name).collect();
            Error::usage(format!("EMO_SIMD is {name:?}, this machine has {}", names.join(", ")))
        })
    }
}

/// Give the calling thread the default rounding, in which subnormal numbers are numbers.
///
/// Threads inherit the mode of the thread that starts them, and other libraries change it.
pub fn reset_rounding() {
    #[cfg(target_arch = "x86_64")]
    x86::reset_rounding();
    // SAFETY: zero is the default of the control register; nothing else changes.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("msr fpcr, xzr", options(nomem, nostack, preserves_flags));
    }
}

/// Ask for the line of the cache at an address, which need not exist.
#[inline(always)]
pub(crate) fn ask(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    x86::ask_for(at);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Compile `$body` once per tier and call the one that is asked for.
///
/// `$body` must be an `#[inline(always)]` function of safe code.
macro_rules! dispatch {
    ($tier:expr, $body:ident ( $($arg:ident : $ty:ty = $value:expr),* $(,)? ) $(-> $out:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $out)? { $body($($arg),*) }
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
            fn avx512($($arg: $ty),*) $(-> $out)? { $body($($arg),*) }
            match $tier.0 {
                // SAFETY: a tier exists only where its instructions were found.
                $crate::kernels::simd::Instructions::Avx512 => unsafe { avx512($($value),*) },
                // SAFETY: as above.
                $crate::kernels::simd::Instructions::Avx2 => unsafe { avx2($($value),*) },
                _ => $body($($value),*),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        { let _ = $tier; $body($($value),*) }
    }};
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tiers_are_refused() {
        assert_eq!(Tier::forced("scalar").unwrap(), Tier::SCALAR);
        let error = Tier::forced("mmx").unwrap_err();
        assert!(error.to_string().contains("this machine has scalar"));
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod rounding_tests {
    use std::hint::black_box;

    use super::reset_rounding;
    use crate::scan::pool;

    /// Take subnormal numbers for zeros on this thread, as other libraries do.
    fn flush_subnormals() {
        // SAFETY: loads a valid control word: the default with flushing of inputs and results.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            let mode = 0x9fc0u32;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, readonly));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            let mode = 1u64 << 24;
            std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags));
        }
    }

    #[test]
    fn threads_do_not_inherit_flushing() {
        let double = || black_box(black_box(f32::from_bits(1)) * 2.0).to_bits();
        let flushed = std::thread::spawn(move || {
            flush_subnormals();
            // No other test has a pool of this size, so this thread starts its threads.
            let worker = pool::run(7, double, || ()).unwrap();
            let before = double();
            reset_rounding();
            (worker, before, double())
        });
        assert_eq!(flushed.join().unwrap(), (2, 0, 2));
    }
}
