//! Reading a node's attributes so that none is overlooked.

use std::cell::RefCell;

use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{AttributeValue, Node};

/// The attributes of a node; [`finish`](Self::finish) refuses the ones that nobody asked for.
pub(crate) struct Attributes<'n, 'a> {
    node: &'n Node<'a>,
    read: RefCell<Vec<&'static str>>,
}

impl<'n, 'a> Attributes<'n, 'a> {
    pub(crate) fn new(node: &'n Node<'a>) -> Self {
        Self { node, read: RefCell::new(Vec::new()) }
    }

    fn get(&self, name: &'static str) -> Option<&'n AttributeValue<'a>> {
        self.read.borrow_mut().push(name);
        self.node.attribute(name)
    }

    pub(crate) fn integer(&self, name: &'static str, default: i64) -> Result<i64> {
        match self.get(name) {
            None => Ok(default),
            Some(AttributeValue::Int(value)) => Ok(*value),
            Some(_) => Err(wrong_type(name, "an integer")),
        }
    }

    pub(crate) fn size(&self, name: &'static str, default: usize) -> Result<usize> {
        let value = self.integer(name, i64::try_from(default).unwrap_or(i64::MAX))?;
        usize::try_from(value).map_err(|_| {
            Error::new(ErrorKind::InvalidModel, format!("attribute {name} is {value}, which is negative"))
        })
    }

    /// An integer that must be there and positive.
    pub(crate) fn required_size(&self, name: &'static str) -> Result<usize> {
        match self.size(name, 0)? {
            0 => Err(Error::new(ErrorKind::InvalidModel, format!("attribute {name} is missing or 0"))),
            value => Ok(value),
        }
    }

    pub(crate) fn flag(&self, name: &'static str, default: bool) -> Result<bool> {
        match self.integer(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(unsupported_value(name, other)),
        }
    }

    pub(crate) fn float(&self, name: &'static str, default: f32) -> Result<f32> {
        match self.get(name) {
            None => Ok(default),
            Some(AttributeValue::Float(value)) if value.is_finite() => Ok(*value),
            Some(AttributeValue::Float(value)) => {
                Err(Error::new(ErrorKind::InvalidModel, format!("attribute {name} is {value}")))
            }
            Some(_) => Err(wrong_type(name, "a float")),
        }
    }

    pub(crate) fn text(&self, name: &'static str, default: &'static str) -> Result<&'n str> {
        match self.get(name) {
            None => Ok(default),
            Some(AttributeValue::String(value)) => {
                std::str::from_utf8(value).map_err(|_| wrong_type(name, "UTF-8 text"))
            }
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    pub(crate) fn integers(&self, name: &'static str) -> Result<Option<&'n [i64]>> {
        match self.get(name) {
            None => Ok(None),
            Some(AttributeValue::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(wrong_type(name, "a list of integers")),
        }
    }

    /// Requires an integer attribute to have the one value that is implemented, which is also its default.
    pub(crate) fn only(&self, name: &'static str, value: i64) -> Result<()> {
        let found = self.integer(name, value)?;
        if found == value { Ok(()) } else { Err(unsupported_value(name, found)) }
    }

    /// Reads an attribute that changes nothing for this engine.
    pub(crate) fn ignore(&self, name: &'static str) {
        self.get(name);
    }

    /// Refuses attributes that were not asked for.
    pub(crate) fn finish(self) -> Result<()> {
        let read = self.read.into_inner();
        match self.node.attributes.iter().find(|attribute| !read.contains(&attribute.name)) {
            None => Ok(()),
            Some(attribute) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the attribute {} is not known to the CPU engine", attribute.name),
            )),
        }
    }
}

/// The error for a value of an attribute that is not implemented.
pub(crate) fn unsupported_value(name: &str, value: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("attribute {name} is {value}, which the CPU engine does not implement"),
    )
}

fn wrong_type(name: &str, expected: &str) -> Error {
    Error::new(ErrorKind::InvalidModel, format!("attribute {name} is not {expected}"))
}
