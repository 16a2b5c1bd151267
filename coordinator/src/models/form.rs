//! The forms of a model's weights: media types and bytes.

use mediatype::{MediaType, Name, Value};
use pet_core::model::{array, DataType, Model};

/// Where the data of a `.npy` file begins: at a multiple of so many bytes, so that it can be mapped into
/// memory.
const NPY_DATA_ALIGNMENT: usize = 64;

const APPLICATION: Name<'_> = Name::new_unchecked("application");
const DTYPE: Name<'_> = Name::new_unchecked("dtype");

/// How a model's weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The old form: bincode of exact rationals.
    Rationals,
    /// The weights one after another, little-endian, in the round's data type.
    Array,
    /// The same as a NumPy file.
    Npy,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Rationals, Self::Array, Self::Npy];

    /// A short name, for entity tags.
    pub fn label(self) -> &'static str {
        match self {
            Self::Rationals => "rationals",
            Self::Array => "array",
            Self::Npy => "npy",
        }
    }

    /// What a client asks for to get it, the first of them being its name. A model without typed weights
    /// has the old form only.
    pub fn media_types(self, data_type: Option<DataType>) -> Vec<MediaType<'static>> {
        let plain = |subtype| MediaType::new(APPLICATION, Name::new_unchecked(subtype));
        match (self, data_type) {
            (Self::Rationals, _) => vec![plain("vnd.pet.rationals"), plain("octet-stream")],
            (_, None) => Vec::new(),
            (Self::Array, Some(data_type)) => {
                let name = "vnd.pet.weights";
                let dtype = Value::new(dtype_name(data_type));
                let params: Vec<_> = dtype.map(|dtype| (DTYPE, dtype)).into_iter().collect();
                let mut typed = plain(name);
                typed.params = params.into();
                vec![typed, plain(name)]
            }
            (Self::Npy, Some(_)) => vec![plain("x-npy")],
        }
    }

    /// The `Content-Type` of an answer; `None` for the old form, which never had one.
    pub fn content_type(self, data_type: Option<DataType>) -> Option<String> {
        match self {
            Self::Rationals => None,
            _ => self.media_types(data_type).first().map(ToString::to_string),
        }
    }
}

/// The value of the media type's parameter `dtype`.
fn dtype_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::F32 => "f32",
        DataType::F64 => "f64",
        DataType::I32 => "i32",
        DataType::I64 => "i64",
    }
}

/// NumPy's name for a type, in little-endian order.
fn dtype(data_type: DataType) -> &'static str {
    match data_type {
        DataType::F32 => "<f4",
        DataType::F64 => "<f8",
        DataType::I32 => "<i4",
        DataType::I64 => "<i8",
    }
}

/// A NumPy file (format version 1.0) with the model's weights as a one-dimensional array.
pub fn npy(model: &Model) -> Vec<u8> {
    let header = npy_header(model.data_type(), model.len());
    let mut file =
        Vec::with_capacity(header.len() + model.len() * array::weight_len(model.data_type()));
    file.extend_from_slice(&header);
    array::write_weights(model, &mut file);
    file
}

/// The model's weights one after another, little-endian.
pub fn raw(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    array::write_weights(model, &mut bytes);
    bytes
}

/// What comes before the data.
pub(super) fn npy_header(data_type: DataType, length: usize) -> Vec<u8> {
    let dictionary = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({length},), }}",
        dtype(data_type)
    );
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    let fixed = header.len() + 2;
    let total = (fixed + dictionary.len() + 1).next_multiple_of(NPY_DATA_ALIGNMENT);
    // The dictionary has fewer than 100 bytes.
    header.extend_from_slice(&((total - fixed) as u16).to_le_bytes());
    header.extend_from_slice(dictionary.as_bytes());
    header.resize(total - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_npy_file_is_as_numpy_writes_it() {
        // From numpy.save of numpy.array([1.5, -2.0], dtype=numpy.float32).
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        expected.extend_from_slice(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }");
        expected.resize(127, b' ');
        expected.push(b'\n');
        expected.extend_from_slice(&[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]);
        assert_eq!(npy(&Model::F32(vec![1.5, -2.0])), expected);
    }

    #[test]
    fn data_is_aligned_and_little_endian_whatever_its_type() {
        for (model, descr, width) in [
            (Model::F32(vec![1.0; 3]), "<f4", 4),
            (Model::F64(vec![1.0; 3]), "<f8", 8),
            (Model::I32(vec![1; 3]), "<i4", 4),
            (Model::I64(vec![1; 123_456]), "<i8", 8),
            (Model::I64(Vec::new()), "<i8", 8),
        ] {
            let file = npy(&model);
            let header = npy_header(model.data_type(), model.len()).len();
            assert_eq!(header % NPY_DATA_ALIGNMENT, 0);
            assert_eq!(file.len(), header + width * model.len());
            assert_eq!(file[header - 1], b'\n');
            assert_eq!(usize::from(file[8]) + usize::from(file[9]) * 256 + 10, header);
            let text = String::from_utf8_lossy(&file[10..header]);
            assert!(
                text.contains(descr) && text.contains(&format!("({},)", model.len())),
                "{text}"
            );
        }
        let file = npy(&Model::I32(vec![0x0102_0304, -1]));
        assert_eq!(file[file.len() - 8..], [4, 3, 2, 1, 255, 255, 255, 255]);
    }
}
