//! Runs `holdfast::auth::fuzz_bodies::token` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdfast::auth::fuzz_bodies::token(bytes));
