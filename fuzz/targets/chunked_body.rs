#![no_main]
//! See `promises/chunked_body.rs`.

#[path = "../promises/chunked_body.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
