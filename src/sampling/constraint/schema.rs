//! What is looked at and rewritten in a JSON schema before it is compiled.
//!
//! Rewriting only ever narrows what is allowed: dates exist, counts are bounded, and white space does not go on for ever.

use serde_json::{Map, Value, json};

use super::limits;
use super::source::refused;
use crate::error::{Error, ErrorKind, Result};

/// White space between the parts of a JSON text: a space, or a new line and its indentation. A small model that may write
/// any white space can go on with it without end.
const WHITE_SPACE: &str = r"[ ]|\n[ ]{0,32}";

/// The most items or properties, whatever larger number a schema allows.
const MOST: u64 = 4096;

/// A day that the Gregorian calendar has, from the year 1 on (RFC 3339, `full-date`).
const DATE: &str = concat!(
    "(?:(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(?:",
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|",
    "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|",
    "02-(?:0[1-9]|1[0-9]|2[0-8]))|",
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)",
);

/// RFC 3339, `full-time`, without leap seconds.
const TIME: &str = concat!(
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?",
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
);

/// Reads the schema and makes it one that llguidance takes.
pub(super) fn prepare(text: &str) -> Result<Value> {
    if text.len() > limits::SCHEMA_BYTES {
        let message = format!("the JSON schema has {} bytes, more than {}", text.len(), limits::SCHEMA_BYTES);
        return Err(refused(message));
    }
    let mut schema: Value = serde_json::from_str(text)
        .map_err(|error| refused(format!("the JSON schema is not valid JSON: {error}")).with_source(error))?;
    let mut survey = Survey::default();
    survey.count(&schema, 0)?;
    survey.schema(&mut schema, "#")?;
    if survey.has_references
        && let Some(place) = survey.inner_id
    {
        return Err(unsupported(&place, "$id", "names an inner schema, which references could mean")
            .with_hint("refer to it by a pointer (#/$defs/name) and leave out its $id"));
    }
    let mut root = match schema {
        Value::Object(root) => root,
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return Err(refused("the JSON schema is false, which no text satisfies")),
        _ => return Err(refused("a JSON schema is an object or true")),
    };
    // llguidance's own options, which a schema from outside must not choose.
    root.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": WHITE_SPACE }));
    Ok(Value::Object(root))
}

#[derive(Default)]
struct Survey {
    values: usize,
    has_references: bool,
    inner_id: Option<String>,
}

impl Survey {
    /// The size of the whole document, data included.
    fn count(&mut self, value: &Value, depth: usize) -> Result<()> {
        self.values += 1;
        if self.values > limits::SCHEMA_VALUES {
            return Err(refused(format!("the JSON schema has more than {} values", limits::SCHEMA_VALUES)));
        }
        if depth > limits::SCHEMA_DEPTH {
            return Err(refused(format!("the JSON schema is nested deeper than {}", limits::SCHEMA_DEPTH)));
        }
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.count(value, depth + 1)),
            Value::Object(map) => map.values().try_for_each(|value| self.count(value, depth + 1)),
            _ => Ok(()),
        }
    }

    /// A place where a schema stands.
    fn schema(&mut self, value: &mut Value, place: &str) -> Result<()> {
        let Value::Object(schema) = value else {
            return match value {
                Value::Bool(_) => Ok(()),
                _ => Err(refused(format!("{place}: a schema is an object, true or false"))),
            };
        };
        self.check(schema, place)?;
        narrow(schema);
        for (keyword, value) in schema.iter_mut() {
            let place = format!("{place}/{keyword}");
            match keyword.as_str() {
                "properties" | "patternProperties" | "$defs" | "definitions" => {
                    if let Value::Object(named) = value {
                        for (name, schema) in named.iter_mut() {
                            self.schema(schema, &format!("{place}/{name}"))?;
                        }
                    }
                }
                "anyOf"
                | "oneOf"
                | "allOf"
                | "prefixItems"
                | "items"
                | "additionalItems"
                | "additionalProperties" => match value {
                    Value::Array(schemas) => {
                        for (index, schema) in schemas.iter_mut().enumerate() {
                            self.schema(schema, &format!("{place}/{index}"))?;
                        }
                    }
                    _ => self.schema(value, &place)?,
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&mut self, schema: &Map<String, Value>, place: &str) -> Result<()> {
        if let Some(reference) = schema.get("$ref") {
            self.has_references = true;
            let reference = reference.as_str().unwrap_or_default();
            if reference.contains(['~', '%']) {
                return Err(unsupported(place, "$ref", "is a pointer with escaped characters")
                    .with_hint("rename the definition that it points to"));
            }
        }
        if place != "#" && schema.get("$id").or_else(|| schema.get("id")).is_some_and(Value::is_string) {
            self.inner_id.get_or_insert_with(|| place.to_owned());
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            check_count(schema, keyword, limits::SCHEMA_WAYS, place)?;
        }
        check_count(schema, "patternProperties", limits::SCHEMA_PATTERNS, place)?;
        for keyword in ["minLength", "minItems", "minProperties"] {
            if schema.get(keyword).and_then(Value::as_u64).is_some_and(|least| least > limits::SCHEMA_LEAST) {
                let message = format!("{place}: {keyword} is above {}", limits::SCHEMA_LEAST);
                return Err(refused(message));
            }
        }
        Ok(())
    }
}

fn check_count(schema: &Map<String, Value>, keyword: &str, limit: usize, place: &str) -> Result<()> {
    let count = match schema.get(keyword) {
        Some(Value::Array(ways)) => ways.len(),
        Some(Value::Object(named)) => named.len(),
        _ => 0,
    };
    if count > limit {
        return Err(refused(format!("{place}: {keyword} names {count} schemas, more than {limit}")));
    }
    Ok(())
}

fn narrow(schema: &mut Map<String, Value>) {
    if schema.get("uniqueItems") == Some(&Value::Bool(false)) {
        schema.shift_remove("uniqueItems");
    }
    for keyword in ["maxItems", "maxProperties"] {
        if let Some(most) = schema.get_mut(keyword)
            && most.as_u64().is_some_and(|value| value > MOST)
        {
            *most = json!(MOST);
        }
    }
    let exact = match schema.get("format").and_then(Value::as_str) {
        Some("date") => format!("^{DATE}$"),
        Some("time") => format!("^{TIME}$"),
        Some("date-time") => format!("^{DATE}T{TIME}$"),
        _ => return,
    };
    schema.shift_remove("format");
    if !schema.contains_key("pattern") {
        schema.insert("pattern".to_owned(), Value::String(exact));
    } else if let Value::Array(all) = schema.entry("allOf").or_insert_with(|| json!([])) {
        all.push(json!({ "pattern": exact }));
    }
}

fn unsupported(place: &str, keyword: &str, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{place}: {keyword} {what}"))
}
