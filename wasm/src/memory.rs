//! Memory that JavaScript writes to, and the only place where its numbers are taken for pointers.

use std::alloc::{alloc, dealloc, Layout};

use zeroize::Zeroize;

/// What a piece of memory is aligned to: that of its elements.
fn layout(length: usize, align: usize) -> Option<Layout> {
    Layout::from_size_align(length, align).ok().filter(|_| matches!(align, 1 | 4 | 8))
}

/// Gives so many bytes, aligned for elements of so many bytes (1, 4 or 8). Null if there are no more. They are to be
/// given back with [`pet_free`], or to a function that takes them.
#[no_mangle]
pub extern "C" fn pet_alloc(length: usize, align: usize) -> *mut u8 {
    match layout(length, align) {
        None => std::ptr::null_mut(),
        // As an empty vector has it.
        Some(_) if length == 0 => std::ptr::without_provenance_mut(align),
        // SAFETY: the length is not zero.
        Some(layout) => unsafe { alloc(layout) },
    }
}

/// Wipes and frees memory.
///
/// # Safety
/// It is from [`pet_alloc`] with the same numbers, all of it was written, and nobody uses it any more.
#[no_mangle]
pub unsafe extern "C" fn pet_free(data: *mut u8, length: usize, align: usize) {
    let Some(layout) = layout(length, align).filter(|_| length > 0) else { return };
    // SAFETY: as the caller promises.
    unsafe {
        std::slice::from_raw_parts_mut(data, length).zeroize();
        dealloc(data, layout);
    }
}

/// Takes memory that was given for `length` elements.
///
/// # Safety
/// It is from [`pet_alloc`] with as many bytes as the elements have and their alignment, all of it was written, and nobody
/// uses it any more. `T` is an integer or a float.
pub(crate) unsafe fn take<T: Copy>(data: *mut T, length: usize) -> Vec<T> {
    // SAFETY: as the caller promises; any bytes make an integer or a float.
    unsafe { Vec::from_raw_parts(data, length, length) }
}

/// Takes a text.
///
/// # Safety
/// As [`take`].
pub(crate) unsafe fn take_text(data: *mut u8, length: usize) -> String {
    // SAFETY: as the caller promises.
    let bytes = unsafe { take(data, length) };
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Gives a value to JavaScript, which gives it back to [`take_back`].
pub(crate) fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes back what [`give`] gave.
///
/// # Safety
/// It is of `give`, and nobody uses it any more.
pub(crate) unsafe fn take_back<T>(handle: *mut T) -> T {
    // SAFETY: as the caller promises.
    *unsafe { Box::from_raw(handle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_becomes_vectors_without_a_copy() {
        let data = pet_alloc(24, 8);
        assert!(!data.is_null());
        for i in 0..24 {
            // SAFETY: there are 24 bytes.
            unsafe { data.add(i).write(if i % 8 == 0 { i as u8 / 8 } else { 0 }) };
        }
        // SAFETY: it is from above.
        let numbers = unsafe { take(data.cast::<i64>(), 3) };
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(numbers.as_ptr().cast(), data.cast_const());
    }

    #[test]
    fn none_is_no_memory() {
        for align in [1, 4, 8] {
            let data = pet_alloc(0, align);
            assert!(!data.is_null());
            // SAFETY: it is from above.
            assert!(unsafe { take_text(data, 0) }.is_empty() || align != 1);
        }
        // SAFETY: it is from above.
        unsafe { pet_free(pet_alloc(0, 4), 0, 4) };
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        for (length, align) in [(8, 0), (8, 3), (8, 16), (usize::MAX, 8), (usize::MAX / 2 + 2, 1)] {
            assert!(pet_alloc(length, align).is_null(), "{length} {align}");
        }
    }

    #[test]
    fn texts_that_are_none_are_read_as_well_as_can_be() {
        let data = pet_alloc(3, 1);
        // SAFETY: there are three bytes.
        unsafe { std::slice::from_raw_parts_mut(data, 3).copy_from_slice(b"a\xffb") };
        // SAFETY: it is from above.
        assert_eq!(unsafe { take_text(data, 3) }, "a\u{fffd}b");
    }
}
