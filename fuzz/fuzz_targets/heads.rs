//! Heads of responses that are any bytes.
#![no_main]

use devhost_link::wire::{RequestHead, ResponseHead};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec();
    if let Ok(head) = ResponseHead::decode(bytes.clone().into()) {
        assert_eq!(head.encode(), bytes);
    }
    if let Ok(head) = RequestHead::decode(bytes.clone().into()) {
        assert_eq!(head.encode().len(), bytes.len());
    }
});
