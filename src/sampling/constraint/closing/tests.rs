//! Against a search of all texts by llguidance itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities};
use llguidance::{Matcher, ParserFactory};
use serde_json::json;

use super::*;

fn compile(grammar: TopLevelGrammar) -> (Matcher, Rules) {
    let environment = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[]).unwrap();
    factory.quiet();
    let parser = factory.create_parser(grammar).unwrap();
    let Reading::Rules(rules) = Rules::read(parser.parser.grammar(), &ParserLimits::default()) else {
        panic!("the grammar's end is not known");
    };
    (Matcher::new(Ok(parser)), *rules)
}

fn may_end(matcher: &Matcher) -> bool {
    let mut matcher = matcher.clone();
    matcher.is_accepting().unwrap()
}

/// The length of the shortest rest, by trying all texts in the order of their length.
fn by_trying(matcher: &Matcher, bytes: &[u8], longest: usize) -> Option<usize> {
    let mut queue = VecDeque::from([(matcher.clone(), 0)]);
    while let Some((matcher, length)) = queue.pop_front() {
        if may_end(&matcher) {
            return Some(length);
        }
        if length == longest || matcher.is_stopped() {
            continue;
        }
        let mask = matcher.clone().compute_mask().unwrap();
        for byte in bytes.iter().filter(|byte| mask.is_allowed(u32::from(**byte))) {
            let mut next = matcher.clone();
            next.consume_token(u32::from(*byte)).unwrap();
            queue.push_back((next, length + 1));
        }
    }
    None
}

#[test]
fn the_shortest_rest_is_legal_and_no_search_finds_a_shorter_one() {
    let person = json!({
        "type": "object",
        "properties": {
            "a": {"type": "string", "minLength": 1},
            "b": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "c": {"enum": ["xyz", "xy", 10]},
        },
        "required": ["a", "c"], "additionalProperties": false,
    });
    let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {
        "type": "object", "properties": {"t": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}},
        "required": ["t"], "additionalProperties": false,
    }}});
    let sum = "start: sum\nsum: sum \"+\" product | product\nproduct: value (\"*\" value)*\n\
               value: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]{2,3}/\n%ignore / +/";
    let cases = [
        (
            TopLevelGrammar::from_json_schema(person),
            r#"{"a":"ab","b":[1,20],"c":"xyz"}"#,
            &b"\"}],10y:x"[..],
            4,
        ),
        (TopLevelGrammar::from_json_schema(tree), r#"{"t": {"t":{"t":null}}}"#, b"}{\"nul", 4),
        (TopLevelGrammar::from_lark(sum.to_owned()), "(11 + 22)*(33+444 )", b"(1)+*", 4),
        (TopLevelGrammar::from_regex("(ab|abc{3}d)?e*"), "abcccdee", b"abcde", 5),
        (TopLevelGrammar::from_regex("[a-c]{3,5}x"), "abcabx", b"ax", 6),
        (TopLevelGrammar::from_lark("start: \"a\"? tail?\ntail: \"b\" start".to_owned()), "abab", b"ab", 4),
    ];
    for (grammar, text, bytes, longest) in cases {
        let (mut matcher, rules) = compile(grammar);
        let rules = Arc::new(rules);
        let lexemes = Arc::new(Mutex::new(rules.lexemes().unwrap()));
        let mut chart = Chart::new(rules, lexemes);
        for place in 0..=text.len() {
            let distance = chart.distance().unwrap_or_else(|| panic!("lost in {text} at {place}"));
            let rest = chart.rest().unwrap();
            assert_eq!(rest.len(), distance, "{text} at {place}");
            let mut closed = matcher.clone();
            for byte in &rest {
                let shown = String::from_utf8_lossy(&rest);
                closed
                    .consume_token(u32::from(*byte))
                    .unwrap_or_else(|_| panic!("{text} at {place}: {shown}"));
            }
            assert!(may_end(&closed), "{text} at {place}: {}", String::from_utf8_lossy(&rest));
            if distance <= longest {
                let tried = by_trying(&matcher, bytes, longest);
                assert_eq!(Some(distance), tried, "{text} at {place}: {}", String::from_utf8_lossy(&rest));
            }
            if let Some(byte) = text.as_bytes().get(place) {
                let mark = chart.mark();
                chart.push(b"\xFF");
                assert_eq!(chart.distance(), None);
                chart.go_back(mark);
                chart.push(&[*byte]);
                matcher.consume_token(u32::from(*byte)).unwrap();
            }
        }
    }
}

#[test]
fn long_needs_are_counted_in_no_time() {
    let schema = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 900},
            "list": {"type": "array", "items": {"type": "boolean"}, "minItems": 50},
        },
        "required": ["text", "list"],
    });
    let (_, rules) = compile(TopLevelGrammar::from_json_schema(schema));
    let rules = Arc::new(rules);
    let lexemes = Arc::new(Mutex::new(rules.lexemes().unwrap()));
    let mut chart = Chart::new(rules, lexemes);
    chart.push(b"{");
    assert_eq!(chart.distance(), Some("\"text\":\"\",\"list\":[]}".len() + 900 + 50 * 4 + 49));
}

#[test]
fn grammars_without_a_known_end_are_not_followed() {
    let reading = |grammar: &str| {
        let environment = ApproximateTokEnv::single_byte_env();
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[]).unwrap();
        let parser = factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned())).unwrap();
        Rules::read(parser.parser.grammar(), &ParserLimits::default())
    };
    for grammar in [
        "start: a::0x0\na::_: \"x\" a::incr(_) %if lt(_, 3) | \"\" %if eq(_, 3)",
        "start: /[a-z]+/ stop\nstop[stop=\"!\"]: /[a-z]*/",
        "start: word\nword[max_tokens=3]: /[a-z]+/",
    ] {
        assert!(matches!(reading(grammar), Reading::Unknown), "{grammar}");
    }
    for grammar in ["start: \"a\" start", "start: a{2000000000}\na: b{2000000000}\nb: \"a\" | \"b\" b"] {
        assert!(matches!(reading(grammar), Reading::Endless), "{grammar}");
    }
    let states = format!("start: /{}/", "(.*a.{200}|.*b.{300})".repeat(20));
    assert!(matches!(reading(&states), Reading::TooComplex));
}
