//! Bytes for the way in that `redis_trace::hostile::scrape` is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redis_trace::hostile::scrape(bytes));
