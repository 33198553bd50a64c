//! See `nano_currency::fuzzing::rpc_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nano_currency::fuzzing::rpc_answers(data));
