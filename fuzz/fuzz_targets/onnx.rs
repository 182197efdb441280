//! The ONNX reader takes any bytes, and the writer writes what was read so that it reads as the same.

#![no_main]

use edgeslm::onnx::{Model, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::parse(bytes) else { return };
    // Fails for attributes and tensors of kinds that the reader skips.
    let Ok(written) = write(&model) else { return };
    let again = Model::parse(&written).expect("a written model reads");
    // As text, in which NaN equals itself.
    assert_eq!(format!("{again:?}"), format!("{model:?}"));
});
