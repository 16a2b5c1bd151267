//! Buffers of numbers of one dimension: copied as they are if they are in this machine's usual form, and decoded
//! byte by byte if they are not. Formats such as `>f` or `<d` say in which order a number's bytes are; numbers may
//! also lie at odd addresses, as in packed records and mapped files.

use std::ffi::CStr;
use std::marker::PhantomData;

use pyo3::buffer::{Element, ElementType, PyBuffer, PyUntypedBuffer};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

/// After how many numbers that are only copied other threads get their turn: about a millisecond's work.
const COPIES_PER_TURN: usize = 1 << 19;

/// What the items of a buffer are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Items {
    pub(crate) element: ElementType,
    /// Their bytes are in the other order than this machine's.
    swapped: bool,
}

impl Items {
    /// What a format says; nothing if its items are no numbers, or in no form that is known here.
    pub(crate) fn of(format: &CStr) -> Option<Self> {
        let (order, code) = match *format.to_bytes() {
            [code] => (b'@', code),
            [order @ (b'@' | b'=' | b'<' | b'>' | b'!'), code] => (order, code),
            _ => return None,
        };
        // Characters are no numbers, although PyO3 takes them for bytes.
        let element = match (code, ElementType::from_format(format)) {
            (b'c', _) | (_, ElementType::Bool | ElementType::Unknown) => return None,
            (_, element) => element,
        };
        let swapped = match order {
            b'<' => cfg!(target_endian = "big"),
            b'>' | b'!' => cfg!(target_endian = "little"),
            _ => false,
        };
        Some(Self { element, swapped })
    }
}

/// The buffer that something is, and what it is read of; nothing if it is none. What does not say how far its items
/// are apart (ctypes' arrays) says so through a view.
pub(crate) fn open<'py>(value: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyAny>, PyUntypedBuffer)> {
    if let Ok(buffer) = PyUntypedBuffer::get(value) {
        return Some((value.clone(), buffer));
    }
    let view = PyMemoryView::from(value).ok()?.into_any();
    let buffer = PyUntypedBuffer::get(&view).ok()?;
    Some((view, buffer))
}

/// A number that can be in a buffer.
pub(crate) trait Number: Element + Default {
    /// The number of these bytes, as many as it has.
    fn decode(bytes: &[u8], swapped: bool) -> Self;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn decode(bytes: &[u8], swapped: bool) -> Self {
                let mut own = <$type>::default().to_ne_bytes();
                own.copy_from_slice(bytes);
                if swapped {
                    own.reverse();
                }
                Self::from_ne_bytes(own)
            }
        })*
    };
}

numbers!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

/// Copies a flat buffer of such items, a piece at a time. (Who changes the array meanwhile gets what they ask for.)
pub(crate) fn copy<T: Number>(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    items: Items,
) -> PyResult<Vec<T>> {
    if is_plain::<T>(buffer, items) && buffer.item_count() <= COPIES_PER_TURN {
        return buffer.as_typed::<T>()?.to_vec(array.py());
    }
    let mut weights = vec![T::default(); buffer.item_count()];
    let mut pieces = Pieces::new(array, buffer, items)?;
    weights.chunks_mut(COPIES_PER_TURN).try_for_each(|piece| pieces.read(piece))?;
    Ok(weights)
}

/// Shows a flat buffer of such items a piece at a time, for those who make something smaller of it.
pub(crate) fn each_piece<T: Number>(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    items: Items,
    mut see: impl FnMut(Vec<T>) -> PyResult<()>,
) -> PyResult<()> {
    let mut pieces = Pieces::new(array, buffer, items)?;
    let mut left = buffer.item_count();
    while left > 0 {
        let mut piece = vec![T::default(); left.min(COPIES_PER_TURN)];
        pieces.read(&mut piece)?;
        left -= piece.len();
        see(piece)?;
    }
    Ok(())
}

/// A flat buffer of numbers that is read from its beginning.
struct Pieces<'py, T> {
    view: Bound<'py, PyMemoryView>,
    swapped: bool,
    is_plain: bool,
    start: isize,
    numbers: PhantomData<T>,
}

impl<'py, T: Number> Pieces<'py, T> {
    fn new(array: &Bound<'py, PyAny>, buffer: &PyUntypedBuffer, items: Items) -> PyResult<Self> {
        Ok(Self {
            view: PyMemoryView::from(array)?,
            swapped: items.swapped,
            is_plain: is_plain::<T>(buffer, items),
            start: 0,
            numbers: PhantomData,
        })
    }

    /// The next numbers, as many as there is room for. Other threads get their turn behind them.
    fn read(&mut self, piece: &mut [T]) -> PyResult<()> {
        let py = self.view.py();
        let end = self.start.saturating_add_unsigned(piece.len());
        let slice = self.view.get_item(PySlice::new(py, self.start, end, 1))?;
        if self.is_plain {
            PyBuffer::<T>::get(&slice)?.copy_to_slice(py, piece)?;
        } else {
            let bytes = slice.call_method0(intern!(py, "tobytes"))?;
            let bytes = bytes.cast::<PyBytes>()?.as_bytes();
            for (number, bytes) in piece.iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
                *number = T::decode(bytes, self.swapped);
            }
        }
        self.start = end;
        py.detach(|| ());
        Ok(())
    }
}

/// Whether numbers are in the buffer as they are in this machine.
fn is_plain<T: Number>(buffer: &PyUntypedBuffer, items: Items) -> bool {
    !items.swapped && is_aligned::<T>(buffer) && buffer.as_typed::<T>().is_ok()
}

/// Whether each item is at an address that its type may have, and so is the first one of each piece.
fn is_aligned<T>(buffer: &PyUntypedBuffer) -> bool {
    let aligned = |offset: isize| offset.unsigned_abs().is_multiple_of(align_of::<T>());
    buffer.buf_ptr().addr().is_multiple_of(align_of::<T>())
        && buffer.strides().iter().all(|&stride| aligned(stride))
}

/// The number that a half float's bits are.
pub(crate) fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff);
    let power = |exponent: i32| 2f32.powi(exponent);
    sign * match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * power(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * power(exponent - 25),
    }
}
