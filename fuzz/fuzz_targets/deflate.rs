//! Runs `holdfast::wire::fuzz_bodies::deflate` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdfast::wire::fuzz_bodies::deflate(bytes));
