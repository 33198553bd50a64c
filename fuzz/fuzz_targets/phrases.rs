//! See `nano_currency::fuzzing::phrases`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nano_currency::fuzzing::phrases(data));
