//! See `nano_currency::fuzzing::accounts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nano_currency::fuzzing::accounts(data));
