//! See `nano_currency::fuzzing::blocks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nano_currency::fuzzing::blocks(data));
