//! The values of attributes and tensors, from the several fields that may hold them.

#![deny(clippy::as_conversions, clippy::indexing_slicing)]

use super::{AttributeValue, DataType, Graph, Tensor, TensorContent};

/// A name as error messages show it: at most 100 characters.
pub(super) fn shown(name: &str) -> String {
    let mut short: String = name.chars().take(100).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The kinds of attribute that an operator of interest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeKind {
    Undefined,
    Float,
    Int,
    String,
    Tensor,
    Graph,
    Floats,
    Ints,
    Strings,
    Other,
}

impl AttributeKind {
    /// The kind with the given code in `AttributeProto.AttributeType`.
    pub(super) fn from_code(code: i32) -> Self {
        match code {
            0 => Self::Undefined,
            1 => Self::Float,
            2 => Self::Int,
            3 => Self::String,
            4 => Self::Tensor,
            5 => Self::Graph,
            6 => Self::Floats,
            7 => Self::Ints,
            8 => Self::Strings,
            _ => Self::Other,
        }
    }
}

/// The value fields of one attribute, of which a sound file sets at most one.
#[derive(Default)]
pub(super) struct AttributeFields<'a> {
    pub(super) float: Option<f32>,
    pub(super) int: Option<i64>,
    pub(super) string: Option<&'a [u8]>,
    pub(super) tensor: Option<Tensor<'a>>,
    pub(super) graph: Option<Box<Graph<'a>>>,
    pub(super) floats: Vec<f32>,
    pub(super) ints: Vec<i64>,
    pub(super) strings: Vec<&'a [u8]>,
    pub(super) other: bool,
}

impl<'a> AttributeFields<'a> {
    /// The kind of the one field that is set, or `Undefined` when none is.
    fn present(&self) -> Result<AttributeKind, String> {
        let mut present = AttributeKind::Undefined;
        for (is_set, kind) in [
            (self.float.is_some(), AttributeKind::Float),
            (self.int.is_some(), AttributeKind::Int),
            (self.string.is_some(), AttributeKind::String),
            (self.tensor.is_some(), AttributeKind::Tensor),
            (self.graph.is_some(), AttributeKind::Graph),
            (!self.floats.is_empty(), AttributeKind::Floats),
            (!self.ints.is_empty(), AttributeKind::Ints),
            (!self.strings.is_empty(), AttributeKind::Strings),
            (self.other, AttributeKind::Other),
        ] {
            if is_set && present != AttributeKind::Undefined {
                return Err(format!("it holds both {present:?} and {kind:?}"));
            }
            if is_set {
                present = kind;
            }
        }
        Ok(present)
    }

    /// The value. Old files do not declare a kind, and writers leave out values that are zero or empty.
    pub(super) fn value(self, declared: AttributeKind) -> Result<AttributeValue<'a>, String> {
        let present = self.present()?;
        let kind = if declared == AttributeKind::Undefined { present } else { declared };
        if present != AttributeKind::Undefined && present != kind {
            return Err(format!("its type is {kind:?} but it holds {present:?}"));
        }
        Ok(match kind {
            AttributeKind::Undefined => return Err("it has neither a type nor a value".to_owned()),
            AttributeKind::Float => AttributeValue::Float(self.float.unwrap_or(0.0)),
            AttributeKind::Int => AttributeValue::Int(self.int.unwrap_or(0)),
            AttributeKind::String => AttributeValue::String(self.string.unwrap_or_default()),
            AttributeKind::Tensor => AttributeValue::Tensor(self.tensor.ok_or("it holds no tensor")?),
            AttributeKind::Graph => AttributeValue::Graph(self.graph.ok_or("it holds no graph")?),
            AttributeKind::Floats => AttributeValue::Floats(self.floats),
            AttributeKind::Ints => AttributeValue::Ints(self.ints),
            AttributeKind::Strings => AttributeValue::Strings(self.strings),
            AttributeKind::Other => AttributeValue::Other,
        })
    }
}

/// The content fields of one tensor, of which a sound file sets at most one.
#[derive(Default)]
pub(super) struct TensorFields<'a> {
    pub(super) raw: Option<&'a [u8]>,
    pub(super) float32: Vec<f32>,
    pub(super) float64: Vec<f64>,
    pub(super) int32: Vec<i32>,
    pub(super) int64: Vec<i64>,
    pub(super) other: bool,
}

impl<'a> TensorFields<'a> {
    /// The content of the one field that is set, which must be one that `data_type` uses.
    pub(super) fn content(self, data_type: DataType) -> Result<TensorContent<'a>, String> {
        let set = [
            self.raw.is_some(),
            !self.float32.is_empty(),
            !self.float64.is_empty(),
            !self.int32.is_empty(),
            !self.int64.is_empty(),
            self.other,
        ];
        if set.into_iter().filter(|is_set| *is_set).count() > 1 {
            return Err("it holds more than one kind of data".to_owned());
        }
        let (content, fits) = if let Some(raw) = self.raw {
            (TensorContent::Inline(raw), true)
        } else if !self.float32.is_empty() {
            (
                TensorContent::Float32(self.float32),
                matches!(data_type, DataType::Float32 | DataType::Other(_)),
            )
        } else if !self.float64.is_empty() {
            (
                TensorContent::Float64(self.float64),
                matches!(data_type, DataType::Float64 | DataType::Other(_)),
            )
        } else if !self.int32.is_empty() {
            let wide = matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Int64);
            (TensorContent::Int32(self.int32), !wide)
        } else if !self.int64.is_empty() {
            (TensorContent::Int64(self.int64), matches!(data_type, DataType::Int64 | DataType::Other(_)))
        } else if self.other {
            (TensorContent::Other, matches!(data_type, DataType::Other(_)))
        } else {
            (TensorContent::Inline(&[]), true)
        };
        if !fits {
            return Err(format!("its data lies in a field that {data_type:?} does not use"));
        }
        Ok(content)
    }
}

/// The key and value pairs of `external_data`.
#[derive(Default)]
pub(super) struct ExternalData<'a> {
    location: Option<&'a str>,
    offset: Option<u64>,
    length: Option<u64>,
}

impl<'a> ExternalData<'a> {
    pub(super) fn add(&mut self, (key, value): (&'a str, &'a str)) -> Result<(), String> {
        let number = || {
            let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit());
            let number = value.parse::<u64>().ok().filter(|_| is_decimal);
            number.ok_or_else(|| format!("{key} is {}, not a decimal number", shown(value)))
        };
        let is_repeated = match key {
            "location" => self.location.replace(value).is_some(),
            "offset" => self.offset.replace(number()?).is_some(),
            "length" => self.length.replace(number()?).is_some(),
            _ => false,
        };
        if is_repeated { Err(format!("{key} occurs twice")) } else { Ok(()) }
    }

    pub(super) fn content(self) -> Result<TensorContent<'a>, String> {
        let location = self.location.filter(|location| !location.is_empty());
        Ok(TensorContent::External {
            location: location.ok_or("its data is external but no location is given")?,
            offset: self.offset.unwrap_or(0),
            length: self.length,
        })
    }
}

/// Checks that the data agrees with dims and type, as far as the file itself holds it and the type is known.
pub(super) fn check_length(tensor: &Tensor<'_>) -> Result<(), String> {
    let name = shown(tensor.name);
    let Some(elements) = tensor.element_count() else {
        return Err(format!("tensor {name}: dims {:?} overflow", tensor.dims));
    };
    let Some(bits) = tensor.data_type.bits() else { return Ok(()) };
    let Some(bytes) = tensor.byte_length() else {
        return Err(format!("tensor {name}: dims {:?} overflow", tensor.dims));
    };
    // Two 4-bit elements share one entry of int32_data.
    let entries = if bits == 4 { elements.div_ceil(2) } else { elements };
    let (found, expected, unit) = match &tensor.content {
        TensorContent::Inline(data) => (data.len(), bytes, "bytes"),
        TensorContent::Int32(list) => (list.len(), entries, "elements"),
        TensorContent::Int64(list) => (list.len(), entries, "elements"),
        TensorContent::Float32(list) => (list.len(), entries, "elements"),
        TensorContent::Float64(list) => (list.len(), entries, "elements"),
        TensorContent::External { .. } | TensorContent::Other => return Ok(()),
    };
    if u64::try_from(found) == Ok(expected) {
        return Ok(());
    }
    Err(format!(
        "tensor {name}: {:?} of dims {:?} takes {expected} {unit} but it holds {found}",
        tensor.data_type, tensor.dims
    ))
}
