//! The only place where what C gives is taken for what it says it is.

use std::ffi::{c_char, CStr};

use crate::status::Error;

/// Whether it can be a pointer to a `T` at all.
fn usable<T>(pointer: *const T, name: &str) -> Result<(), Error> {
    if pointer.is_null() {
        return Err(Error::argument(format!("{name} is a null pointer")));
    }
    if !pointer.is_aligned() {
        return Err(Error::argument(format!("{name} is not aligned as it must be")));
    }
    Ok(())
}

/// What a pointer points to.
///
/// # Safety
/// The pointer is null, or of a live value that this library has made, or the caller has set whole.
pub(crate) unsafe fn of<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Error> {
    usable(pointer, name)?;
    // SAFETY: it is neither null nor crooked, and the caller promises the rest.
    Ok(unsafe { &*pointer })
}

/// What a pointer points to, to be changed.
///
/// # Safety
/// As [`of`], and nobody else uses the value meanwhile.
pub(crate) unsafe fn of_mut<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Error> {
    usable(pointer, name)?;
    // SAFETY: it is neither null nor crooked, and the caller promises the rest.
    Ok(unsafe { &mut *pointer })
}

/// Where a result goes. It need not have been set before.
///
/// # Safety
/// The pointer is null, or of memory for a `T` that may be written.
pub(crate) unsafe fn out<T>(pointer: *mut T, name: &str) -> Result<Out<T>, Error> {
    usable(pointer, name)?;
    Ok(Out(pointer))
}

/// A place for a result: checked, and written once.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(crate) fn set(self, value: T) {
        // SAFETY: `out` was promised memory that may be written.
        unsafe { self.0.write(value) };
    }
}

/// The elements from a pointer on; none if there are none, whatever the pointer is.
///
/// # Safety
/// The pointer is null, or there are so many elements behind it that stay as they are during the call.
pub(crate) unsafe fn slice<'a, T>(
    pointer: *const T,
    length: usize,
    name: &str,
) -> Result<&'a [T], Error> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Error::argument(format!(
            "{name} is a null pointer, and its length is {length}"
        )));
    }
    if !pointer.is_aligned() {
        return Err(Error::argument(format!("{name} is not aligned as its elements must be")));
    }
    if length.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::argument(format!("{name} cannot have {length} elements")));
    }
    // SAFETY: it is neither null nor too long, and the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A text.
///
/// # Safety
/// The pointer is null, or of a text that ends with a zero byte and stays as it is during the call.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Error> {
    if pointer.is_null() {
        return Err(Error::argument(format!("{name} is a null pointer")));
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Error::argument(format!("{name} is not UTF-8")))
}

/// A text that may have come from somewhere else, as from the network: what is not UTF-8 in it is no mistake of the caller.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn foreign_text(pointer: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    let text = unsafe { (!pointer.is_null()).then(|| CStr::from_ptr(pointer)) };
    text.map(|text| text.to_string_lossy().into_owned())
}

/// Gives a value to C, which gives it back to [`take`].
pub(crate) fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes back what [`give`] gave; nothing for a null pointer.
///
/// # Safety
/// The pointer is null, or of `give`, and nobody uses it any more.
pub(crate) unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}
