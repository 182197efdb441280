use super::*;

fn file(name: &str, text: &str) -> Option<TextFile> {
    Some(TextFile { path: name.into(), text: text.as_bytes().to_vec() })
}

fn genai(text: &str) -> ConfigFiles {
    ConfigFiles { genai_config: file("genai_config.json", text), ..ConfigFiles::default() }
}

fn transformers(config: &str) -> ConfigFiles {
    ConfigFiles { config: file("config.json", config), ..ConfigFiles::default() }
}

#[test]
fn a_file_of_the_genai_builder() {
    let config = ModelConfig::parse(&genai(
        r#"{"model": {
            "type": "Phi3", "bos_token_id": 1, "eos_token_id": [2, 7, 2], "pad_token_id": 0,
            "context_length": 4096, "vocab_size": 32064, "tokenizer_dir": "text",
            "prompt_templates": {"user": "<u>{Content}", "system": null},
            "decoder": {
                "filename": "phi.onnx", "head_size": 96, "hidden_size": 3072, "num_attention_heads": 32,
                "num_hidden_layers": 24, "num_key_value_heads": 8, "pipeline": [],
                "inputs": {"input_ids": "ids", "past_key_names": "past.%d.k", "past_value_names": "past.%d.v"},
                "outputs": {"logits": "scores", "present_key_names": "new.%d.k"}
            }},
            "search": {"do_sample": true, "temperature": 0.5, "top_k": 1, "top_p": 0.25, "min_p": 0.125,
                       "repetition_penalty": 1.5, "max_length": 4096}}"#,
    ))
    .unwrap();
    let expected = ModelConfig {
        model_type: Some("phi3".into()),
        context_length: Some(4096),
        vocabulary_size: Some(32_064),
        layers: Some(24),
        heads: Some(32),
        kv_heads: Some(8),
        head_size: Some(96),
        hidden_size: Some(3072),
        bos_token_id: Some(1),
        pad_token_id: Some(0),
        eos_token_ids: vec![2, 7],
        names: GraphNames {
            input_ids: "ids".into(),
            past_key: LayerName::parse("past.%d.k").unwrap(),
            past_value: LayerName::parse("past.%d.v").unwrap(),
            logits: "scores".into(),
            present_key: LayerName::parse("new.%d.k").unwrap(),
            ..GraphNames::default()
        },
        sampling: SamplingDefaults {
            source: Some("genai_config.json".into()),
            do_sample: Some(true),
            temperature: Some(0.5),
            top_k: Some(1),
            top_p: Some(0.25),
            min_p: Some(0.125),
            repetition_penalty: Some(1.5),
            max_length: Some(4096),
        },
        prompt_templates: Some(PromptTemplates {
            user: Some("<u>{Content}".into()),
            ..PromptTemplates::default()
        }),
        graph_file: Some("phi.onnx".into()),
        tokenizer_directory: Some("text".into()),
        rotary_cache_offset: None,
    };
    assert_eq!(config, expected);
}

#[test]
fn files_of_transformers() {
    let config = ModelConfig::parse(&ConfigFiles {
        genai_config: None,
        config: file(
            "config.json",
            r#"{"model_type": "llama", "max_position_embeddings": 8192, "vocab_size": 49152, "hidden_size": 576,
                "num_attention_heads": 9, "num_hidden_layers": 30, "bos_token_id": 1, "eos_token_id": 2,
                "pad_token_id": -1, "is_encoder_decoder": false, "transformers.js_config": {"dtype": "q4"}}"#,
        ),
        generation_config: file(
            "generation_config.json",
            r#"{"eos_token_id": [5, 2], "do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": -1}"#,
        ),
    })
    .unwrap();
    assert_eq!(config.model_type.as_deref(), Some("llama"));
    assert_eq!((config.context_length, config.vocabulary_size), (Some(8192), Some(49_152)));
    assert_eq!((config.layers, config.heads, config.kv_heads), (Some(30), Some(9), Some(9)));
    assert_eq!((config.head_size, config.hidden_size), (Some(64), Some(576)));
    assert_eq!((config.bos_token_id, config.pad_token_id), (Some(1), None));
    assert_eq!(config.eos_token_ids, [5, 2]);
    assert_eq!(config.names, GraphNames::default());
    assert_eq!(config.sampling.source, Some("generation_config.json".into()));
    assert_eq!(config.sampling.top_k, Some(0));
}

#[test]
fn the_files_complete_each_other() {
    let config = ModelConfig::parse(&ConfigFiles {
        genai_config: file(
            "genai_config.json",
            r#"{"model": {"eos_token_id": 9, "context_length": 100, "decoder": {"head_size": 128}}, "search": {}}"#,
        ),
        config: file(
            "config.json",
            r#"{"eos_token_id": [8, 9], "max_position_embeddings": 200, "hidden_size": 5120,
                "num_attention_heads": 32, "num_key_value_heads": 8}"#,
        ),
        generation_config: file(
            "generation_config.json",
            r#"{"eos_token_id": [7, 9], "bos_token_id": 3, "pad_token_id": 4, "temperature": 0.5}"#,
        ),
    })
    .unwrap();
    assert_eq!(config.eos_token_ids, [9, 7, 8]);
    assert_eq!((config.context_length, config.head_size), (Some(100), Some(128)));
    assert_eq!((config.kv_heads, config.hidden_size), (Some(8), Some(5120)));
    assert_eq!((config.bos_token_id, config.pad_token_id), (Some(3), Some(4)));
    // An empty search block is the publisher's word all the same.
    assert_eq!(
        (config.sampling.source, config.sampling.temperature),
        (Some("genai_config.json".into()), None)
    );
}

#[test]
fn nothing_is_needed() {
    assert_eq!(ModelConfig::parse(&ConfigFiles::default()).unwrap(), ModelConfig::default());
    assert_eq!(ModelConfig::parse(&transformers("{}")).unwrap(), ModelConfig::default());
}

#[test]
fn damage_names_file_and_place() {
    let decoder = |text: &str| genai(&format!(r#"{{"model": {{"decoder": {text}}}}}"#));
    let model = |text: &str| genai(&format!(r#"{{"model": {{"decoder": {{}}, {text}}}}}"#));
    let search = |text: &str| genai(&format!(r#"{{"model": {{"decoder": {{}}}}, "search": {text}}}"#));
    let many: Vec<String> = (0..1001).map(|id| id.to_string()).collect();
    for (files, expected) in [
        (genai("{"), "genai_config.json: this is not valid JSON"),
        (genai("[]"), "genai_config.json: a list in place of an object"),
        (genai("{}"), "genai_config.json: the file has no \"model\""),
        (genai(r#"{"model": 1}"#), "genai_config.json: model: a number in place of an object"),
        (genai(r#"{"model": {}}"#), "genai_config.json: model: it has no \"decoder\""),
        (decoder(r#"{"filename": 7}"#), "model.decoder.filename: a number in place of a string"),
        (decoder(r#"{"head_size": 0}"#), "model.decoder.head_size: 0 is not a whole number from 1 to 16384"),
        (decoder(r#"{"head_size": 1e30}"#), "model.decoder.head_size: 1e+30 is not"),
        (decoder(r#"{"num_hidden_layers": 99999999999999999999}"#), "num_hidden_layers: 1e+20 is not"),
        (decoder(r#"{"num_hidden_layers": -3}"#), "num_hidden_layers: -3 is not"),
        (decoder(r#"{"num_hidden_layers": "3"}"#), "num_hidden_layers: a string in place of a whole number"),
        (decoder(r#"{"inputs": {"past_key_names": "past"}}"#), "past_key_names: a name with exactly one %d"),
        (decoder(r#"{"inputs": {"past_key_names": "%d%d"}}"#), "past_key_names: a name with exactly one %d"),
        (decoder(r#"{"inputs": {"past_key_names": "%s%d"}}"#), "past_key_names: a name with exactly one %d"),
        (decoder(r#"{"inputs": {"past_names": "past_%d"}}"#), "model.decoder.inputs.past_names: keys and"),
        (decoder(r#"{"outputs": []}"#), "model.decoder.outputs: a list in place of an object"),
        (model(r#""eos_token_id": "</s>""#), "model.eos_token_id: a string in place of a whole number"),
        (model(r#""eos_token_id": [1, null]"#), "model.eos_token_id[1]: null in place of a whole number"),
        (model(r#""eos_token_id": [4294967296]"#), "model.eos_token_id[0]: 4294967296 is not"),
        (model(&format!(r#""eos_token_id": [{}]"#, many.join(","))), "more than 1000 stop tokens"),
        (model(r#""bos_token_id": -2"#), "model.bos_token_id: -2 is not"),
        (model(r#""context_length": 1.5"#), "model.context_length: 1.5 is not"),
        (model(r#""type": ["llama"]"#), "model.type: a list in place of a string"),
        (model(r#""prompt_templates": "x""#), "model.prompt_templates: a string in place of an object"),
        (search(r#"{"do_sample": 1}"#), "search.do_sample: a number in place of true or false"),
        (search(r#"{"temperature": -1}"#), "search.temperature: -1 is not from 0 to 1000"),
        (search(r#"{"top_p": 2}"#), "search.top_p: 2 is not from 0 to 1"),
        (search(r#"{"top_k": 1.5}"#), "search.top_k: 1.5 is not"),
        (search("3"), "search: a number in place of an object"),
        (transformers(r#"{"num_attention_heads": []}"#), "config.json: num_attention_heads: a list in place"),
    ] {
        let error = ModelConfig::parse(&files).expect_err(expected);
        assert!(error.to_string().contains(expected), "expected {expected:?} in {error}");
        let is_form = expected.contains("past_names");
        let kind = if is_form { ErrorKind::Unsupported } else { ErrorKind::InvalidModel };
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn models_of_several_graphs_are_unsupported() {
    for (files, expected) in [
        (genai(r#"{"model": {"decoder": {"pipeline": [{"a": {}}]}}}"#), "model.decoder.pipeline"),
        (genai(r#"{"model": {"decoder": {}, "vision": {"filename": "v.onnx"}}}"#), "model.vision"),
        (genai(r#"{"model": {"encoder": {"filename": "e.onnx"}, "decoder": {}}}"#), "model.encoder"),
        (transformers(r#"{"is_encoder_decoder": true}"#), "config.json: is_encoder_decoder"),
    ] {
        let error = ModelConfig::parse(&files).expect_err(expected);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn layer_names() {
    let name = LayerName::parse("present.%d.key").unwrap();
    assert_eq!(name.of(12), "present.12.key");
    for (text, layer) in [
        ("present.12.key", Some(12)),
        ("present.0.key", Some(0)),
        ("present.012.key", None),
        ("present.+1.key", None),
        ("present..key", None),
        ("present.1.value", None),
        ("present.99999999999999999999.key", None),
        ("present.key", None),
    ] {
        assert_eq!(name.layer_of(text), layer, "{text}");
    }
    assert_eq!(GraphNames::default().past_value.of(3), "past_key_values.3.value");
}

#[test]
fn sampling_as_the_publisher_means_it() {
    let sampling = |do_sample, temperature, top_k, top_p| SamplingDefaults {
        do_sample,
        temperature,
        top_k,
        top_p,
        repetition_penalty: Some(1.25),
        ..SamplingDefaults::default()
    };
    let greedy = SamplingOptions {
        repetition_penalty: 1.25,
        penalty_window: usize::MAX,
        ..SamplingOptions::default()
    };
    for defaults in [
        sampling(None, Some(0.7), Some(50), None),
        sampling(Some(false), Some(0.7), Some(50), None),
        sampling(Some(true), Some(0.0), Some(50), None),
        sampling(Some(true), Some(0.7), Some(1), Some(0.9)),
    ] {
        assert_eq!(defaults.options(), greedy);
    }
    assert_eq!(
        sampling(Some(true), Some(0.5), Some(40), Some(0.0)).options(),
        SamplingOptions { temperature: 0.5, top_k: 40, top_p: 1.0, ..greedy.clone() }
    );
    assert_eq!(
        sampling(Some(true), None, None, Some(0.9)).options(),
        SamplingOptions { temperature: 1.0, top_k: 50, top_p: 0.9, ..greedy }
    );
    assert!(sampling(Some(true), Some(1000.0), Some(1 << 31), Some(1.0)).options().validate().is_ok());
}

#[test]
fn the_rotary_cache_offset_of_any_provider() {
    let parse = |options: &str| {
        let text = format!(
            r#"{{"model": {{"decoder": {{"session_options": {{"provider_options": {options}}}}}}}}}"#
        );
        ModelConfig::parse(&genai(&text)).map(|config| config.rotary_cache_offset)
    };
    for (options, expected) in [
        (r#"[]"#, None),
        (r#"[{"cuda": {"enable_cuda_graph": "0"}}]"#, None),
        (r#"[{"NvTensorRtRtx": {"multi_rotary_cache_concat_offset": "4096"}}]"#, Some(4096)),
        (r#"[{"NvTensorRtRtx": {"nv_multi_rotary_cache_concat_offset": 8192}}]"#, Some(8192)),
        (r#"[{"cpu": {}}, {"webgpu": {"multiRotaryCacheConcatOffset": "64"}}]"#, Some(64)),
        (r#"[{"webgpu": {"multiRotaryCacheConcatOffset": "0"}}]"#, None),
        (
            r#"[{"a": {"multiRotaryCacheConcatOffset": "64", "multi_rotary_cache_concat_offset": "64"}}]"#,
            Some(64),
        ),
        // Forms that say nothing of it.
        (r#"{"webgpu": "x"}"#, None),
        (r#"["webgpu"]"#, None),
    ] {
        assert_eq!(parse(options).unwrap(), expected, "{options}");
    }
    for options in [
        r#"[{"webgpu": {"multiRotaryCacheConcatOffset": "many"}}]"#,
        r#"[{"webgpu": {"multiRotaryCacheConcatOffset": -1}}]"#,
        r#"[{"webgpu": {"multiRotaryCacheConcatOffset": "64"}}, {"b": {"multi_rotary_cache_concat_offset": "65"}}]"#,
    ] {
        let error = parse(options).unwrap_err();
        assert!(error.node().is_some_and(|node| node.contains("provider_options[")), "{error}");
    }
}
