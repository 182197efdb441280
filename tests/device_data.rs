//! The labelled examples of the device applications are enough, varied, and right where a program can tell.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use edgeslm::answer::{Split, Task, read_examples};
use serde_json::Value;

/// Sets, and the field that a prompt shows of their examples.
const SETS: [(&str, &str); 6] = [
    ("equipment", "log"),
    ("driving", "summary"),
    ("triage", "statement"),
    ("receipts", "receipt"),
    ("descriptions", "item"),
    ("completion", "prefix"),
];

const CLASSIFICATION: [(&str, &str); 3] =
    [("equipment", "log"), ("driving", "summary"), ("triage", "statement")];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

fn set(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path(&format!("{name}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn task(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(&format!("{name}.task.json"))).unwrap()).unwrap()
}

fn text<'a>(example: &'a Value, field: &str) -> &'a str {
    example[field].as_str().unwrap_or_else(|| panic!("{example} has no text {field}"))
}

fn of_split<'a>(set: &'a [Value], split: &str) -> Vec<&'a Value> {
    set.iter().filter(|example| example["split"] == split).collect()
}

/// What is left of a text when spelling and spaces do not count.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn tasks_and_sets_are_as_the_library_reads_them() {
    for (name, field) in SETS {
        let task = Task::read(path(&format!("{name}.task.json"))).unwrap();
        let examples = read_examples(path(&format!("{name}.jsonl")), &task).unwrap();
        assert!(task.name() == name && task.inputs().contains(&field), "{name}");
        let calibration = examples.iter().filter(|example| example.split == Split::Calibration).count();
        assert_eq!(calibration, of_split(&set(name), "calibration").len(), "{name}");
    }
    Task::read(path("triage_advice.task.json")).unwrap();
}

#[test]
fn every_set_has_enough_of_both_splits_and_nothing_twice() {
    for (name, field) in SETS {
        let set = set(name);
        assert!(set.len() >= 60, "{name} has {}", set.len());
        let (calibration, test) = (of_split(&set, "calibration"), of_split(&set, "test"));
        assert_eq!(calibration.len() + test.len(), set.len(), "{name} has a third split");
        assert!(calibration.len() >= 30 && test.len() >= 30, "{name}: {} {}", calibration.len(), test.len());
        let ids: HashSet<&str> = set.iter().map(|example| text(example, "id")).collect();
        assert_eq!(ids.len(), set.len(), "{name} has an id twice");
        let mut inputs = HashSet::new();
        for example in &set {
            let input = words(text(example, field));
            assert!(!input.is_empty(), "{name}: {example}");
            let suffix = example["suffix"].as_str().map(words);
            assert!(inputs.insert((input, suffix)), "{name} has this twice: {example}");
        }
    }
}

#[test]
fn every_label_is_in_both_splits_equally_often() {
    for (name, _) in CLASSIFICATION {
        let set = set(name);
        let task = task(name);
        let labels: BTreeSet<String> = task["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label["name"].as_str().or(label.as_str()).unwrap().to_owned())
            .collect();
        for split in ["calibration", "test"] {
            let examples = of_split(&set, split);
            let found: BTreeSet<String> =
                examples.iter().map(|example| text(example, "label").to_owned()).collect();
            assert_eq!(found, labels, "{name} {split}");
            for label in &labels {
                let count = examples.iter().filter(|example| example["label"] == **label).count();
                assert_eq!(count * labels.len(), examples.len(), "{name} {split} {label}");
            }
        }
    }
}

#[test]
fn examples_in_prompts_are_not_in_the_sets() {
    for (name, field) in CLASSIFICATION {
        let known: HashSet<Vec<String>> =
            set(name).iter().map(|example| words(text(example, field))).collect();
        for shot in task(name)["prompt"]["examples"].as_array().unwrap() {
            assert!(!known.contains(&words(text(shot, field))), "{name}: {shot}");
        }
    }
}

/// Six words in a row in common would be the same story told again.
#[test]
fn statements_to_measure_with_are_not_those_to_calibrate_with() {
    let set = set("triage");
    let of = |split| -> Vec<Vec<String>> {
        of_split(&set, split).iter().map(|example| words(text(example, "statement"))).collect()
    };
    let known = of("calibration");
    for statement in of("test") {
        for run in statement.windows(6) {
            assert!(!known.iter().any(|other| other.windows(6).any(|there| there == run)), "{run:?}");
        }
    }
}

#[test]
fn patients_have_an_age() {
    for example in set("triage") {
        let age = example["age"].as_f64().unwrap();
        assert!((0.0..=110.0).contains(&age), "{example}");
    }
}

/// The ways in which a receipt prints an amount.
fn spellings(amount: f64) -> Vec<String> {
    let plain = format!("{amount:.2}");
    let (whole, cents) = plain.split_once('.').unwrap();
    let mut spellings = vec![plain.clone(), plain.replace('.', ","), format!("{amount}")];
    if whole.len() > 3 {
        let (thousands, rest) = whole.split_at(whole.len() - 3);
        spellings.push(format!("{thousands}.{rest},{cents}"));
        spellings.push(format!("{thousands},{rest}.{cents}"));
    }
    spellings
}

fn amount(value: &Value) -> Option<f64> {
    (!value.is_null()).then(|| value.as_f64().unwrap())
}

#[test]
fn what_is_expected_of_a_receipt_is_printed_on_it() {
    let mut missing = [0, 0, 0];
    for example in set("receipts") {
        let (receipt, expected) = (text(&example, "receipt"), &example["expected"]);
        let dense: String = receipt.split_whitespace().collect();
        let is_printed = |amount| spellings(amount).iter().any(|spelling| dense.contains(spelling));
        let items = expected["items"].as_array().unwrap();
        assert!(receipt.contains(text(expected, "merchant")), "{example}");
        assert!(!items.is_empty(), "{example}");
        let mut sum = 0.0;
        for item in items {
            let price = amount(&item["price"]).unwrap();
            assert!(receipt.contains(text(item, "name")) && is_printed(price), "{item} in {receipt}");
            let quantity = item["quantity"].as_f64().unwrap();
            assert!(quantity == 1.0 || dense.contains(&format!("{quantity}")), "{item} in {receipt}");
            sum += price;
        }
        let total = amount(&expected["total"]).unwrap();
        assert!(is_printed(total), "{example}");
        // What is between the sum of the items and the total is printed too: a discount, a tax, a tip.
        let difference = (total - sum).abs();
        let between = amounts(receipt);
        let is_explained = difference < 0.005
            || between.iter().any(|one| (one - difference).abs() < 0.005)
            || between.iter().any(|one| between.iter().any(|two| (one + two - difference).abs() < 0.005));
        assert!(is_explained, "{difference} in {receipt}");
        match amount(&expected["tax"]) {
            Some(tax) => assert!(is_printed(tax) && tax < total, "{example}"),
            None => missing[0] += 1,
        }
        match expected["date"].as_str() {
            Some(date) => assert!(has_date(receipt, date), "{date} in {receipt}"),
            None => missing[1] += 1,
        }
        match expected["currency"].as_str() {
            Some(currency) => {
                let name = if currency == "EUR" && receipt.contains("EURO") { "EURO" } else { currency };
                assert!(receipt.contains(name), "{example}");
            }
            None => missing[2] += 1,
        }
    }
    assert!(missing.iter().all(|count| *count > 0), "every field is missing somewhere: {missing:?}");
}

/// The amounts on a receipt.
fn amounts(receipt: &str) -> Vec<f64> {
    let numbers = receipt.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ',');
    numbers.filter_map(|number| number.replace(',', ".").parse().ok()).collect()
}

/// Whether day, month and year are on the receipt, the month as a number or by its English name.
fn has_date(receipt: &str, date: &str) -> bool {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { panic!("{date}") };
    let number: usize = month.parse().unwrap();
    let day_number: u32 = day.parse().unwrap();
    let years = [year.to_owned(), year[2..].to_owned()];
    let mut spellings = vec![format!("{year}-{month}-{day}"), format!("{year}/{month}/{day}")];
    for year in years {
        for mark in ["/", ".", "-"] {
            spellings.push(format!("{day}{mark}{month}{mark}{year}"));
            spellings.push(format!("{month}{mark}{day}{mark}{year}"));
        }
    }
    let name = MONTHS[number - 1];
    spellings.push(format!("{day} {name} {year}"));
    spellings.push(format!("{name} {day}, {year}"));
    spellings.push(format!("{name} {day_number}, {year}"));
    spellings.push(format!("{name} {day} {year}"));
    spellings.iter().any(|spelling| receipt.contains(spelling))
}

#[test]
fn descriptions_say_what_the_till_knows_and_no_more() {
    for example in set("descriptions") {
        let (item, expected) = (text(&example, "item"), text(&example, "expected"));
        assert!(expected.chars().count() <= 80 && !expected.contains('\n'), "{example}");
        for fact in example["facts"].as_array().unwrap() {
            assert!(expected.to_lowercase().contains(&fact.as_str().unwrap().to_lowercase()), "{example}");
        }
        let lower = item.to_lowercase();
        for word in words(expected) {
            assert!(
                !word.starts_with(|c: char| c.is_ascii_digit()) || lower.contains(&word),
                "{word}: {example}"
            );
        }
    }
}

#[test]
fn completions_are_the_rest_of_a_line() {
    for example in set("completion") {
        // The space before a word belongs to the word's token.
        let line = text(&example, "prefix").rsplit('\n').next().unwrap();
        assert!(line.trim().is_empty() || !line.ends_with([' ', '\t']), "{example}");
        assert!(example["suffix"].is_string(), "{example}");
        for expected in example["expected"].as_array().unwrap() {
            let expected = expected.as_str().unwrap();
            assert!(
                !expected.is_empty() && expected == expected.trim() && !expected.contains('\n'),
                "{example}"
            );
        }
    }
}
