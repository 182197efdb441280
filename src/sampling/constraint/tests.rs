use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::ErrorKind;
use crate::model::TextFile;
use crate::session::fake_text::{END, TOKENS, text, text_without_template};
use crate::text::{Text, TextFiles};

fn allowed(matcher: &mut Matcher) -> String {
    let (mask, ends) = matcher.mask().unwrap();
    let mut text: String =
        mask.ids().iter().filter(|id| **id < 256).map(|id| char::from(*id as u8)).collect();
    if ends {
        text.push('$');
    }
    text
}

/// Whether `text` is one that the grammar accepts, byte token by byte token.
fn accepts(grammar: &Grammar, text: &str) -> bool {
    let mut matcher = grammar.matcher();
    for byte in text.bytes() {
        if matcher.is_complete().unwrap()
            || !matcher.mask().is_ok_and(|(mask, _)| mask.contains(u32::from(byte)))
        {
            return false;
        }
        matcher.consume(u32::from(byte)).unwrap();
    }
    matcher.is_complete().unwrap() || matcher.mask().is_ok_and(|(_, ends)| ends)
}

#[test]
fn every_kind_of_source_allows_its_texts_and_no_others() {
    let text = text();
    let person = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": ["integer", "null"]}},
        "required": ["name", "age"], "additionalProperties": false,
    });
    let sum = "start: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]{1,3}/";
    let cases: [(GrammarSource, &[&str], &[&str]); 6] = [
        (
            GrammarSource::choices(["yes", "no", "no."]),
            &["yes", "no", "no."],
            &["", "ye", "yesno", "No", "n"],
        ),
        (GrammarSource::choices(["a|b", "(é)", "\n/"]), &["a|b", "(é)", "\n/"], &["a", "b", "é"]),
        (GrammarSource::regex("[0-9]+(,[0-9]{2})?"), &["1", "12,50"], &["", "1,5", ",50", "a"]),
        (GrammarSource::lark(sum), &["1", "12+3+444"], &["", "+1", "1++2", "1234"]),
        (
            GrammarSource::json_schema(person.to_string()),
            &[
                r#"{"name":"Ann","age":3}"#,
                r#"{ "name": "é\n", "age": null }"#,
                "{\"name\":\"\",\n  \"age\":-10}",
            ],
            &[
                r#"{"name":"Ann"}"#,
                r#"{"age":3,"name":"Ann"}"#,
                r#"{"name":"too long","age":3}"#,
                r#"{"name":"Ann","age":3.5}"#,
                r#"{"name":"Ann","age":3,"b":1}"#,
                "{\t\"name\":\"\",\"age\":1}",
                r#" {"name":"Ann","age":3}"#,
            ],
        ),
        (GrammarSource::json(), &["[1, {\"a\": [true, null]}]", "\"\"", "-0.5"], &["[1", "{a: 1}", "01"]),
    ];
    for (source, good, bad) in cases {
        let grammar = Grammar::compile(&source, &text).unwrap();
        for sentence in good {
            assert!(accepts(&grammar, sentence), "{source:?}: {sentence}");
        }
        for sentence in bad {
            assert!(!accepts(&grammar, sentence), "{source:?}: {sentence}");
        }
    }
}

#[test]
fn forced_tokens_are_those_of_the_tokenizer() {
    let text = text();
    let grammar = Grammar::compile(&GrammarSource::choices(["say yes", "say yellow"]), &text).unwrap();
    let mut matcher = grammar.matcher();
    let forced = matcher.consume_forced().unwrap();
    // ` ye` could yet become the token ` yes`, so that it is not forced.
    assert_eq!(forced, [115, 97, 121]);
    assert_eq!(allowed(&mut matcher), " ");
    assert!(matcher.mask().unwrap().0.contains(crate::session::fake_text::SPACE_YES));
    matcher.consume(crate::session::fake_text::SPACE_YES).unwrap();
    assert!(matcher.is_complete().unwrap());
    assert!(matcher.consume_forced().unwrap().is_empty());
}

#[test]
fn special_tokens_are_no_text_and_characters_stay_whole() {
    let text = text();
    let grammar = Grammar::compile(&GrammarSource::regex("(?s).*"), &text).unwrap();
    let (mask, ends) = grammar.matcher().mask().unwrap();
    assert!(ends);
    for special in text.tokenizer().special_ids() {
        assert!(!mask.contains(*special), "{special}");
    }
    assert!(mask.ids().iter().all(|id| (*id as usize) < TOKENS));
    // The spelling of a special token is text like any other, from other tokens.
    assert!(accepts(&grammar, "<end> and é"));
    let mut matcher = grammar.matcher();
    matcher.consume(0xC3).unwrap();
    let (mask, ends) = matcher.mask().unwrap();
    assert!(!ends && !mask.contains(97) && mask.contains(0xA9), "a character is not left in its middle");
    let mut matcher = grammar.matcher();
    assert_eq!(matcher.consume(END).unwrap_err().kind(), ErrorKind::Grammar);
}

/// A SentencePiece-like tokenizer that strips a space at the start of a text.
fn stripping_text() -> Text {
    let file = crate::text::sentencepiece_like();
    Text::load(TextFiles::new(TextFile { path: "tokenizer.json".into(), text: file.to_string().into() }))
        .unwrap()
}

#[test]
fn the_first_token_may_carry_the_space_that_a_text_loses() {
    let text = stripping_text();
    let (a, ab, space_ab) = (260, 263, 264);
    let grammar = Grammar::compile(&GrammarSource::choices(["ab a", "ab é"]), &text).unwrap();
    let mut matcher = grammar.matcher();
    let (mask, _) = matcher.mask().unwrap();
    // What is forced, and the same with the space that does not show.
    assert_eq!(mask.ids(), [ab, space_ab]);
    matcher.consume(space_ab).unwrap();
    matcher.consume(259).unwrap();
    let (mask, _) = matcher.mask().unwrap();
    assert_eq!(mask.ids(), [3 + u32::from(b'a'), 3 + 0xC3, a, 265]);
    matcher.consume(3 + 0xC3).unwrap();
    matcher.consume(3 + 0xA9).unwrap();
    assert!(matcher.is_complete().unwrap());
    assert_eq!(text.tokenizer().decode(&[space_ab, 259, 3 + 0xC3, 3 + 0xA9], true), "ab é");

    let error = Grammar::compile(&GrammarSource::choices([" a"]), &text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Grammar, "its space would be lost");
}

#[test]
fn a_grammar_is_for_one_tokenizer() {
    let (first, second) = (text(), text());
    let grammar = Grammar::compile(&GrammarSource::json(), &first).unwrap();
    assert!(grammar.is_for(&first) && !grammar.is_for(&second));
}

#[test]
fn a_tokenizer_without_plain_joining_is_refused() {
    let mut file = crate::text::sentencepiece_like();
    file["decoder"] = Value::Null;
    let file = TextFile { path: "tokenizer.json".into(), text: file.to_string().into() };
    let text = Text::load(TextFiles::new(file)).unwrap();
    let error = Grammar::compile(&GrammarSource::json(), &text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn dates_exist_and_rewritten_keywords_keep_their_sense() {
    let text = text_without_template(&[END]);
    let schema =
        |schema: Value| Grammar::compile(&GrammarSource::json_schema(schema.to_string()), &text).unwrap();
    let date = schema(json!({"type": "string", "format": "date"}));
    for (day, exists) in [
        ("2024-02-29", true),
        ("2023-02-29", false),
        ("2000-02-29", true),
        ("1900-02-29", false),
        ("2024-04-31", false),
        ("2024-12-31", true),
        ("0000-01-01", false),
        ("0004-02-29", true),
    ] {
        assert_eq!(accepts(&date, &format!("\"{day}\"")), exists, "{day}");
    }
    let moment = schema(json!({"type": "string", "format": "date-time", "pattern": "^2024"}));
    assert!(accepts(&moment, r#""2024-02-29T23:59:59.5+01:00""#));
    assert!(!accepts(&moment, r#""2025-02-28T23:59:59Z""#), "the pattern holds too");
    let list = schema(
        json!({"type": "array", "items": {"const": 1}, "maxItems": 1_000_000_000, "uniqueItems": false}),
    );
    assert!(accepts(&list, "[1,1]") && !accepts(&list, "[2]"));
}

/// Sources that must be refused, with the kind of the error.
fn hostile() -> Vec<(&'static str, GrammarSource, ErrorKind)> {
    use ErrorKind::{Grammar as Damaged, Unsupported};
    let schema = |value: Value| GrammarSource::json_schema(value.to_string());
    let nested = |open: &str, inside: &str, close: &str, count: usize| {
        format!("{}{inside}{}", open.repeat(count), close.repeat(count))
    };
    let ways = |count: usize| -> Vec<Value> {
        (0..count).map(|index| json!({"properties": {"a": {"const": index}}, "required": ["a"]})).collect()
    };
    vec![
        ("no JSON", GrammarSource::json_schema("{"), Damaged),
        ("empty", GrammarSource::json_schema(""), Damaged),
        ("a number", GrammarSource::json_schema("3"), Damaged),
        ("false", GrammarSource::json_schema("false"), Damaged),
        ("deep JSON", GrammarSource::json_schema(nested("{\"items\":", "true", "}", 100_000)), Damaged),
        ("deep schema", GrammarSource::json_schema(nested("{\"items\":", "true", "}", 120)), Damaged),
        ("huge", GrammarSource::json_schema(format!("{{\"title\":\"{}\"}}", "x".repeat(1 << 20))), Damaged),
        ("many values", schema(json!({"enum": (0..100_000).collect::<Vec<u32>>()})), Damaged),
        ("many ways", schema(json!({"anyOf": ways(1_000)})), Damaged),
        ("unsatisfiable bounds", schema(json!({"type": "integer", "minimum": 3, "maximum": 2})), Damaged),
        ("unsatisfiable types", schema(json!({"allOf": [{"type": "null"}, {"type": "string"}]})), Damaged),
        (
            "unsatisfiable pattern",
            schema(json!({"type": "string", "pattern": "^a$", "minLength": 2})),
            Damaged,
        ),
        ("itself", schema(json!({"$ref": "#"})), Damaged),
        (
            "itself in a circle",
            schema(
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            ),
            Damaged,
        ),
        (
            "endless need",
            schema(json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})),
            Damaged,
        ),
        ("nowhere", schema(json!({"$ref": "#/$defs/missing"})), Damaged),
        ("elsewhere", schema(json!({"$ref": "https://example.com/schema.json"})), Unsupported),
        ("a long list", schema(json!({"type": "array", "minItems": 1_000_000_000})), Damaged),
        ("a long text", schema(json!({"type": "string", "minLength": 1_000_000_000})), Damaged),
        ("not", schema(json!({"not": {"type": "string"}})), Unsupported),
        ("if", schema(json!({"if": {"type": "string"}, "then": {"minLength": 1}})), Unsupported),
        ("uniqueItems", schema(json!({"type": "array", "uniqueItems": true})), Unsupported),
        ("format", schema(json!({"type": "string", "format": "iri"})), Unsupported),
        (
            "oneOf that overlaps",
            schema(json!({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]})),
            Unsupported,
        ),
        (
            "inner $id",
            schema(
                json!({"$defs": {"a": {"$id": "http://x/y", "items": {"$ref": "#/b"}}}, "$ref": "#/$defs/a"}),
            ),
            Unsupported,
        ),
        ("bad keyword value", schema(json!({"type": "string", "maxLength": -1})), Damaged),
        ("bad type", schema(json!({"type": "text"})), Damaged),
        ("look-ahead", schema(json!({"type": "string", "pattern": "^(?=a)b"})), Unsupported),
        ("no regex", GrammarSource::regex("(a"), Damaged),
        ("empty regex", GrammarSource::regex("  "), Damaged),
        ("regex of nothing", GrammarSource::regex("[a&&b]"), Damaged),
        ("deep regex", GrammarSource::regex(nested("(", "a", ")", 10_000)), Damaged),
        ("long regex", GrammarSource::regex("a".repeat(1 << 20)), Damaged),
        ("exponential states", GrammarSource::regex("(.*a.{200}|.*b.{300})".repeat(20)), Damaged),
        ("no Lark", GrammarSource::lark("start: ("), Damaged),
        ("no start", GrammarSource::lark("rule: \"a\""), Damaged),
        ("unknown rule", GrammarSource::lark("start: missing"), Damaged),
        ("endless rule", GrammarSource::lark("start: \"a\" start"), Damaged),
        ("empty rule", GrammarSource::lark("start: start"), Damaged),
        ("deep Lark", GrammarSource::lark(format!("start: {}", nested("(", "\"a\"", ")", 10_000))), Damaged),
        (
            "repeated rule",
            GrammarSource::lark("start: a{2000000000}\na: b{2000000000}\nb: \"a\" | \"b\" b"),
            Damaged,
        ),
        ("special token", GrammarSource::lark("start: <end> \"a\""), Unsupported),
        ("token by number", GrammarSource::lark("start: <[256]> \"a\""), Unsupported),
        ("any token", GrammarSource::lark("start: <[*]>"), Unsupported),
        (
            "not UTF-8",
            GrammarSource::lark("%llguidance {\"allow_invalid_utf8\": true}\nstart: /a/"),
            Unsupported,
        ),
        ("no choices", GrammarSource::choices::<String>([]), Damaged),
        ("an empty choice", GrammarSource::choices(["a", ""]), Damaged),
        ("too many choices", GrammarSource::choices((0..100_000).map(|index| index.to_string())), Damaged),
    ]
}

#[test]
fn hostile_sources_are_refused_in_time() {
    let text = text();
    for (name, source, kind) in hostile() {
        let started = Instant::now();
        let result = Grammar::compile(&source, &text);
        let error = result.err().unwrap_or_else(|| panic!("{name} is accepted"));
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(started.elapsed() < 2 * limits::COMPILE_TIME, "{name}");
    }
    // And nothing of it stays.
    Grammar::compile(&GrammarSource::json(), &text).unwrap();
}
