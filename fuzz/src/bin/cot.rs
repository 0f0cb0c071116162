//! libFuzzer's entry to [`fieldpost_fuzz::cot`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: fieldpost_fuzz::start(), |bytes: &[u8]| fieldpost_fuzz::cot::check(bytes));
