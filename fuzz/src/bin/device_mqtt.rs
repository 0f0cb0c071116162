//! libFuzzer's entry to [`fieldpost_fuzz::device_mqtt`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: fieldpost_fuzz::start(), |bytes: &[u8]| fieldpost_fuzz::device_mqtt::check(bytes));
