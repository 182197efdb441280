//! Imports of every tensor type in this library's own engine.

use std::fs;

use safetensors::SafeTensors;

use super::sample::tokenizer_keys;
use super::*;
use crate::engine::{LogitsAt, RunControl, SequenceInput};
use crate::error::ErrorKind;
use crate::import::gguf::test_file::{File, text_value};
use crate::{Accuracy, LoadOptions, Model};

/// Rows of the matrices are two rows of the data file side by side.
const PART: usize = 256;
const HIDDEN: usize = 2 * PART;
const INNER: usize = 2 * PART;
const VOCABULARY: usize = 300;

/// Types by `ggml_type`.
const KEPT: [(u32, &str); 13] = [
    (1, "F16"),
    (30, "BF16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (8, "Q8_0"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (14, "Q6_K"),
    (20, "IQ4_NL"),
    (23, "IQ4_XS"),
    (39, "MXFP4"),
];
const REQUANTISED: [(u32, &str); 2] = [(7, "Q5_1"), (13, "Q5_K")];

/// The error by which 8-bit weights or 8-bit activations stay below; a wrong weight does more.
const ROUNDED: f64 = 0.03;

/// A model with one layer whose matrices consist of `parts`, of 256 weights of a type each.
fn model(code: u32, parts: &[&[u8]], tied: bool) -> Vec<u8> {
    let matrices = [
        ("token_embd.weight", HIDDEN, VOCABULARY),
        ("output.weight", HIDDEN, VOCABULARY),
        ("blk.0.attn_q.weight", HIDDEN, HIDDEN),
        ("blk.0.attn_k.weight", HIDDEN, HIDDEN / 2),
        ("blk.0.attn_v.weight", HIDDEN, HIDDEN / 2),
        ("blk.0.attn_output.weight", HIDDEN, HIDDEN),
        ("blk.0.ffn_gate.weight", HIDDEN, INNER),
        ("blk.0.ffn_up.weight", HIDDEN, INNER),
        ("blk.0.ffn_down.weight", INNER, HIDDEN),
    ];
    let matrices: Vec<_> =
        matrices.into_iter().filter(|(name, ..)| !tied || *name != "output.weight").collect();
    let norms = ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"];
    let numbers = [
        ("block_count", 1),
        ("context_length", 32),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", INNER),
        ("attention.head_count", 8),
        ("attention.head_count_kv", 4),
    ];
    let tokenizer = tokenizer_keys();
    let mut file =
        File::new(3, (matrices.len() + norms.len()) as u64, (tokenizer.len() + numbers.len() + 2) as u64);
    file.key("general.architecture", 8, &text_value("llama"));
    for (key, code, value) in &tokenizer {
        file.key(key, *code, value);
    }
    for (name, value) in numbers {
        file.key(&format!("llama.{name}"), 4, &(value as u32).to_le_bytes());
    }
    file.key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5_f32.to_le_bytes());

    let mut data: Vec<u8> = Vec::new();
    for name in norms {
        file.tensor(name, &[HIDDEN as u64], 0, data.len() as u64);
        data.extend((0..HIDDEN).flat_map(|index| (0.5 + index as f32 / 512.0).to_le_bytes()));
    }
    for (number, (name, columns, rows)) in matrices.into_iter().enumerate() {
        data.resize(data.len().next_multiple_of(32), 0);
        file.tensor(name, &[columns as u64, rows as u64], code, data.len() as u64);
        for row in (0..rows).map(|row| row + 5 * number) {
            let pair = [row % parts.len(), (row / parts.len() + row) % parts.len()];
            pair.iter().for_each(|&part| data.extend(parts[part]));
        }
    }
    file.data(&data);
    file.bytes
}

/// The rows under `name` in the data file.
fn parts<'a>(file: &SafeTensors<'a>, name: &str) -> Vec<&'a [u8]> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks(tensor.data().len() / tensor.shape()[0]).collect()
}

/// The logits of every position.
fn logits(gguf: &[u8], quantize: Option<Quantize>, accuracy: Accuracy) -> Result<Vec<f32>> {
    const TOKENS: [u32; 12] = [4, 250, 17, 33, 90, 2, 61, 61, 299, 0, 120, 75];
    let parent = tempfile::tempdir().unwrap();
    let (source, target) = (parent.path().join("model.gguf"), parent.path().join("model"));
    fs::write(&source, gguf).unwrap();
    import_gguf(&source, &target, &ImportOptions { quantize, context_length: None }, &mut |_| {})?;
    let options = LoadOptions { accuracy, threads: Some(2), ..LoadOptions::default() };
    let model = Model::load(&target, &options)?;
    let engine = model.engine();
    let mut cache = engine.new_cache();
    engine.prepare(cache.as_mut(), TOKENS.len())?;
    let input = SequenceInput {
        cache: cache.as_mut(),
        tokens: &TOKENS,
        parents: None,
        logits: LogitsAt::All,
        vocabulary: None,
    };
    let rows = engine.forward(&mut [input], &RunControl::default())?;
    let logits: Vec<f32> = rows[0].iter().copied().collect();
    assert_eq!(logits.len(), TOKENS.len() * VOCABULARY);
    Ok(logits)
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let pairs =
        || found.iter().zip(expected).map(|(&found, &expected)| (f64::from(found), f64::from(expected)));
    norm(&mut pairs().map(|(found, expected)| found - expected))
        / norm(&mut pairs().map(|(_, expected)| expected))
}

#[test]
fn every_type_gives_the_logits_of_its_weights_in_32_bits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import/tensor_types.safetensors");
    let file = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    for (code, name) in KEPT.into_iter().chain(REQUANTISED) {
        let (stored, weights) =
            (parts(&file, &format!("{name}.bytes")), parts(&file, &format!("{name}.weights")));
        for tied in [true, false] {
            let strict = |gguf: &[u8]| logits(gguf, None, Accuracy::Strict);
            let expected = strict(&model(0, &weights, tied)).unwrap();
            let gguf = model(code, &stored, tied);
            if KEPT.contains(&(code, name)) {
                let error = relative_error(&strict(&gguf).unwrap(), &expected);
                assert!(error < 1e-5, "{name}, tied {tied}: {error}");
                let error = relative_error(&logits(&gguf, None, Accuracy::Default).unwrap(), &expected);
                assert!(error < ROUNDED, "{name}, tied {tied}, default accuracy: {error}");
            } else {
                let error = strict(&gguf).unwrap_err();
                let tensor = if tied { "token_embd.weight" } else { "output.weight" };
                assert_eq!((error.kind(), error.node()), (ErrorKind::Unsupported, Some(tensor)), "{error}");
                assert!(error.message().contains(name) && error.hint().unwrap().contains("--quantize"));
            }
            let error =
                relative_error(&logits(&gguf, Some(Quantize::INT8), Accuracy::Strict).unwrap(), &expected);
            assert!(error < ROUNDED, "{name}, tied {tied}, quantised anew: {error}");
        }
    }
}
