//! A graph and the files that hold its weights.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{Load, MappedFile, WeightBytes};
use super::root::ModelRoot;
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{self, DataType, TensorContent};

/// How many bytes may be copied out of a graph's lists of numbers, for each byte of the graph. A list is copied whenever it is
/// resolved, and its numbers take up to eight times the bytes that they have in the file.
const MAXIMUM_COPIES: usize = 32;

/// How many bytes may be copied however small the graph is.
const FREE_COPIES: usize = 1 << 20;

/// How the files of a model are opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileOptions {
    /// Whether files are mapped or copied.
    pub load: Load,
    /// Whether files that the model names may be links to anywhere; see [`ModelRoot`]. The path that the caller
    /// gives is followed in any case.
    pub follow_links: bool,
}

/// An ONNX file, and the files beside it that hold external weights, which open when a tensor first needs them.
#[derive(Debug)]
pub struct GraphFiles<'a> {
    graph: Arc<MappedFile>,
    root: ModelRoot<'a>,
    load: Load,
    external: Mutex<ExternalFiles>,
    /// Bytes copied out of lists of numbers.
    copied: AtomicUsize,
}

#[derive(Debug, Default)]
struct ExternalFiles {
    by_location: HashMap<String, Arc<MappedFile>>,
    /// By the path without links and dots: a file that has many names is opened once.
    by_path: HashMap<PathBuf, Arc<MappedFile>>,
}

impl<'a> GraphFiles<'a> {
    /// Opens the ONNX file at `graph_path`; weights may lie in its directory.
    ///
    /// # Errors
    /// Those of [`MappedFile::open`].
    pub fn open(graph_path: &Path, options: FileOptions) -> Result<Self> {
        let root = ModelRoot::new(graph_path.parent().unwrap_or(Path::new("")), options.follow_links)?;
        Self::open_in(root, graph_path, options.load)
    }

    /// Opens the ONNX file at `graph_path`, which lies in `root` itself, as its weights do.
    ///
    /// # Errors
    /// Those of [`ModelRoot::open`].
    pub fn open_in(root: ModelRoot<'a>, graph_path: &Path, load: Load) -> Result<Self> {
        let graph = root.open(graph_path, load)?;
        Ok(Self { graph, root, load, external: Mutex::default(), copied: AtomicUsize::new(0) })
    }

    /// The path of the ONNX file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.graph.path()
    }

    /// Whether the files' contents are in memory of this process alone.
    #[must_use]
    pub fn are_copies(&self) -> bool {
        self.graph.is_copy()
    }

    /// The bytes of the ONNX file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.graph.as_bytes()
    }

    /// Parses the graph, as views into the file.
    ///
    /// # Errors
    /// Those of [`onnx::Model::parse`], with the file.
    pub fn parse(&self) -> Result<onnx::Model<'_>> {
        onnx::Model::parse(self.as_bytes()).map_err(|error| error.with_file(self.path()))
    }

    /// The elements of `tensor` as little-endian bytes, packed without gaps: a span of the file that holds them, or
    /// owned where the graph stores them as lists of numbers.
    ///
    /// # Errors
    /// With the tensor's name: [`ErrorKind::InvalidModel`] when the file it names lies outside the directory, or is
    /// too short, or when the data does not agree with dims and type; [`ErrorKind::NotFound`] when the file is
    /// missing; [`ErrorKind::Unsupported`] for a type whose size is unknown.
    pub fn resolve(&self, tensor: &onnx::Tensor<'_>) -> Result<WeightBytes> {
        self.resolve_unnamed(tensor)
            .map_err(|error| error.with_node(format!("tensor {}", tensor.name)).with_file(self.path()))
    }

    /// Checks every tensor that lies in another file, as [`resolve`](Self::resolve) does, for a reader that opens the files itself.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve).
    pub fn check_external(&self, graph: &onnx::Graph<'_>) -> Result<()> {
        let is_external =
            |tensor: &&onnx::Tensor<'_>| matches!(tensor.content, TensorContent::External { .. });
        for tensor in graph.initializers.iter().filter(is_external) {
            self.resolve(tensor)?;
        }
        for attribute in graph.nodes.iter().flat_map(|node| &node.attributes) {
            match &attribute.value {
                onnx::AttributeValue::Tensor(tensor) if is_external(&tensor) => drop(self.resolve(tensor)?),
                onnx::AttributeValue::Graph(graph) => self.check_external(graph)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The files that tensors lie in, of those that have been resolved, by the names that the graph has for them.
    #[must_use]
    pub fn external_files(&self) -> Vec<(String, Arc<MappedFile>)> {
        let files = self.external.lock().unwrap_or_else(PoisonError::into_inner);
        files.by_location.iter().map(|(name, file)| (name.clone(), Arc::clone(file))).collect()
    }

    fn resolve_unnamed(&self, tensor: &onnx::Tensor<'_>) -> Result<WeightBytes> {
        if tensor.data_type.bits().is_none() || tensor.content == TensorContent::Other {
            return Err(Error::new(ErrorKind::Unsupported, unsupported_type(tensor.data_type)));
        }
        let expected = tensor.byte_length().and_then(|length| usize::try_from(length).ok());
        let expected = expected.ok_or_else(|| invalid(format!("dims {:?} overflow", tensor.dims)))?;
        let mismatch = |found: u64| {
            invalid(format!(
                "{:?} of dims {:?} takes {expected} bytes but has {found}",
                tensor.data_type, tensor.dims
            ))
        };
        match &tensor.content {
            TensorContent::External { location, offset, length } => {
                if let Some(length) = length.filter(|length| usize::try_from(*length) != Ok(expected)) {
                    return Err(mismatch(length));
                }
                let file = self.external_file(location)?;
                let span = usize::try_from(*offset)
                    .ok()
                    .and_then(|offset| WeightBytes::of_file(Arc::clone(&file), offset, expected));
                span.ok_or_else(|| {
                    let present = file.as_bytes().len();
                    invalid(format!("{expected} bytes belong at {offset} but the file has {present}"))
                        .with_file(file.path())
                        .with_hint("the file is incomplete or belongs to another model")
                })
            }
            content => {
                let bytes = match content {
                    TensorContent::Inline(data) => self.inline(data),
                    _ => {
                        self.count_copy(expected)?;
                        little_endian(tensor)?.into()
                    }
                };
                if bytes.len() == expected { Ok(bytes) } else { Err(mismatch(bytes.len() as u64)) }
            }
        }
    }

    fn count_copy(&self, length: usize) -> Result<()> {
        let copied = self.copied.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        if copied <= self.as_bytes().len().saturating_mul(MAXIMUM_COPIES).max(FREE_COPIES) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::MemoryBudget, "lists of numbers in the graph are used too often")
            .with_hint("keep large tensors as raw data or in an external file"))
    }

    /// The span of the ONNX file that `data` is, or a copy where it is none.
    fn inline(&self, data: &[u8]) -> WeightBytes {
        let start = self.as_bytes().as_ptr().addr();
        let offset = data.as_ptr().addr().checked_sub(start);
        let span =
            offset.and_then(|offset| WeightBytes::of_file(Arc::clone(&self.graph), offset, data.len()));
        span.unwrap_or_else(|| data.to_vec().into())
    }

    fn external_file(&self, location: &str) -> Result<Arc<MappedFile>> {
        let mut files = self.external.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.by_location.get(location) {
            return Ok(Arc::clone(file));
        }
        let path = self.root.file(location).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                error.with_hint("the graph's weights are missing; copy the whole directory")
            }
            _ => error,
        })?;
        let target = self.root.target(&path)?;
        let file = match files.by_path.get(&target) {
            Some(file) => Arc::clone(file),
            None => self.root.open(&path, self.load)?,
        };
        files.by_path.insert(target, Arc::clone(&file));
        files.by_location.insert(location.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidModel, message)
}

fn unsupported_type(data_type: DataType) -> String {
    match data_type {
        DataType::Other(code) => format!("element type {code} is not supported"),
        known => format!("element type {known:?} is not supported in this form"),
    }
}

/// The typed lists of a tensor as bytes. 16-bit floats, bytes and pairs of 4-bit values lie in the low bits of 32-bit
/// integers.
fn little_endian(tensor: &onnx::Tensor<'_>) -> Result<Vec<u8>> {
    Ok(match (&tensor.content, tensor.data_type) {
        (TensorContent::Float32(list), DataType::Float32) => {
            list.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (TensorContent::Float64(list), DataType::Float64) => {
            list.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (TensorContent::Int64(list), DataType::Int64) => list.iter().flat_map(|v| v.to_le_bytes()).collect(),
        (TensorContent::Int32(list), DataType::Int32) => list.iter().flat_map(|v| v.to_le_bytes()).collect(),
        (TensorContent::Int32(list), DataType::Float16 | DataType::Bfloat16) => {
            let halves = list.iter().map(|value| u16::try_from(*value));
            let halves = halves.collect::<Result<Vec<u16>, _>>().map_err(|_| out_of_range(tensor))?;
            halves.into_iter().flat_map(u16::to_le_bytes).collect()
        }
        (TensorContent::Int32(list), DataType::Int8 | DataType::Int4) => {
            let bytes = list.iter().map(|value| {
                // Writers differ in whether they extend the sign of a byte.
                i8::try_from(*value).map(i8::cast_unsigned).or_else(|_| u8::try_from(*value))
            });
            bytes.collect::<Result<Vec<u8>, _>>().map_err(|_| out_of_range(tensor))?
        }
        (TensorContent::Int32(list), DataType::Uint8 | DataType::Uint4 | DataType::Bool) => {
            let bytes = list.iter().map(|value| u8::try_from(*value));
            bytes.collect::<Result<Vec<u8>, _>>().map_err(|_| out_of_range(tensor))?
        }
        _ => {
            let text = format!("its data lies in a field that {:?} does not use", tensor.data_type);
            return Err(invalid(text));
        }
    })
}

fn out_of_range(tensor: &onnx::Tensor<'_>) -> Error {
    invalid(format!("an element is outside the range of {:?}", tensor.data_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph file with arbitrary contents, and `w.data` of 16 bytes.
    fn files(load: Load) -> (tempfile::TempDir, GraphFiles<'static>) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("model.onnx"), [9; 8]).unwrap();
        std::fs::write(directory.path().join("w.data"), (0..16).collect::<Vec<u8>>()).unwrap();
        let path = directory.path().join("model.onnx");
        let files = GraphFiles::open(&path, FileOptions { load, follow_links: false }).unwrap();
        (directory, files)
    }

    fn tensor<'a>(data_type: DataType, dims: &[u64], content: TensorContent<'a>) -> onnx::Tensor<'a> {
        onnx::Tensor { name: "w", data_type, dims: dims.to_vec(), content }
    }

    fn external(location: &str, offset: u64, length: Option<u64>) -> TensorContent<'_> {
        TensorContent::External { location, offset, length }
    }

    #[test]
    fn external_weights_are_spans_of_their_file() {
        for load in [Load::Map, Load::Copy] {
            let (directory, files) = files(load);
            for (content, expected) in [
                (external("w.data", 4, Some(8)), 4..12),
                (external("w.data", 8, None), 8..16),
                (external("./w.data", 0, Some(8)), 0..8),
            ] {
                let bytes = files.resolve(&tensor(DataType::Float32, &[2], content)).unwrap();
                assert_eq!(bytes.as_bytes(), expected.clone().collect::<Vec<u8>>());
                let (path, offset) = bytes.place().unwrap();
                assert_eq!((path.canonicalize().unwrap(), offset), {
                    let path = directory.path().join("w.data").canonicalize().unwrap();
                    (path, usize::from(expected.start))
                });
            }
        }
    }

    #[test]
    fn inline_weights_are_spans_of_the_graph() {
        let (_directory, files) = files(Load::Map);
        let inline = tensor(DataType::Uint8, &[3], TensorContent::Inline(&files.as_bytes()[5..]));
        let bytes = files.resolve(&inline).unwrap();
        assert_eq!(bytes.place(), Some((files.path(), 5)));
        let elsewhere = tensor(DataType::Uint4, &[3], TensorContent::Inline(&[1, 2]));
        let bytes = files.resolve(&elsewhere).unwrap();
        assert_eq!((bytes.place(), bytes.as_bytes()), (None, [1, 2].as_slice()));
    }

    #[test]
    fn lists_become_little_endian_bytes() {
        let (_directory, files) = files(Load::Map);
        for (data_type, count, content, expected) in [
            (DataType::Float32, 1, TensorContent::Float32(vec![1.0]), vec![0, 0, 0x80, 0x3f]),
            (DataType::Float64, 1, TensorContent::Float64(vec![1.0]), vec![0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
            (DataType::Int64, 1, TensorContent::Int64(vec![-2]), [vec![0xfe], vec![0xff; 7]].concat()),
            (DataType::Int32, 1, TensorContent::Int32(vec![0x0102_0304]), vec![4, 3, 2, 1]),
            (DataType::Float16, 2, TensorContent::Int32(vec![0x3c00, 0xffff]), vec![0, 0x3c, 0xff, 0xff]),
            (DataType::Int8, 3, TensorContent::Int32(vec![-1, 127, 0x80]), vec![0xff, 0x7f, 0x80]),
            (DataType::Uint8, 2, TensorContent::Int32(vec![0, 255]), vec![0, 0xff]),
            (DataType::Uint4, 3, TensorContent::Int32(vec![0x21, 0x03]), vec![0x21, 0x03]),
            (DataType::Bool, 2, TensorContent::Int32(vec![1, 0]), vec![1, 0]),
        ] {
            let bytes = files.resolve(&tensor(data_type, &[count], content)).unwrap();
            assert_eq!(bytes.as_bytes(), expected, "{data_type:?}");
        }
    }

    #[test]
    fn damage_is_an_error_that_names_the_tensor() {
        let (_directory, files) = files(Load::Map);
        let float = DataType::Float32;
        for (tensor, kind, text) in [
            (tensor(float, &[2], external("none", 0, Some(8))), ErrorKind::NotFound, "weights are missing"),
            (tensor(float, &[2], external("../x", 0, Some(8))), ErrorKind::InvalidModel, "not a plain path"),
            (tensor(float, &[2], external("/x", 0, Some(8))), ErrorKind::InvalidModel, "not a plain path"),
            (
                tensor(float, &[2], external("w.data", 12, Some(8))),
                ErrorKind::InvalidModel,
                "8 bytes belong at 12 but the file has 16",
            ),
            (
                tensor(float, &[2], external("w.data", u64::MAX, Some(8))),
                ErrorKind::InvalidModel,
                "but the file has 16",
            ),
            (
                tensor(float, &[2], external("w.data", 0, Some(12))),
                ErrorKind::InvalidModel,
                "takes 8 bytes but has 12",
            ),
            (
                tensor(float, &[1 << 40], external("w.data", 0, None)),
                ErrorKind::InvalidModel,
                "the file has 16",
            ),
            (tensor(float, &[u64::MAX, 2], external("w.data", 0, None)), ErrorKind::InvalidModel, "overflow"),
            (tensor(float, &[2], TensorContent::Inline(&[0; 4])), ErrorKind::InvalidModel, "but has 4"),
            (tensor(float, &[2], TensorContent::Float32(vec![0.0])), ErrorKind::InvalidModel, "but has 4"),
            (tensor(float, &[1], TensorContent::Int32(vec![0])), ErrorKind::InvalidModel, "does not use"),
            (
                tensor(DataType::Uint8, &[1], TensorContent::Int32(vec![256])),
                ErrorKind::InvalidModel,
                "outside the range of Uint8",
            ),
            (
                tensor(DataType::Int8, &[1], TensorContent::Int32(vec![-129])),
                ErrorKind::InvalidModel,
                "outside the range of Int8",
            ),
            (
                tensor(DataType::Other(8), &[1], TensorContent::Other),
                ErrorKind::Unsupported,
                "element type 8",
            ),
        ] {
            let error = files.resolve(&tensor).expect_err(text);
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.node(), Some("tensor w"));
            assert!(error.file().is_some() && error.to_string().contains(text), "{error}");
        }
    }
}
