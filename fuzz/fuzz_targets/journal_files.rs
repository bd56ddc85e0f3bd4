#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zabkeeper_fuzz::targets::journal_files(bytes));
