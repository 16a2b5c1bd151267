//! What every call answers: a code, and a text.

use std::cell::RefCell;
use std::ffi::{c_char, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// What became of a call. If it is not `PET_OK`, `pet_error_text` says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// It is done.
    Ok = 0,
    /// The call is wrong: a pointer is null, a text is not UTF-8, a number is out of its range. The program has to be mended.
    Argument = 1,
    /// The answer, or the job, is not waited for any more. Nothing is wrong: it just came late.
    Late = 2,
    /// The local model cannot be used.
    Model = 3,
    /// The saved state cannot be used.
    State = 4,
    /// The participant was stopped.
    Stopped = 5,
    /// A setting, the URL or a certificate cannot be used.
    Config = 6,
    /// The operating system refuses something: randomness, a thread, a file.
    System = 7,
    /// It did not happen in time.
    Timeout = 8,
    /// The coordinator cannot be asked, or gives a wrong answer: try again later.
    Coordinator = 9,
    /// There is a mistake in this library: please report it. What the call was for is of no use any more; free it.
    Bug = 10,
    /// This process was forked from the one that the participant was started in, where its thread is.
    Forked = 11,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Error {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(Status::Argument, text)
    }
}

thread_local! {
    static TEXT: RefCell<CString> = RefCell::default();
}

/// A text for C: no zero byte can be in it.
pub(crate) fn c_text(text: impl Into<Vec<u8>>) -> CString {
    let bytes: Vec<u8> = text.into();
    let kept = bytes.into_iter().filter(|byte| *byte != 0).collect::<Vec<_>>();
    CString::new(kept).unwrap_or_default()
}

/// Does what a function is for. No panic gets out, and this thread's error text is that of this call.
pub(crate) fn guard(action: impl FnOnce() -> Result<(), Error>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|panic| {
        let reason = panic.downcast_ref::<&str>().map(ToString::to_string);
        let reason = reason.or_else(|| panic.downcast_ref::<String>().cloned());
        let reason = reason.unwrap_or_else(|| "unknown".into());
        Err(Error::new(
            Status::Bug,
            format!("a mistake in this library, please report it: {reason}"),
        ))
    });
    let (status, text) = match result {
        Ok(()) => (Status::Ok, CString::default()),
        Err(Error { status, text }) => (status, c_text(text)),
    };
    // A thread that is about to end has none.
    let _ = TEXT.try_with(|slot| slot.replace(text));
    status
}

/// Frees something: no panic gets out, and the error text stays as it is, so that it can be shown after cleaning up.
pub(crate) fn free(action: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(action));
}

/// Why the last call of this thread did not succeed, and what to do about it, in one line of UTF-8; empty if it did. It is
/// there until the next call of this thread; the `pet_*_free` leave it alone.
#[no_mangle]
pub extern "C" fn pet_error_text() -> *const c_char {
    TEXT.try_with(|slot| slot.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a status, such as `PET_ERROR_MODEL`; it is never freed.
#[no_mangle]
pub extern "C" fn pet_status_name(status: i32) -> *const c_char {
    let name: &'static CStr = match status {
        0 => c"PET_OK",
        1 => c"PET_ERROR_ARGUMENT",
        2 => c"PET_ERROR_LATE",
        3 => c"PET_ERROR_MODEL",
        4 => c"PET_ERROR_STATE",
        5 => c"PET_ERROR_STOPPED",
        6 => c"PET_ERROR_CONFIG",
        7 => c"PET_ERROR_SYSTEM",
        8 => c"PET_ERROR_TIMEOUT",
        9 => c"PET_ERROR_COORDINATOR",
        10 => c"PET_ERROR_BUG",
        11 => c"PET_ERROR_FORKED",
        _ => c"unknown",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        // SAFETY: the pointer is that of this thread's text, which ends with a zero byte.
        unsafe { CStr::from_ptr(pet_error_text()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_becomes_a_code_and_a_text_and_the_next_call_forgets_it() {
        assert_eq!(guard(|| panic!("of {}", "this kind")), Status::Bug);
        assert!(text().contains("please report it: of this kind"), "{}", text());
        assert_eq!(guard(|| Err(Error::argument("no \0 zero"))), Status::Argument);
        assert_eq!(text(), "no  zero");
        assert_eq!(guard(|| Ok(())), Status::Ok);
        assert_eq!(text(), "");
    }
}
