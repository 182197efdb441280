//! Words that call for a person at once, whatever the model says.
//!
//! A list that anyone can read and check, and that can only raise the urgency. It misses what it does not know; that is why it stands
//! beside the model and not in its place. Made with the statements for calibration in view, not with those for the test.

/// A flag with what raises it: words in their order, each the beginning of a word in the text, with at most three others between two.
const FLAGS: [(&str, &[&str]); 12] = [
    (
        "breathing",
        &[
            "can't breath",
            "cannot breath",
            "not breath",
            "stopped breath",
            "struggl air",
            "struggl breath",
            "short of breath",
            "gasp",
            "panting",
            "wheez",
            "grunting",
            "chok",
            "lips blue",
            "lips dusky",
            "breath fast",
            "noise breath",
            "hard get air",
            "harder get air",
        ],
    ),
    (
        "chest",
        &[
            "chest pain",
            "pain chest",
            "tight chest",
            "chest tight",
            "squeez chest",
            "heav chest",
            "pressure chest",
        ],
    ),
    (
        "consciousness",
        &[
            "passed out",
            "unconscious",
            "collapsed",
            "can't wake",
            "won't wake",
            "can't rouse",
            "barely rouse",
            "fainted",
            "going to faint",
            "talking nonsense",
            "doesn't know where",
            "doesn't know who",
            "keeps falling asleep",
        ],
    ),
    ("seizure", &["a fit", "seizure", "convuls", "jerk", "shook"]),
    (
        "stroke",
        &[
            "mouth drop",
            "face droop",
            "slurr",
            "words jumbled",
            "find words",
            "can't lift arm",
            "arm numb",
            "numb arm",
            "can't see with",
            "can't see out",
            "curtain eye",
        ],
    ),
    (
        "bleeding",
        &[
            "lot of blood",
            "bright red blood",
            "soaked",
            "bleeding won't stop",
            "coffee grounds",
            "black sticky",
            "blood pumping",
            "clots",
        ],
    ),
    (
        "allergy",
        &[
            "throat tight",
            "throat clos",
            "lips huge",
            "lips swell",
            "lips swollen",
            "tongue swell",
            "tongue swollen",
        ],
    ),
    (
        "poisoning",
        &[
            "overdose",
            "swallowed batter",
            "carbon monoxide",
            "generator running",
            "took pills",
            "took paracetamol",
        ],
    ),
    (
        "self-harm",
        &[
            "kill myself",
            "killing myself",
            "end my life",
            "suicid",
            "hurt myself",
            "hurting myself",
            "harm myself",
        ],
    ),
    (
        "infection",
        &["spots don't fade", "can't bend neck", "stiff neck fever", "fever purple", "purple blister"],
    ),
    ("pregnancy", &["haven't felt baby move", "pregnant headache", "pregnant bleed", "waters broke"]),
    (
        "pain",
        &["worst headache", "worst pain", "worst ever", "pain unbearable", "pain out of all proportion"],
    ),
];

/// What takes the meaning from words that stand at most three words after it.
const NEGATIONS: [&str; 13] = [
    "no", "not", "never", "without", "nor", "isn't", "wasn't", "don't", "doesn't", "didn't", "hasn't",
    "haven't", "denies",
];

/// The flags that a statement raises.
pub(crate) fn found(statement: &str, age: Option<f64>) -> Vec<&'static str> {
    let words = words(statement);
    let is_raised = |patterns: &[&str]| patterns.iter().any(|pattern| is_in(pattern, &words));
    let mut flags: Vec<&str> =
        FLAGS.iter().filter(|(_, patterns)| is_raised(patterns)).map(|(flag, _)| *flag).collect();
    if age.is_some_and(|age| age < 0.25) && is_raised(&["fever", "temperature", "hot", "thermometer"]) {
        flags.push("infant fever");
    }
    if age.is_some_and(|age| age >= 65.0) && is_raised(&["bang head", "hit head", "fell head", "bump head"]) {
        flags.push("head injury");
    }
    flags
}

/// The age that a statement gives, in years.
pub(crate) fn age_in(statement: &str) -> Option<f64> {
    let words = words(statement);
    let of = |index: usize| words.get(index).map(String::as_str).unwrap_or_default();
    words.iter().enumerate().find_map(|(index, word)| {
        let number: f64 = word.parse().ok().or_else(|| number_word(word))?;
        let unit = of(index + 1);
        let is_age = of(index + 2) == "old";
        match unit {
            "days" | "day" if is_age => Some(number / 365.0),
            "weeks" | "week" if is_age => Some(number / 52.0),
            "months" | "month" if is_age => Some(number / 12.0),
            "years" | "year" if is_age => Some(number),
            _ => (matches!(of(index.wrapping_sub(1)), "i'm" | "he's" | "she's")
                && number > 1.0
                && !matches!(unit, "weeks" | "months" | "days"))
            .then_some(number),
        }
    })
}

fn number_word(word: &str) -> Option<f64> {
    const WORDS: [&str; 12] =
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    WORDS.iter().zip(1..).find(|(name, _)| **name == word).map(|(_, number)| f64::from(number))
}

/// In lower case; an apostrophe is part of a word.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('’', "'");
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    words.map(|word| word.trim_matches('\'').to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Whether a pattern is in the words, and is not denied.
fn is_in(pattern: &str, words: &[String]) -> bool {
    let pattern: Vec<&str> = pattern.split(' ').collect();
    (0..words.len()).any(|begin| {
        let mut at = begin;
        for (index, part) in pattern.iter().enumerate() {
            // What a negation denies stands beside it.
            let denies = index > 0 && pattern.get(index - 1).is_some_and(|before| NEGATIONS.contains(before));
            let reach = match index {
                0 => 1,
                _ if denies => 2,
                _ => 4,
            };
            let near = words.get(at..).unwrap_or_default().iter().take(reach);
            match near.enumerate().find(|(_, word)| word.starts_with(part)) {
                Some((distance, _)) => at += distance + 1,
                None => return false,
            }
        }
        let before = words[begin.saturating_sub(3)..begin].iter();
        !before.map(String::as_str).any(|word| NEGATIONS.contains(&word))
    })
}
