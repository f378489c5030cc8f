//! A worker whose ring is sound and whose frames are anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    devhost_link::hostile::send_frames(data);
});
