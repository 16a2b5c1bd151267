//! The bytes of weights, where they lie in memory.

/// Numbers without a byte that is not a part of them.
pub(super) trait Plain: Copy {}

impl Plain for f32 {}
impl Plain for f64 {}
impl Plain for i32 {}
impl Plain for i64 {}

/// The bytes of these numbers, each in the processor's order. Hashing them from here costs half of what it costs with a copy.
#[allow(unsafe_code)]
pub(super) fn bytes<W: Plain>(numbers: &[W]) -> &[u8] {
    let len = size_of_val(numbers);
    // SAFETY: the only `Plain` types, above, are primitive numbers: none of their bytes is uninitialized.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), len) }
}
