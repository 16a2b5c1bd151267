//! Which vector instructions the per-weight loops may use.
//!
//! A [`Level`] carries the proof that the processor has the instructions: its witnesses can be made here
//! alone, after asking. So a loop compiled for AVX2 can only be reached on a processor that has it, and
//! every loop also runs at [`Level::Portable`], which tests compare the others with, bit for bit.
//!
//! Two ways to use one. A loop that the compiler vectorizes by itself is a [`Kernel`]: [`Level::run`] runs it
//! compiled for the level. A loop written with intrinsics matches on the level and calls a function with
//! `#[target_feature]`, the witness being its SAFETY comment.

/// The instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Plain Rust for any processor (on x86-64: SSE2, on AArch64: Neon, which are always there).
    Portable,
    /// AVX2 and BMI2.
    #[cfg(avx)]
    Avx2(Avx2),
    /// AVX-512 F, BW, DQ, VL, VBMI and VBMI2; and what [`Level::Avx2`] has.
    #[cfg(avx)]
    Avx512(Avx512),
    /// Neon, with loops that are written for it.
    #[cfg(neon)]
    Neon(Neon),
}

/// Shows that the processor has AVX2 and BMI2.
#[cfg(avx)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// Shows that the processor has AVX-512 F, BW, DQ, VL, VBMI and VBMI2, and AVX2 and BMI2.
#[cfg(avx)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

/// Shows that the processor has Neon. All that such a program runs on do.
#[cfg(neon)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

/// A loop to be compiled for every level.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Runs it. To be marked `#[inline(always)]`, as everything that it calls: only what is inlined is
    /// compiled for the level.
    fn run(self) -> Self::Output;
}

impl Level {
    /// The best that this processor has. Takes a few nanoseconds: the answer is kept by the standard library.
    pub(crate) fn detected() -> Self {
        Self::available().last().copied().unwrap_or(Level::Portable)
    }

    /// All that this processor has, the best last.
    pub(crate) fn available() -> &'static [Level] {
        #[cfg(avx)]
        {
            use std::arch::is_x86_feature_detected as has;
            const ALL: [Level; 3] =
                [Level::Portable, Level::Avx2(Avx2(())), Level::Avx512(Avx512(()))];
            if !(has!("avx2") && has!("bmi1") && has!("bmi2") && has!("lzcnt")) {
                &ALL[..1]
            } else if !(has!("avx512f")
                && has!("avx512bw")
                && has!("avx512dq")
                && has!("avx512vl")
                && has!("avx512vbmi")
                && has!("avx512vbmi2"))
            {
                &ALL[..2]
            } else {
                &ALL
            }
        }
        #[cfg(neon)]
        {
            const ALL: [Level; 2] = [Level::Portable, Level::Neon(Neon(()))];
            &ALL
        }
        #[cfg(not(any(avx, neon)))]
        &[Level::Portable]
    }

    /// Runs a loop compiled for this level.
    #[inline]
    #[cfg_attr(avx, allow(unsafe_code))]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Level::Portable => kernel.run(),
            // SAFETY: the witness shows that the processor has the instructions.
            #[cfg(avx)]
            Level::Avx2(Avx2(())) => unsafe { x86::run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(avx)]
            Level::Avx512(Avx512(())) => unsafe { x86::run_avx512(kernel) },
            // What is compiled for any such processor is compiled for these instructions.
            #[cfg(neon)]
            Level::Neon(Neon(())) => kernel.run(),
        }
    }
}

#[cfg(avx)]
mod x86 {
    use super::Kernel;

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }

    #[target_feature(
        enable = "avx2,bmi1,bmi2,lzcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2"
    )]
    pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum<'a>(&'a [u64]);

    impl Kernel for Sum<'_> {
        type Output = u64;

        #[inline(always)]
        fn run(self) -> u64 {
            self.0.iter().fold(0, |sum, x| sum.wrapping_add(x.rotate_left(7)))
        }
    }

    #[test]
    fn every_level_runs() {
        let numbers: Vec<u64> = (0..1000).map(|i| i * 0x1234_5678_9abc).collect();
        let expected = Level::Portable.run(Sum(&numbers));
        assert_eq!(Level::available()[0], Level::Portable);
        for level in Level::available() {
            assert_eq!(level.run(Sum(&numbers)), expected);
        }
        assert_eq!(Level::available().last(), Some(&Level::detected()));
    }
}
