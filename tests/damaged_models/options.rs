//! Options out of their range, or at its very ends.

use std::time::Duration;

use edgeslm::answer::ClassifyOptions;
use edgeslm::sampling::SamplingOptions;
use edgeslm::session::{FinishReason, GenerateOptions, SessionOptions};
use edgeslm::{ErrorKind, LoadOptions, Model};

use super::cases::Cases;
use super::fixtures::{data, load, load_options};

const MODEL: &str = "models/llama-3.2-1b-int4";

fn invalid<T>(result: edgeslm::Result<T>, name: &str) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == ErrorKind::InvalidArgument && error.to_string().contains(name) => {
            Ok(())
        }
        Err(error) => Err(format!("{error:?}")),
        Ok(_) => Err("is accepted".to_owned()),
    }
}

#[test]
fn loading() {
    let mut cases = Cases::new("load options");
    let refused: [(&str, LoadOptions); 11] = [
        ("context_length", LoadOptions { context_length: Some(0), ..load_options() }),
        ("threads", LoadOptions { threads: Some(0), ..load_options() }),
        ("threads", LoadOptions { threads: Some(1_025), ..load_options() }),
        ("threads", LoadOptions { threads: Some(usize::MAX), ..load_options() }),
        ("processors", LoadOptions { processors: Some(Vec::new()), ..load_options() }),
        ("processor", LoadOptions { processors: Some(vec![usize::MAX]), ..load_options() }),
        ("x87", LoadOptions { kernels: Some("x87".to_owned()), ..load_options() }),
        ("no such", LoadOptions { graph: Some("no such graph".to_owned()), ..load_options() }),
        ("none.onnx", LoadOptions { graph: Some("none.onnx".to_owned()), ..load_options() }),
        ("", LoadOptions { graph: Some(String::new()), ..load_options() }),
        ("", LoadOptions { kernels: Some("a".repeat(1 << 20)), ..load_options() }),
    ];
    for (name, options) in refused {
        let shown: String = format!("{options:?}").chars().take(200).collect();
        cases.run(format!("estimate {shown}"), || invalid(Model::estimate(data(MODEL), &options, 64), name));
        cases.run(shown, || invalid(Model::load(data(MODEL), &options), name));
    }
    for graph in ["../model.onnx", "/etc/passwd.onnx", "a\0.onnx", &"d/".repeat(10_000)] {
        cases.run(format!("graph {:.40}", graph), || {
            let options = LoadOptions { graph: Some(graph.to_owned()), ..load_options() };
            match Model::load(data(MODEL), &options).map(drop) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::InvalidModel | ErrorKind::InvalidArgument | ErrorKind::Io
                    ) =>
                {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        });
    }
    for options in [
        LoadOptions { context_length: Some(usize::MAX), ..load_options() },
        LoadOptions { context_length: Some(4), ..load_options() },
        LoadOptions { memory_budget: Some(u64::MAX), ..load_options() },
    ] {
        cases.run(format!("{options:?}"), || {
            let model = Model::load(data(MODEL), &options).map_err(|error| error.to_string())?;
            super::fixtures::answer(&model).map(drop).or_else(|error| match error.kind() {
                ErrorKind::ContextLength if options.context_length == Some(2) => Ok(()),
                _ => Err(error.to_string()),
            })
        });
    }
    cases.run("an estimate for endless positions", || {
        let estimate =
            Model::estimate(data(MODEL), &load_options(), usize::MAX).map_err(|error| error.to_string())?;
        let whole =
            Model::estimate(data(MODEL), &load_options(), 1_024).map_err(|error| error.to_string())?;
        if estimate == whole { Ok(()) } else { Err(format!("{estimate:?}")) }
    });
    cases.finish();
}

#[test]
fn sampling() {
    let model = load(&data(MODEL)).unwrap();
    let mut cases = Cases::new("sampling options");
    let default = SamplingOptions::default;
    let entries = u32::try_from(model.info().vocabulary_size).unwrap();
    let refused: [(&str, SamplingOptions); 14] = [
        ("temperature", SamplingOptions { temperature: f32::NAN, ..default() }),
        ("temperature", SamplingOptions { temperature: f32::INFINITY, ..default() }),
        ("temperature", SamplingOptions { temperature: -0.5, ..default() }),
        ("top_p", SamplingOptions { top_p: f32::NAN, ..default() }),
        ("top_p", SamplingOptions { top_p: 1.5, ..default() }),
        ("min_p", SamplingOptions { min_p: -1.0, ..default() }),
        ("repetition_penalty", SamplingOptions { repetition_penalty: 0.0, ..default() }),
        ("repetition_penalty", SamplingOptions { repetition_penalty: f32::INFINITY, ..default() }),
        ("frequency_penalty", SamplingOptions { frequency_penalty: f32::NAN, ..default() }),
        ("presence_penalty", SamplingOptions { presence_penalty: 1e9, ..default() }),
        ("logit_bias", SamplingOptions { logit_bias: vec![(1, f32::NAN)], ..default() }),
        ("logit_bias", SamplingOptions { logit_bias: vec![(1, f32::INFINITY)], ..default() }),
        ("logit_bias", SamplingOptions { logit_bias: vec![(entries, 1.0)], ..default() }),
        ("logit_bias", SamplingOptions { logit_bias: vec![(u32::MAX, 1.0)], ..default() }),
    ];
    for (name, sampling) in refused {
        cases.run(format!("{sampling:?}"), || {
            let options = GenerateOptions { sampling: Some(sampling.clone()), ..GenerateOptions::default() };
            let mut session = model.session(SessionOptions::default()).unwrap();
            invalid(session.generate(vec![5], &options), name)?;
            let options = SessionOptions { sampling, ..SessionOptions::default() };
            let made = model.session(options);
            // That a token exists is known when an answer begins.
            match made {
                Ok(mut session) => invalid(session.generate(vec![5], &GenerateOptions::default()), name),
                Err(error) => invalid::<()>(Err(error), name),
            }
        });
    }
    let drawn = || SamplingOptions { temperature: 1.0, seed: Some(3), ..default() };
    let accepted = [
        SamplingOptions { temperature: f32::MAX, ..drawn() },
        SamplingOptions { temperature: f32::from_bits(1), ..drawn() },
        SamplingOptions { top_k: usize::MAX, ..drawn() },
        SamplingOptions { top_p: 0.0, ..drawn() },
        SamplingOptions { top_p: f32::from_bits(1), ..drawn() },
        SamplingOptions { min_p: 1.0, ..drawn() },
        SamplingOptions { top_k: 1, top_p: 0.0, min_p: 1.0, ..drawn() },
        SamplingOptions { repetition_penalty: f32::from_bits(1), penalty_window: usize::MAX, ..drawn() },
        SamplingOptions { frequency_penalty: 100.0, presence_penalty: 100.0, ..drawn() },
        SamplingOptions {
            logit_bias: (0..entries - 1).map(|token| (token, f32::NEG_INFINITY)).collect(),
            ..drawn()
        },
    ];
    for sampling in accepted {
        let shown: String = format!("{sampling:?}").chars().take(250).collect();
        cases.run(shown, || {
            let options = GenerateOptions {
                max_tokens: 4,
                ignore_stop_tokens: true,
                sampling: Some(sampling),
                log_probabilities: Some(usize::MAX),
                ..GenerateOptions::default()
            };
            let mut session = model.session(SessionOptions::default()).unwrap();
            let answer = session.generate(vec![5, 60], &options).map_err(|error| error.to_string())?;
            if answer.tokens.len() == 4 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
    cases.run("every token banned", || {
        let logit_bias = (0..entries).map(|token| (token, f32::NEG_INFINITY)).collect();
        let sampling = Some(SamplingOptions { logit_bias, ..default() });
        let options = GenerateOptions { sampling, ..GenerateOptions::default() };
        let mut session = model.session(SessionOptions::default()).unwrap();
        invalid(session.generate(vec![5], &options), "bans every token")
    });
    cases.finish();
}

#[test]
fn answers() {
    let model = load(&data(MODEL)).unwrap();
    let mut cases = Cases::new("answer options");
    let default = GenerateOptions::default;
    let finishes: [(GenerateOptions, FinishReason, usize); 4] = [
        (GenerateOptions { max_tokens: 0, ..default() }, FinishReason::MaxTokens, 0),
        (GenerateOptions { deadline: Some(Duration::ZERO), ..default() }, FinishReason::Deadline, 0),
        (
            GenerateOptions { stop_tokens: (0..512).chain([u32::MAX]).collect(), ..default() },
            FinishReason::StopToken,
            0,
        ),
        (
            GenerateOptions {
                max_tokens: usize::MAX,
                ignore_stop_tokens: true,
                deadline: Some(Duration::MAX),
                ..default()
            },
            FinishReason::ContextLength,
            62,
        ),
    ];
    for (options, reason, tokens) in finishes {
        let shown: String = format!("{options:?}").chars().take(250).collect();
        cases.run(shown, || {
            let session_options = SessionOptions { context: Some(64), ..SessionOptions::default() };
            let mut session = model.session(session_options).unwrap();
            let answer = session.generate(vec![5, 60], &options).map_err(|error| error.to_string())?;
            if answer.outcome.reason == reason && answer.tokens.len() == tokens {
                return Ok(());
            }
            Err(format!("{answer:?}"))
        });
    }
    cases.run("an empty stop string", || {
        let options = GenerateOptions { stop: vec![String::new()], ..default() };
        invalid(model.session(SessionOptions::default()).unwrap().generate(vec![5], &options), "stop")
    });
    cases.run("a hundred thousand stop strings", || {
        let stop = (0..100_000).map(|index| format!("stop {index}")).collect();
        let options = GenerateOptions { stop, max_tokens: 3, ignore_stop_tokens: true, ..default() };
        let mut session = model.session(SessionOptions::default()).unwrap();
        session.generate(vec![5], &options).map(drop).map_err(|error| error.to_string())
    });
    cases.run("no time to classify", || {
        let options = ClassifyOptions { deadline: Some(Duration::ZERO), ..ClassifyOptions::default() };
        let mut session = model.session(SessionOptions::default()).unwrap();
        match session.classify_with(vec![5], &["a", "b"], &options) {
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    for labels in [&[][..], &[""], &["a", "a"], &["a", ""]] {
        cases.run(format!("labels {labels:?}"), || {
            invalid(model.session(SessionOptions::default()).unwrap().classify(vec![5], labels), "label")
        });
    }
    for (name, options) in [
        ("context", SessionOptions { context: Some(0), ..SessionOptions::default() }),
        ("context", SessionOptions { context: Some(1), ..SessionOptions::default() }),
        ("prefill_chunk", SessionOptions { prefill_chunk: 0, ..SessionOptions::default() }),
    ] {
        cases.run(format!("session {name}"), || invalid(model.session(options), name));
    }
    for options in [
        SessionOptions { context: Some(usize::MAX), ..SessionOptions::default() },
        SessionOptions { prefill_chunk: usize::MAX, ..SessionOptions::default() },
        SessionOptions { prefill_chunk: 1, ..SessionOptions::default() },
    ] {
        cases.run(format!("context {:?}, chunk {}", options.context, options.prefill_chunk), || {
            let mut session = model.session(options).map_err(|error| error.to_string())?;
            let options = GenerateOptions { max_tokens: 2, ignore_stop_tokens: true, ..default() };
            session.generate(vec![5; 300], &options).map(drop).map_err(|error| error.to_string())
        });
    }
    cases.finish();
}
