//! Runs `holdfast::net::tls::fuzz_bodies::talk` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdfast::net::tls::fuzz_bodies::talk(bytes));
