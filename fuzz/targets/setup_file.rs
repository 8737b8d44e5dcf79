#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| grantd::fuzzing::setup_file(text));
