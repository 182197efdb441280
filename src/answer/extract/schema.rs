//! The schema that a model is offered: the caller's, in which every field may be null.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::answer::classify::invalid;
use crate::error::Result;

/// Keywords whose value is a schema or a list of schemas.
const SCHEMAS: [&str; 8] =
    ["items", "prefixItems", "additionalItems", "additionalProperties", "anyOf", "oneOf", "allOf", "not"];

/// Keywords whose value names schemas.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// The caller's schema with every property required, in its order, and null among its values; no others are allowed unless
/// the schema says so, and no list must have entries.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) where it is not a schema of an object with properties.
pub(super) fn offered(schema: &Value) -> Result<Value> {
    let has_properties =
        schema.get("properties").and_then(Value::as_object).is_some_and(|named| !named.is_empty());
    if !has_properties {
        return Err(invalid("the schema has no properties")
            .with_hint("describe an object, and the fields that are wanted, under properties"));
    }
    let mut offered = schema.clone();
    if let Value::Object(root) = &mut offered {
        root.entry("type").or_insert_with(|| json!("object"));
    }
    widen(&mut offered, 0);
    Ok(offered)
}

/// Deeper schemas are refused when the grammar is made.
const DEEPEST: usize = 128;

fn widen(value: &mut Value, depth: usize) {
    let Value::Object(schema) = value else { return };
    if depth > DEEPEST {
        return;
    }
    for keyword in SCHEMAS {
        match schema.get_mut(keyword) {
            Some(Value::Array(schemas)) => schemas.iter_mut().for_each(|schema| widen(schema, depth + 1)),
            Some(schema) => widen(schema, depth + 1),
            None => {}
        }
    }
    for keyword in NAMED {
        if let Some(Value::Object(named)) = schema.get_mut(keyword) {
            named.values_mut().for_each(|schema| widen(schema, depth + 1));
        }
    }
    for bound in ["minItems", "minProperties"] {
        schema.shift_remove(bound);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let names: Vec<Value> = properties.keys().cloned().map(Value::String).collect();
        for property in properties.values_mut() {
            if !may_be_null(property) {
                let known = property.take();
                *property = json!({ "anyOf": [known, { "type": "null" }] });
            }
        }
        schema.insert("required".to_owned(), Value::Array(names));
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

/// Whether the schema says so itself. Lists may be empty, which says the same.
fn may_be_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    let of_type = schema.get("type").is_some_and(|kind| {
        is_null(kind) || kind == "array" || kind.as_array().is_some_and(|kinds| kinds.iter().any(is_null))
    });
    let one_of = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
    let of_ways = ["anyOf", "oneOf"].iter().filter_map(|keyword| one_of(keyword)).flatten().any(may_be_null);
    let of_values = one_of("enum").is_some_and(|values| values.contains(&Value::Null));
    of_ways || of_values && schema.get("type").is_none() || of_type && (one_of("enum").is_none() || of_values)
}

/// The places whose values the schema names (`enum`, `const`), as JSON pointers in which `*` stands for any index.
pub(super) fn chosen(schema: &Value) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    visit(schema, schema, "", 0, &mut |place, schema| {
        if schema.contains_key("enum") || schema.contains_key("const") {
            places.insert(place.to_owned());
        }
    });
    places
}

/// The place of a value as [`chosen`] has it.
pub(super) fn general_place(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_index { "*" } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A line for each field: its name, its kind, and what the schema says of it.
pub(super) fn described(schema: &Value) -> String {
    let mut lines = String::new();
    visit(schema, schema, "", 0, &mut |place, schema| {
        let Some(name) = place.strip_prefix('/') else { return };
        if name.ends_with('*') && !schema.contains_key("description") {
            return;
        }
        let name = name.replace("/*/", "[].").replace("/*", "[]").replace('/', ".");
        let mut line = format!("- {name}");
        if let Some(kind) = kind(schema) {
            let _ = write!(line, " ({kind})");
        }
        if let Some(description) = schema.get("description").and_then(Value::as_str) {
            let _ = write!(line, ": {description}");
        }
        lines.push_str(&line);
        lines.push('\n');
    });
    lines
}

fn kind(schema: &Map<String, Value>) -> Option<String> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values.iter().take(20).map(Value::to_string).collect();
        return Some(format!("one of {}", values.join(", ")));
    }
    match (schema.get("format").and_then(Value::as_str), schema.get("type")) {
        (Some("date"), _) => Some("date as YYYY-MM-DD".to_owned()),
        (Some("date-time"), _) => Some("date and time as YYYY-MM-DDTHH:MM:SSZ".to_owned()),
        (_, Some(Value::String(kind))) if kind == "array" => Some("list".to_owned()),
        (_, Some(Value::String(kind))) => Some(kind.clone()),
        (_, Some(Value::Array(kinds))) => {
            let kinds: Vec<&str> =
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
            Some(kinds.join(" or "))
        }
        _ => None,
    }
}

/// How deep fields are looked at; a schema that refers to itself has no end.
const DEEPEST_FIELD: usize = 6;

/// Calls `see` with every field's place and schema, outer ones first.
fn visit(
    root: &Value,
    schema: &Value,
    place: &str,
    depth: usize,
    see: &mut dyn FnMut(&str, &Map<String, Value>),
) {
    let Value::Object(schema) = schema else { return };
    if depth > DEEPEST_FIELD {
        return;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        if let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
            visit(root, target, place, depth + 1, see);
        }
        return;
    }
    // Of `anyOf` with null, the other is the field.
    let ways = ["anyOf", "oneOf"].iter().filter_map(|keyword| schema.get(*keyword)?.as_array()).flatten();
    let ways: Vec<&Value> = ways.filter(|way| way.get("type").is_none_or(|kind| kind != "null")).collect();
    if let [way] = ways[..] {
        visit(root, way, place, depth + 1, see);
        return;
    }
    see(place, schema);
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let name = name.replace('~', "~0").replace('/', "~1");
        visit(root, property, &format!("{place}/{name}"), depth + 1, see);
    }
    if let Some(items) = schema.get("items") {
        visit(root, items, &format!("{place}/*"), depth + 1, see);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_may_be_null_and_must_be_said() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "as printed"},
                "count": {"type": ["integer", "null"]},
                "currency": {"enum": ["EUR", "USD"]},
                "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/item"}},
            },
            "required": ["name"],
            "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number"}}}},
        });
        let offered = offered(&schema).unwrap();
        assert_eq!(
            offered,
            json!({
                "type": "object",
                "properties": {
                    "name": {"anyOf": [{"type": "string", "description": "as printed"}, {"type": "null"}]},
                    "count": {"type": ["integer", "null"]},
                    "currency": {"anyOf": [{"enum": ["EUR", "USD"]}, {"type": "null"}]},
                    "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
                },
                "required": ["name", "count", "currency", "items"],
                "$defs": {"item": {
                    "type": "object",
                    "properties": {"price": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
                    "required": ["price"], "additionalProperties": false,
                }},
                "additionalProperties": false,
            })
        );
        assert_eq!(chosen(&schema).into_iter().collect::<Vec<_>>(), ["/currency"]);
        assert_eq!(general_place("/items/12/price"), "/items/*/price");
        let lines = described(&schema);
        assert_eq!(
            lines,
            "- name (string): as printed\n- count (integer)\n- currency (one of \"EUR\", \"USD\")\n- items (list)\n\
             - items[].price (number)\n"
        );
    }

    #[test]
    fn other_schemas_are_refused_and_recursion_ends() {
        for schema in [json!(true), json!({"type": "string"}), json!({"type": "object", "properties": {}})] {
            assert!(offered(&schema).is_err(), "{schema}");
        }
        let tree = json!({"type": "object", "properties": {"child": {"$ref": "#"}, "name": {"const": "x"}}});
        assert!(described(&tree).lines().count() < 100);
        assert!(chosen(&tree).contains("/child/name"));
    }
}
