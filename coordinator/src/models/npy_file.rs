//! Reads NumPy files: of those, what a vector of weights can be.

use pet_core::model::{array, ArrayError, DataType, Model};
use thiserror::Error;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Why a NumPy file is not a model's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NpyError {
    /// Something else, or half of one.
    #[error("it is not a NumPy file: save the weights with numpy.save(\"model.npy\", weights)")]
    NotNpy,
    /// A later version of the format.
    #[error("it is a NumPy file of format version {0}, and only 1 to 3 are known: save it with another version of NumPy")]
    Version(u8),
    /// The description of what is in it cannot be read.
    #[error("its header cannot be read: {0}")]
    Header(String),
    /// Numbers of another type.
    #[error(
        "its numbers are of type {0:?}: convert them before, for instance to 32-bit floats by \
         weights.astype(\"<f4\")"
    )]
    DataType(String),
    /// Columns first.
    #[error(
        "its numbers are in Fortran's order, columns first: save numpy.ascontiguousarray(weights)"
    )]
    FortranOrder,
    /// Fewer or more bytes than the shape takes.
    #[error("it is cut short, or something follows: {expected} bytes of numbers belong to shape {shape}, and it has {actual}")]
    Length {
        /// Its shape as NumPy writes it.
        shape: String,
        /// How many bytes its numbers take.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// NaN, an infinity, or too many.
    #[error(transparent)]
    Weights(#[from] ArrayError),
}

/// Reads the weights of a NumPy file: little-endian floats or integers of 32 or 64 bits, of any shape. An array of more than one
/// dimension is read row by row, as `weights.ravel()` gives it.
///
/// ```
/// use pet_coordinator::models::{npy, read_npy};
/// use pet_core::model::Model;
///
/// let model = Model::F32(vec![0.5, -1.0]);
/// assert_eq!(read_npy(&npy(&model)), Ok(model));
/// assert!(read_npy(b"PK").unwrap_err().to_string().contains("numpy.save"));
/// ```
///
/// # Errors
/// [`NpyError`], which says how to save it.
pub fn read_npy(file: &[u8]) -> Result<Model, NpyError> {
    let [major, _minor, rest @ ..] = file.strip_prefix(MAGIC).ok_or(NpyError::NotNpy)? else {
        return Err(NpyError::NotNpy);
    };
    // The length of the header has two bytes, or four from version 2.
    let (length, rest) = match major {
        1 => rest
            .split_first_chunk()
            .map(|(length, rest)| (u16::from_le_bytes(*length).into(), rest)),
        2 | 3 => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
        version => return Err(NpyError::Version(*version)),
    }
    .ok_or(NpyError::NotNpy)?;
    let length = usize::try_from(length).map_err(|_| NpyError::NotNpy)?;
    let (header, data) = rest.split_at_checked(length).ok_or(NpyError::NotNpy)?;
    let header = std::str::from_utf8(header);
    let header = header.map_err(|_| NpyError::Header("it is not text".into()))?;

    let data_type = match quoted(value(header, "descr")?)? {
        "<f4" => DataType::F32,
        "<f8" => DataType::F64,
        "<i4" => DataType::I32,
        "<i8" => DataType::I64,
        other => return Err(NpyError::DataType(other.to_owned())),
    };
    let (count, dimensions, shape) = shape(value(header, "shape")?)?;
    let order = value(header, "fortran_order")?;
    match order {
        // Where there is one dimension it is all the same.
        _ if order.starts_with("False") || dimensions < 2 => {}
        _ if order.starts_with("True") => return Err(NpyError::FortranOrder),
        _ => return Err(NpyError::Header("fortran_order is neither True nor False".into())),
    }
    let expected = count.saturating_mul(array::weight_len(data_type) as u64);
    if expected != data.len() as u64 {
        return Err(NpyError::Length { shape, expected, actual: data.len() as u64 });
    }
    Ok(pet_core::model::ArrayDecoder::new(data, data_type)?.finish()?)
}

/// What follows a key of the header, up to the header's end.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, NpyError> {
    let missing = || NpyError::Header(format!("it has no {key:?}"));
    ['\'', '"']
        .iter()
        .find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(missing)
}

/// A text in quotes, at the beginning.
fn quoted(text: &str) -> Result<&str, NpyError> {
    let no_text = || {
        // A list of fields, as structured arrays have it.
        let begin: String = text.chars().take(40).collect();
        NpyError::DataType(begin)
    };
    let quote =
        text.chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or_else(no_text)?;
    text[1..].split_once(quote).map(|(text, _)| text).ok_or_else(no_text)
}

/// How many numbers there are, in how many dimensions, and the shape as it is written.
fn shape(text: &str) -> Result<(u64, usize, String), NpyError> {
    let wrong = || NpyError::Header("its shape is not a list of numbers".into());
    let inner = text.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or_else(wrong)?.0;
    let mut count = 1_u64;
    let mut dimensions = 0;
    for size in inner.split(',').map(str::trim).filter(|size| !size.is_empty()) {
        // Long ago NumPy wrote 3L.
        let size: u64 = size.trim_end_matches('L').parse().map_err(|_| wrong())?;
        count = count.checked_mul(size).ok_or_else(wrong)?;
        dimensions += 1;
    }
    Ok((count, dimensions, format!("({inner})")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::models::npy;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([version, 0]);
        match version {
            1 => file.extend((header.len() as u16).to_le_bytes()),
            _ => file.extend((header.len() as u32).to_le_bytes()),
        }
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn described(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}     \n")
    }

    #[test]
    fn what_is_written_is_read() {
        for model in [
            Model::F32(vec![0.5, -1.0, 3.25]),
            Model::F64(vec![0.1]),
            Model::I32(vec![i32::MIN, 7]),
            Model::I64(vec![i64::MAX]),
            Model::I64(Vec::new()),
        ] {
            assert_eq!(read_npy(&npy(&model)), Ok(model));
        }
    }

    #[test]
    fn all_shapes_and_versions_are_read_row_by_row() {
        let data: Vec<u8> = (1..=6).flat_map(|weight: i32| weight.to_le_bytes()).collect();
        let model = Model::I32((1..=6).collect());
        for version in [1, 2, 3] {
            for shape in ["(6,)", "(2, 3)", "(2, 3, 1)", "(6L,)"] {
                let header = described("<i4", "False", shape);
                assert_eq!(read_npy(&file(version, &header, &data)).as_ref(), Ok(&model));
            }
        }
        // A number has no dimensions; of one dimension there is one order.
        assert_eq!(
            read_npy(&file(1, &described("<i4", "False", "()"), &data[..4])),
            Ok(Model::I32(vec![1]))
        );
        assert_eq!(read_npy(&file(1, &described("<i4", "True", "(6,)"), &data)), Ok(model));
        let double = described("<i4", "False", "(1,)").replace('\'', "\"");
        assert_eq!(read_npy(&file(1, &double, &data[..4])), Ok(Model::I32(vec![1])));
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_to_do() {
        let data = [0; 24];
        let says = |file: &[u8], words: &str| {
            let error = read_npy(file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        says(b"", "numpy.save");
        says(b"PK\x03\x04", "numpy.save");
        says(b"\x93NUMPY\x01", "numpy.save");
        says(b"\x93NUMPY\x01\x00\xff\xff{", "numpy.save");
        says(&file(9, "", &[]), "version 9");
        says(&file(1, "{}", &data), "\"descr\"");
        says(&file(1, "{'descr': '<f4'}", &data), "\"shape\"");
        says(&file(1, &described(">f4", "False", "(6,)"), &data), ">f4");
        says(&file(1, &described("<f2", "False", "(12,)"), &data), "astype");
        says(
            &file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}", &data),
            "[('a'",
        );
        says(&file(1, &described("<f4", "True", "(2, 3)"), &data), "ascontiguousarray");
        says(&file(1, &described("<f4", "Perhaps", "(2, 3)"), &data), "neither");
        says(&file(1, &described("<f4", "False", "(-6,)"), &data), "shape");
        says(&file(1, &described("<f4", "False", "(5,)"), &data), "20 bytes");
        says(&file(1, &described("<f4", "False", "(7,)"), &data), "cut short");
        says(&file(1, &described("<f8", "False", "(4294967296, 4294967296, 9)"), &data), "shape");
        says(&npy(&Model::F32(vec![0.0, f32::NAN])), "weight 1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(version in 0..4_u8, header in ".{0,80}", data: Vec<u8>, raw: Vec<u8>) {
            let _ = read_npy(&file(version, &header, &data));
            let _ = read_npy(&raw);
        }
    }
}
