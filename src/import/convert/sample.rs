//! A small GGUF model that tests vary, and what an import made of it.

use std::fs;
use std::path::PathBuf;

use half::f16;
use tempfile::TempDir;

use super::{ImportOptions, ImportReport, import_gguf};
use crate::error::{Error, Result};
use crate::import::gguf::test_file::{File, text_value};
use crate::onnx::{self, TensorContent};

pub(super) const F32: u32 = 0;
pub(super) const F16: u32 = 1;
pub(super) const Q4_0: u32 = 2;
pub(super) const Q4_1: u32 = 3;
pub(super) const Q8_0: u32 = 8;

pub(super) const HIDDEN: usize = 64;
pub(super) const HEADS: usize = 4;
pub(super) const KV_HEADS: usize = 2;
pub(super) const HEAD: usize = 16;
pub(super) const INNER: usize = 96;
pub(super) const VOCABULARY: usize = 300;
pub(super) const BIAS_NAMES: [&str; 3] = ["attn_q.bias", "attn_k.bias", "attn_v.bias"];

/// A small model in GGUF that tests vary.
pub(super) struct Sample {
    pub(super) architecture: &'static str,
    keys: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<usize>, u32)>,
}

impl Sample {
    pub(super) fn new() -> Self {
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

    pub(super) fn key(mut self, name: &str, code: u32, value: &[u8]) -> Self {
        self.keys.retain(|(key, ..)| key != name);
        self.keys.push((name.to_owned(), code, value.to_vec()));
        self
    }

    pub(super) fn without_key(mut self, name: &str) -> Self {
        self.keys.retain(|(key, ..)| key != name);
        self
    }

    pub(super) fn tensor(mut self, name: &str, dims: &[usize], code: u32) -> Self {
        self.tensors.retain(|(tensor, ..)| tensor != name);
        self.tensors.push((name.to_owned(), dims.to_vec(), code));
        self
    }

    pub(super) fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|(tensor, ..)| tensor != name);
        self
    }

    pub(super) fn typed(mut self, name: &str, code: u32) -> Self {
        self.tensors.iter_mut().filter(|(tensor, ..)| tensor == name).for_each(|tensor| tensor.2 = code);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let tokenizer = tokenizer_keys();
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

    pub(super) fn import(&self, options: &ImportOptions) -> Result<Imported> {
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

    pub(super) fn refused(&self) -> Error {
        self.import(&ImportOptions::default()).map(|_| ()).unwrap_err()
    }
}

/// A byte-level vocabulary of printable ASCII, and what goes with it.
pub(super) fn tokenizer_keys() -> Vec<(&'static str, u32, Vec<u8>)> {
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
    tokenizer.to_vec()
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
pub(super) fn reference(name: &str, dims: &[usize], code: u32) -> Vec<Vec<f32>> {
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
pub(super) struct Imported {
    #[allow(dead_code, reason = "removes the files when dropped")]
    parent: TempDir,
    pub(super) target: PathBuf,
    pub(super) graph: Vec<u8>,
    pub(super) data: Vec<u8>,
    pub(super) report: ImportReport,
}

impl Imported {
    pub(super) fn model(&self) -> onnx::Model<'_> {
        onnx::Model::parse(&self.graph).unwrap()
    }

    pub(super) fn bytes(&self, name: &str) -> Option<(&[u8], Vec<u64>)> {
        let model = self.model();
        let tensor = model.graph.initializers.iter().find(|tensor| tensor.name == name)?;
        let TensorContent::External { offset, length: Some(length), .. } = tensor.content else {
            panic!("{name}")
        };
        Some((&self.data[offset as usize..][..length as usize], tensor.dims.clone()))
    }

    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let (bytes, _) = self.bytes(name)?;
        Some(bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect())
    }

    /// The rows of a matrix by the definition of `MatMulNBits` and of `MatMul`.
    pub(super) fn matrix(&self, name: &str) -> Vec<Vec<f32>> {
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
