//! Bytes for the way in that `redis_trace::hostile::systemd` is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redis_trace::hostile::systemd(bytes));
