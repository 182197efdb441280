//! Values of templates, with Python's semantics.

use std::sync::Arc;

use super::ast::Macro;
use super::failure::{Failure, Outcome};

/// How deeply values may hold each other. Everything that walks a value recurses at most so far.
const MAX_VALUE_DEPTH: u32 = 100;

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A name or attribute that does not exist, with what it was called.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    List(Arc<Items>),
    Tuple(Arc<Items>),
    Dict(Arc<Dict>),
    /// Index into the interpreter's namespaces, which alone can change.
    Namespace(usize),
    Macro(Arc<Macro>),
    /// The body of a call block, with the index of the scopes it was written in.
    Caller(Arc<Macro>, usize),
    /// A function of the environment.
    Function(Function),
    /// A method that was named but not called.
    Method,
    Loop(Arc<Loop>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Namespace,
    Dict,
    RaiseException,
    StrftimeNow,
}

#[derive(Debug)]
pub(super) struct Items {
    depth: u32,
    pub(super) values: Vec<Value>,
}

/// A mapping that keeps the order of its keys.
#[derive(Debug)]
pub(super) struct Dict {
    depth: u32,
    pub(super) entries: Vec<(Value, Value)>,
}

/// The variable `loop`.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) items: Arc<Items>,
    pub(super) index: usize,
}

impl Value {
    pub(super) fn str(text: impl AsRef<str>) -> Self {
        Self::Str(Arc::from(text.as_ref()))
    }

    pub(super) fn list(values: Vec<Value>) -> Outcome<Self> {
        Ok(Self::List(Arc::new(Items::new(values)?)))
    }

    pub(super) fn tuple(values: Vec<Value>) -> Outcome<Self> {
        Ok(Self::Tuple(Arc::new(Items::new(values)?)))
    }

    /// Of entries with one key the last is kept, in the place of the first.
    pub(super) fn dict(entries: Vec<(Value, Value)>) -> Outcome<Self> {
        let mut unique: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
        let mut places = std::collections::HashMap::new();
        for (key, value) in entries {
            let name = match &key {
                Value::Str(_) | Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                    hash_key(&key)
                }
                _ => return Err(Failure::runtime(format!("a {} cannot be a key", key.type_name()))),
            };
            let place = *places.entry(name).or_insert(unique.len());
            match unique.get_mut(place) {
                Some((_, old)) => *old = value,
                None => unique.push((key, value)),
            }
        }
        Ok(Self::Dict(Arc::new(Dict::new(unique)?)))
    }

    /// What a JSON value is to a template.
    pub(super) fn from_json(json: &serde_json::Value) -> Outcome<Self> {
        fn convert(json: &serde_json::Value, level: u32) -> Outcome<Value> {
            if level > MAX_VALUE_DEPTH {
                return Err(too_deep());
            }
            Ok(match json {
                serde_json::Value::Null => Value::None,
                serde_json::Value::Bool(value) => Value::Bool(*value),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(value) => Value::Int(value),
                    None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
                },
                serde_json::Value::String(text) => Value::str(text),
                serde_json::Value::Array(items) => {
                    Value::list(items.iter().map(|item| convert(item, level + 1)).collect::<Outcome<_>>()?)?
                }
                serde_json::Value::Object(entries) => {
                    let mut values = Vec::with_capacity(entries.len());
                    for (key, value) in entries {
                        values.push((Value::str(key), convert(value, level + 1)?));
                    }
                    Value::Dict(Arc::new(Dict::new(values)?))
                }
            })
        }
        convert(json, 1)
    }

    /// The Python type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "undefined",
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Namespace(_) => "namespace",
            Self::Macro(_) | Self::Caller(..) => "macro",
            Self::Function(_) | Self::Method => "function",
            Self::Loop(_) => "loop",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.values.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, counting `True` as 1.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "Python compares large ints exactly, which no template needs"
    )]
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Self::List(items) | Self::Tuple(items) => items.depth,
            Self::Dict(dict) => dict.depth,
            Self::Loop(state) => state.items.depth + 1,
            _ => 0,
        }
    }
}

impl Loop {
    /// What the template's variable `loop` has under `name`.
    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        let length = self.items.values.len();
        let int = |number: usize| i64::try_from(number).ok().map(Value::Int);
        let neighbour = |place: Option<usize>| {
            let value = place.and_then(|place| self.items.values.get(place)).cloned();
            Some(value.unwrap_or_else(|| Value::Undefined(name.into())))
        };
        match name {
            "index" => int(self.index + 1),
            "index0" => int(self.index),
            "revindex" => int(length - self.index),
            "revindex0" => int(length - self.index - 1),
            "first" => Some(Value::Bool(self.index == 0)),
            "last" => Some(Value::Bool(self.index + 1 == length)),
            "length" => int(length),
            // Only recursive loops, which are not supported, count deeper.
            "depth" => Some(Value::Int(1)),
            "depth0" => Some(Value::Int(0)),
            "previtem" => neighbour(self.index.checked_sub(1)),
            "nextitem" => neighbour(Some(self.index + 1)),
            _ => None,
        }
    }
}

impl Items {
    pub(super) fn new(values: Vec<Value>) -> Outcome<Self> {
        let depth = deeper(values.iter())?;
        Ok(Self { depth, values })
    }
}

impl Dict {
    pub(super) fn new(entries: Vec<(Value, Value)>) -> Outcome<Self> {
        let depth = deeper(entries.iter().map(|(_, value)| value))?;
        Ok(Self { depth, entries })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }
}

fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> Outcome<u32> {
    let depth = 1 + values.map(Value::depth).max().unwrap_or(0);
    if depth > MAX_VALUE_DEPTH { Err(too_deep()) } else { Ok(depth) }
}

fn too_deep() -> Failure {
    Failure::limit(format!("a value is nested more than {MAX_VALUE_DEPTH} levels deep"))
}

/// Equal for keys that Python takes for the same: `1`, `1.0` and `True` are.
fn hash_key(key: &Value) -> (u8, String) {
    match key {
        Value::Str(text) => (0, text.to_string()),
        Value::None => (1, String::new()),
        Value::Float(value) if value.fract() != 0.0 => (2, value.to_string()),
        _ => (3, key.as_float().map_or_else(String::new, |value| (value + 0.0).to_string())),
    }
}
