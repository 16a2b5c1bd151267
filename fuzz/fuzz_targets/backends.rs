#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pet_fuzz::backends(data));
