//! The filters after `|`.

mod numbers;
mod order;
mod selection;
mod sequences;
mod text;

use super::failure::{Failure, Outcome};
use super::interpreter::{Call, Interpreter};
use super::json::{Style, to_json};
use super::value::Value;
use super::{indexing, printing};

const NAMES: [&str; 44] = [
    "abs",
    "attr",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `value | name(arguments)`
pub(super) fn apply(interpreter: &mut Interpreter, name: &str, value: Value, call: Call) -> Outcome<Value> {
    match name {
        "default" | "d" => {
            let [default, boolean] = call.bind(name, ["default_value", "boolean"])?;
            let boolean = boolean.is_some_and(|boolean| boolean.is_true());
            let missing = matches!(value, Value::Undefined(_)) || (boolean && !value.is_true());
            Ok(if missing { default.unwrap_or_else(|| Value::str("")) } else { value })
        }
        "map" | "select" | "reject" | "selectattr" | "rejectattr" => {
            selection::each(interpreter, name, &value, call)
        }
        "sort" | "unique" | "min" | "max" | "groupby" | "dictsort" => {
            order::ordered(interpreter, name, &value, call)
        }
        "abs" | "int" | "float" | "round" | "sum" => numbers::numeric(interpreter, name, &value, call),
        "first" | "last" | "length" | "count" | "list" | "items" | "reverse" | "join" | "attr" => {
            sequences::sequence(interpreter, name, value, call)
        }
        "tojson" => tojson(interpreter, &value, call),
        "format" => {
            let format = printing::to_text(interpreter, &value)?;
            let values = Value::tuple(call.positional)?;
            printing::percent_format(interpreter, &format, &values)
        }
        _ => text::textual(interpreter, name, &value, call),
    }
}

/// An attribute path such as `function.name` or `0`.
fn nested_attribute(interpreter: &mut Interpreter, value: &Value, path: &Value) -> Outcome<Value> {
    let Value::Str(path) = path else { return indexing::item(interpreter, value, path) };
    let mut value = value.clone();
    for name in path.split('.') {
        value = match name.parse::<i64>() {
            Ok(index) => indexing::item(interpreter, &value, &Value::Int(index))?,
            Err(_) => indexing::item(interpreter, &value, &Value::str(name))?,
        };
    }
    Ok(value)
}

fn tojson(interpreter: &mut Interpreter, value: &Value, call: Call) -> Outcome<Value> {
    let [ascii, indent, separators, sort_keys] =
        call.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width = width.as_int().ok_or_else(|| Failure::runtime("indent is a number or a string"))?;
            let width = usize::try_from(width).unwrap_or(0);
            interpreter.budget.bytes(width)?;
            Some(" ".repeat(width))
        }
    };
    let separators = match &separators {
        None | Some(Value::None) => None,
        Some(Value::Tuple(items) | Value::List(items)) => match items.values.as_slice() {
            [Value::Str(item), Value::Str(key)] => Some((item.to_string(), key.to_string())),
            _ => return Err(Failure::runtime("separators are two strings")),
        },
        Some(_) => return Err(Failure::runtime("separators are two strings")),
    };
    let default_item = if indent.is_some() { "," } else { ", " };
    let (item_separator, key_separator) =
        separators.unwrap_or_else(|| (default_item.to_owned(), ": ".to_owned()));
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let style = Style {
        ensure_ascii: is_true(ascii),
        indent,
        item_separator,
        key_separator,
        sort_keys: is_true(sort_keys),
    };
    let text = to_json(interpreter, value, &style)?;
    interpreter.new_str(text)
}
