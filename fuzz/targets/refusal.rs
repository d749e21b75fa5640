#![no_main]
//! See `promises/refusal.rs`.

#[path = "../promises/refusal.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
