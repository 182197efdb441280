//! Pages are well-formed, need nothing from elsewhere and show what they are given as text.

use edgeslm::answer::TaskKind;
use edgeslm::answer::measures::{ConfusionMatrix, confidence_bins, coverage_risk};

use super::super::report::{
    Baseline, ClassifyScores, GateLine, Item, Mode, ProbabilityScores, Speed, TaskFacts,
};
use super::*;

const HOSTILE: &str = "</pre><script src=\"http://evil.example/x.js\">&\u{1b}[2J 'quoted'";

/// Two models, one of them with a hostile name.
pub(in crate::commands::eval) fn report() -> Report {
    let model = |name: &str, mode: Mode| {
        let answers = (0..20).map(|index| Item {
            id: format!("e{index}"),
            expected: "yes".to_owned(),
            answer: if index == 3 {
                HOSTILE.to_owned()
            } else {
                format!("{} {index}", if name.len() > 9 { "no" } else { "yes" })
            },
            right: index % 2 == 0,
            probability: Some(0.5),
            abstained: index % 3 == 0,
            seconds: 0.1,
            input: format!("input {index} {HOSTILE}"),
        });
        let judged: Vec<(f32, bool)> =
            (0..20_u8).map(|index| (f32::from(index) / 20.0, index % 3 > 0)).collect();
        let confusion = ConfusionMatrix::of([(0, 0), (0, 1), (1, 1)], 2);
        ModelReport {
            name: name.to_owned(),
            directory: "models/x".into(),
            engine: "CPU".to_owned(),
            mode,
            classify: Some(ClassifyScores {
                accuracy: 2.0 / 3.0,
                macro_f1: 0.5,
                classes: confusion.scores(),
                confusion,
                unanswered: 1,
                probabilities: Some(ProbabilityScores {
                    expected_calibration_error: 0.1,
                    brier_score: 0.2,
                    log_loss: f64::NAN,
                    bins: confidence_bins(&judged, 10),
                    coverage_risk: coverage_risk(&judged),
                }),
                calibration: None,
                abstention: None,
                abstained: 7,
                coverage: 0.65,
                selective_accuracy: 0.5,
            }),
            extract: None,
            text: None,
            speed: Speed {
                load: 1.0,
                p50: 0.1,
                p95: 0.2,
                prompt_tokens: 10,
                reused_tokens: 5,
                generated_tokens: 0,
                prefill_rate: Some(100.0),
                decode_rate: None,
                peak_memory: Some(1 << 27),
            },
            answers: answers.collect(),
        }
    };
    Report {
        edgeslm: "0.1.0",
        task: TaskFacts {
            name: format!("task {HOSTILE}"),
            kind: TaskKind::Classify,
            about: HOSTILE.to_owned(),
            set: "set.jsonl".into(),
            examples: 20,
            labels: vec!["yes".to_owned(), format!("no {HOSTILE}")],
            fields: Vec::new(),
        },
        baseline: Some(Baseline { label: "yes".to_owned(), accuracy: 0.6, macro_f1: 0.3 }),
        models: vec![
            model("smollm2-a", Mode::Task),
            model(&format!("phi {}", "x".repeat(60)), Mode::FreeText),
        ],
        gate: vec![GateLine {
            model: "a".to_owned(),
            condition: "accuracy>=0.8".to_owned(),
            found: None,
            met: false,
        }],
    }
}

/// Checks that tags are closed in order, that attributes are quoted, and that no element, attribute or style refers to
/// anything outside the page.
pub(in crate::commands::eval) fn is_self_contained(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = page.strip_prefix("<!DOCTYPE html>\n").expect("a document type");
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        let is_style = open.last() == Some(&"style");
        assert!(is_style || !text.contains('>'), "a stray > in {text:?}");
        for (entity, _) in text.match_indices('&').filter(|_| !is_style) {
            let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            assert!(known.iter().any(|known| text[entity..].starts_with(known)), "a stray & in {text:?}");
        }
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let name = name.trim_end_matches('/');
        assert!(
            !["script", "link", "iframe", "img", "object", "embed", "a", "base", "form"].contains(&name),
            "<{name}>"
        );
        assert_eq!(attributes.matches('"').count() % 2, 0, "quotation marks in {tag:?}");
        for (index, part) in attributes.split('"').enumerate() {
            if index % 2 == 0 {
                let attribute = part.trim().trim_start_matches('/').trim_end_matches('=').trim();
                assert!(
                    !["src", "href", "srcset", "action", "data"].contains(&attribute),
                    "{attribute} in {tag:?}"
                );
                assert!(!attribute.starts_with("on"), "{attribute} in {tag:?}");
            }
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    assert!(!page.contains('\u{1b}'), "a control character");
}

#[test]
fn the_page_is_well_formed_and_self_contained() {
    let page = page(&report());
    is_self_contained(&page);
    assert!(page.contains("&lt;script src=&quot;http://evil.example"), "texts are shown");
    for expected in
        ["Right answers", "Are the probabilities honest?", "What abstaining saves", "not met", "<circle"]
    {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("NaN"), "{page}");
}

#[test]
fn the_checker_finds_what_it_is_for() {
    for page in [
        "<p>",
        "<p></b>",
        "<script></script>",
        "<img src=\"x\"/>",
        "<p onclick=\"x\"></p>",
        "<p>a & b</p>",
        "a > b<p></p>",
    ] {
        let page = format!("<!DOCTYPE html>\n{page}");
        assert!(std::panic::catch_unwind(|| is_self_contained(&page)).is_err(), "{page}");
    }
}
