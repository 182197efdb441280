use super::*;
use crate::onnx::Model;

fn tiny(name: &str, options: &SynthOptions) -> (tempfile::TempDir, DecoderSpec) {
    let parent = tempfile::tempdir().unwrap();
    let options = SynthOptions { tiny: true, ..options.clone() };
    let spec = synthesise(name, &parent.path().join("model"), &options, &mut |_| {}).unwrap();
    (parent, spec)
}

fn read(parent: &tempfile::TempDir, file: &str) -> Vec<u8> {
    std::fs::read(parent.path().join("model").join(file)).unwrap()
}
