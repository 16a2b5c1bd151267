//! Bytes that are secret.

use zeroize::Zeroizing;

use crate::memory;
use crate::status::{free, guard, Status};

/// A saved state. It holds secret keys: keep it where nobody else reads it. It is wiped when it is freed.
pub struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
}

/// Shows the length only.
impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

impl Buffer {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { bytes }
    }
}

/// Where its bytes are, until it is freed, and how many.
///
/// # Safety
/// `buffer` is of this library and not freed; `bytes` and `length` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_buffer_bytes(
    buffer: *const Buffer,
    bytes: *mut *const u8,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (buffer, bytes, length) = unsafe {
            (
                memory::of(buffer, "buffer")?,
                memory::out(bytes, "bytes")?,
                memory::out(length, "length")?,
            )
        };
        bytes.set(buffer.bytes.as_ptr());
        length.set(buffer.bytes.len());
        Ok(())
    })
}

/// Wipes and frees it. A null pointer is nothing to free.
///
/// # Safety
/// `buffer` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_buffer_free(buffer: *mut Buffer) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(buffer) }));
}
