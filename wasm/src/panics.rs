//! What a panic leaves behind: its text, for whoever catches the trap.

use std::cell::RefCell;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has the texts of panics kept. To be called once, first of all.
#[no_mangle]
pub extern "C" fn pet_start() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        // Not while it is being written: then the first panic is the one to tell of.
        TEXT.with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                *kept = text;
            }
        });
    }));
}

/// Where the text of the panic is.
#[no_mangle]
pub extern "C" fn pet_panic_text() -> *const u8 {
    TEXT.with_borrow(|text| text.as_ptr())
}

/// How many bytes it has; none if there was no panic.
#[no_mangle]
pub extern "C" fn pet_panic_text_length() -> usize {
    TEXT.with_borrow(|text| text.len())
}

/// Panics, for tests of what becomes of that.
#[no_mangle]
pub extern "C" fn pet_panic_for_tests() {
    panic!("a panic for tests");
}
