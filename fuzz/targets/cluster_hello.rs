#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| eio_fuzz::cluster_hello(data));
