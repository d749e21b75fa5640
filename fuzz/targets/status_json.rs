#![no_main]
//! See `promises/status_json.rs`.

#[path = "../promises/status_json.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
