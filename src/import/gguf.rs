//! Reads GGUF files, versions 2 and 3, over borrowed bytes.
//!
//! Format: `docs/gguf.md` of the ggml project. Strings, arrays and tensor contents are views into the file;
//! only the lists of keys and tensors are allocated, in proportion to the file's size.

use std::collections::HashMap;

use super::tensor_type::TensorType;
use crate::error::{Error, ErrorKind, Result};

/// Arrays nest at most this deep. Published files do not nest at all.
const MAXIMUM_NESTING: usize = 4;
/// ggml tensors have at most four dimensions.
const MAXIMUM_DIMENSIONS: u32 = 4;

/// A parsed GGUF file.
#[derive(Debug)]
pub(super) struct Gguf<'a> {
    metadata: HashMap<&'a str, Value<'a>>,
    tensors: HashMap<&'a str, TensorInfo>,
    /// Of which every tensor's offset is a multiple.
    alignment: u64,
    data: &'a [u8],
}

/// A metadata value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A 32- or 64-bit float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A UTF-8 string.
    String(&'a str),
    /// An array.
    Array(Array<'a>),
}

/// An array of metadata values of one type, decoded as it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Array<'a> {
    item: ItemType,
    length: usize,
    bytes: &'a [u8],
}

/// The type codes of metadata values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ItemType {
    Uint8,
    Int8,
    Uint16,
    Int16,
    Uint32,
    Int32,
    Float32,
    Bool,
    String,
    Array,
    Uint64,
    Int64,
    Float64,
}

/// What the file says about a tensor.
#[derive(Debug, Clone, PartialEq)]
struct TensorInfo {
    dims: Vec<u64>,
    type_code: u32,
    offset: u64,
}

/// A tensor: rows of `columns` elements, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct TensorView<'a> {
    /// How the elements are stored.
    pub tensor_type: TensorType,
    /// How many rows; 1 for a vector.
    pub rows: usize,
    /// Elements of a row, which lie side by side.
    pub columns: usize,
    /// `rows` times [`TensorType::row_bytes`] bytes.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The bytes of one row.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when there is no such row.
    pub(super) fn row(&self, row: usize) -> Result<&'a [u8]> {
        let length = self.bytes.len().checked_div(self.rows).unwrap_or(0);
        row.checked_mul(length).and_then(|start| self.bytes.get(start..start + length)).ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("no row {row} in a tensor of {}", self.rows))
        })
    }
}

impl<'a> Gguf<'a> {
    /// Parses the bytes of a GGUF file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] with the byte position for anything malformed; [`ErrorKind::Unsupported`] for
    /// other versions and for big-endian files.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor { bytes, position: 0 };
        if cursor.take(4)? != b"GGUF" {
            return Err(Error::new(ErrorKind::InvalidModel, "this is not a GGUF file")
                .with_hint("the file must start with the letters GGUF"));
        }
        match cursor.u32()? {
            2 | 3 => {}
            version if (1..=3).contains(&version.swap_bytes()) => {
                return Err(Error::new(ErrorKind::Unsupported, "the GGUF file is big-endian")
                    .with_hint("convert it to little-endian"));
            }
            version => {
                return Err(Error::new(ErrorKind::Unsupported, format!("GGUF version {version}"))
                    .with_hint("versions 2 and 3 are read; convert the file with a current tool"));
            }
        }
        let tensor_count = cursor.u64()?;
        let metadata_count = cursor.u64()?;

        let mut metadata = HashMap::new();
        for _ in 0..metadata_count {
            let position = cursor.position;
            let key = cursor.string()?;
            let item = cursor.item_type()?;
            let value = cursor.value(item, 0)?;
            if metadata.insert(key, value).is_some() {
                return Err(malformed(position, format!("the key {key} appears twice")));
            }
        }
        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let position = cursor.position;
            let name = cursor.string()?;
            let count = cursor.u32()?;
            if count > MAXIMUM_DIMENSIONS {
                return Err(malformed(position, format!("{count} dimensions")).with_node(name));
            }
            let dims = (0..count).map(|_| cursor.u64()).collect::<Result<Vec<_>>>()?;
            let (type_code, offset) = (cursor.u32()?, cursor.u64()?);
            if tensors.insert(name, TensorInfo { dims, type_code, offset }).is_some() {
                return Err(malformed(position, "the tensor appears twice").with_node(name));
            }
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(&Value::Unsigned(alignment)) if alignment.is_power_of_two() && alignment <= 1 << 20 => {
                alignment
            }
            Some(_) => {
                return Err(Error::new(ErrorKind::InvalidModel, "not a power of two up to 1 MiB")
                    .with_node("general.alignment"));
            }
        };
        let start =
            u64::try_from(cursor.position).ok().and_then(|end| end.checked_next_multiple_of(alignment));
        let data = start.and_then(|start| usize::try_from(start).ok()).and_then(|start| bytes.get(start..));
        // A file without tensors may end before the padding.
        Ok(Self { metadata, tensors, alignment, data: data.unwrap_or_default() })
    }

    /// The metadata value at `key`.
    #[must_use]
    pub(super) fn value(&self, key: &str) -> Option<Value<'a>> {
        self.metadata.get(key).copied()
    }

    /// The string at `key`; `None` when it is absent or of another type.
    #[must_use]
    pub(super) fn string(&self, key: &str) -> Option<&'a str> {
        match self.value(key)? {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// The non-negative integer at `key`; `None` when it is absent or of another type.
    #[must_use]
    pub(super) fn unsigned(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(value) => Some(value),
            Value::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// The truth value at `key`; `None` when it is absent or of another type.
    #[must_use]
    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The array at `key`; `None` when it is absent or of another type.
    #[must_use]
    pub(super) fn array(&self, key: &str) -> Option<Array<'a>> {
        match self.value(key)? {
            Value::Array(value) => Some(value),
            _ => None,
        }
    }

    /// The names of all tensors, in no particular order.
    pub(super) fn tensor_names(&self) -> impl Iterator<Item = &'a str> {
        self.tensors.keys().copied()
    }

    /// Whether there is a tensor called `name`.
    #[must_use]
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor called `name`; `None` when the file has none of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an element type that cannot be read, and [`ErrorKind::InvalidModel`] for a
    /// shape that does not fit the type or a tensor that reaches past the end of the file.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<TensorView<'a>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        self.view(info).map(Some).map_err(|error| error.with_node(name))
    }

    fn view(&self, info: &TensorInfo) -> Result<TensorView<'a>> {
        let tensor_type = TensorType::from_code(info.type_code)?;
        let shape = || {
            let columns = usize::try_from(info.dims.first().copied().unwrap_or(1)).ok()?;
            let rows = info.dims.iter().skip(1).try_fold(1, |product: u64, &dim| product.checked_mul(dim))?;
            let rows = usize::try_from(rows).ok()?;
            let bytes = tensor_type.row_bytes(columns)?.checked_mul(rows)?;
            Some((rows, columns, bytes))
        };
        let Some((rows, columns, length)) = shape() else {
            let message =
                format!("a tensor of type {} cannot have shape {:?}", tensor_type.name(), info.dims);
            return Err(Error::new(ErrorKind::InvalidModel, message));
        };
        if !info.offset.is_multiple_of(self.alignment) {
            let message = format!("offset {} is no multiple of {}", info.offset, self.alignment);
            return Err(Error::new(ErrorKind::InvalidModel, message));
        }
        let bytes = usize::try_from(info.offset)
            .ok()
            .and_then(|start| self.data.get(start..start.checked_add(length)?))
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidModel, "the tensor reaches past the end of the file")
                    .with_hint("the file is incomplete; copy it again")
            })?;
        Ok(TensorView { tensor_type, rows, columns, bytes })
    }
}

impl<'a> Array<'a> {
    /// How many items there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no item.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The items in order.
    pub(super) fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut cursor = Cursor { bytes: self.bytes, position: 0 };
        let item = self.item;
        // Parsing the file has walked these bytes, so every item is there.
        (0..self.length).map_while(move |_| cursor.value(item, 0).ok())
    }

    /// The items in order when they are strings; `None` otherwise.
    #[must_use]
    pub(super) fn strings(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        (self.item == ItemType::String || self.is_empty()).then(|| {
            self.values().filter_map(|value| match value {
                Value::String(value) => Some(value),
                _ => None,
            })
        })
    }
}

impl ItemType {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Uint8,
            1 => Self::Int8,
            2 => Self::Uint16,
            3 => Self::Int16,
            4 => Self::Uint32,
            5 => Self::Int32,
            6 => Self::Float32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::Uint64,
            11 => Self::Int64,
            12 => Self::Float64,
            _ => return None,
        })
    }

    /// Bytes of an item, or `None` where items differ in length.
    fn fixed_size(self) -> Option<usize> {
        Some(match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Uint16 | Self::Int16 => 2,
            Self::Uint32 | Self::Int32 | Self::Float32 => 4,
            Self::Uint64 | Self::Int64 | Self::Float64 => 8,
            Self::String | Self::Array => return None,
        })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(length);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.position..end)) else {
            return Err(malformed(self.position, format!("{length} bytes are missing"))
                .with_hint("the file is incomplete; copy it again"));
        };
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize> {
        let position = self.position;
        usize::try_from(self.u64()?).map_err(|_| malformed(position, "a length beyond the address space"))
    }

    fn string(&mut self) -> Result<&'a str> {
        let position = self.position;
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| malformed(position, "a string is not UTF-8"))
    }

    fn item_type(&mut self) -> Result<ItemType> {
        let position = self.position;
        let code = self.u32()?;
        ItemType::from_code(code).ok_or_else(|| malformed(position, format!("unknown metadata type {code}")))
    }

    fn value(&mut self, item: ItemType, depth: usize) -> Result<Value<'a>> {
        Ok(match item {
            ItemType::Uint8 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            ItemType::Int8 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            ItemType::Uint16 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            ItemType::Int16 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            ItemType::Uint32 => Value::Unsigned(self.u32()?.into()),
            ItemType::Int32 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            ItemType::Float32 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            ItemType::Bool => Value::Bool(self.array::<1>()? != [0]),
            ItemType::String => Value::String(self.string()?),
            ItemType::Array => Value::Array(self.nested_array(depth)?),
            ItemType::Uint64 => Value::Unsigned(self.u64()?),
            ItemType::Int64 => Value::Signed(i64::from_le_bytes(self.array()?)),
            ItemType::Float64 => Value::Float(f64::from_le_bytes(self.array()?)),
        })
    }

    fn nested_array(&mut self, depth: usize) -> Result<Array<'a>> {
        if depth == MAXIMUM_NESTING {
            return Err(malformed(self.position, "arrays are nested too deep"));
        }
        let item = self.item_type()?;
        let length = self.length()?;
        let start = self.position;
        if let Some(size) = item.fixed_size() {
            let bytes = length
                .checked_mul(size)
                .ok_or_else(|| malformed(start, "an array beyond the address space"))?;
            self.take(bytes)?;
        } else {
            for _ in 0..length {
                self.value(item, depth + 1)?;
            }
        }
        let bytes = self.bytes.get(start..self.position).unwrap_or_default();
        Ok(Array { item, length, bytes })
    }
}

fn malformed(position: usize, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidModel, format!("GGUF at byte {position}: {message}"))
}

#[cfg(test)]
pub(super) mod test_file;
#[cfg(test)]
mod tests;
