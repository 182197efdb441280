//! Logits of another implementation, which a model's own are compared with.

#![forbid(unsafe_code)]

use std::path::Path;

use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};

use super::files::{Load, MappedFile};
use crate::error::{Error, ErrorKind, Result};

/// The contents of a `reference.safetensors`.
///
/// For each case, such as `short`, the file has `short.prompt_tokens` (int32 or int64), `short.prompt_logits_last16`
/// (float32, the logits of the last 16 prompt tokens in one prefill), `short.next_tokens` (int32 or int64, fed one
/// at a time after the prompt) and `short.next_logits` (float32, one row for each of these).
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The cases, the shortest prompt first.
    pub cases: Vec<ReferenceCase>,
}

/// One prompt, its continuation, and the expected logits.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceCase {
    /// The case's name.
    pub name: String,
    /// The prompt, not empty.
    pub prompt_tokens: Vec<u32>,
    /// Logits of the last prompt tokens, `[rows, vocabulary]`.
    pub prompt_logits: Array2<f32>,
    /// The tokens after the prompt.
    pub next_tokens: Vec<u32>,
    /// Logits of these, `[next tokens, vocabulary]`.
    pub next_logits: Array2<f32>,
}

impl Reference {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Those of [`MappedFile::open`]; [`ErrorKind::InvalidModel`] with the tensor's name when the file is damaged,
    /// has no case, or when shapes do not agree; [`ErrorKind::Unsupported`] for other element types.
    pub fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path, Load::Map)?;
        Self::parse(file.as_bytes()).map_err(|error| error.with_file(path))
    }

    /// Reads the bytes of such a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| {
            Error::new(ErrorKind::InvalidModel, format!("this is not a safetensors file: {error}"))
                .with_source(error)
        })?;
        let names = tensors.names().into_iter().filter_map(|name| name.strip_suffix(".prompt_tokens"));
        let cases = names.map(|name| case(&tensors, name)).collect::<Result<Vec<_>>>();
        let mut cases = cases?;
        if cases.is_empty() {
            return Err(Error::new(ErrorKind::InvalidModel, "the file has no tensor NAME.prompt_tokens"));
        }
        cases.sort_by(|a, b| (a.prompt_tokens.len(), &a.name).cmp(&(b.prompt_tokens.len(), &b.name)));
        Ok(Self { cases })
    }
}

fn case(tensors: &SafeTensors<'_>, name: &str) -> Result<ReferenceCase> {
    let case = ReferenceCase {
        prompt_tokens: tokens(tensors, &format!("{name}.prompt_tokens"))?,
        prompt_logits: logits(tensors, &format!("{name}.prompt_logits_last16"))?,
        next_tokens: tokens(tensors, &format!("{name}.next_tokens"))?,
        next_logits: logits(tensors, &format!("{name}.next_logits"))?,
        name: name.to_owned(),
    };
    let problem = if case.prompt_tokens.is_empty() {
        "the prompt is empty".to_owned()
    } else if case.prompt_logits.nrows() > case.prompt_tokens.len() {
        format!("{} rows of logits for {} tokens", case.prompt_logits.nrows(), case.prompt_tokens.len())
    } else if case.next_logits.nrows() != case.next_tokens.len() {
        format!("{} rows of logits for {} tokens", case.next_logits.nrows(), case.next_tokens.len())
    } else if case.prompt_logits.ncols() != case.next_logits.ncols() {
        let (prompt, next) = (case.prompt_logits.ncols(), case.next_logits.ncols());
        format!("vocabularies of {prompt} and {next} entries")
    } else {
        return Ok(case);
    };
    Err(Error::new(ErrorKind::InvalidModel, problem).with_node(format!("case {name}")))
}

fn damaged(name: &str, kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_node(format!("tensor {name}"))
}

fn tokens(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<u32>> {
    let tensor =
        tensors.tensor(name).map_err(|error| damaged(name, ErrorKind::InvalidModel, error.to_string()))?;
    if tensor.shape().len() != 1 {
        let text = format!("its shape is {:?} in place of [tokens]", tensor.shape());
        return Err(damaged(name, ErrorKind::InvalidModel, text));
    }
    let data = tensor.data();
    let values: Vec<i64> = match tensor.dtype() {
        Dtype::I32 => data.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect(),
        Dtype::I64 => data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        other => {
            let text = format!("its type is {other:?}; tokens are I32 or I64");
            return Err(damaged(name, ErrorKind::Unsupported, text));
        }
    };
    let tokens = values.into_iter().map(u32::try_from).collect::<Result<Vec<u32>, _>>();
    tokens.map_err(|_| damaged(name, ErrorKind::InvalidModel, "a token is negative or too large"))
}

fn logits(tensors: &SafeTensors<'_>, name: &str) -> Result<Array2<f32>> {
    let tensor =
        tensors.tensor(name).map_err(|error| damaged(name, ErrorKind::InvalidModel, error.to_string()))?;
    let [rows, columns] = *tensor.shape() else {
        let text = format!("its shape is {:?} in place of [rows, vocabulary]", tensor.shape());
        return Err(damaged(name, ErrorKind::InvalidModel, text));
    };
    if tensor.dtype() != Dtype::F32 {
        let text = format!("its type is {:?}; logits are F32", tensor.dtype());
        return Err(damaged(name, ErrorKind::Unsupported, text));
    }
    let values = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Array2::from_shape_vec((rows, columns), values)
        .map_err(|error| damaged(name, ErrorKind::InvalidModel, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn the_golden_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
        let reference = Reference::open(&root.join("llama-3.2-1b-int4/reference.safetensors")).unwrap();
        let shapes: Vec<_> = reference
            .cases
            .iter()
            .map(|case| {
                let (prompt, next) = (case.prompt_logits.dim(), case.next_logits.dim());
                (case.name.as_str(), case.prompt_tokens.len(), prompt, case.next_tokens.len(), next)
            })
            .collect();
        assert_eq!(shapes, [("short", 48, (16, 512), 8, (8, 512)), ("long", 200, (16, 512), 8, (8, 512))]);
        let short = &reference.cases[0];
        assert_eq!(short.prompt_tokens[..4], PROMPT_START);
        assert_eq!([short.prompt_logits[[0, 0]], short.next_logits[[7, 511]]], LOGITS);
        for root in [root, Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/variants")] {
            for entry in std::fs::read_dir(root).unwrap() {
                let path = entry.unwrap().path().join("reference.safetensors");
                if path.exists() {
                    assert_eq!(Reference::open(&path).unwrap().cases.len(), 2, "{}", path.display());
                }
            }
        }
    }

    // Unpacked from the file with Python's struct module.
    const PROMPT_START: [u32; 4] = [483, 321, 351, 459];
    const LOGITS: [f32; 2] = [-0.0921189, -1.6539834];

    /// A file with one case, one of whose tensors is replaced or, for `None`, left out.
    fn file(replaced: &str, with: Option<(Dtype, Vec<usize>, Vec<u8>)>) -> Vec<u8> {
        let mut tensors = vec![
            ("a.prompt_tokens", Dtype::I64, vec![2], [1_i64, 2].map(i64::to_le_bytes).concat()),
            ("a.prompt_logits_last16", Dtype::F32, vec![1, 3], vec![0; 12]),
            ("a.next_tokens", Dtype::I32, vec![2], [3_i32, 4].map(i32::to_le_bytes).concat()),
            ("a.next_logits", Dtype::F32, vec![2, 3], vec![0; 24]),
        ];
        tensors.retain(|(name, ..)| *name != replaced);
        if let Some((dtype, shape, data)) = with {
            tensors.push((replaced, dtype, shape, data));
        }
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn damage_is_an_error_that_names_its_place() {
        let case = &Reference::parse(&file("", None)).unwrap().cases[0];
        assert_eq!((&case.prompt_tokens[..], &case.next_tokens[..]), (&[1, 2][..], &[3, 4][..]));
        let invalid = ErrorKind::InvalidModel;
        for (replaced, with, kind, text) in [
            ("a.prompt_tokens", None, invalid, "no tensor NAME.prompt_tokens"),
            ("a.next_tokens", None, invalid, "tensor a.next_tokens"),
            ("a.prompt_tokens", Some((Dtype::I32, vec![0], vec![])), invalid, "case a: the prompt is empty"),
            ("a.prompt_tokens", Some((Dtype::I32, vec![1], vec![0xff; 4])), invalid, "is negative"),
            (
                "a.prompt_tokens",
                Some((Dtype::F32, vec![1], vec![0; 4])),
                ErrorKind::Unsupported,
                "F32; tokens",
            ),
            ("a.prompt_tokens", Some((Dtype::I32, vec![1, 1], vec![0; 4])), invalid, "[1, 1] in place of"),
            (
                "a.prompt_logits_last16",
                Some((Dtype::F32, vec![3, 3], vec![0; 36])),
                invalid,
                "3 rows of logits for 2 tokens",
            ),
            ("a.next_logits", Some((Dtype::F32, vec![1, 3], vec![0; 12])), invalid, "1 rows of logits for 2"),
            (
                "a.next_logits",
                Some((Dtype::F32, vec![2, 2], vec![0; 16])),
                invalid,
                "vocabularies of 3 and 2",
            ),
            ("a.next_logits", Some((Dtype::F32, vec![6], vec![0; 24])), invalid, "[6] in place of"),
            (
                "a.next_logits",
                Some((Dtype::F16, vec![2, 3], vec![0; 12])),
                ErrorKind::Unsupported,
                "F16; logits are F32",
            ),
        ] {
            let error = Reference::parse(&file(replaced, with)).expect_err(text);
            assert!(error.to_string().contains(text), "expected {text:?} in {error}");
            assert_eq!(error.kind(), kind);
        }
    }

    #[test]
    fn truncation_is_an_error() {
        let whole = file("", None);
        for length in 0..whole.len() {
            assert!(Reference::parse(&whole[..length]).is_err(), "{length}");
        }
    }
}
