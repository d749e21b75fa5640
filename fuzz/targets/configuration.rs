#![no_main]
//! See `promises/configuration.rs`.

#[path = "../promises/configuration.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
