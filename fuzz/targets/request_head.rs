#![no_main]
//! See `promises/request_head.rs`.

#[path = "../promises/request_head.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
