//! Runs a template.

mod calls;
mod expressions;
mod functions;
mod scopes;
mod statements;

use std::sync::Arc;

pub(super) use self::calls::Call;
use self::scopes::Scope;
use self::statements::Flow;
use super::ast::Statement;
use super::budget::Budget;
use super::date::DateTime;
use super::failure::{Failure, Outcome};
use super::value::{Items, Value};

/// Deepest recursion of statements, expressions and macro calls together.
const MAX_RECURSION: u32 = 250;

pub(super) struct Interpreter {
    /// Variables, innermost scope last. The first holds the variables of the caller, the second the template's own.
    scopes: Vec<Scope>,
    namespaces: Vec<Scope>,
    /// Scopes that call blocks were written in.
    captured: Vec<Vec<Scope>>,
    output: String,
    pub(super) budget: Budget,
    recursion: u32,
    date: DateTime,
    loop_name: Arc<str>,
}

impl Interpreter {
    pub(super) fn new(variables: Vec<(Arc<str>, Value)>, budget: Budget, date: DateTime) -> Self {
        Self {
            scopes: vec![variables, Vec::new()],
            namespaces: Vec::new(),
            captured: Vec::new(),
            output: String::new(),
            budget,
            recursion: 0,
            date,
            loop_name: "loop".into(),
        }
    }

    pub(super) fn run(mut self, template: &[Statement]) -> Outcome<String> {
        if self.statements(template)? != Flow::Next {
            return Err(Failure::runtime("break or continue outside a loop"));
        }
        Ok(self.output)
    }

    fn recurse<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.recursion >= MAX_RECURSION {
            return Err(Failure::limit(format!(
                "the template recurses more than {MAX_RECURSION} levels deep"
            )));
        }
        self.recursion += 1;
        let result = work(self);
        self.recursion -= 1;
        result
    }

    /// The elements that a loop over `value` sees.
    pub(super) fn iterate(&mut self, value: &Value) -> Outcome<Arc<Items>> {
        let values = match value {
            Value::List(items) | Value::Tuple(items) => return Ok(Arc::clone(items)),
            Value::Undefined(_) => Vec::new(),
            Value::Dict(dict) => {
                self.budget.bytes(dict.entries.len() * size_of::<Value>())?;
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            Value::Str(text) => {
                // Each character is a string of its own.
                self.budget.bytes(text.len().saturating_mul(64))?;
                text.chars().map(|character| Value::str(character.encode_utf8(&mut [0; 4]))).collect()
            }
            _ => return Err(Failure::runtime(format!("a {} cannot be iterated", value.type_name()))),
        };
        Ok(Arc::new(Items::new(values)?))
    }

    /// A new string.
    pub(super) fn new_str(&mut self, text: impl AsRef<str>) -> Outcome<Value> {
        self.budget.bytes(text.as_ref().len())?;
        Ok(Value::str(text))
    }

    /// A new list.
    pub(super) fn new_list(&mut self, values: Vec<Value>) -> Outcome<Value> {
        self.budget.bytes(values.len() * size_of::<Value>())?;
        Value::list(values)
    }

    /// A dict of entries whose keys may occur more than once.
    fn unique_dict(&mut self, entries: Vec<(Value, Value)>) -> Outcome<Value> {
        for (key, _) in &entries {
            self.budget.reads(key.as_str().map_or(0, str::len))?;
        }
        Value::dict(entries)
    }
}
