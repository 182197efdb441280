//! Asks a model all examples of a set and scores its answers.

use std::path::Path;
use std::time::{Duration, Instant};

use edgeslm::answer::measures::{
    ConfusionMatrix, brier_score, confidence_bins, coverage_risk, expected_calibration_error, log_loss,
    percentile,
};
use edgeslm::answer::{
    Answer, CalibrateOptions, Classifier, Decision, Example, Task, TaskKind, TextMatch, values_agree,
};
use edgeslm::sampling::SamplingOptions;
use edgeslm::sampling::constraint::{Grammar, GrammarSource};
use edgeslm::session::{GenerateOptions, Prompt, Session, SessionOptions, Statistics};
use edgeslm::text::Text;
use edgeslm::{Error, ErrorKind, Model};
use indicatif::ProgressBar;
use serde_json::{Map, Value};

use super::answer::{label_in, object_in};
use super::report::{
    ClassifyScores, ExtractScores, FieldScore, Item, Mode, ModelReport, ProbabilityScores, Speed, TextScores,
};
use super::{CalibrationArgument, QUESTION_TOKENS};
use crate::commands::calibrate::BINS;
use crate::failure::Failure;
use crate::process_memory::ProcessMemory;
use crate::task_files::calibration_path;

/// What is asked of each model.
pub(super) struct Plan<'a> {
    pub(super) task: &'a Task,
    pub(super) test: &'a [Example],
    /// Examples to calibrate with, where no calibration is saved.
    pub(super) learn: &'a [Example],
    pub(super) calibration: CalibrationArgument,
    pub(super) risk: CalibrateOptions,
}

/// A loaded model, and how long that took.
pub(super) struct Loaded<'a> {
    pub(super) model: Model,
    pub(super) directory: &'a Path,
    pub(super) name: String,
    pub(super) load: Duration,
}

/// An answer to one example.
struct Answered {
    text: String,
    decision: Option<Decision>,
    statistics: Statistics,
    time: Duration,
}

pub(super) fn evaluate(
    loaded: &Loaded<'_>,
    plan: &Plan<'_>,
    mode: Mode,
    bar: &ProgressBar,
) -> Result<ModelReport, Failure> {
    let answered = match (plan.task.kind(), mode) {
        (TaskKind::Classify, Mode::Task) => return classify(loaded, plan, bar),
        _ => generate(loaded, plan, mode, bar)?,
    };
    let mut report = report(loaded, plan, mode, &answered);
    match plan.task.kind() {
        TaskKind::Classify => score_free_labels(&mut report, plan),
        TaskKind::Extract => score_objects(&mut report, plan, &answered),
        _ => score_texts(&mut report, plan),
    }
    Ok(report)
}

fn classify(loaded: &Loaded<'_>, plan: &Plan<'_>, bar: &ProgressBar) -> Result<ModelReport, Failure> {
    let mut classifier = Classifier::new(&loaded.model, plan.task.clone())?;
    let path = calibration_path(loaded.directory, plan.task);
    match plan.calibration {
        CalibrationArgument::None => {}
        CalibrationArgument::Auto if path.exists() => classifier.load_calibration(&path)?,
        CalibrationArgument::Auto if plan.learn.is_empty() => {}
        CalibrationArgument::Fit if plan.learn.is_empty() => {
            return Err(Failure::Usage(
                "the set has no examples to calibrate with".to_owned(),
                "give some of them \"split\": \"calibration\", or leave --calibration out".to_owned(),
            ));
        }
        CalibrationArgument::Auto | CalibrationArgument::Fit => {
            let calibration = classifier.calibrate(plan.learn, &plan.risk, |_| bar.inc(1))?;
            classifier.set_calibration(Some(calibration))?;
        }
    }
    let mut answered = Vec::with_capacity(plan.test.len());
    for example in plan.test {
        let started = Instant::now();
        let decision = classifier.decide(&example.fields).map_err(|error| error.with_node(&example.id))?;
        answered.push(Answered {
            text: decision.label.clone(),
            statistics: decision.statistics,
            decision: Some(decision),
            time: started.elapsed(),
        });
        bar.inc(1);
    }
    let mut report = report(loaded, plan, Mode::Task, &answered);
    let decisions: Vec<(&Decision, usize)> =
        answered.iter().filter_map(|answer| answer.decision.as_ref()).zip(classes(plan.test)).collect();
    let mut scores =
        classify_scores(decisions.iter().map(|(decision, class)| (*class, Some(decision.index))), plan);
    let pairs = || decisions.iter().map(|(decision, class)| (&decision.probabilities[..], *class));
    let judged: Vec<(f32, bool)> = decisions
        .iter()
        .map(|(decision, class)| (decision.probability(), decision.index == *class))
        .collect();
    let bins = confidence_bins(&judged, BINS);
    scores.probabilities = Some(ProbabilityScores {
        expected_calibration_error: expected_calibration_error(&bins),
        brier_score: brier_score(pairs()),
        log_loss: log_loss(pairs()),
        bins,
        coverage_risk: coverage_risk(&judged),
    });
    let taken: Vec<bool> = decisions
        .iter()
        .filter(|(decision, _)| !decision.abstain)
        .map(|(decision, class)| decision.index == *class)
        .collect();
    scores.abstained = decisions.len() - taken.len();
    scores.coverage = taken.len() as f64 / decisions.len() as f64;
    scores.selective_accuracy = share(taken.iter().copied());
    if let Some(calibration) = classifier.calibration() {
        scores.calibration = Some(calibration.summary().clone());
        scores.abstention = calibration.abstention().copied();
    }
    report.classify = Some(scores);
    Ok(report)
}

fn classes(examples: &[Example]) -> impl Iterator<Item = usize> {
    examples.iter().map(|example| match example.answer {
        Answer::Label(class) => class,
        _ => usize::MAX,
    })
}

/// Without probabilities. Pairs of the right class and the one decided for, if any.
fn classify_scores(pairs: impl Iterator<Item = (usize, Option<usize>)>, plan: &Plan<'_>) -> ClassifyScores {
    let pairs: Vec<(usize, Option<usize>)> = pairs.collect();
    let labels = plan.task.labels().len();
    // A further class takes the answers without a label, so that they count as wrong.
    let decided = pairs.iter().map(|(class, decided)| (*class, decided.unwrap_or(labels)));
    let with_none = ConfusionMatrix::of(decided, labels + 1);
    let confusion =
        ConfusionMatrix::of(pairs.iter().filter_map(|(class, decided)| Some((*class, (*decided)?))), labels);
    let classes: Vec<_> = with_none.scores().into_iter().take(labels).collect();
    let occurs =
        |class: usize| pairs.iter().any(|(right, decided)| *right == class || *decided == Some(class));
    let f1: Vec<f64> = (0..labels).filter(|class| occurs(*class)).map(|class| classes[class].f1).collect();
    ClassifyScores {
        accuracy: with_none.accuracy(),
        macro_f1: f1.iter().sum::<f64>() / f1.len() as f64,
        confusion,
        classes,
        unanswered: pairs.iter().filter(|(_, decided)| decided.is_none()).count(),
        probabilities: None,
        calibration: None,
        abstention: None,
        abstained: 0,
        coverage: 1.0,
        selective_accuracy: with_none.accuracy(),
    }
}

fn generate(
    loaded: &Loaded<'_>,
    plan: &Plan<'_>,
    mode: Mode,
    bar: &ProgressBar,
) -> Result<Vec<Answered>, Failure> {
    let mut session = loaded.model.session(SessionOptions::default())?;
    let text = loaded.model.text();
    let schema = plan.task.schema().filter(|_| mode == Mode::Task);
    let grammar = schema.map(|schema| loaded.model.grammar(&GrammarSource::json_schema(schema.to_string())));
    let grammar = grammar.transpose()?;
    let mut answered = Vec::with_capacity(plan.test.len());
    for example in plan.test {
        let answer = generate_one(&mut session, text, plan.task, mode, grammar.as_ref(), example)
            .map_err(|error| error.with_node(&example.id))?;
        answered.push(answer);
        bar.inc(1);
    }
    Ok(answered)
}

fn generate_one(
    session: &mut Session,
    text: &Text,
    task: &Task,
    mode: Mode,
    grammar: Option<&Grammar>,
    example: &Example,
) -> Result<Answered, Error> {
    let started = Instant::now();
    let prompt: Prompt = match mode {
        Mode::Task => task.prompt(text, &example.fields)?,
        Mode::FreeText => task.free_prompt(text, &example.fields)?,
    };
    let max_tokens = if task.kind() == TaskKind::Classify { QUESTION_TOKENS } else { task.max_tokens() };
    let options = GenerateOptions {
        max_tokens,
        // Where the task's stop strings suit its prompt, they need not suit a free answer.
        stop: if mode == Mode::Task { task.stop().to_vec() } else { Vec::new() },
        sampling: Some(SamplingOptions::default()),
        grammar: grammar.cloned(),
        ..GenerateOptions::default()
    };
    let answer = session.generate(prompt, &options)?;
    Ok(Answered {
        text: answer.text,
        decision: None,
        statistics: answer.outcome.statistics,
        time: started.elapsed(),
    })
}

fn report(loaded: &Loaded<'_>, plan: &Plan<'_>, mode: Mode, answered: &[Answered]) -> ModelReport {
    let items = plan.test.iter().zip(answered).map(|(example, answer)| Item {
        id: example.id.clone(),
        expected: expected_text(plan.task, example),
        answer: answer.text.clone(),
        right: matches!((&answer.decision, &example.answer), (Some(decision), Answer::Label(class)) if decision.index == *class),
        probability: answer.decision.as_ref().map(Decision::probability),
        abstained: answer.decision.as_ref().is_some_and(|decision| decision.abstain),
        seconds: answer.time.as_secs_f64(),
        input: input_text(plan.task, &example.fields),
    });
    ModelReport {
        name: match mode {
            Mode::Task => loaded.name.clone(),
            Mode::FreeText => format!("{}, free text", loaded.name),
        },
        directory: loaded.directory.to_path_buf(),
        engine: loaded.model.info().engine,
        mode,
        classify: None,
        extract: None,
        text: None,
        speed: speed(loaded.load, answered),
        answers: items.collect(),
    }
}

fn expected_text(task: &Task, example: &Example) -> String {
    match &example.answer {
        Answer::Label(class) => task.labels().get(*class).cloned().unwrap_or_default(),
        Answer::Fields(fields) => Value::Object(fields.clone()).to_string(),
        Answer::Texts(texts) => texts.join(" | "),
        _ => String::new(),
    }
}

/// The fields that the prompt shows, one a line.
fn input_text(task: &Task, fields: &Map<String, Value>) -> String {
    let inputs = task.inputs();
    let shown = inputs.iter().filter_map(|name| {
        let text = match fields.get(*name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(if inputs.len() == 1 { text } else { format!("{name}: {text}") })
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn speed(load: Duration, answered: &[Answered]) -> Speed {
    let times: Vec<f64> = answered.iter().map(|answer| answer.time.as_secs_f64()).collect();
    let statistics = || answered.iter().map(|answer| &answer.statistics);
    let rate = |count: usize, time: Duration| {
        (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
    };
    let computed = statistics().map(|s| s.prompt_tokens.saturating_sub(s.reused_tokens)).sum();
    // A classification's passes over its labels are no generated tokens.
    let steps = statistics().filter(|s| s.generated_tokens > 0).map(|s| s.decode_steps).sum();
    Speed {
        load: load.as_secs_f64(),
        p50: percentile(&times, 0.5).unwrap_or(f64::NAN),
        p95: percentile(&times, 0.95).unwrap_or(f64::NAN),
        prompt_tokens: statistics().map(|s| s.prompt_tokens).sum(),
        reused_tokens: statistics().map(|s| s.reused_tokens).sum(),
        generated_tokens: statistics().map(|s| s.generated_tokens).sum(),
        prefill_rate: rate(computed, statistics().map(|s| s.prefill_time).sum()),
        decode_rate: rate(
            steps,
            statistics().filter(|s| s.generated_tokens > 0).map(|s| s.decode_time).sum(),
        ),
        peak_memory: ProcessMemory::now().map(|memory| memory.peak_resident),
    }
}

fn score_free_labels(report: &mut ModelReport, plan: &Plan<'_>) {
    let decided: Vec<Option<usize>> =
        report.answers.iter().map(|item| label_in(&item.answer, plan.task.labels())).collect();
    for ((item, class), decided) in report.answers.iter_mut().zip(classes(plan.test)).zip(&decided) {
        item.right = *decided == Some(class);
    }
    report.classify = Some(classify_scores(classes(plan.test).zip(decided), plan));
}

fn score_objects(report: &mut ModelReport, plan: &Plan<'_>, answered: &[Answered]) {
    let objects: Vec<Option<Map<String, Value>>> =
        answered.iter().map(|answer| object_in(&answer.text)).collect();
    let expected: Vec<&Map<String, Value>> = plan
        .test
        .iter()
        .filter_map(|example| match &example.answer {
            Answer::Fields(fields) => Some(fields),
            _ => None,
        })
        .collect();
    let scores = extract_scores(&plan.task.fields(), &objects, &expected);
    let names = plan.task.fields();
    for ((item, object), expected) in report.answers.iter_mut().zip(&objects).zip(&expected) {
        item.right = object.as_ref().is_some_and(|object| {
            names.iter().all(|name| values_agree(object.get(*name), expected.get(*name)))
        });
    }
    report.extract = Some(scores);
}

/// An answer that is no object has no field right, not even those that should be missing.
fn extract_scores(
    names: &[&str],
    objects: &[Option<Map<String, Value>>],
    expected: &[&Map<String, Value>],
) -> ExtractScores {
    let present =
        |fields: &Map<String, Value>, name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    let fields: Vec<FieldScore> = names
        .iter()
        .map(|name| {
            let pairs = || objects.iter().zip(expected);
            FieldScore {
                name: (*name).to_owned(),
                exact: share(pairs().map(|(object, expected)| {
                    object.as_ref().is_some_and(|object| values_agree(object.get(*name), expected.get(*name)))
                })),
                invented: pairs()
                    .filter(|(object, expected)| {
                        object.as_ref().is_some_and(|object| present(object, name))
                            && !present(expected, name)
                    })
                    .count(),
                missing: pairs()
                    .filter(|(object, expected)| {
                        !object.as_ref().is_some_and(|object| present(object, name))
                            && present(expected, name)
                    })
                    .count(),
            }
        })
        .collect();
    ExtractScores {
        exact: share(objects.iter().zip(expected).map(|(object, expected)| {
            object.as_ref().is_some_and(|object| {
                names.iter().all(|name| values_agree(object.get(*name), expected.get(*name)))
            })
        })),
        parsed: share(objects.iter().map(Option::is_some)),
        field_accuracy: fields.iter().map(|field| field.exact).sum::<f64>() / fields.len() as f64,
        fields,
    }
}

fn score_texts(report: &mut ModelReport, plan: &Plan<'_>) {
    let holds = |how: TextMatch, answer: &str, example: &Example| match &example.answer {
        Answer::Texts(texts) => texts.iter().any(|expected| how.holds(answer, expected)),
        _ => false,
    };
    let judge = |how: TextMatch| -> Vec<bool> {
        report
            .answers
            .iter()
            .zip(plan.test)
            .map(|(item, example)| holds(how, &item.answer, example))
            .collect()
    };
    let right = judge(plan.task.text_match());
    report.text = Some(TextScores {
        accuracy: share(right.iter().copied()),
        exact: share(judge(TextMatch::Exact).into_iter()),
        prefix: share(judge(TextMatch::Prefix).into_iter()),
    });
    for (item, right) in report.answers.iter_mut().zip(right) {
        item.right = right;
    }
}

fn share(values: impl Iterator<Item = bool>) -> f64 {
    let (yes, count) =
        values.fold((0_usize, 0_usize), |(yes, count), value| (yes + usize::from(value), count + 1));
    yes as f64 / count as f64
}

/// Loads a model and lets the process's peak of memory begin anew.
pub(super) fn load<'a>(
    directory: &'a Path,
    name: String,
    load: impl FnOnce(&Path) -> edgeslm::Result<Model>,
) -> Result<Loaded<'a>, Failure> {
    // Where the system does not do that, each model shows the largest peak so far.
    let _ = ProcessMemory::reset_peak();
    let started = Instant::now();
    let model = load(directory).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_hint("name a model directory"),
        _ => error,
    })?;
    Ok(Loaded { model, directory, name, load: started.elapsed() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn fields_are_scored_by_hand() {
        let objects = [
            Some(object(json!({"total": 3.0, "shop": "A", "more": 1}))),
            Some(object(json!({"total": 4, "shop": "B"}))),
            Some(object(json!({"shop": null}))),
            None,
        ];
        let expected = [
            object(json!({"total": 3, "shop": "A"})),
            object(json!({"total": 5, "shop": null})),
            object(json!({"total": 1})),
            object(json!({"shop": "C"})),
        ];
        let expected: Vec<_> = expected.iter().collect();
        let scores = extract_scores(&["total", "shop"], &objects, &expected);
        assert_eq!((scores.exact, scores.parsed), (0.25, 0.75));
        let found: Vec<_> = scores.fields.iter().map(|f| (f.exact, f.invented, f.missing)).collect();
        assert_eq!(found, [(0.25, 0, 1), (0.5, 1, 1)]);
        assert_eq!(scores.field_accuracy, 0.375);
    }

    #[test]
    fn times_and_rates_by_hand() {
        let answer = |milliseconds: u64, generated: usize| Answered {
            text: String::new(),
            decision: None,
            statistics: Statistics {
                prompt_tokens: 100,
                reused_tokens: 90,
                generated_tokens: generated,
                prefill_time: Duration::from_millis(50),
                decode_time: Duration::from_millis(100),
                decode_steps: 4,
                ..Statistics::default()
            },
            time: Duration::from_millis(milliseconds),
        };
        let found = speed(Duration::from_secs(2), &[answer(300, 5), answer(100, 5), answer(200, 5)]);
        assert_eq!((found.load, found.p50, found.p95), (2.0, 0.2, 0.3));
        assert_eq!((found.prompt_tokens, found.reused_tokens, found.generated_tokens), (300, 270, 15));
        assert!((found.prefill_rate.unwrap() - 200.0).abs() < 1e-9);
        assert!((found.decode_rate.unwrap() - 40.0).abs() < 1e-9);
        assert_eq!(speed(Duration::ZERO, &[answer(1, 0)]).decode_rate, None);
    }
}
