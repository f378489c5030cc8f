//! A worker that writes anything anywhere in its region, at any moment.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    devhost_link::hostile::write_anywhere(data);
});
