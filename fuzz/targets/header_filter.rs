#![no_main]
//! See `promises/header_filter.rs`.

#[path = "../promises/header_filter.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
