//! Local models: from whatever Python has numbers in.

use pet_transport_blocking::core::model::{DataType, Model};
use pyo3::buffer::{Element, ElementType, PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyFloat, PyInt, PyIterator, PyList, PyMapping, PyMemoryView, PySequence,
    PySlice, PyString, PyTuple,
};

use crate::errors::LocalModelDataTypeMisMatch;

/// After how many numbers of a list other threads get their turn: about a millisecond's work.
const NUMBERS_PER_TURN: usize = 1 << 14;
/// The same for numbers that are only copied.
const COPIES_PER_TURN: usize = 1 << 19;

/// Reads a local model: a buffer or array in big pieces, a list number by number. The result need not
/// have the wanted type (or any in particular, if none is known yet): [`crate::cast`] sees to that.
pub(crate) fn read(value: &Bound<'_, PyAny>, wanted: Option<DataType>) -> PyResult<Model> {
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return read_numbers(value, wanted);
    }
    if value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
    {
        return Err(no_numbers(value));
    }
    if let Ok(buffer) = PyUntypedBuffer::get(value) {
        return read_buffer(value, &buffer, wanted);
    }
    // What looks like an array without being a buffer, such as a tensor or a column of a table.
    if let Ok(to_array) = value.getattr(intern!(value.py(), "__array__")) {
        let array = to_array.call0()?;
        let buffer = PyUntypedBuffer::get(&array).map_err(|_| no_buffer(&array, wanted))?;
        return read_buffer(&array, &buffer, wanted);
    }
    if value.cast::<PySequence>().is_ok() && value.cast::<PyMapping>().is_err() {
        return read_numbers(value, wanted);
    }
    Err(no_numbers(value))
}

fn no_numbers(value: &Bound<'_, PyAny>) -> PyErr {
    let name = match value.get_type().name() {
        Ok(name) => name.to_string(),
        Err(error) => return error,
    };
    LocalModelDataTypeMisMatch::new_err(format!(
        "a local model is a list of numbers or an array of them, not {name}"
    ))
}

/// Whatever it is an array of, the buffer protocol has no word for it.
fn no_buffer(array: &Bound<'_, PyAny>, wanted: Option<DataType>) -> PyErr {
    let py = array.py();
    let attribute = |name| array.getattr_opt(name).ok().flatten();
    let dimensions = attribute(intern!(py, "ndim")).and_then(|ndim| ndim.extract().ok());
    match (dimensions, attribute(intern!(py, "dtype"))) {
        (Some(dimensions), _) if dimensions != 1 => not_flat(dimensions),
        (_, Some(dtype)) => wrong_type(&dtype.to_string(), wanted),
        _ => no_numbers(array),
    }
}

fn not_flat(dimensions: usize) -> PyErr {
    LocalModelDataTypeMisMatch::new_err(format!(
        "the local model is an array of {dimensions} dimensions and must have 1: flatten it, in the same \
         order every time"
    ))
}

fn wrong_type(actual: &str, wanted: Option<DataType>) -> PyErr {
    let wanted = wanted.map_or("floats or integers".into(), |wanted| wanted.to_string());
    LocalModelDataTypeMisMatch::new_err(format!(
        "the local model is an array of {actual}, but this coordinator's models have {wanted} weights"
    ))
}

/// NumPy's masked arrays have something in their buffer where they say that there is no number.
fn refuse_masked(array: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = array.py();
    // Whoever has such an array has loaded its module.
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let Ok(module) = modules.get_item(intern!(py, "numpy.ma")) else { return Ok(()) };
    let masked_array = module.getattr(intern!(py, "MaskedArray"))?;
    if !array.is_instance(&masked_array)? {
        return Ok(());
    }
    let masked = module.call_method1(intern!(py, "count_masked"), (array,))?;
    match masked.extract::<usize>()? {
        0 => Ok(()),
        masked => Err(LocalModelDataTypeMisMatch::new_err(format!(
            "{masked} weights of the local model are masked: say with filled() what they are"
        ))),
    }
}

/// Reads a buffer: one copy if it has the type of a model, else one conversion for each number.
fn read_buffer(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    wanted: Option<DataType>,
) -> PyResult<Model> {
    refuse_masked(array)?;
    if buffer.dimensions() != 1 {
        return Err(not_flat(buffer.dimensions()));
    }
    macro_rules! widened {
        ($type:ty) => {
            Model::from(
                copy::<$type>(array, buffer)?.into_iter().map(i64::from).collect::<Vec<_>>(),
            )
        };
    }
    Ok(match ElementType::from_format(buffer.format()) {
        ElementType::Float { bytes: 4 } => copy::<f32>(array, buffer)?.into(),
        ElementType::Float { bytes: 8 } => copy::<f64>(array, buffer)?.into(),
        ElementType::SignedInteger { bytes: 4 } => copy::<i32>(array, buffer)?.into(),
        ElementType::SignedInteger { bytes: 8 } => copy::<i64>(array, buffer)?.into(),
        ElementType::SignedInteger { bytes: 1 } => widened!(i8),
        ElementType::SignedInteger { bytes: 2 } => widened!(i16),
        ElementType::UnsignedInteger { bytes: 1 } => widened!(u8),
        ElementType::UnsignedInteger { bytes: 2 } => widened!(u16),
        ElementType::UnsignedInteger { bytes: 4 } => widened!(u32),
        ElementType::UnsignedInteger { bytes: 8 } => unsigned(copy(array, buffer)?, wanted)?,
        _ => return read_foreign(array, buffer, wanted),
    })
}

/// Copies a flat buffer, a piece at a time. (Who changes the array meanwhile gets what they ask for.)
fn copy<T: Element + Default>(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
) -> PyResult<Vec<T>> {
    let py = array.py();
    if buffer.item_count() <= COPIES_PER_TURN {
        return buffer.as_typed::<T>()?.to_vec(py);
    }
    let view = PyMemoryView::from(array)?;
    let mut weights = vec![T::default(); buffer.item_count()];
    let mut start: isize = 0;
    for piece in weights.chunks_mut(COPIES_PER_TURN) {
        let end = start.saturating_add_unsigned(piece.len());
        let slice = view.get_item(PySlice::new(py, start, end, 1))?;
        PyBuffer::<T>::get(&slice)?.copy_to_slice(py, piece)?;
        start = end;
        py.detach(|| ());
    }
    Ok(weights)
}

fn unsigned(weights: Vec<u64>, wanted: Option<DataType>) -> PyResult<Model> {
    let signed: Result<Vec<i64>, _> = weights.iter().map(|&weight| weight.try_into()).collect();
    match (signed, wanted) {
        (Ok(weights), _) => Ok(weights.into()),
        (Err(_), Some(DataType::I32 | DataType::I64)) => Err(LocalModelDataTypeMisMatch::new_err(
            "the local model has weights beyond 2^63, which this coordinator's integers do not have",
        )),
        (Err(_), _) => {
            let weights: Vec<f64> = weights.into_iter().map(|weight| weight as f64).collect();
            Ok(weights.into())
        }
    }
}

/// Numbers in another form than this machine's usual ones (half floats, the other byte order, ...):
/// the array itself knows how to convert them. Truth values, complex numbers and objects are none.
fn read_foreign(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    wanted: Option<DataType>,
) -> PyResult<Model> {
    let py = array.py();
    let dtype = array.getattr_opt(intern!(py, "dtype"))?;
    let kind = match &dtype {
        Some(dtype) => dtype.getattr_opt(intern!(py, "kind"))?,
        None => None,
    };
    let kind = kind.and_then(|kind| kind.extract::<String>().ok());
    let target = match kind.as_deref() {
        Some("f") if wanted == Some(DataType::F32) => "=f4",
        Some("f") => "=f8",
        Some("i") => "=i8",
        Some("u") => "=u8",
        _ => {
            let actual = match dtype {
                Some(dtype) => dtype.to_string(),
                None => format!("format {:?}", buffer.format()),
            };
            return Err(wrong_type(&actual, wanted));
        }
    };
    let converted = array.call_method1(intern!(py, "astype"), (target,))?;
    let buffer = PyUntypedBuffer::get(&converted)?;
    match ElementType::from_format(buffer.format()) {
        ElementType::Unknown => Err(no_numbers(array)),
        _ => read_buffer(&converted, &buffer, wanted),
    }
}

/// Reads numbers one by one.
fn read_numbers(value: &Bound<'_, PyAny>, wanted: Option<DataType>) -> PyResult<Model> {
    let numbers = Numbers { items: value.try_iter()?, index: 0 };
    match wanted {
        Some(DataType::F32 | DataType::F64) => numbers.floats(Vec::new()),
        Some(DataType::I32 | DataType::I64) => numbers.integers(),
        None => numbers.any(),
    }
}

struct Numbers<'py> {
    items: Bound<'py, PyIterator>,
    index: usize,
}

impl<'py> Numbers<'py> {
    fn next(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.index % NUMBERS_PER_TURN == NUMBERS_PER_TURN - 1 {
            self.items.py().detach(|| ());
        }
        self.index += 1;
        self.items.next().transpose()
    }

    /// Whatever can become a float.
    fn floats(mut self, mut weights: Vec<f64>) -> PyResult<Model> {
        while let Some(item) = self.next()? {
            weights.push(self.float(&item)?);
        }
        Ok(weights.into())
    }

    /// Integers only.
    fn integers(mut self) -> PyResult<Model> {
        let mut weights: Vec<i64> = Vec::new();
        while let Some(item) = self.next()? {
            weights.push(item.extract().map_err(|error| self.wrong(&item, error))?);
        }
        Ok(weights.into())
    }

    /// Integers as long as there is nothing else, so that they fit either kind of coordinator.
    fn any(mut self) -> PyResult<Model> {
        let mut weights: Vec<i64> = Vec::new();
        while let Some(item) = self.next()? {
            let integer = if item.is_instance_of::<PyFloat>() { None } else { item.extract().ok() };
            match integer {
                Some(integer) => weights.push(integer),
                None => {
                    let mut floats: Vec<f64> = weights.into_iter().map(|w| w as f64).collect();
                    floats.push(self.float(&item)?);
                    return self.floats(floats);
                }
            }
        }
        Ok(weights.into())
    }

    fn float(&self, item: &Bound<'_, PyAny>) -> PyResult<f64> {
        item.extract().map_err(|error| self.wrong(item, error))
    }

    /// What `__float__` or `__index__` say about a number that is none; their own failures stay.
    fn wrong(&self, item: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
        let py = item.py();
        if !(error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyOverflowError>(py)
            || error.is_instance_of::<PyValueError>(py))
        {
            return error;
        }
        let index = self.index - 1;
        let reason = if item.is_instance_of::<PyInt>() {
            "is an integer beyond the range of the coordinator's type".to_string()
        } else {
            format!("is not of the coordinator's type: {}", error.value(py))
        };
        let wrong = LocalModelDataTypeMisMatch::new_err(format!(
            "weight {index} of the local model {reason}"
        ));
        wrong.set_cause(py, Some(error));
        wrong
    }
}
