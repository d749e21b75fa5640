#![no_main]
//! See `promises/response_head.rs`.

#[path = "../promises/response_head.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
