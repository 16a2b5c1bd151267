//! What the last call has to say: a text (JSON), and bytes beside it.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use pet_core::model::Model;
use serde::Serialize;
use zeroize::Zeroizing;

/// Bytes beside the text. JavaScript copies them before the next call.
#[derive(Default)]
pub(crate) enum Blob {
    #[default]
    None,
    /// A body to be sent.
    Body(Bytes),
    /// A saved state.
    Secret(Zeroizing<Vec<u8>>),
    /// A global model.
    Model(Arc<Model>),
}

impl Blob {
    /// Where the bytes are, and how many there are.
    fn parts(&self) -> (*const u8, usize) {
        fn of<T>(numbers: &[T]) -> (*const u8, usize) {
            (numbers.as_ptr().cast(), size_of_val(numbers))
        }
        match self {
            Self::None => (std::ptr::null(), 0),
            Self::Body(bytes) => of(bytes),
            Self::Secret(bytes) => of(bytes),
            Self::Model(model) => match &**model {
                Model::F32(weights) => of(weights),
                Model::F64(weights) => of(weights),
                Model::I32(weights) => of(weights),
                Model::I64(weights) => of(weights),
            },
        }
    }
}

#[derive(Default)]
struct Said {
    text: String,
    blob: Blob,
}

thread_local! {
    static SAID: RefCell<Said> = RefCell::default();
}

/// Why a call did not do what was asked.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// Which class of error it is.
    pub(crate) code: Code,
    /// What to do, for people.
    pub(crate) message: String,
}

/// The classes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Code {
    /// The settings or an argument cannot be used.
    Config,
    /// The local model cannot be used.
    Model,
    /// The saved state cannot be read.
    State,
    /// It was stopped.
    Stopped,
    /// What was told is not waited for any more: nothing is wrong.
    Late,
}

impl Failure {
    pub(crate) fn new(code: Code, error: impl ToString) -> Self {
        Self { code, message: error.to_string() }
    }
}

/// Says something.
pub(crate) fn say(value: &impl Serialize, blob: Blob) {
    // Our own types: nothing in them can fail to be written.
    let text = serde_json::to_string(value).unwrap_or_else(|error| {
        panic!("what is said to JavaScript cannot be written as JSON: {error}")
    });
    SAID.with_borrow_mut(|said| *said = Said { text, blob });
}

/// Gives 1, or says why not and gives 0.
pub(crate) fn done(result: Result<(), Failure>) -> u32 {
    match result {
        Ok(()) => 1,
        Err(failure) => {
            say(&failure, Blob::None);
            0
        }
    }
}

/// Gives a handle, or says why there is none and gives null.
pub(crate) fn handle<T>(result: Result<T, Failure>) -> *mut T {
    match result {
        Ok(value) => crate::memory::give(value),
        Err(failure) => {
            say(&failure, Blob::None);
            std::ptr::null_mut()
        }
    }
}

/// Where the text of the last call is: until the next call.
#[no_mangle]
pub extern "C" fn pet_text() -> *const u8 {
    SAID.with_borrow(|said| said.text.as_ptr())
}

/// How many bytes of UTF-8 it has.
#[no_mangle]
pub extern "C" fn pet_text_length() -> usize {
    SAID.with_borrow(|said| said.text.len())
}

/// Where the bytes of the last call are: until the next call.
#[no_mangle]
pub extern "C" fn pet_blob() -> *const u8 {
    SAID.with_borrow(|said| said.blob.parts().0)
}

/// How many there are.
#[no_mangle]
pub extern "C" fn pet_blob_length() -> usize {
    SAID.with_borrow(|said| said.blob.parts().1)
}

/// Forgets both, and wipes what was secret.
#[no_mangle]
pub extern "C" fn pet_forget() {
    SAID.take();
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What was said last.
    pub(crate) fn said() -> (serde_json::Value, Vec<u8>) {
        let blob = SAID.with_borrow(|said| {
            let (data, length) = said.blob.parts();
            match length {
                0 => Vec::new(),
                // SAFETY: there are so many, and nobody changes them meanwhile.
                _ => unsafe { std::slice::from_raw_parts(data, length) }.to_vec(),
            }
        });
        let text = SAID.with_borrow(|said| said.text.clone());
        (serde_json::from_str(&text).unwrap_or_default(), blob)
    }

    #[test]
    fn the_bytes_of_each_kind_are_those_that_were_said() {
        let model = |model| Blob::Model(Arc::new(model));
        for (blob, bytes) in [
            (Blob::None, vec![]),
            (Blob::Body(Bytes::from_static(b"abc")), b"abc".to_vec()),
            (Blob::Secret(Zeroizing::new(vec![1, 2])), vec![1, 2]),
            (model(Model::F32(vec![1.5])), 1.5f32.to_le_bytes().to_vec()),
            (model(Model::F64(vec![1.5])), 1.5f64.to_le_bytes().to_vec()),
            (model(Model::I32(vec![-3])), (-3i32).to_le_bytes().to_vec()),
            (model(Model::I64(vec![-3])), (-3i64).to_le_bytes().to_vec()),
        ] {
            say(&"text", blob);
            assert_eq!(said(), ("text".into(), bytes));
        }
        assert_eq!(pet_text_length(), "\"text\"".len());
        assert!(pet_blob_length() == 8 && !pet_blob().is_null() && !pet_text().is_null());
        pet_forget();
        assert_eq!((pet_text_length(), pet_blob_length()), (0, 0));
    }

    #[test]
    fn failures_have_a_code_and_a_text() {
        assert_eq!(done(Ok(())), 1);
        assert_eq!(done(Err(Failure::new(Code::Late, "too late"))), 0);
        assert_eq!(said().0, serde_json::json!({ "code": "late", "message": "too late" }));
        assert!(handle::<u8>(Err(Failure::new(Code::State, "none"))).is_null());
        assert_eq!(said().0["code"], "state");
    }
}
