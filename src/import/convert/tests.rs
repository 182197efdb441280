use std::fs;
use std::path::PathBuf;

use half::f16;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::import::gguf::test_file::{File, text_value};
use crate::onnx::{self, TensorContent};

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q4_1: u32 = 3;
const Q8_0: u32 = 8;

const HIDDEN: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 16;
const INNER: usize = 96;
const VOCABULARY: usize = 300;
const BIAS_NAMES: [&str; 3] = ["attn_q.bias", "attn_k.bias", "attn_v.bias"];

/// A small model in GGUF that tests vary.
struct Sample {
    architecture: &'static str,
    keys: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<usize>, u32)>,
}

impl Sample {
    fn new() -> Self {
        let size = |value: usize| (value as u32).to_le_bytes().to_vec();
        let float = |value: f32| value.to_le_bytes().to_vec();
        let keys = [
            ("block_count", 4, size(1)),
            ("context_length", 4, size(32)),
            ("embedding_length", 4, size(HIDDEN)),
            ("feed_forward_length", 4, size(INNER)),
            ("attention.head_count", 4, size(HEADS)),
            ("attention.head_count_kv", 4, size(KV_HEADS)),
            ("attention.layer_norm_rms_epsilon", 6, float(1e-5)),
            ("rope.freq_base", 6, float(5000.0)),
        ];
        let tensors: [(&str, &[usize], u32); 11] = [
            ("token_embd.weight", &[HIDDEN, VOCABULARY], Q8_0),
            ("output_norm.weight", &[HIDDEN], F32),
            ("blk.0.attn_norm.weight", &[HIDDEN], F32),
            ("blk.0.attn_q.weight", &[HIDDEN, HEADS * HEAD], Q4_1),
            ("blk.0.attn_k.weight", &[HIDDEN, KV_HEADS * HEAD], Q4_1),
            ("blk.0.attn_v.weight", &[HIDDEN, KV_HEADS * HEAD], Q4_1),
            ("blk.0.attn_output.weight", &[HEADS * HEAD, HIDDEN], Q4_0),
            ("blk.0.ffn_norm.weight", &[HIDDEN], F32),
            ("blk.0.ffn_gate.weight", &[HIDDEN, INNER], Q4_0),
            ("blk.0.ffn_up.weight", &[HIDDEN, INNER], F16),
            ("blk.0.ffn_down.weight", &[INNER, HIDDEN], Q8_0),
        ];
        Self {
            architecture: "llama",
            keys: keys.map(|(name, code, value)| (name.to_owned(), code, value)).to_vec(),
            tensors: tensors.map(|(name, dims, code)| (name.to_owned(), dims.to_vec(), code)).to_vec(),
        }
    }

    fn key(mut self, name: &str, code: u32, value: &[u8]) -> Self {
        self.keys.retain(|(key, ..)| key != name);
        self.keys.push((name.to_owned(), code, value.to_vec()));
        self
    }

    fn without_key(mut self, name: &str) -> Self {
        self.keys.retain(|(key, ..)| key != name);
        self
    }

    fn tensor(mut self, name: &str, dims: &[usize], code: u32) -> Self {
        self.tensors.retain(|(tensor, ..)| tensor != name);
        self.tensors.push((name.to_owned(), dims.to_vec(), code));
        self
    }

    fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|(tensor, ..)| tensor != name);
        self
    }

    fn typed(mut self, name: &str, code: u32) -> Self {
        self.tensors.iter_mut().filter(|(tensor, ..)| tensor == name).for_each(|tensor| tensor.2 = code);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let tokens = tokens();
        let strings: Vec<u8> = tokens.iter().flat_map(|token| text_value(token)).collect();
        let array = |code: u32, length: usize, items: &[u8]| {
            [&code.to_le_bytes()[..], &(length as u64).to_le_bytes(), items].concat()
        };
        let merges: Vec<u8> = ["a b", "ab c"].iter().flat_map(|merge| text_value(merge)).collect();
        let tokenizer = [
            ("tokenizer.ggml.model", 8, text_value("gpt2")),
            ("tokenizer.ggml.pre", 8, text_value("smollm")),
            ("tokenizer.ggml.tokens", 9, array(8, tokens.len(), &strings)),
            ("tokenizer.ggml.token_type", 9, array(5, tokens.len(), &kinds(tokens.len()))),
            ("tokenizer.ggml.merges", 9, array(8, 2, &merges)),
            ("tokenizer.ggml.eos_token_id", 4, 1_u32.to_le_bytes().to_vec()),
            ("tokenizer.ggml.bos_token_id", 4, 0_u32.to_le_bytes().to_vec()),
            ("tokenizer.chat_template", 8, text_value("{{ messages[0].content }}")),
            ("general.license", 8, text_value("apache-2.0")),
        ];
        let plain = |key: &str| key.starts_with("tokenizer.") || key.starts_with("general.");
        let overridden = |key: &str| self.keys.iter().any(|(name, ..)| name == key);
        let tokenizer: Vec<_> = tokenizer.into_iter().filter(|(key, ..)| !overridden(key)).collect();
        let mut file =
            File::new(3, self.tensors.len() as u64, (tokenizer.len() + self.keys.len() + 1) as u64);
        file.key("general.architecture", 8, &text_value(self.architecture));
        for (key, code, value) in &tokenizer {
            file.key(key, *code, value);
        }
        for (key, code, value) in &self.keys {
            let name = if plain(key) { key.clone() } else { format!("{}.{key}", self.architecture) };
            file.key(&name, *code, value);
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, dims, code) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            file.tensor(
                name,
                &dims.iter().map(|&dim| dim as u64).collect::<Vec<_>>(),
                *code,
                data.len() as u64,
            );
            data.extend(content(name, dims, *code));
        }
        file.data(&data);
        file.bytes
    }

    fn import(&self, options: &ImportOptions) -> Result<Imported> {
        let parent = tempfile::tempdir().unwrap();
        let source = parent.path().join("model.gguf");
        fs::write(&source, self.bytes()).unwrap();
        let target = parent.path().join("model");
        let mut steps = Vec::new();
        let result = import_gguf(&source, &target, options, &mut |progress| {
            assert!(progress.written <= progress.total);
            steps.push(progress.written);
        });
        if result.is_err() {
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "something is left behind");
        }
        let report = result?;
        assert!(steps.is_sorted() && steps.last() == Some(&report.data_bytes));
        let graph = fs::read(target.join("model.onnx")).unwrap();
        let data = fs::read(target.join("model.onnx.data")).unwrap();
        assert_eq!(data.len() as u64, report.data_bytes);
        Ok(Imported { parent, target, graph, data, report })
    }

    fn refused(&self) -> Error {
        self.import(&ImportOptions::default()).map(|_| ()).unwrap_err()
    }
}

fn tokens() -> Vec<String> {
    let mut tokens = vec!["<s>".to_owned(), "<e>".to_owned(), "ab".to_owned(), "abc".to_owned()];
    tokens.extend((b'!'..=b'~').map(|byte| char::from(byte).to_string()));
    tokens.push("Ġ".to_owned());
    tokens
}

fn kinds(count: usize) -> Vec<u8> {
    (0..count).flat_map(|index| if index < 2 { 3_i32 } else { 1 }.to_le_bytes()).collect()
}

/// Any bytes that differ from row to row, with scales and floats that are finite.
fn content(name: &str, dims: &[usize], code: u32) -> Vec<u8> {
    let count: usize = dims.iter().product();
    let mut state = name.bytes().fold(7_u32, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = Vec::new();
    let half = |next: &mut dyn FnMut() -> u8| f16::from_f32(f32::from(next()) / 128.0 - 0.7).to_le_bytes();
    match code {
        F32 => (0..count).for_each(|_| bytes.extend((f32::from(next()) / 64.0 - 2.0).to_le_bytes())),
        F16 => (0..count).for_each(|_| bytes.extend(half(&mut next))),
        _ => {
            let (halves, quants) = match code {
                Q4_0 => (1, 16),
                Q4_1 => (2, 16),
                Q8_0 => (1, 32),
                _ => (0, 0),
            };
            for _ in 0..count / 32 {
                (0..halves).for_each(|_| bytes.extend(half(&mut next)));
                bytes.extend((0..quants).map(|_| next()));
            }
        }
    }
    bytes
}

/// The weights of a tensor as ggml defines them, row after row.
fn reference(name: &str, dims: &[usize], code: u32) -> Vec<Vec<f32>> {
    let bytes = content(name, dims, code);
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    let nibbles = |bytes: &[u8]| -> Vec<f32> {
        let low = bytes.iter().map(|byte| f32::from(byte % 16));
        low.chain(bytes.iter().map(|byte| f32::from(byte / 16))).collect()
    };
    let weights: Vec<f32> = match code {
        F32 => bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect(),
        F16 => bytes.chunks(2).map(half).collect(),
        Q4_0 => bytes
            .chunks(18)
            .flat_map(|block| nibbles(&block[2..]).into_iter().map(|quant| (quant - 8.0) * half(block)))
            .collect(),
        Q4_1 => bytes
            .chunks(20)
            .flat_map(|block| {
                nibbles(&block[4..]).into_iter().map(|quant| quant * half(block) + half(&block[2..]))
            })
            .collect(),
        _ => bytes
            .chunks(34)
            .flat_map(|block| block[2..].iter().map(|&quant| f32::from(quant as i8) * half(block)))
            .collect(),
    };
    weights.chunks(dims[0]).map(<[f32]>::to_vec).collect()
}

/// What an import wrote.
struct Imported {
    #[allow(dead_code, reason = "removes the files when dropped")]
    parent: TempDir,
    target: PathBuf,
    graph: Vec<u8>,
    data: Vec<u8>,
    report: ImportReport,
}

impl Imported {
    fn model(&self) -> onnx::Model<'_> {
        onnx::Model::parse(&self.graph).unwrap()
    }

    fn bytes(&self, name: &str) -> Option<(&[u8], Vec<u64>)> {
        let model = self.model();
        let tensor = model.graph.initializers.iter().find(|tensor| tensor.name == name)?;
        let TensorContent::External { offset, length: Some(length), .. } = tensor.content else {
            panic!("{name}")
        };
        Some((&self.data[offset as usize..][..length as usize], tensor.dims.clone()))
    }

    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let (bytes, _) = self.bytes(name)?;
        Some(bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect())
    }

    /// The rows of a matrix by the definition of `MatMulNBits` and of `MatMul`.
    fn matrix(&self, name: &str) -> Vec<Vec<f32>> {
        if let Some(values) = self.floats(name) {
            let rows = self.bytes(name).unwrap().1[1] as usize;
            return (0..rows).map(|row| values.iter().skip(row).step_by(rows).copied().collect()).collect();
        }
        let suffix = if self.bytes(&format!("{name}_Q4")).is_some() { "_Q4" } else { "_Q8" };
        let (packed, dims) = self.bytes(&format!("{name}{suffix}")).unwrap();
        let scales = self.floats(&format!("{name}_scales")).unwrap();
        let zero_points = self.floats(&format!("{name}_zero_points"));
        let (rows, blocks, block_bytes) = (dims[0] as usize, dims[1] as usize, dims[2] as usize);
        let mut matrix = vec![Vec::new(); rows];
        for (index, block) in packed.chunks(block_bytes).enumerate() {
            let middle = if suffix == "_Q4" { 8.0 } else { 128.0 };
            let zero_point = zero_points.as_ref().map_or(middle, |zero_points| zero_points[index]);
            let quants: Vec<u8> = match suffix {
                "_Q4" => block.iter().flat_map(|byte| [byte & 15, byte >> 4]).collect(),
                _ => block.to_vec(),
            };
            let weights = quants.iter().map(|&quant| (f32::from(quant) - zero_point) * scales[index]);
            matrix[index / blocks].extend(weights);
        }
        matrix
    }
}

fn assert_close(ours: &[Vec<f32>], expected: &[Vec<f32>], name: &str) {
    assert_eq!(ours.len(), expected.len(), "{name}");
    for (row, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert_eq!(ours.len(), expected.len(), "{name}");
        for (ours, expected) in ours.iter().zip(expected) {
            assert!((ours - expected).abs() <= 1e-6, "{name} row {row}: {ours} for {expected}");
        }
    }
}

/// Each head's rows 0, 2, 4 …, then 1, 3, 5 ….
fn halves(rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let head = |head: &[Vec<f32>]| -> Vec<Vec<f32>> {
        head.iter().step_by(2).chain(head.iter().skip(1).step_by(2)).cloned().collect()
    };
    rows.chunks(HEAD).flat_map(head).collect()
}

#[test]
fn no_weight_changes() {
    let imported = Sample::new().import(&ImportOptions::default()).unwrap();
    let layer = |name: &str| format!("model.layers.0.{name}.MatMul.weight");
    let query = reference("blk.0.attn_q.weight", &[HIDDEN, HEADS * HEAD], Q4_1);
    let key = reference("blk.0.attn_k.weight", &[HIDDEN, KV_HEADS * HEAD], Q4_1);
    let value = reference("blk.0.attn_v.weight", &[HIDDEN, KV_HEADS * HEAD], Q4_1);
    let qkv = [halves(&query), halves(&key), value].concat();
    assert_close(&imported.matrix(&layer("attn.qkv_proj")), &qkv, "qkv");
    let same = [
        ("attn.o_proj", "attn_output", [HEADS * HEAD, HIDDEN], Q4_0),
        ("mlp.gate_proj", "ffn_gate", [HIDDEN, INNER], Q4_0),
        ("mlp.up_proj", "ffn_up", [HIDDEN, INNER], F16),
        ("mlp.down_proj", "ffn_down", [INNER, HIDDEN], Q8_0),
    ];
    for (name, source, dims, code) in same {
        let expected = reference(&format!("blk.0.{source}.weight"), &dims, code);
        assert_eq!(imported.matrix(&layer(name)), expected, "{name}");
    }
    let head = reference("token_embd.weight", &[HIDDEN, VOCABULARY], Q8_0);
    assert_eq!(imported.matrix("lm_head.MatMul.weight"), head);
    let norms = [
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
        ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
        ("model.layers.1.final_norm_layernorm.weight", "output_norm.weight"),
    ];
    for (name, source) in norms {
        assert_eq!(imported.floats(name).unwrap(), reference(source, &[HIDDEN], F32).concat(), "{name}");
    }
    // The embedding reads the head's rows; 8 pairs at theta 5000, 32 positions.
    assert!(imported.bytes("model.embed_tokens.weight").is_none());
    let cos = imported.floats("cos_cache").unwrap();
    assert_eq!(cos.len(), 32 * 8);
    assert!((cos[8 * 3 + 1] - (3.0 / 5000_f64.powf(0.125)).cos() as f32).abs() < 1e-6);
    assert_eq!(imported.report.license.as_deref(), Some("apache-2.0"));
}

#[test]
fn the_tokenizer_comes_along() {
    let imported = Sample::new().import(&ImportOptions::default()).unwrap();
    let file = |name: &str| imported.target.join(name);
    let tokenizer =
        crate::text::Tokenizer::load(&file("tokenizer.json"), Some(&file("tokenizer_config.json"))).unwrap();
    let id = |text: &str| tokenizer.id_of(text).unwrap();
    let ids = tokenizer.encode("abc abd<e>12", crate::text::SpecialTokens::Add).unwrap();
    assert_eq!(ids, [id("abc"), id("Ġ"), id("ab"), id("d"), 1, id("1"), id("2")]);
    assert_eq!((tokenizer.bos().unwrap().id, tokenizer.eos().unwrap().id), (Some(0), Some(1)));
    assert_eq!(fs::read(file("chat_template.jinja")).unwrap(), b"{{ messages[0].content }}");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(file("genai_config.json")).unwrap()).unwrap();
    assert_eq!((&config["model"]["eos_token_id"], &config["model"]["bos_token_id"]), (&1.into(), &0.into()));
    let begins = Sample::new().key("tokenizer.ggml.add_bos_token", 7, &[1]);
    let imported = begins.import(&ImportOptions::default()).unwrap();
    let tokenizer = crate::text::Tokenizer::load(&imported.target.join("tokenizer.json"), None).unwrap();
    assert_eq!(tokenizer.encode("ab", crate::text::SpecialTokens::Add).unwrap(), [0, 2]);
}

#[test]
fn projections_stored_differently_stay_apart() {
    let imported = Sample::new().typed("blk.0.attn_v.weight", F16).import(&ImportOptions::default()).unwrap();
    let key = reference("blk.0.attn_k.weight", &[HIDDEN, KV_HEADS * HEAD], Q4_1);
    let value = reference("blk.0.attn_v.weight", &[HIDDEN, KV_HEADS * HEAD], F16);
    assert_close(&imported.matrix("model.layers.0.attn.k_proj.MatMul.weight"), &halves(&key), "key");
    assert_eq!(imported.matrix("model.layers.0.attn.v_proj.MatMul.weight"), value);
    let model = imported.model();
    let attention = model.graph.nodes.iter().find(|node| node.op_type == "GroupQueryAttention").unwrap();
    let inputs =
        ["q_proj", "k_proj", "v_proj"].map(|name| format!("/model/layers.0/attn/{name}/MatMul/output_0"));
    assert_eq!(attention.inputs[..3], inputs);
}

#[test]
fn embedding_and_head_may_differ() {
    // Float zero points cannot be gathered, so the embedding becomes a table.
    let imported = Sample::new().typed("token_embd.weight", Q4_1).import(&ImportOptions::default()).unwrap();
    let rows = reference("token_embd.weight", &[HIDDEN, VOCABULARY], Q4_1);
    assert_eq!(imported.floats("model.embed_tokens.weight").unwrap(), rows.concat());
    assert_close(&imported.matrix("lm_head.MatMul.weight"), &rows, "head");

    let untied = Sample::new().tensor("output.weight", &[HIDDEN, VOCABULARY], Q4_0);
    let imported = untied.import(&ImportOptions::default()).unwrap();
    let table = reference("token_embd.weight", &[HIDDEN, VOCABULARY], Q8_0).concat();
    assert_eq!(imported.floats("model.embed_tokens.weight").unwrap(), table);
    let head = reference("output.weight", &[HIDDEN, VOCABULARY], Q4_0);
    assert_eq!(imported.matrix("lm_head.MatMul.weight"), head);

    let dense = Sample::new().typed("token_embd.weight", F32).import(&ImportOptions::default()).unwrap();
    let head = reference("token_embd.weight", &[HIDDEN, VOCABULARY], F32);
    assert_eq!(dense.matrix("lm_head.MatMul.weight"), head);
    assert!(dense.model().graph.nodes.iter().any(|node| node.op_type == "Transpose"));
}

#[test]
fn biases_follow_their_rows() {
    let mut sample = Sample::new();
    sample.architecture = "qwen2";
    for (name, rows) in BIAS_NAMES.into_iter().zip([HEADS, KV_HEADS, KV_HEADS]) {
        sample = sample.tensor(&format!("blk.0.{name}"), &[rows * HEAD], F32);
    }
    let imported = sample.import(&ImportOptions::default()).unwrap();
    let biases = BIAS_NAMES.into_iter().zip([HEADS, KV_HEADS, KV_HEADS]);
    let expected: Vec<f32> = biases
        .flat_map(|(name, rows)| reference(&format!("blk.0.{name}"), &[rows * HEAD], F32).concat())
        .collect();
    assert_eq!(imported.floats("model.layers.0.attn.qkv_proj.Add.bias").unwrap(), expected);
    // Qwen's rows are half against half already.
    let query = reference("blk.0.attn_q.weight", &[HIDDEN, HEADS * HEAD], Q4_1);
    let qkv = imported.matrix("model.layers.0.attn.qkv_proj.MatMul.weight");
    assert_close(&qkv[..HEADS * HEAD], &query, "query");
}

#[test]
fn requantising_stays_within_half_a_step() {
    for (quantize, bits) in
        [(Quantize::INT4, 4), (Quantize::INT8, 8), (Quantize { bits: 4, block_size: 128 }, 4)]
    {
        let options = ImportOptions { quantize: Some(quantize), context_length: Some(16) };
        let imported = Sample::new().import(&options).unwrap();
        let expected = reference("blk.0.ffn_up.weight", &[HIDDEN, INNER], F16);
        let ours = imported.matrix("model.layers.0.mlp.up_proj.MatMul.weight");
        for (ours, expected) in ours.iter().zip(&expected) {
            for (ours, expected) in ours.chunks(quantize.block_size).zip(expected.chunks(quantize.block_size))
            {
                let largest = expected.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
                let step = largest / f32::from(1_u16 << (bits - 1));
                for (ours, expected) in ours.iter().zip(expected) {
                    // A weight as large as the extreme one, of the other sign, loses a whole step.
                    let bound = if expected.abs() > largest - step { step } else { step / 2.0 };
                    assert!((ours - expected).abs() <= bound * 1.001, "{ours} for {expected}");
                }
            }
        }
        let model = imported.model();
        assert!(model.graph.nodes.iter().any(|node| node.op_type == "GatherBlockQuantized"));
        assert!(!model.graph.nodes.iter().any(|node| node.op_type == "MatMul"));
        assert_eq!(imported.bytes("cos_cache").unwrap().1, [16, 8]);
    }
}

#[test]
fn rope_factors_of_the_file_are_used() {
    let sample = Sample::new().tensor("rope_freqs.weight", &[HEAD / 2], F32);
    // The values are of either sign.
    assert!(sample.refused().to_string().contains("rope factor"));
    let linear = Sample::new().key("rope.scaling.type", 8, &text_value("linear")).key(
        "rope.scaling.factor",
        6,
        &4_f32.to_le_bytes(),
    );
    let cos = linear.import(&ImportOptions::default()).unwrap().floats("cos_cache").unwrap();
    assert!((cos[8 * 8] - 2_f32.cos()).abs() < 1e-6);
}

#[test]
fn what_cannot_be_converted_is_named() {
    let text = |value: &str| text_value(value);
    let two = 2_u32.to_le_bytes();
    let mut gptneox = Sample::new();
    gptneox.architecture = "gptneox";
    let unsupported = [
        (gptneox, "general.architecture"),
        (Sample::new().typed("blk.0.ffn_up.weight", 14), "blk.0.ffn_up.weight"),
        (Sample::new().tensor("blk.0.attn_q_norm.weight", &[HEAD], F32), "blk.0.attn_q_norm.weight"),
        (Sample::new().key("expert_count", 4, &two), "llama.expert_count"),
        (Sample::new().key("rope.scaling.type", 8, &text("yarn")), "llama.rope.scaling.type"),
        (Sample::new().key("rope.dimension_count", 4, &8_u32.to_le_bytes()), "llama.rope.dimension_count"),
        (
            Sample::new().key("attention.value_length", 4, &8_u32.to_le_bytes()),
            "llama.attention.value_length",
        ),
        (Sample::new().key("tokenizer.ggml.model", 8, &text("bert")), "tokenizer.ggml.model"),
        (Sample::new().key("tokenizer.ggml.pre", 8, &text("chameleon")), "tokenizer.ggml.pre"),
    ];
    for (sample, node) in unsupported {
        let error = sample.refused();
        assert_eq!((error.kind(), error.node()), (ErrorKind::Unsupported, Some(node)), "{error}");
        assert!(error.file().is_some_and(|file| file.ends_with("model.gguf")), "{error}");
    }
}

#[test]
fn damage_is_named() {
    let missing = |key| (Sample::new().without_key(key), format!("llama.{key}"));
    let no_tensor = |name: &str| (Sample::new().without_tensor(name), name.to_owned());
    let wrong = |name: &str, dims: &[usize]| (Sample::new().tensor(name, dims, F32), name.to_owned());
    let wrong_key =
        |key: &str, code, value: &[u8]| (Sample::new().key(key, code, value), format!("llama.{key}"));
    let invalid = [
        missing("block_count"),
        missing("embedding_length"),
        missing("attention.layer_norm_rms_epsilon"),
        no_tensor("output_norm.weight"),
        no_tensor("token_embd.weight"),
        no_tensor("blk.0.ffn_down.weight"),
        wrong("blk.0.attn_norm.weight", &[HIDDEN + 1]),
        wrong("blk.0.attn_output.weight", &[HIDDEN, HIDDEN - 1]),
        wrong_key("embedding_length", 8, &text_value("many")),
        wrong_key("rope.freq_base", 6, &f32::NAN.to_le_bytes()),
    ];
    for (sample, node) in invalid {
        let error = sample.refused();
        assert_eq!((error.kind(), error.node()), (ErrorKind::InvalidModel, Some(&*node)), "{error}");
    }
    // More layers than there are tensors, and numbers that overflow.
    for (key, value) in
        [("block_count", u32::MAX), ("attention.head_count", u32::MAX), ("attention.head_count", 0)]
    {
        let error = Sample::new().key(key, 4, &value.to_le_bytes()).refused();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error}");
    }
    let error = Sample::new().key("tokenizer.ggml.eos_token_id", 4, &9999_u32.to_le_bytes()).refused();
    assert_eq!((error.kind(), error.node()), (ErrorKind::Tokenizer, Some("tokenizer.ggml.eos_token_id")));
}

#[test]
fn impossible_options_are_refused() {
    for quantize in [Quantize { bits: 3, block_size: 32 }, Quantize { bits: 4, block_size: 24 }] {
        let options = ImportOptions { quantize: Some(quantize), ..ImportOptions::default() };
        let error = Sample::new().import(&options).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let options = ImportOptions { context_length: Some(33), ..ImportOptions::default() };
    let error = Sample::new().import(&options).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let missing = import_gguf("absent.gguf".as_ref(), "x".as_ref(), &ImportOptions::default(), &mut |_| {});
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let source = parent.path().join("model.gguf");
    fs::write(&source, Sample::new().bytes()).unwrap();
    let target = parent.path().join("model");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "x").unwrap();
    let error = import_gguf(&source, &target, &ImportOptions::default(), &mut |_| {}).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::InvalidArgument, Some(&*target)));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
}
