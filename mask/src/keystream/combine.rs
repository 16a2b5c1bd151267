//! What is done with the stream: written down, or combined with what is there already.

use std::ops::BitXor;

/// The ways to combine, as constants that loops are compiled for.
#[cfg(vector_instructions)]
pub(super) const WRITE: u8 = 0;
#[cfg(vector_instructions)]
pub(super) const XOR: u8 = 1;
#[cfg(vector_instructions)]
pub(super) const ADD32: u8 = 2;
#[cfg(vector_instructions)]
pub(super) const ADD64: u8 = 3;

/// A way to combine the bytes of a stream with those of a buffer.
pub(crate) trait Combine {
    /// Its constant.
    #[cfg(vector_instructions)]
    const KIND: u8;

    /// The same in plain Rust. Both are as long, and whole numbers.
    #[cfg_attr(avx, allow(dead_code, reason = "the portable loop and tests"))]
    fn combine(out: &mut [u8], stream: &[u8]);
}

/// The stream itself.
pub(crate) struct Write;

impl Combine for Write {
    #[cfg(vector_instructions)]
    const KIND: u8 = WRITE;

    fn combine(out: &mut [u8], stream: &[u8]) {
        out.copy_from_slice(stream);
    }
}

macro_rules! combine {
    ($name:ident, $kind:ident, $doc:literal, $type:ty, $combined:expr) => {
        #[doc = $doc]
        pub(crate) struct $name;

        impl Combine for $name {
            #[cfg(vector_instructions)]
            const KIND: u8 = $kind;

            fn combine(out: &mut [u8], stream: &[u8]) {
                const LEN: usize = size_of::<$type>();
                for (out, stream) in out.chunks_exact_mut(LEN).zip(stream.chunks_exact(LEN)) {
                    let number = |bytes: &[u8]| {
                        let mut whole = [0; LEN];
                        whole.copy_from_slice(bytes);
                        <$type>::from_le_bytes(whole)
                    };
                    let combined: fn($type, $type) -> $type = $combined;
                    out.copy_from_slice(&combined(number(out), number(stream)).to_le_bytes());
                }
            }
        }

        impl Lane for $type {
            const BYTES: usize = size_of::<$type>();

            type Combine = $name;

            #[inline(always)]
            fn combine(&mut self, stream: &[u8]) {
                let mut whole = [0; size_of::<$type>()];
                whole.copy_from_slice(stream);
                let combined: fn($type, $type) -> $type = $combined;
                *self = combined(*self, <$type>::from_le_bytes(whole));
            }
        }
    };
}

/// Integers that are combined with the stream, each in one way.
pub(crate) trait Lane: Copy {
    /// How long one is.
    const BYTES: usize;

    /// In which way.
    type Combine: Combine;

    /// Combines one with its bytes of the stream.
    fn combine(&mut self, stream: &[u8]);
}

combine!(Xor, XOR, "Bit by bit: what encrypts.", u8, u8::bitxor);
combine!(Add32, ADD32, "As 32-bit numbers, modulo 2^32.", u32, u32::wrapping_add);
combine!(Add64, ADD64, "As 64-bit numbers, modulo 2^64.", u64, u64::wrapping_add);

/// The bytes of integers, where they lie in memory as they do in the stream.
#[cfg(target_endian = "little")]
#[allow(unsafe_code)]
pub(super) fn as_bytes_mut<T: Lane>(numbers: &mut [T]) -> Option<&mut [u8]> {
    let len = size_of_val(numbers);
    // SAFETY: the only lanes are u8, u32 and u64, which are as good as their bytes, any of which make one.
    Some(unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), len) })
}

/// Elsewhere they go through a buffer.
#[cfg(not(target_endian = "little"))]
pub(super) fn as_bytes_mut<T: Lane>(_: &mut [T]) -> Option<&mut [u8]> {
    None
}
