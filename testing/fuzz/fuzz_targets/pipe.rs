//! libFuzzer's program for the target `pipe`; scripts/fuzz builds it.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| assert_eq!(commentd_fuzz::targets::feed("pipe", input), Ok(())));
