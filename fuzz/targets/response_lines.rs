#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| eio_fuzz::response_lines(data));
