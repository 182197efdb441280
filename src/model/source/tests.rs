use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::model::{GraphFiles, Load, LoadOptions, Model, ModelRoot};
use crate::session::{LogitsOptions, SessionOptions};

/// A source in memory, which notes what it is asked for and can misbehave.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    /// The most bytes that one reading gives; 0 for all that are asked for.
    at_most: usize,
    /// What is told in place of a file's size.
    told: Option<(&'static str, u64)>,
    /// A file of which reading fails from this byte on.
    broken: Option<(&'static str, u64)>,
    asked: RefCell<Vec<String>>,
}

impl Memory {
    fn of(directory: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.ends_with(".safetensors") {
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
        Self { files, ..Self::default() }
    }

    fn golden() -> Self {
        Self::of(&golden())
    }

    fn file(&self, name: &str) -> io::Result<&[u8]> {
        self.asked.borrow_mut().push(name.to_owned());
        self.files.get(name).map(Vec::as_slice).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Source for Memory {
    fn size(&self, name: &str) -> io::Result<u64> {
        let size = self.file(name)?.len() as u64;
        Ok(self.told.filter(|(told, _)| *told == name).map_or(size, |(_, size)| size))
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut limit = if self.at_most == 0 { usize::MAX } else { self.at_most };
        if let Some((_, from)) = self.broken.filter(|(broken, _)| *broken == name) {
            if offset >= from {
                return Err(io::Error::other("the key is wrong"));
            }
            limit = limit.min((from - offset) as usize);
        }
        let rest = &self.file(name)?[offset as usize..];
        let count = rest.len().min(buffer.len()).min(limit);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4")
}

fn options() -> LoadOptions {
    LoadOptions { threads: Some(1), ..LoadOptions::default() }
}

fn logits(model: &Model) -> Vec<f32> {
    let mut session = model.session(SessionOptions::default()).unwrap();
    let tokens: Vec<u32> = (3..40).collect();
    session.logits(&tokens, &LogitsOptions::default()).unwrap().into_iter().collect()
}

fn refused(source: &Memory) -> Error {
    Model::load_from(source, &options()).err().expect("no model")
}

#[test]
fn a_source_gives_the_model_that_its_directory_gives() {
    let models = golden();
    let models = models.parent().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(models).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        let from_disk = Model::load(&directory, &options()).unwrap();
        let source = Memory { at_most: 4093, ..Memory::of(&directory) };
        let model = Model::load_from(&source, &options()).unwrap();
        assert_eq!(logits(&model), logits(&from_disk), "{}", directory.display());
        let encode = |model: &Model| model.text().tokenizer().encode_plain("a yes").unwrap();
        assert_eq!(encode(&model), encode(&from_disk));
        assert_eq!(model.config().eos_token_ids, from_disk.config().eos_token_ids);
        assert_eq!(model.text().chat_template().is_some(), from_disk.text().chat_template().is_some());
        let info = model.info();
        assert_eq!((info.directory, info.graph), (PathBuf::new(), PathBuf::from("model.onnx")));
        // Its weights are in memory, as those of a copied directory.
        let copied = Model::load(&directory, &LoadOptions { load: Load::Copy, ..options() }).unwrap();
        assert_eq!(info.memory, copied.info().memory);
        count += 1;
    }
    assert_eq!(count, 12);
}

#[test]
fn graphs_in_a_part_of_the_source() {
    let mut source = Memory::golden();
    for name in ["model.onnx", "model.onnx.data"] {
        let bytes = source.files.remove(name).unwrap();
        source.files.insert(format!("cpu/{name}"), bytes);
    }
    let graph = Some("./cpu//model.onnx".to_owned());
    let model = Model::load_from(&source, &LoadOptions { graph, ..options() }).unwrap();
    assert_eq!(model.info().graph, Path::new("cpu/model.onnx"));
    assert_eq!(logits(&model), logits(&Model::load(golden(), &options()).unwrap()));
    // Names are plain whatever the caller wrote.
    for name in source.asked.borrow().iter() {
        assert!(name.split('/').all(|part| !["", ".", ".."].contains(&part)), "{name}");
    }
    let graph = Some("gpu/model.onnx".to_owned());
    let error = Model::load_from(&source, &LoadOptions { graph, ..options() }).err().unwrap();
    assert_eq!((error.kind(), error.file()), (ErrorKind::InvalidArgument, None), "{error}");
}

#[test]
fn weights_with_several_names_are_read_once() {
    let source = Memory { files: [("w.data".to_owned(), vec![7; 8])].into(), ..Memory::default() };
    let root = ModelRoot::of_source(&source);
    let same =
        [root.file("w.data").unwrap(), root.file("./w.data").unwrap(), root.file(".//w.data").unwrap()];
    assert!(same.iter().all(|path| root.target(path).unwrap() == same[0]));
}

#[test]
fn names_that_lead_outside_never_reach_the_source() {
    let source = Memory::golden();
    let root = ModelRoot::of_source(&source);
    for location in ["", ".", "..", "../x", "a/../x", "/etc/passwd", "a\\b", "C:w", "w\0"] {
        for error in [root.file(location).map(drop), root.find(location).map(drop)] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidModel, "{location}");
        }
    }
    assert!(source.asked.borrow().is_empty());

    let config = r#"{"model": {"type": "llama", "decoder": {"filename": "../model.onnx"}}}"#;
    let mut source = Memory::golden();
    source.files.insert("genai_config.json".to_owned(), config.into());
    source.files.insert("../model.onnx".to_owned(), vec![1]);
    let error = refused(&source);
    assert_eq!((error.kind(), error.node()), (ErrorKind::InvalidModel, Some("model.decoder.filename")));
}

#[test]
fn missing_files() {
    for (name, kind, file) in [
        ("model.onnx", ErrorKind::NotFound, Some("genai_config.json")),
        ("model.onnx.data", ErrorKind::NotFound, Some("model.onnx.data")),
        ("tokenizer.json", ErrorKind::NotFound, None),
    ] {
        let mut source = Memory::golden();
        source.files.remove(name).unwrap();
        let error = refused(&source);
        assert_eq!((error.kind(), error.file()), (kind, file.map(Path::new)), "{error}");
    }
    let error = refused(&Memory::default());
    assert_eq!((error.kind(), error.file()), (ErrorKind::NotFound, None), "{error}");
    // What a directory can do without, a source can.
    let mut source = Memory::golden();
    for name in ["tokenizer_config.json", "chat_template.jinja"] {
        source.files.remove(name).unwrap();
    }
    assert!(Model::load_from(&source, &options()).is_ok());
}

#[test]
fn failures_in_the_middle_name_the_file() {
    for name in
        ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja"]
    {
        let length = Memory::golden().files[name].len() as u64;
        for from in [0, length / 2, length - 1] {
            let error = refused(&Memory { broken: Some((name, from)), at_most: 100, ..Memory::golden() });
            assert_eq!((error.kind(), error.file()), (ErrorKind::Io, Some(Path::new(name))), "{error}");
            assert!(error.message().contains("the key is wrong"), "{error}");
        }
    }
}

#[test]
fn sizes_that_are_not_true() {
    for name in
        ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja"]
    {
        let length = Memory::golden().files[name].len() as u64;
        let lying = |size| refused(&Memory { told: Some((name, size)), ..Memory::golden() });
        let error = lying(length + 1);
        assert_eq!((error.kind(), error.file()), (ErrorKind::Io, Some(Path::new(name))), "{error}");
        assert!(error.message().contains(&format!("ends after {length}")), "{error}");
        let error = lying(u64::MAX);
        let expected =
            if name.starts_with("model") { ErrorKind::MemoryBudget } else { ErrorKind::InvalidModel };
        assert_eq!((error.kind(), error.file()), (expected, Some(Path::new(name))), "{error}");
        // Where the system lends addresses without memory, the source has nothing to fill them with.
        let kinds = [ErrorKind::MemoryBudget, ErrorKind::InvalidModel, ErrorKind::Io];
        assert!(kinds.contains(&lying(1 << 40).kind()));
        // Too little of a file is a damaged file.
        if !name.ends_with(".jinja") {
            let error = lying(10);
            let kinds = [ErrorKind::InvalidModel, ErrorKind::Tokenizer];
            assert!(kinds.contains(&error.kind()) && error.file().is_some(), "{error}");
        }
    }
    let mut empty = Memory::golden();
    empty.files.insert("model.onnx.data".to_owned(), vec![]);
    let error = refused(&empty);
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidModel, "the file is empty"));
}

#[test]
fn more_bytes_than_there_is_room_for() {
    struct Boasting;
    impl Source for Boasting {
        fn size(&self, _: &str) -> io::Result<u64> {
            Ok(10)
        }
        fn read(&self, _: &str, _: u64, buffer: &mut [u8]) -> io::Result<usize> {
            Ok(buffer.len() + 1)
        }
    }
    let error = read(&Boasting, Path::new("w"), 10).unwrap_err();
    assert_eq!(error.to_string(), "w: the source says it read 11 bytes into room for 10");
    let error = read(&Boasting, Path::new("w"), 9).unwrap_err();
    assert_eq!(error.to_string(), "w: the file has more than 9 bytes");
}

#[test]
fn memory_grows_with_what_the_source_gives() {
    struct Endless(RefCell<usize>);
    impl Source for Endless {
        fn size(&self, _: &str) -> io::Result<u64> {
            Ok(3 * PIECE as u64)
        }
        fn read(&self, _: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let mut largest = self.0.borrow_mut();
            *largest = buffer.len().max(*largest);
            let wanted = buffer.len().div_ceil(2);
            buffer[..wanted].fill(offset.min(255) as u8);
            Ok(wanted)
        }
    }
    let source = Endless(RefCell::new(0));
    assert_eq!(read(&source, Path::new("w"), u64::MAX).unwrap().len(), 3 * PIECE);
    assert_eq!(*source.0.borrow(), PIECE);
}

#[test]
fn a_source_may_load_models_while_it_is_read() {
    struct Nested(Memory, RefCell<usize>);
    impl Source for Nested {
        fn size(&self, name: &str) -> io::Result<u64> {
            self.0.size(name)
        }
        fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let model = Model::load_from(&self.0, &options()).map_err(io::Error::other)?;
            *self.1.borrow_mut() += model.info().layers;
            self.0.read(name, offset, buffer)
        }
    }
    let source = Nested(Memory::golden(), RefCell::new(0));
    let model = Model::load_from(&source, &options()).unwrap();
    assert_eq!(logits(&model), logits(&Model::load(golden(), &options()).unwrap()));
    assert!(*source.1.borrow() >= 5 * model.info().layers, "each of the five files is read");
}

#[test]
fn damage_is_found_as_in_a_directory() {
    let directory = golden();
    for name in ["model.onnx", "model.onnx.data"] {
        let whole = Memory::golden().files[name].clone();
        for place in 1..20 {
            let length = whole.len() * place / 20;
            let mut source = Memory::golden();
            source.files.insert(name.to_owned(), whole[..length].to_vec());
            let copy = tempfile::tempdir().unwrap();
            for (name, bytes) in &source.files {
                std::fs::write(copy.path().join(name), bytes).unwrap();
            }
            let from_disk = Model::load(copy.path(), &options()).err();
            let from_source = Model::load_from(&source, &options()).err();
            let seen =
                |error: &Error| (error.kind(), error.message().to_owned(), error.node().map(str::to_owned));
            assert_eq!(from_source.as_ref().map(seen), from_disk.as_ref().map(seen), "{name} {length}");
        }
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\n".to_vec();
    for name in ["model.onnx", "tokenizer.json"] {
        let mut source = Memory::of(&directory);
        source.files.insert(name.to_owned(), pointer.clone());
        let error = refused(&source);
        assert!(error.hint().is_some_and(|hint| hint.contains("git lfs")), "{error}");
    }
}

#[test]
fn files_are_copies() {
    let source = Memory::golden();
    let root = ModelRoot::of_source(&source);
    let graph = root.file("model.onnx").unwrap();
    let files = GraphFiles::open_in(root, &graph, Load::Map).unwrap();
    assert!(files.are_copies());
    assert_eq!(files.as_bytes(), source.files["model.onnx"]);
}
