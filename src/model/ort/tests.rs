//! Masks as wide as the cache, which TensorRT-RTX needs, on a provider that every machine has.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use super::*;
use crate::engine::{Engine, EngineChoice, LogitsAt, RunControl, SequenceInput};

/// ONNX Runtime's shared library, which `cargo xtask ort` fetches.
fn library() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("EDGESLM_TEST_ORT") else {
        eprintln!("skipped: ONNX Runtime is missing; cargo xtask ort fetches it and runs this test");
        return None;
    };
    let capi = Path::new(&folder).join("cpu/onnxruntime/capi");
    let mut paths = std::fs::read_dir(capi).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("libonnxruntime.so."))
}

/// The logits after each of `passes`, fed one after another.
fn logits(engine: &OrtEngine, passes: &[&[u32]]) -> Vec<Vec<f32>> {
    let mut cache = engine.new_cache();
    let mut length = 0;
    let mut found = Vec::new();
    for tokens in passes {
        length += tokens.len();
        engine.prepare(cache.as_mut(), length).unwrap();
        let input = SequenceInput {
            cache: cache.as_mut(),
            tokens,
            parents: None,
            logits: LogitsAt::Last,
            vocabulary: None,
        };
        let rows = engine.forward(&mut [input], &RunControl::default()).unwrap();
        found.push(rows[0].row(0).to_vec());
    }
    found
}

#[test]
fn masks_as_wide_as_the_cache_change_nothing() {
    let Some(library) = library() else { return };
    let choice = OrtOptions { library: Some(library), provider: Provider::Cpu, ..OrtOptions::default() };
    let options = LoadOptions { engine: EngineChoice::Ort(choice.clone()), ..LoadOptions::default() };
    for name in ["llama-3.2-1b-int4", "gemma-2-2b-int4"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name);
        let open = |preference: GraphPreference| super::super::load::open(&path, &options, preference);
        let graph = Graph::of_choice(&open, &options, &choice).unwrap();
        open_library(&choice).unwrap();
        let growing = graph.engine(&options, &choice, Provider::Cpu).unwrap();
        assert!(growing.shares_cache());
        let fixed = graph.engine(&options, &choice, Provider::Cpu).unwrap().with_static_masks();
        // Into the cache's second step of 128 positions and beyond its end.
        let prompt: Vec<u32> = (0..120).map(|index| 10 + index * 7 % 400).collect();
        let more: Vec<[u32; 1]> = (20..32).map(|id| [id]).collect();
        let mut passes = vec![&prompt[..50], &prompt[50..]];
        passes.extend(more.iter().map(|token| &token[..]));
        assert_eq!(logits(&fixed, &passes), logits(&growing, &passes), "{name}");
    }
}
