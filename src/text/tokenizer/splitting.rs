//! The `pre_tokenizer` section of `tokenizer.json`: how a text is split before its parts become tokens.
//!
//! The patterns of `Split` run here and not in the tokenizer crate, which takes the matches before a pattern that backtracks too
//! often for all matches, and knows no limit on the time of a whole text.

use std::cell::Cell;
use std::time::{Duration, Instant};

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::tokenizer::pattern::{Invert, Pattern};
use tokenizers::tokenizer::pre_tokenizer::PreTokenizedString;
use tokenizers::{Offsets, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::sections::{parse, steps};
use super::{guard, tokenizer_error};
use crate::Result;

/// How long the patterns may take for any text, and how much longer for each byte of it. Published patterns take a fiftieth of
/// it on a desktop processor.
const TIME: Duration = Duration::from_secs(1);
const TIME_PER_BYTE: Duration = Duration::from_micros(20);

/// The steps of the section, in order.
pub(super) struct Splitting {
    steps: Vec<Step>,
}

enum Step {
    Pattern(PatternSplit),
    Other(PreTokenizerWrapper),
}

/// A `Split` by a regular expression.
struct PatternSplit {
    regex: Regex,
    behavior: SplitDelimiterBehavior,
    invert: bool,
}

/// What a `Split` has besides its pattern.
#[derive(Deserialize)]
struct SplitSection {
    behavior: SplitDelimiterBehavior,
    invert: bool,
}

impl Splitting {
    pub(super) fn from_json(section: &Value) -> Result<Self> {
        let steps = steps(section, "pretokenizers")?;
        Ok(Self { steps: steps.into_iter().map(Step::from_json).collect::<Result<_>>()? })
    }
}

impl Step {
    fn from_json(step: &Value) -> Result<Self> {
        let pattern = step.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_str());
        match (step.get("type").and_then(Value::as_str), pattern) {
            (Some("Split"), Some(pattern)) => {
                let SplitSection { behavior, invert } = parse(step.clone())?;
                let regex = guard("the pattern", || Ok(Regex::new(pattern)?))?;
                Ok(Self::Pattern(PatternSplit { regex, behavior, invert }))
            }
            _ => parse(step.clone()).map(Self::Other),
        }
    }
}

impl PreTokenizer for Splitting {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        let length = Cell::new(0_usize);
        // Only looks: nothing is changed.
        text.normalize(|piece| {
            length.set(length.get() + piece.get().len());
            Ok(())
        })?;
        let length = u32::try_from(length.get()).unwrap_or(u32::MAX);
        let allowed = TIME + TIME_PER_BYTE.saturating_mul(length);
        let deadline = Instant::now() + allowed;
        for step in &self.steps {
            match step {
                Step::Other(other) => other.pre_tokenize(text)?,
                Step::Pattern(PatternSplit { regex, behavior, invert }) => text.split(|_, piece| {
                    let matches = Matches { regex, deadline };
                    if *invert {
                        piece.split(Invert(matches), *behavior)
                    } else {
                        piece.split(matches, *behavior)
                    }
                })?,
            }
        }
        Ok(())
    }
}

/// A pattern and when it must have done with the text.
struct Matches<'p> {
    regex: &'p Regex,
    deadline: Instant,
}

impl Pattern for Matches<'_> {
    /// The matches and what lies between them, which together are all of `text`.
    fn find_matches(&self, text: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        if text.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut parts = Vec::new();
        let mut end = 0;
        for found in self.regex.find_iter(text) {
            let found =
                found.map_err(|error| format!("the pattern of the pre-tokenizer gives up: {error}"))?;
            if Instant::now() > self.deadline {
                return Err("the pattern of the pre-tokenizer takes too long".into());
            }
            if found.start() > end {
                parts.push(((end, found.start()), false));
            }
            parts.push(((found.start(), found.end()), true));
            end = found.end();
        }
        if end < text.len() {
            parts.push(((end, text.len()), false));
        }
        Ok(parts)
    }
}

/// How many times as long this section can make a text, at most.
pub(super) fn growth(section: &Value) -> Result<usize> {
    let mut growth = 1_usize;
    for step in steps(section, "pretokenizers")? {
        let has = |name: &str| step.get(name).and_then(Value::as_bool).unwrap_or(true);
        growth = growth.saturating_mul(match step.get("type").and_then(Value::as_str) {
            // A character stands for each byte, two bytes long for many; a space may come before each part.
            Some("ByteLevel") => 2 * (1 + usize::from(has("add_prefix_space"))),
            Some("Metaspace") => {
                let replacement = step.get("replacement").and_then(Value::as_str);
                2 * replacement.map_or(1, str::len).max(1)
            }
            Some(_) => 1,
            None => return Err(tokenizer_error("a step has no type")),
        });
    }
    Ok(growth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use tokenizers::OffsetReferential;
    use tokenizers::tokenizer::pre_tokenizer::OffsetType;

    fn parts(regex: &str, text: &str) -> Vec<(Offsets, bool)> {
        let regex = Regex::new(regex).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        Matches { regex: &regex, deadline }.find_matches(text).unwrap()
    }

    #[test]
    fn parts_cover_the_text() {
        assert_eq!(parts("b+", "abba"), [((0, 1), false), ((1, 3), true), ((3, 4), false)]);
        assert_eq!(parts("b+", "bb"), [((0, 2), true)]);
        assert_eq!(parts("x", "é"), [((0, 2), false)]);
        assert_eq!(parts("x", ""), [((0, 0), false)]);
    }

    /// The parts that a splitter makes of a text, and where they lie.
    fn split(splitter: &impl PreTokenizer, text: &str) -> Vec<(String, Offsets)> {
        let mut pieces = PreTokenizedString::from(text);
        splitter.pre_tokenize(&mut pieces).unwrap();
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(part, range, _)| (part.to_owned(), range)).collect()
    }

    /// Llama 3's, which most others are variations of.
    const PUBLISHED: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    proptest! {
        #[test]
        fn parts_are_those_of_the_tokenizer_crate(
            text in "[ \\n\tabé汉'1!sR.🦀]{0,60}",
            pattern in prop::sample::select(&[PUBLISHED, r"\s+(?!\S)|\s+", "(?=b)", "b+|", r"(a)\1"][..]),
            behavior in prop::sample::select(&["Isolated", "Removed", "MergedWithPrevious"][..]),
            invert in any::<bool>(),
        ) {
            let section = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert});
            let ours = Splitting::from_json(&section).unwrap();
            let theirs: PreTokenizerWrapper = serde_json::from_value(section).unwrap();
            prop_assert_eq!(split(&ours, &text), split(&theirs, &text));
        }
    }

    #[test]
    fn a_pattern_that_backtracks_without_end_is_an_error() {
        let regex = Regex::new("(?:a(?=a|$)|a(?=a|$))*b").unwrap();
        let matches = Matches { regex: &regex, deadline: Instant::now() + Duration::from_secs(10) };
        assert!(matches.find_matches(&"a".repeat(100)).is_err());
        let late = Matches { regex: &regex, deadline: Instant::now() };
        assert!(late.find_matches("b").is_err());
    }

    #[test]
    fn growth_is_the_product_of_the_steps() {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
        assert_eq!(growth(&byte_level).unwrap(), 2);
        let sequence =
            json!({"type": "Sequence", "pretokenizers": [byte_level, {"type": "Digits"}, byte_level]});
        assert_eq!(growth(&sequence).unwrap(), 4);
        assert_eq!(growth(&json!({"type": "Metaspace", "replacement": "▁"})).unwrap(), 6);
        assert!(growth(&json!({"type": "Sequence", "pretokenizers": [{}]})).is_err());
    }
}
