#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grantd::fuzzing::client_address(data));
