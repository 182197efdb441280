use super::*;
use crate::import::published_names;
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

#[test]
fn every_published_model_makes_a_directory() {
    for name in published_names() {
        let (parent, spec) = tiny(name, &SynthOptions::default());
        let graph = read(&parent, "model.onnx");
        let model = Model::parse(&graph).unwrap();
        let attentions =
            model.graph.nodes.iter().filter(|node| node.op_type == "GroupQueryAttention").count();
        assert_eq!(attentions, spec.layers.len(), "{name}");
        let has = |op_type| model.graph.nodes.iter().any(|node| node.op_type == op_type);
        assert_eq!(has("If"), name.starts_with("phi-") && name != "phi-4", "{name}");
        assert_eq!(has("GatherBlockQuantized"), spec.embedding == Embedding::Tied, "{name}");
        assert_eq!(has("Gelu"), name.starts_with("gemma"), "{name}");
        let config: serde_json::Value = serde_json::from_slice(&read(&parent, "genai_config.json")).unwrap();
        assert_eq!(config["model"]["decoder"]["num_hidden_layers"], spec.layers.len());
        let tokenizer =
            crate::text::Tokenizer::load(&parent.path().join("model/tokenizer.json"), None).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), spec.vocabulary_size, "{name}");
        let ids = tokenizer.encode_plain("Grüße, 世界!\n").unwrap();
        assert_eq!(tokenizer.decode(&ids, false), "Grüße, 世界!\n");
    }
}

#[test]
fn the_seed_decides_every_byte() {
    let options = SynthOptions { seed: 7, ..SynthOptions::default() };
    let (first, _) = tiny("phi-4-mini", &options);
    let (same, _) = tiny("phi-4-mini", &options);
    let (other, _) = tiny("phi-4-mini", &SynthOptions::default());
    for file in ["model.onnx", "model.onnx.data", "tokenizer.json"] {
        assert!(read(&first, file) == read(&same, file), "{file}");
    }
    assert!(read(&first, "model.onnx.data") != read(&other, "model.onnx.data"));
}

#[test]
fn published_sizes_are_those_of_the_published_files() {
    // Bytes of the data file that the model builder 0.18 writes for it.
    let cases = [("llama-3.2-1b", 806_166_528_u64), ("smollm2-135m", 86_287_616)];
    for (name, bytes) in cases {
        let shape = published_shape(name, &SynthOptions::default()).unwrap();
        let storage = Storage::Blocks(SynthOptions::default().format);
        let layers = vec![LayerStorage::uniform(storage); shape.layers];
        let spec = DecoderSpec { layers, head: storage, ..shape.spec };
        assert_eq!(crate::import::DecoderGraph::new(&spec).unwrap().data_bytes(), bytes, "{name}");
    }
}

#[test]
fn impossible_options_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let refused = |name, options: SynthOptions| {
        synthesise(name, &parent.path().join("model"), &options, &mut |_| {}).unwrap_err().to_string()
    };
    let tiny = SynthOptions { tiny: true, ..SynthOptions::default() };
    assert!(refused("gpt-5", tiny.clone()).contains("llama-3.2-1b"));
    assert!(refused("phi-4", SynthOptions { layers: Some(0), ..tiny.clone() }).contains("layers"));
    assert!(
        refused("phi-4", SynthOptions { vocabulary_size: Some(200), ..tiny.clone() }).contains("vocabulary")
    );
    let three_bits = BlockFormat { bits: 3, ..tiny.format };
    assert!(refused("phi-4", SynthOptions { format: three_bits, ..tiny }).contains("3 bits"));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}
