//! The version of this library, and of the header that a program was compiled with.

use std::ffi::c_char;

/// The version of this interface. The first number grows when programs have to be compiled anew, the second when something is
/// added.
pub const HEADER_VERSION: u32 = 1 << 16;

/// How many bytes a public key has.
pub const KEY_LENGTH: usize = 32;

/// How many bytes a seed has.
pub const SEED_LENGTH: usize = 32;

/// The version of the interface that this library has, as `PET_HEADER_VERSION` is that of the header.
#[no_mangle]
pub extern "C" fn pet_version() -> u32 {
    HEADER_VERSION
}

/// Whether a program that was compiled with a header of this version (`PET_HEADER_VERSION`) runs with this library. Ask before
/// anything else.
#[no_mangle]
pub extern "C" fn pet_is_compatible(header_version: u32) -> bool {
    header_version >> 16 == HEADER_VERSION >> 16 && header_version <= HEADER_VERSION
}

/// The version of this library, such as `0.1.0`; it is never freed.
#[no_mangle]
pub extern "C" fn pet_library_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_headers_of_the_same_interface_will_do() {
        assert!(pet_is_compatible(HEADER_VERSION));
        assert!(!pet_is_compatible(HEADER_VERSION + 1));
        assert!(!pet_is_compatible(HEADER_VERSION - 1));
        assert!(!pet_is_compatible(HEADER_VERSION + (1 << 16)));
        assert!(!pet_is_compatible(0));
    }
}
