//! A directory whose graph is any bytes, with the weights, the tokenizer and the configuration of a small model, loads or is
//! refused, and answers or fails.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::{LoadOptions, Model};
use libfuzzer_sys::fuzz_target;

/// A copy of the small model, which the graph is written into.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/variants/llama-3-layers");
        let copy = std::env::temp_dir().join(format!("edgeslm-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&copy).expect("a directory can be made");
        for name in ["genai_config.json", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(model.join(name), copy.join(name)).expect("the model can be copied");
        }
        copy
    })
}

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(directory().join("model.onnx"), bytes).expect("the graph can be written");
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    match Model::load(directory(), &options) {
        Ok(model) => {
            let options = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
            let session = model.session(SessionOptions::default());
            let _ = session.expect("default options are valid").generate(vec![5, 60, 33], &options);
        }
        Err(error) => assert!(error.file().is_some(), "{error}"),
    }
});
