//! Calibrations against another implementation and by hand.

use super::*;
use crate::ErrorKind;
use crate::answer::LabelScore;
use crate::answer::measures::log_loss;

fn fit(examples: &[(Vec<f64>, usize)], classes: usize) -> Calibration {
    Calibration::fit(examples, classes, &CalibrationOptions::default()).unwrap()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

fn seven() -> Vec<(Vec<f64>, usize)> {
    vec![
        (vec![-1.0, -2.5, -0.4], 0),
        (vec![-0.5, -3.0, -1.2], 0),
        (vec![-2.0, -1.0, -0.9], 1),
        (vec![-2.2, -0.7, -2.0], 1),
        (vec![-1.1, -1.4, -3.0], 2),
        (vec![-0.9, -2.0, -2.5], 2),
        (vec![-3.0, -1.5, -0.2], 1),
    ]
}

#[test]
fn it_finds_what_scikit_learn_finds() {
    // Z = (X - X.mean(0)) / X.std(0); LogisticRegression(C=1 / (7 * 0.1), tol=1e-14, max_iter=100000).fit(Z, Y)
    // .predict_proba((q - X.mean(0)) / X.std(0)) of scikit-learn.
    let calibration = fit(&seven(), 3);
    for (scores, expected) in [
        ([-1.0, -2.0, -1.0], [0.549_064, 0.234_256_92, 0.216_679]),
        ([-2.5, -0.5, -1.5], [0.010_311_79, 0.939_897_3, 0.049_790_93]),
        ([-1.0, -1.0, -3.5], [0.015_939_72, 0.093_619_67, 0.890_440_6]),
    ] {
        let probabilities = calibration.probabilities(&scores).unwrap();
        assert_close(&probabilities, &expected);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn scores_that_tell_nothing_give_the_frequencies() {
    let examples: Vec<_> = [0, 0, 1, 0].map(|class| (vec![-0.7, -0.7], class)).into();
    assert_close(&fit(&examples, 2).probabilities(&[-0.7, -0.7]).unwrap(), &[0.75, 0.25]);
}

#[test]
fn what_a_model_adds_to_a_label_whatever_is_said_does_not_count() {
    let (plain, habits) = (seven(), [-0.2, -7.0, 0.1]);
    let add = |scores: &[f64]| scores.iter().zip(habits).map(|(score, habit)| score + habit).collect();
    let shifted: Vec<(Vec<f64>, usize)> = plain.iter().map(|(s, class)| (add(s), *class)).collect();
    let query = [-1.5, -1.5, -1.5];
    let of_shifted = fit(&shifted, 3).probabilities(&add(&query)).unwrap();
    assert_close(&of_shifted, &fit(&plain, 3).probabilities(&query).unwrap());
}

#[test]
fn a_label_that_is_ruled_out_has_a_finite_score() {
    let examples = [(vec![f64::NEG_INFINITY, -0.1], 0), (vec![-0.1, f64::NEG_INFINITY], 1)];
    let probabilities = fit(&examples, 2).probabilities(&[f64::NEG_INFINITY, -0.1]).unwrap();
    assert!(probabilities[0] > 0.5 && probabilities[0] < 1.0, "{probabilities:?}");
    let calibration = fit(&seven(), 3);
    let far = calibration.probabilities(&[f64::MIN, -0.1, f64::MIN]).unwrap();
    assert!((far.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{far:?}");
}

#[test]
fn bad_examples_and_scores_are_refused() {
    let good = seven();
    let with = |index: usize, example: (Vec<f64>, usize)| {
        let mut examples = seven();
        examples[index] = example;
        examples
    };
    let ridge = |ridge: f64| CalibrationOptions { ridge, ..Default::default() };
    let three = vec![-1.0, -1.0, -1.0];
    let cases = [
        (vec![], 3, ridge(0.1), "no examples"),
        (vec![(vec![], 0), (vec![], 1)], 2, ridge(0.1), "no scores"),
        (good.clone(), 1, ridge(0.1), "1 classes"),
        (good.clone(), 4, ridge(0.1), "class 3 has no example"),
        (with(2, (three, 3)), 3, ridge(0.1), "class 3 of 3"),
        (with(2, (vec![-1.0], 1)), 3, ridge(0.1), "1 scores where 3"),
        (with(2, (vec![-1.0, f64::NAN, -1.0], 1)), 3, ridge(0.1), "NaN"),
        (with(2, (vec![-1.0, f64::INFINITY, -1.0], 1)), 3, ridge(0.1), "inf"),
        (good.clone(), 3, ridge(0.0), "ridge"),
        (good.clone(), 3, ridge(f64::NAN), "ridge"),
    ];
    for (examples, classes, options, message) in cases {
        let error = Calibration::fit(&examples, classes, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(message), "{error}");
    }
    let calibration = fit(&good, 3);
    for scores in [&[-1.0, -1.0][..], &[-1.0, f64::NAN, -1.0]] {
        let error = calibration.probabilities(scores).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

fn with_method(method: CalibrationMethod, content_free: Option<Vec<f64>>) -> CalibrationOptions {
    CalibrationOptions { method, content_free, ..Default::default() }
}

#[test]
fn temperature_and_vector_are_the_minima() {
    // Found in Python by ternary search and by plain gradient descent to slopes below 1e-13.
    let queries = [[-1.0, -2.0, -1.0], [-2.5, -0.5, -1.5], [-1.0, -1.0, -3.5]];
    let temperature = [
        [0.349_300_4, 0.301_399_3, 0.349_300_4],
        [0.285_547_4, 0.383_523_4, 0.330_929_2],
        [0.371_525_6, 0.371_525_6, 0.256_948_9],
    ];
    let vector = [
        [0.503_895, 0.325_092_3, 0.171_012_7],
        [0.030_279_3, 0.880_606_2, 0.089_114_5],
        [0.058_456_2, 0.183_932_1, 0.757_611_7],
    ];
    for (method, expected) in
        [(CalibrationMethod::Temperature, temperature), (CalibrationMethod::Vector, vector)]
    {
        let calibration = Calibration::fit(&seven(), 3, &with_method(method, None)).unwrap();
        for (query, expected) in queries.iter().zip(expected) {
            assert_close(&calibration.probabilities(query).unwrap(), &expected);
        }
        // A label beside those of the classes does not count.
        let wider: Vec<_> = seven()
            .into_iter()
            .enumerate()
            .map(|(i, (s, class))| ([&s[..], &[-(i as f64)]].concat(), class))
            .collect();
        let wider = Calibration::fit(&wider, 3, &with_method(method, None)).unwrap();
        let found = wider.probabilities(&[queries[0][0], queries[0][1], queries[0][2], -50.0]).unwrap();
        assert_close(&found, &expected[0]);
    }
}

#[test]
fn an_empty_input_shows_the_habit() {
    let habit = vec![0.5_f64.ln(), 0.3_f64.ln(), 0.2_f64.ln()];
    let calibration =
        Calibration::fit(&seven(), 3, &with_method(CalibrationMethod::None, Some(habit.clone()))).unwrap();
    assert_close(&calibration.probabilities(&habit).unwrap(), &[1.0 / 3.0; 3]);
    // 0.25/0.5, 0.3/0.3, 0.1/0.2 of their sum.
    let scores = [0.25_f64.ln(), 0.3_f64.ln(), 0.1_f64.ln()];
    assert_close(&calibration.probabilities(&scores).unwrap(), &[0.25, 0.5, 0.25]);
    assert_eq!(Calibration::unfitted(3, 3, Some(&habit)).unwrap(), calibration);
    let plain = Calibration::unfitted(3, 3, None).unwrap();
    assert_close(&plain.probabilities(&habit).unwrap(), &[0.5, 0.3, 0.2]);

    // With a temperature, a habit added to all scores and named as such changes nothing.
    let add =
        |scores: &[f64]| scores.iter().zip(&habit).map(|(score, habit)| score + habit).collect::<Vec<_>>();
    let shifted: Vec<_> = seven().iter().map(|(scores, class)| (add(scores), *class)).collect();
    let query = [-2.5, -0.5, -1.5];
    let fit = |examples: &[(Vec<f64>, usize)], content_free| {
        Calibration::fit(examples, 3, &with_method(CalibrationMethod::Temperature, content_free)).unwrap()
    };
    let found = fit(&shifted, Some(habit.clone())).probabilities(&add(&query)).unwrap();
    assert_close(&found, &fit(&seven(), None).probabilities(&query).unwrap());
}

#[test]
fn classes_without_a_label_of_their_own_need_a_matrix() {
    let two_labels: Vec<_> =
        seven().into_iter().map(|(scores, class)| (scores[..2].to_vec(), class)).collect();
    for method in [CalibrationMethod::None, CalibrationMethod::Temperature, CalibrationMethod::Vector] {
        let error = Calibration::fit(&two_labels, 3, &with_method(method, None)).unwrap_err();
        assert!(error.message().contains("2 labels cannot be those of 3 classes"), "{error}");
    }
    assert_eq!(fit(&two_labels, 3).class_count(), 3);
    let error = Calibration::fit(&seven(), 3, &with_method(CalibrationMethod::Temperature, Some(vec![0.0])))
        .unwrap_err();
    assert!(error.message().contains("1 scores where 3"), "{error}");
    assert!(Calibration::unfitted(3, 1, None).is_err());
}

/// Examples whose scores are overconfident: each is right three times in four, and the model says more.
fn overconfident() -> Vec<(Vec<f64>, usize)> {
    let example = |i: usize| {
        let said = i % 2;
        let right = if matches!(i % 8, 0 | 3) { 1 - said } else { said };
        let margin = 6.0 + (i % 5) as f64;
        (if said == 0 { vec![0.0, -margin] } else { vec![-margin, 0.0] }, right)
    };
    (0..80).map(example).collect()
}

#[test]
fn the_choice_is_by_what_was_not_seen() {
    let examples = overconfident();
    let choice = CalibrationChoice::of(&examples, 2, None).unwrap();
    assert_eq!(choice.summary.examples, 80);
    let plain = Calibration::unfitted(2, 2, None).unwrap();
    let probabilities: Vec<_> =
        examples.iter().map(|(scores, _)| plain.probabilities(scores).unwrap()).collect();
    let before =
        log_loss(probabilities.iter().zip(&examples).map(|(found, (_, class))| (&found[..], *class)));
    assert!(choice.summary.log_loss < 0.6 && before > 1.5, "{} and {before}", choice.summary.log_loss);

    // Out of fold: each example's probabilities come from a fit without it and its fold.
    let options =
        CalibrationOptions { method: choice.summary.method, ridge: choice.summary.ridge, content_free: None };
    let mut ranks = [0, 0];
    let folds: Vec<usize> = examples
        .iter()
        .map(|(_, class)| {
            ranks[*class] += 1;
            (ranks[*class] - 1) % 10
        })
        .collect();
    let others: Vec<_> =
        examples.iter().zip(&folds).filter(|(_, fold)| **fold != 3).map(|(e, _)| e.clone()).collect();
    let without = Calibration::fit(&others, 2, &options).unwrap();
    for ((example, fold), found) in examples.iter().zip(&folds).zip(&choice.out_of_fold) {
        if *fold == 3 {
            assert_eq!(&without.probabilities(&example.0).unwrap(), found);
        }
    }
    for (((_, class), found), judged) in
        examples.iter().zip(&choice.out_of_fold).zip(choice.judged(&examples))
    {
        let best = usize::from(found[1] > found[0]);
        assert_eq!(judged, (found[best], best == *class));
    }
}

#[test]
fn a_class_with_one_example_cannot_be_judged() {
    let examples = vec![(vec![-0.1, -1.0], 0), (vec![-0.1, -2.0], 0), (vec![-1.0, -0.1], 1)];
    let error = CalibrationChoice::of(&examples, 2, None).unwrap_err();
    assert!(error.message().contains("class 1 has 1 examples"), "{error}");
    assert!(CalibrationChoice::of(&[], 2, None).is_err());
}

fn saved() -> LabelCalibration {
    let examples = overconfident();
    let choice = CalibrationChoice::of(&examples, 2, None).unwrap();
    let abstention = Abstention::choose(&choice.judged(&examples), 0.4, 0.9).unwrap();
    let identity = CalibrationIdentity {
        model: "m".to_owned(),
        prompt: "p".to_owned(),
        classes: vec!["yes".to_owned(), "no".to_owned()],
        labels: vec![" yes".to_owned(), " no".to_owned()],
        score: LabelScore::TrieNormalised,
    };
    LabelCalibration::new(identity, &choice, Some(abstention)).unwrap()
}

#[test]
fn a_saved_calibration_is_the_same() {
    let saved = saved();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    saved.save(&path).unwrap();
    saved.save(&path).unwrap();
    assert_eq!(LabelCalibration::load(&path).unwrap(), saved);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    saved.check("m", "p").unwrap();
    for (model, prompt, expected) in [("x", "p", "another model"), ("m", "x", "another prompt")] {
        let error = saved.check(model, prompt).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    }
    let error = saved.save(folder.path().join("absent").join("c.json")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        LabelCalibration::new(
            CalibrationIdentity { labels: vec![" yes".to_owned()], ..saved.identity().clone() },
            &CalibrationChoice::of(&overconfident(), 2, None).unwrap(),
            None
        )
        .is_err()
    );
}

#[test]
fn damaged_calibrations_are_refused() {
    let text = saved().to_json().unwrap();
    let edit = |edit: fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_str(&text).unwrap();
        edit(&mut value);
        value.to_string()
    };
    use serde_json::json;
    for (text, kind, expected) in [
        (text[..text.len() / 2].to_owned(), ErrorKind::InvalidModel, "not JSON"),
        ("{}".to_owned(), ErrorKind::InvalidModel, "no calibration"),
        ("[]".to_owned(), ErrorKind::InvalidModel, "no calibration"),
        (edit(|v| v["version"] = json!(2)), ErrorKind::Unsupported, "version 2"),
        (edit(|v| v["layer"] = json!([[1.0, 2.0, 3.0]])), ErrorKind::InvalidModel, "1 rows"),
        (edit(|v| v["layer"][0] = json!([1.0])), ErrorKind::InvalidModel, "3 finite numbers"),
        (edit(|v| v["layer"][0][0] = json!(null)), ErrorKind::InvalidModel, "damaged"),
        (edit(|v| v["classes"] = json!(["yes"])), ErrorKind::InvalidModel, "1 classes"),
        (edit(|v| v["labels"] = json!([])), ErrorKind::InvalidModel, "0 labels"),
        (edit(|v| v["extra"] = json!(1)), ErrorKind::InvalidModel, "extra"),
        (edit(|v| v["score"] = json!("best")), ErrorKind::InvalidModel, "best"),
        (edit(|v| v["abstention"]["threshold"] = json!(-1.0)), ErrorKind::InvalidModel, "threshold"),
    ] {
        let error = LabelCalibration::from_json(&text).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(expected), "{expected}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    std::fs::write(&path, b"\xff").unwrap();
    assert!(
        LabelCalibration::load(&path)
            .unwrap_err()
            .to_string()
            .contains("c.json: the calibration is not UTF-8")
    );
}
