#![no_main]
//! See `promises/load_report.rs`.

#[path = "../promises/load_report.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
