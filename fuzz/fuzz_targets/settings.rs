//! Runs `holdfast::config::fuzz_bodies::settings` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdfast::config::fuzz_bodies::settings(bytes));
