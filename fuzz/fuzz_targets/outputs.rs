//! See `nano_worker::fuzzing::outputs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nano_worker::fuzzing::outputs(data));
