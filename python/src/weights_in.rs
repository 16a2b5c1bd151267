//! Reads local models from whatever Python has numbers in.

use pet_transport_blocking::core::model::{DataType, Model};
use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::exceptions::{PyImportError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyFloat, PyInt, PyIterator, PyList, PyMapping, PyMemoryView, PySequence,
    PyString, PyTuple,
};

use crate::buffers::{self, copy, each_piece, half, Items, Number};
use crate::errors::{model_error, LocalModelDataTypeMisMatch};

/// After how many numbers of a list other threads get their turn: about a millisecond's work.
const NUMBERS_PER_TURN: usize = 1 << 14;

/// Reads a local model: a buffer or array in big pieces, a list number by number. The result need not
/// have the wanted type (or any in particular, if none is known yet): that is seen to later.
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
    if let Some((array, buffer)) = buffers::open(value) {
        return read_buffer(&array, &buffer, wanted);
    }
    // What looks like an array without being a buffer, such as a tensor or a column of a table.
    if let Ok(to_array) = value.getattr(intern!(value.py(), "__array__")) {
        return read_array(&to_array.call0()?, wanted);
    }
    if let Some(array) = through_numpy(value)? {
        return read_array(&array, wanted);
    }
    if value.cast::<PySequence>().is_ok() && value.cast::<PyMapping>().is_err() {
        return read_numbers(value, wanted);
    }
    Err(no_numbers(value))
}

fn read_array(array: &Bound<'_, PyAny>, wanted: Option<DataType>) -> PyResult<Model> {
    if let Some((array, buffer)) = buffers::open(array) {
        return read_buffer(&array, &buffer, wanted);
    }
    // A long double with an explicit order is one that the buffer protocol has no word for, but a number.
    let dimensions = array.getattr_opt(intern!(array.py(), "ndim")).ok().flatten();
    let is_flat = dimensions.and_then(|ndim| ndim.extract().ok()) == Some(1);
    match kind_of(array).1.as_deref() {
        Some("f") if is_flat => {
            refuse_masked(array)?;
            read_converted(array, "=f8", wanted)
        }
        _ => Err(no_buffer(array, wanted)),
    }
}

/// The array of what only describes its memory, which NumPy understands.
fn through_numpy<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    let function = if value.hasattr(intern!(py, "__array_interface__"))?
        || value.hasattr(intern!(py, "__array_struct__"))?
    {
        intern!(py, "asarray")
    } else if value.hasattr(intern!(py, "__dlpack__"))? {
        intern!(py, "from_dlpack")
    } else {
        return Ok(None);
    };
    let numpy = py.import(intern!(py, "numpy")).map_err(|error| {
        let name = value.get_type().to_string();
        let wrong = PyImportError::new_err(format!(
            "a local model of {name} needs NumPy: install it (pip install numpy), or give a list"
        ));
        wrong.set_cause(py, Some(error));
        wrong
    })?;
    numpy.call_method1(function, (value,)).map(Some)
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
    if array.is_instance_of::<PyMemoryView>() {
        // A view knows nothing of masks; what it is a view of does.
        let viewed = array.getattr(intern!(py, "obj"))?;
        return if viewed.is_none() { Ok(()) } else { refuse_masked(&viewed) };
    }
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

/// Reads a buffer: one copy if it has the type of a model, else one conversion for each number. Numbers of eight bytes
/// for a round of numbers of four are converted on their way in; all else is for core to convert.
fn read_buffer(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    wanted: Option<DataType>,
) -> PyResult<Model> {
    refuse_masked(array)?;
    if buffer.dimensions() != 1 {
        return Err(not_flat(buffer.dimensions()));
    }
    let Some(items) = Items::of(buffer.format()) else {
        return read_foreign(array, buffer, wanted);
    };
    macro_rules! widened {
        ($type:ty) => {
            Model::from(
                copy::<$type>(array, buffer, items)?.into_iter().map(i64::from).collect::<Vec<_>>(),
            )
        };
    }
    Ok(match items.element {
        ElementType::Float { bytes: 4 } => copy::<f32>(array, buffer, items)?.into(),
        ElementType::Float { bytes: 8 } => match wanted {
            Some(DataType::F32) => narrow::<f64>(array, buffer, items, DataType::F32)?,
            _ => copy::<f64>(array, buffer, items)?.into(),
        },
        ElementType::Float { bytes: 2 } => {
            // As bits, since there is no such type here yet.
            copy::<u16>(array, buffer, items)?.into_iter().map(half).collect::<Vec<_>>().into()
        }
        ElementType::SignedInteger { bytes: 4 } => copy::<i32>(array, buffer, items)?.into(),
        ElementType::SignedInteger { bytes: 8 } => match wanted {
            Some(wanted @ (DataType::F32 | DataType::I32)) => {
                narrow::<i64>(array, buffer, items, wanted)?
            }
            _ => copy::<i64>(array, buffer, items)?.into(),
        },
        ElementType::SignedInteger { bytes: 1 } => widened!(i8),
        ElementType::SignedInteger { bytes: 2 } => widened!(i16),
        ElementType::UnsignedInteger { bytes: 1 } => widened!(u8),
        ElementType::UnsignedInteger { bytes: 2 } => widened!(u16),
        ElementType::UnsignedInteger { bytes: 4 } => widened!(u32),
        ElementType::UnsignedInteger { bytes: 8 } => unsigned(copy(array, buffer, items)?, wanted)?,
        _ => return read_foreign(array, buffer, wanted),
    })
}

/// Reads weights that take less memory in the wanted type: converted as they come, so that they are never there twice.
fn narrow<T: Number>(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    items: Items,
    wanted: DataType,
) -> PyResult<Model>
where
    Model: From<Vec<T>>,
{
    let mut model = Model::with_capacity(wanted, buffer.item_count());
    each_piece::<T>(array, buffer, items, |piece| {
        model.append_converted(&piece.into()).map_err(|error| model_error(&error.into()))
    })?;
    Ok(model)
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

/// Numbers in a form that is not known here (long doubles, and what lies at odd addresses with a format of its
/// own): the array itself knows how to convert them. Truth values, complex numbers and objects are none.
fn read_foreign(
    array: &Bound<'_, PyAny>,
    buffer: &PyUntypedBuffer,
    wanted: Option<DataType>,
) -> PyResult<Model> {
    let (dtype, kind) = kind_of(array);
    let target = match kind.as_deref() {
        // By way of a double, as the same numbers in a list go.
        Some("f") => "=f8",
        Some("i") => "=i8",
        Some("u") => "=u8",
        _ => {
            let actual = match dtype {
                Some(dtype) => dtype.to_string(),
                None => format!("items of the format {:?}", buffer.format()),
            };
            return Err(wrong_type(&actual, wanted));
        }
    };
    read_converted(array, target, wanted)
}

/// What an array says that its items are, and of which of NumPy's kinds.
fn kind_of<'py>(array: &Bound<'py, PyAny>) -> (Option<Bound<'py, PyAny>>, Option<String>) {
    let py = array.py();
    let dtype = array.getattr_opt(intern!(py, "dtype")).ok().flatten();
    let kind = dtype.as_ref().and_then(|dtype| dtype.getattr(intern!(py, "kind")).ok());
    (dtype, kind.and_then(|kind| kind.extract().ok()))
}

fn read_converted(
    array: &Bound<'_, PyAny>,
    target: &str,
    wanted: Option<DataType>,
) -> PyResult<Model> {
    let converted = array.call_method1(intern!(array.py(), "astype"), (target,))?;
    let buffer = PyUntypedBuffer::get(&converted)?;
    match Items::of(buffer.format()) {
        None => Err(no_numbers(array)),
        Some(_) => read_buffer(&converted, &buffer, wanted),
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
