use super::*;
use tempfile::TempDir;

const GENAI: &str = r#"{"model": {"type": "llama", "decoder": {"filename": "model.onnx"}}}"#;

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn open(path: &Path) -> Result<ModelDirectory<'static>> {
    ModelDirectory::open(path, &DirectoryOverrides::default())
}

fn open_graph(path: &Path, graph: &str) -> Result<ModelDirectory<'static>> {
    ModelDirectory::open(path, &DirectoryOverrides { graph: Some(graph.into()), ..Default::default() })
}

/// The graph's path relative to `directory`.
fn graph_of(directory: &TempDir, model: Result<ModelDirectory<'static>>) -> String {
    let model = model.unwrap();
    model.graph_path().strip_prefix(directory.path()).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_golden_directories() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    for (name, model_type, layers, heads, kv_heads, head_size, hidden) in [
        ("gemma-2-2b-int4", "gemma2", 4, 4, 2, 64, 256),
        ("gemma-2-9b-int4", "gemma2", 4, 8, 4, 32, 320),
        ("llama-3.2-1b-cuda-int4", "llama", 3, 8, 2, 32, 256),
        ("llama-3.2-1b-int4", "llama", 3, 8, 2, 32, 256),
        ("llama-3.2-1b-int8", "llama", 3, 8, 2, 32, 256),
        ("llama-3.2-3b-int4", "llama", 2, 6, 2, 64, 384),
        ("mistral-nemo-int4", "mistral", 2, 8, 2, 32, 320),
        ("mistral-nemo-int4-b128-asym", "mistral", 2, 8, 2, 32, 320),
        ("phi-3.5-mini-int4", "phi3", 3, 8, 8, 32, 256),
        ("phi-4-int4", "phi3", 2, 10, 2, 32, 320),
        ("phi-4-mini-int4", "phi3", 3, 6, 2, 64, 384),
        ("qwen-2.5-3b-int4", "qwen2", 3, 8, 2, 32, 256),
    ] {
        let model = open(&root.join(name)).unwrap();
        let config = model.config();
        assert_eq!(model.layout(), Layout::GenaiBuilder);
        assert_eq!(model.path(), root.join(name));
        assert_eq!(model.graph_path(), root.join(name).join("model.onnx"));
        assert_eq!(config.model_type.as_deref(), Some(model_type), "{name}");
        assert_eq!(
            [config.layers, config.heads, config.kv_heads, config.head_size, config.hidden_size],
            [layers, heads, kv_heads, head_size, hidden].map(Some),
            "{name}"
        );
        assert_eq!((config.context_length, config.vocabulary_size), (Some(1024), Some(512)));
        assert_eq!((config.bos_token_id, config.pad_token_id), (Some(1), Some(2)));
        assert_eq!(config.eos_token_ids, [2]);
        let text = model.text_files();
        assert!(text.chat_template.is_some() && text.tokenizer_config.is_some());
        assert!(!model.read_tokenizer().unwrap().text.is_empty());
        // Every weight of every graph lies where it says, with the length that its shape needs.
        let files = model.open_graph(Load::Map).unwrap();
        let graph = files.parse().unwrap().graph;
        for tensor in &graph.initializers {
            let bytes = files.resolve(tensor).unwrap();
            assert!(bytes.place().is_some(), "{name}: {} is copied", tensor.name);
        }
    }
}

#[test]
fn the_genai_layout() {
    let plain = directory(&[("genai_config.json", GENAI), ("model.onnx", "x"), ("other.onnx", "x")]);
    let model = open(plain.path()).unwrap();
    assert_eq!((model.layout(), model.text_files()), (Layout::GenaiBuilder, &TextFiles::default()));
    assert_eq!(model.read_tokenizer().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(graph_of(&plain, open(plain.path())), "model.onnx");
    assert_eq!(graph_of(&plain, open_graph(plain.path(), "other.onnx")), "other.onnx");
    assert_eq!(graph_of(&plain, open(&plain.path().join("other.onnx"))), "other.onnx");

    let long = "phi3-mini-4k-instruct-cpu-int4-rtn-block-32.onnx";
    let named = directory(&[("genai_config.json", &GENAI.replace("model.onnx", long)), (long, "x")]);
    assert_eq!(graph_of(&named, open(named.path())), long);

    // A built graph in the place where transformers.js looks for it.
    let both = directory(&[
        ("genai_config.json", GENAI),
        ("config.json", "{\"hidden_size\": 64}"),
        ("onnx/model_q4f16.onnx", "x"),
    ]);
    let model = open(both.path()).unwrap();
    assert_eq!((model.layout(), model.config().hidden_size), (Layout::GenaiBuilder, Some(64)));
    assert_eq!(graph_of(&both, Ok(model)), "onnx/model_q4f16.onnx");
}

#[test]
fn the_transformers_layout() {
    let variants = ["model.onnx", "model_fp16.onnx", "model_q4f16.onnx", "model_q4.onnx"];
    let others = ["onnx/model_int8.onnx", "onnx/model_quantized.onnx", "onnx/model_bnb4.onnx"];
    for count in 1..=variants.len() {
        let names: Vec<String> = variants[..count].iter().map(|name| format!("onnx/{name}")).collect();
        let mut files = vec![("config.json", "{}"), ("generation_config.json", "{\"eos_token_id\": 5}")];
        files.extend(names.iter().map(|name| (name.as_str(), "x")));
        files.extend(others.map(|name| (name, "x")));
        let directory = directory(&files);
        let model = open(directory.path()).unwrap();
        assert_eq!(
            (model.layout(), model.config().eos_token_ids.as_slice()),
            (Layout::TransformersJs, &[5][..])
        );
        assert_eq!(graph_of(&directory, Ok(model)), names[count - 1]);
        for (asked, expected) in [
            ("fp32", "onnx/model.onnx"),
            ("int8", "onnx/model_int8.onnx"),
            ("q8", "onnx/model_quantized.onnx"),
            ("bnb4", "onnx/model_bnb4.onnx"),
            ("model.onnx", "onnx/model.onnx"),
            ("onnx/model_bnb4.onnx", "onnx/model_bnb4.onnx"),
        ] {
            assert_eq!(graph_of(&directory, open_graph(directory.path(), asked)), expected);
        }
        // The graph itself, whose configuration lies one directory above.
        let model = open(&directory.path().join("onnx/model_int8.onnx")).unwrap();
        assert_eq!(model.path(), directory.path());
        assert_eq!(graph_of(&directory, Ok(model)), "onnx/model_int8.onnx");
    }
    // Where there is no other, what its graph is decides.
    for (names, expected) in [
        (&others[..], others[1]),
        (&others[..1], others[0]),
        (&["onnx/model_uint8.onnx"], "onnx/model_uint8.onnx"),
    ] {
        let mut files = vec![("config.json", "{}")];
        files.extend(names.iter().map(|name| (*name, "x")));
        let directory = directory(&files);
        assert_eq!(graph_of(&directory, open(directory.path())), expected);
    }
    // As optimum exports it.
    let flat = directory(&[("config.json", "{}"), ("model.onnx", "x")]);
    assert_eq!(graph_of(&flat, open(flat.path())), "model.onnx");
}

#[test]
fn a_directory_above_the_model() {
    let one = directory(&[
        ("README.md", "x"),
        ("config.json", "{}"),
        ("cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4/genai_config.json", GENAI),
        ("cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4/model.onnx", "x"),
    ]);
    let inner = "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4/model.onnx";
    assert_eq!(graph_of(&one, open(one.path())), inner);
    assert_eq!(graph_of(&one, open_graph(one.path(), inner)), inner);

    let two = directory(&[
        ("small/int4/genai_config.json", GENAI),
        ("small/int4/model.onnx", "x"),
        ("large/genai_config.json", GENAI),
        ("large/model.onnx", "x"),
    ]);
    let error = open(two.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.hint(), Some("open one of large, small/int4"));
    assert_eq!(graph_of(&two, open_graph(two.path(), "large/model.onnx")), "large/model.onnx");

    let deep = directory(&[("a/b/c/d/genai_config.json", GENAI), ("a/b/c/d/model.onnx", "x")]);
    assert!(open(deep.path()).is_ok());
    let deeper = directory(&[("a/b/c/d/e/genai_config.json", GENAI), ("a/b/c/d/e/model.onnx", "x")]);
    assert_eq!(open(deeper.path()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn of_several_models_and_variants_the_preferred_is_taken() {
    let several = directory(&[
        ("gpu/gpu-int4-rtn-block-32/genai_config.json", GENAI),
        ("gpu/gpu-int4-rtn-block-32/model.onnx", "x"),
        ("cpu_and_mobile/cpu-int4/genai_config.json", GENAI),
        ("cpu_and_mobile/cpu-int4/model.onnx", "x"),
        ("npu/a/genai_config.json", GENAI),
        ("npu/a/model.onnx", "x"),
    ]);
    let prefer = |directory: &TempDir, folders, variants| {
        let overrides =
            DirectoryOverrides { prefer: GraphPreference { folders, variants }, ..Default::default() };
        ModelDirectory::open(directory.path(), &overrides)
    };
    assert_eq!(graph_of(&several, open(several.path())), "cpu_and_mobile/cpu-int4/model.onnx");
    let of_gpu = prefer(&several, &["cuda", "gpu"], &[]);
    assert_eq!(graph_of(&several, of_gpu), "gpu/gpu-int4-rtn-block-32/model.onnx");
    let error = prefer(&several, &["coreml"], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().is_some_and(|hint| hint.contains("npu")), "{error}");

    let variants =
        directory(&[("config.json", "{}"), ("onnx/model_q4.onnx", "x"), ("onnx/model_q4f16.onnx", "x")]);
    assert_eq!(graph_of(&variants, open(variants.path())), "onnx/model_q4.onnx");
    assert_eq!(graph_of(&variants, prefer(&variants, &[], &["q4f16", "q4"])), "onnx/model_q4f16.onnx");
    assert_eq!(graph_of(&variants, prefer(&variants, &[], &["fp16"])), "onnx/model_q4.onnx");
}

#[test]
fn a_graph_alone() {
    let directory = directory(&[("model.onnx", "x"), ("tokenizer.json", "{}")]);
    let model = open(&directory.path().join("model.onnx")).unwrap();
    assert_eq!((model.layout(), model.config()), (Layout::GraphOnly, &ModelConfig::default()));
    assert_eq!(model.read_tokenizer().unwrap().text, b"{}");
    assert_eq!(open(directory.path()).unwrap_err().kind(), ErrorKind::NotFound);
    let error = open(&directory.path().join("tokenizer.json")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(open(&directory.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_tokenizer_may_lie_elsewhere() {
    let config = GENAI.replace("\"type\"", "\"tokenizer_dir\": \"text/\", \"type\"");
    let files = [("genai_config.json", &*config), ("model.onnx", "x"), ("text/tokenizer.json", "{}")];
    let directory_with = directory(&files);
    let model = open(directory_with.path()).unwrap();
    assert_eq!(model.text_files().tokenizer, Some(directory_with.path().join("text/tokenizer.json")));

    let config = GENAI.replace("\"type\"", "\"tokenizer_dir\": \"../text\", \"type\"");
    let outside = directory(&[("genai_config.json", &config), ("model.onnx", "x")]);
    let error = open(outside.path()).unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::InvalidModel, Some("model.tokenizer_dir")));
}

#[test]
fn damage_is_an_error_that_names_its_place() {
    let named = |name: &str| GENAI.replace("model.onnx", name);
    let only_other = [("config.json", "{}"), ("onnx/model_int8.onnx", "x")];
    for (files, graph, kind, text) in [
        (vec![], None, ErrorKind::NotFound, "there is no model in this directory"),
        (vec![("config.json", "{}")], None, ErrorKind::NotFound, "there is no model in this directory"),
        (vec![("genai_config.json", "{")], None, ErrorKind::InvalidModel, "not valid JSON"),
        (
            vec![("genai_config.json", GENAI)],
            None,
            ErrorKind::NotFound,
            "genai_config.json: model.decoder.filename: there is no file \"model.onnx\"",
        ),
        (
            vec![("genai_config.json", &*named("../m.onnx"))],
            None,
            ErrorKind::InvalidModel,
            "genai_config.json: model.decoder.filename: the file name \"../m.onnx\"",
        ),
        (
            vec![("genai_config.json", &*named("/etc/passwd"))],
            None,
            ErrorKind::InvalidModel,
            "is not a plain path inside",
        ),
        (
            vec![("genai_config.json", "{\"model\": {\"decoder\": {}}}")],
            None,
            ErrorKind::InvalidModel,
            "model.decoder.filename: the graph's file name is missing",
        ),
        (only_other.to_vec(), Some("q4"), ErrorKind::InvalidArgument, "the directory has int8"),
        (only_other.to_vec(), Some("x.onnx"), ErrorKind::InvalidArgument, "there is no graph \"x.onnx\""),
        (only_other.to_vec(), Some("../x.onnx"), ErrorKind::InvalidModel, "is not a plain path inside"),
        (only_other.to_vec(), Some("../x"), ErrorKind::InvalidArgument, "there is no graph \"../x\""),
        (vec![], Some("x.onnx"), ErrorKind::InvalidArgument, "there is no graph \"x.onnx\""),
    ] {
        let directory = directory(&files);
        let overrides = DirectoryOverrides { graph: graph.map(str::to_owned), ..Default::default() };
        let error = ModelDirectory::open(directory.path(), &overrides).expect_err(text);
        assert!(error.to_string().contains(text), "expected {text:?} in {error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn large_files_are_refused() {
    let long = format!("{{\"x\": \"{}\"}}", "y".repeat(1 << 20));
    let config = directory(&[("genai_config.json", &long), ("model.onnx", "x")]);
    assert!(open(config.path()).unwrap_err().message().contains("more than 1048576 bytes"));
    let template = "x".repeat((4 << 20) + 1);
    let text = directory(&[
        ("genai_config.json", GENAI),
        ("model.onnx", "x"),
        ("chat_template.jinja", &template),
        ("tokenizer.json", &template),
    ]);
    let model = open(text.path()).unwrap();
    let files = model.text_files();
    assert!(
        model.read_text(files.chat_template.as_deref()).unwrap_err().message().contains("more than 4194304")
    );
    assert_eq!(model.read_tokenizer().unwrap().text.len(), template.len());
    assert!(model.read_text(None).unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn links_out_of_the_directory_need_leave() {
    use std::os::unix::fs::symlink;
    let elsewhere = directory(&[("model.onnx", "x"), ("tokenizer.json", "{}")]);
    let inside = directory(&[("genai_config.json", GENAI)]);
    symlink(elsewhere.path().join("model.onnx"), inside.path().join("model.onnx")).unwrap();
    let error = open(inside.path()).unwrap_err();
    assert!(error.to_string().contains("outside the model's directory"), "{error}");
    let allowed = DirectoryOverrides { follow_links: true, ..DirectoryOverrides::default() };
    assert!(ModelDirectory::open(inside.path(), &allowed).is_ok());
    // The path that the caller names is followed in any case.
    let link = inside.path().join("link");
    symlink(elsewhere.path(), &link).unwrap();
    assert!(open(&link.join("model.onnx")).is_ok());
    // A loop of links is not walked.
    let looped = directory(&[("a/b", "x")]);
    symlink("..", looped.path().join("a/up")).unwrap();
    assert_eq!(open(looped.path()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_variants_of_the_test_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/variants");
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let model = open(&path).unwrap();
        let files = model.open_graph(Load::Map).unwrap();
        for tensor in &files.parse().unwrap().graph.initializers {
            files.resolve(tensor).unwrap();
        }
    }
}
