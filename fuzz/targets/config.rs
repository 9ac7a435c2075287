#![no_main]

#[global_allocator]
static ALLOCATOR: patchscript_fuzz::Counting = patchscript_fuzz::Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| patchscript_fuzz::try_file("config", data));
