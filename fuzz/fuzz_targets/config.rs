//! Configuration files hold anything: `genai_config.json`, `config.json`, `generation_config.json`, with a zero byte
//! between them.

#![no_main]

use edgeslm::model::{ConfigFiles, ModelConfig, TextFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut texts = bytes.splitn(3, |byte| *byte == 0);
    let mut file = |name: &str| {
        let text = texts.next().filter(|text| !text.is_empty())?;
        Some(TextFile { path: name.into(), text: text.to_vec() })
    };
    let files = ConfigFiles {
        genai_config: file("genai_config.json"),
        config: file("config.json"),
        generation_config: file("generation_config.json"),
    };
    match ModelConfig::parse(&files) {
        Ok(config) => config.sampling.options().validate().expect("published sampling options are in range"),
        Err(error) => assert!(error.file().is_some(), "{error}"),
    }
});
