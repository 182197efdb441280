//! The template language of chat templates: the part of Jinja that they use, with Python's semantics.
//!
//! Templates come with model files and are untrusted. The engine therefore counts every step and every byte that a
//! template creates, bounds its recursion and the nesting of its values, has no functions that reach outside, and
//! stops with an error where a general engine would fill the memory (a string that is doubled forty times is longer
//! than any memory). Whitespace control, operators, filters, tests and methods follow Jinja 3.1 with `trim_blocks` and
//! `lstrip_blocks`, the environment that chat templates are written for.

mod arithmetic;
mod ast;
mod budget;
mod comparison;
mod date;
mod failure;
mod filters;
mod indexing;
mod interpreter;
mod json;
mod lexer;
mod methods;
mod parser;
mod predicates;
mod printing;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use date::DateTime;
pub(super) use failure::{Failure, FailureKind, Outcome};

use self::ast::Statement;
use self::budget::Budget;
use self::interpreter::Interpreter;
use self::value::Value;

/// Longest template that is read. The longest published ones have about 30 KB.
const MAX_TEMPLATE_BYTES: usize = 512 << 10;

/// A template that has been read.
#[derive(Debug)]
pub(super) struct Template {
    statements: Vec<Statement>,
}

impl Template {
    pub(super) fn parse(source: &str) -> Outcome<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let message =
                format!("the template has {} bytes, the limit is {MAX_TEMPLATE_BYTES}", source.len());
            return Err(Failure::new(FailureKind::Limit, message));
        }
        Ok(Self { statements: parser::parse(source)? })
    }

    /// The text that the template gives for `variables`.
    pub(super) fn render(
        &self,
        variables: &serde_json::Map<String, serde_json::Value>,
        date: DateTime,
    ) -> Outcome<String> {
        let mut values: Vec<(Arc<str>, Value)> = Vec::with_capacity(variables.len());
        for (name, value) in variables {
            values.push((name.as_str().into(), Value::from_json(value)?));
        }
        let size = variables.iter().map(|(name, value)| name.len() + json_size(value)).sum();
        Interpreter::new(values, Budget::for_input(size), date).run(&self.statements)
    }
}

/// Bytes of the strings in a JSON value.
fn json_size(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(json_size).sum(),
        serde_json::Value::Object(entries) => {
            entries.iter().map(|(name, value)| name.len() + json_size(value)).sum()
        }
        _ => 8,
    }
}
