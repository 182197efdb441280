//! Reference logits come from any bytes.

#![no_main]

use edgeslm::model::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Reference::parse(bytes);
});
