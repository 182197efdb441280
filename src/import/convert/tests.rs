use std::fs;

use super::sample::*;
use super::*;
use crate::error::ErrorKind;
use crate::import::gguf::test_file::text_value;

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
    let table = reference("token_embd.weight", &[HIDDEN, VOCABULARY], Q8_0);
    assert_eq!(imported.matrix("model.embed_tokens.weight"), table);
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
    let text = |kind: &str| text_value(kind);
    let factor = 4_f32.to_le_bytes();
    let scaled = |key| Sample::new().key(key, 6, &factor);
    // A factor without a kind is a linear one, also under the older key; the kind `none` has no factor.
    for (sample, divisor) in [
        (scaled("rope.scaling.factor").key("rope.scaling.type", 8, &text("linear")), 4.0),
        (scaled("rope.scaling.factor"), 4.0),
        (scaled("rope.scale_linear"), 4.0),
        (scaled("rope.scaling.factor").key("rope.scaling.type", 8, &text("none")), 1.0),
        (Sample::new(), 1.0),
    ] {
        let cos = sample.import(&ImportOptions::default()).unwrap().floats("cos_cache").unwrap();
        let expected = (8.0_f32 / divisor).cos();
        assert!((cos[8 * 8] - expected).abs() < 1e-6, "{} for {expected}", cos[8 * 8]);
    }
}

#[test]
fn what_cannot_be_converted_is_named() {
    let text = |value: &str| text_value(value);
    let two = 2_u32.to_le_bytes();
    let mut gptneox = Sample::new();
    gptneox.architecture = "gptneox";
    let unsupported = [
        (gptneox, "general.architecture"),
        (Sample::new().typed("blk.0.ffn_up.weight", 16), "blk.0.ffn_up.weight"),
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
        wrong_key("rope.scaling.type", 4, &1_u32.to_le_bytes()),
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
fn a_damaged_file_is_an_error_and_leaves_nothing() {
    // Shorter than what the key says, so that a damaged key cannot ask for gigabytes of rotary tables.
    let options = ImportOptions { context_length: Some(16), ..ImportOptions::default() };
    let whole = Sample::new().bytes();
    let header = whole.len() - whole.len() / 8;
    let import = |bytes: &[u8]| {
        let parent = tempfile::tempdir().unwrap();
        let source = parent.path().join("model.gguf");
        fs::write(&source, bytes).unwrap();
        let result = import_gguf(&source, &parent.path().join("model"), &options, &mut |_| {});
        if result.is_err() {
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "something is left behind");
        }
        result
    };
    for cut in (0..whole.len()).step_by(whole.len() / 50) {
        let error = import(&whole[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{cut} bytes: {error}");
    }
    let mut state = 1_u32;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % limit
    };
    let (mut imported, mut refused) = (0, 0);
    for round in 0..400 {
        let mut bytes = whole.clone();
        // Names, numbers and vocabulary come before the weights, which are most of the file.
        let position = if round % 4 == 0 { next(header) } else { next(8000) };
        bytes[position] ^= 1 << next(8);
        match import(&bytes) {
            Ok(_) => imported += 1,
            Err(error) => {
                let kinds = [ErrorKind::InvalidModel, ErrorKind::Unsupported, ErrorKind::Tokenizer];
                assert!(kinds.contains(&error.kind()), "byte {position}: {error}");
                refused += 1;
            }
        }
    }
    assert!(imported > 20 && refused > 20, "{imported} and {refused}");
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
