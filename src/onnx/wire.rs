//! The protobuf wire format: tags, varints, fixed-width values and length-delimited fields.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Groups, deprecated and never used by ONNX, are
//! refused.

#![deny(clippy::as_conversions, clippy::indexing_slicing)]

use crate::error::{Error, ErrorKind};

/// What is wrong, at which byte of the file and in which message.
#[derive(Debug)]
pub(super) struct Fault(Box<FaultParts>);

#[derive(Debug)]
struct FaultParts {
    position: usize,
    message: String,
    /// Innermost field first.
    path: Vec<String>,
}

/// A result of reading the wire format.
pub(super) type Parsed<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(position: usize, message: impl Into<String>) -> Self {
        Self(Box::new(FaultParts { position, message: message.into(), path: Vec::new() }))
    }

    /// Says that the fault lies inside the field called `field`.
    pub(super) fn within(mut self, field: &str) -> Self {
        self.0.path.push(field.to_owned());
        self
    }

    /// Says that the fault lies inside item `index` of the repeated field called `field`.
    pub(super) fn within_item(mut self, field: &str, index: usize) -> Self {
        self.0.path.push(format!("{field}[{index}]"));
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let FaultParts { position, message, mut path } = *fault.0;
        path.reverse();
        let error = Self::new(ErrorKind::InvalidModel, format!("{message}, at byte {position}"));
        if path.is_empty() { error } else { error.with_node(path.join(".")) }
    }
}

/// The fields of one message, front to back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    rest: &'a [u8],
    /// Position of `rest` in the file.
    position: usize,
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// The field's number.
    pub(super) number: u32,
    /// Where its tag begins in the file.
    pub(super) position: usize,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Message<'a>),
}

impl<'a> Message<'a> {
    /// The message that a whole file is.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, position: 0 }
    }

    /// Where the next byte lies in the file.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Whether every byte is read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, or `None` at the end.
    pub(super) fn next_field(&mut self) -> Parsed<Option<Field<'a>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let position = self.position;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or_else(|| Fault::new(position, format!("field number {} does not exist", tag >> 3)))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length_position = self.position;
                let length = self.varint()?;
                let present = self.rest.len();
                let length =
                    usize::try_from(length).ok().filter(|length| *length <= present).ok_or_else(|| {
                        let message =
                            format!("field {number} is {length} bytes long but only {present} follow");
                        Fault::new(length_position, message)
                    })?;
                let start = self.position;
                Value::Bytes(Message { rest: self.take(length)?, position: start })
            }
            5 => Value::Fixed32(self.array()?),
            other => {
                return Err(Fault::new(
                    position,
                    format!("field {number} has the unknown wire type {other}"),
                ));
            }
        };
        Ok(Some(Field { number, position, value }))
    }

    /// A base-128 number of at most 64 bits.
    pub(super) fn varint(&mut self) -> Parsed<u64> {
        let start = self.position;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::new(start, "a variable-length number has more than 64 bits"))
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let Some((first, rest)) = self.rest.split_first_chunk::<N>() else {
            let message = format!("the message ends where {N} more bytes belong");
            return Err(Fault::new(self.position, message));
        };
        self.rest = rest;
        self.position = self.position.saturating_add(N);
        Ok(*first)
    }

    fn take(&mut self, length: usize) -> Parsed<&'a [u8]> {
        let (first, rest) = self.rest.split_at_checked(length).ok_or_else(|| {
            Fault::new(self.position, format!("the message ends where {length} more bytes belong"))
        })?;
        self.rest = rest;
        self.position = self.position.saturating_add(length);
        Ok(first)
    }
}

impl<'a> Field<'a> {
    fn mismatch<T>(&self, expected: &str) -> Parsed<T> {
        let found = match self.value {
            Value::Varint(_) => "a varint",
            Value::Fixed64(_) => "a fixed 64-bit value",
            Value::Fixed32(_) => "a fixed 32-bit value",
            Value::Bytes(_) => "a length-delimited value",
        };
        Err(Fault::new(self.position, format!("field {} holds {found} in place of {expected}", self.number)))
    }

    /// An embedded message, or the packed values of a repeated field.
    pub(super) fn message(&self) -> Parsed<Message<'a>> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => self.mismatch("a message"),
        }
    }

    /// A byte string.
    pub(super) fn bytes(&self) -> Parsed<&'a [u8]> {
        match self.value {
            Value::Bytes(message) => Ok(message.rest),
            _ => self.mismatch("bytes"),
        }
    }

    /// A UTF-8 string.
    pub(super) fn text(&self) -> Parsed<&'a str> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|_| Fault::new(self.position, format!("field {} is not UTF-8", self.number)))
    }

    /// A 64-bit integer.
    pub(super) fn int64(&self) -> Parsed<i64> {
        match self.value {
            Value::Varint(value) => Ok(value.cast_signed()),
            _ => self.mismatch("an integer"),
        }
    }

    /// A 32-bit integer or an enum value.
    pub(super) fn int32(&self) -> Parsed<i32> {
        narrow(self.int64()?, self.position)
    }

    /// A 32-bit float.
    pub(super) fn float32(&self) -> Parsed<f32> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => self.mismatch("a 32-bit float"),
        }
    }

    /// A 64-bit float.
    pub(super) fn float64(&self) -> Parsed<f64> {
        match self.value {
            Value::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => self.mismatch("a 64-bit float"),
        }
    }

    /// The packed values of a repeated field of numbers, or `None` when the field holds one value.
    pub(super) fn packed(&self) -> Option<Message<'a>> {
        match self.value {
            Value::Bytes(message) => Some(message),
            _ => None,
        }
    }
}

/// A 32-bit integer from its varint: negative ones are sign-extended to 64 bits, and some writers leave their
/// upper half zero.
pub(super) fn narrow(value: i64, position: usize) -> Parsed<i32> {
    i32::try_from(value)
        .or_else(|_| u32::try_from(value).map(u32::cast_signed))
        .map_err(|_| Fault::new(position, format!("{value} does not fit 32 bits")))
}
