#![no_main]
//! See `promises/agent_headers.rs`.

#[path = "../promises/agent_headers.rs"]
mod promise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promise::hold(bytes));
