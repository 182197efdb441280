//! Weights that are not numbers, infinite, zero or as large as floats get.

use edgeslm::answer::{ClassifyOptions, LabelScore};
use edgeslm::onnx::{DataType, TensorContent};
use edgeslm::sampling::SamplingOptions;
use edgeslm::session::{Answer, GenerateOptions, SessionOptions};
use edgeslm::{Accuracy, Error, ErrorKind, KvPrecision, LoadOptions, Model};

use super::cases::Cases;
use super::fixtures::{Copy, WEIGHTS, load_options, tensor};

/// Unlike those of the golden directories, its head reads the last layer.
const MODEL: &str = "variants/llama-3-layers";

/// Floats of the weights: an embedding's, attention's and an MLP's scales, norms, the head's scales (which are also the
/// embedding's), and a rotation table.
const TENSORS: [&str; 6] = [
    "layers.0.attn.qkv_proj.weight_scales",
    "layers.1.mlp.gate_proj.weight_scales",
    "layers.2.mlp.down_proj.weight_scales",
    "layers.1.input_layernorm.weight",
    "lm_head.MatMul.weight_scales",
    "cos_cache",
];

/// The whole range of a tensor, or its first element alone.
#[derive(Debug, Clone, Copy)]
enum Extent {
    First,
    All,
}

/// Overwrites f32 elements of `part` in the weight file.
fn overwrite(copy: &Copy, part: &str, extent: Extent, value: f32) {
    let mut place = (0, 0);
    copy.edit_graph(|graph| {
        let tensor = tensor(graph, part);
        assert_eq!(tensor.data_type, DataType::Float32);
        let TensorContent::External { offset, length: Some(length), .. } = tensor.content else { panic!() };
        place = (offset as usize, length as usize);
    });
    let (offset, length) = place;
    let length = if matches!(extent, Extent::First) { 4 } else { length };
    let mut weights = copy.read(WEIGHTS);
    for element in weights[offset..offset + length].chunks_mut(4) {
        element.copy_from_slice(&value.to_le_bytes());
    }
    copy.write(WEIGHTS, weights);
}

/// Every way to choose tokens.
fn samplings() -> Vec<SamplingOptions> {
    let drawn = SamplingOptions { temperature: 0.8, seed: Some(1), ..SamplingOptions::default() };
    vec![
        SamplingOptions::default(),
        drawn.clone(),
        SamplingOptions { top_k: 5, ..drawn.clone() },
        SamplingOptions { top_p: 0.9, ..drawn.clone() },
        SamplingOptions { min_p: 0.1, ..drawn.clone() },
        SamplingOptions { top_k: 5, top_p: 0.5, min_p: 0.2, repetition_penalty: 1.3, ..drawn },
    ]
}

/// Whether an answer is whole: as many tokens as were asked for, with log-probabilities that are numbers.
fn check_answer(result: edgeslm::Result<Answer>) -> Result<(), String> {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return check_error(&error),
    };
    if answer.tokens.len() != 3 || answer.log_probabilities.len() != 3 {
        return Err(format!("{answer:?}"));
    }
    for of_token in &answer.log_probabilities {
        let all = of_token.top.iter().map(|(_, log)| *log).chain([of_token.chosen]);
        if all.clone().any(|log| log.is_nan() || log > 0.0) {
            return Err(format!("{of_token:?}"));
        }
    }
    Ok(())
}

fn check_error(error: &Error) -> Result<(), String> {
    if error.kind() == ErrorKind::InvalidModel { Ok(()) } else { Err(format!("{error:?}")) }
}

fn use_everything(model: &Model) -> Result<(), String> {
    for sampling in samplings() {
        let mut session = model.session(SessionOptions::default()).map_err(|error| error.to_string())?;
        let options = GenerateOptions {
            max_tokens: 3,
            ignore_stop_tokens: true,
            sampling: Some(sampling),
            log_probabilities: Some(4),
            ..GenerateOptions::default()
        };
        check_answer(session.generate(vec![5, 60, 33, 90], &options))?;
        // The session goes on after an error.
        check_answer(session.generate(vec![5, 60, 7], &options))?;
    }
    for score in [LabelScore::Joint, LabelScore::TrieNormalised] {
        let mut session = model.session(SessionOptions::default()).map_err(|error| error.to_string())?;
        let options = ClassifyOptions { score, ..ClassifyOptions::default() };
        match session.classify_with(vec![5, 60, 33, 90], &["urgent", "routine", "ur"], &options) {
            Ok(classification) => {
                let sum: f32 = classification.probabilities.iter().sum();
                if (sum - 1.0).abs() > 1e-5 {
                    return Err(format!("{classification:?}"));
                }
            }
            Err(error) => check_error(&error)?,
        }
    }
    Ok(())
}

/// The accuracy, and in which numbers keys and values are kept.
const ARITHMETICS: [(Accuracy, KvPrecision); 3] = [
    (Accuracy::Default, KvPrecision::Auto),
    (Accuracy::Strict, KvPrecision::Auto),
    (Accuracy::Default, KvPrecision::Int8),
];

#[test]
fn weights_that_are_no_numbers() {
    let mut cases = Cases::new("weights that are no numbers");
    for part in TENSORS {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::from_bits(1), 0.0]
        {
            for extent in [Extent::First, Extent::All] {
                let copy = Copy::of(MODEL);
                overwrite(&copy, part, extent, value);
                for (accuracy, kv_precision) in ARITHMETICS {
                    cases.run(format!("{part} {extent:?} {value} {accuracy:?} {kv_precision:?}"), || {
                        let options = LoadOptions { accuracy, kv_precision, ..load_options() };
                        let model = Model::load(copy.path(), &options).map_err(|error| error.to_string())?;
                        use_everything(&model)
                    });
                }
            }
        }
    }
    cases.finish();
}

/// Where every logit is NaN there is nothing to choose, and the error says what may be the matter.
#[test]
fn an_answer_of_nothing_but_nan_is_refused_with_a_hint() {
    let mut cases = Cases::new("nothing but NaN");
    for (accuracy, kv_precision) in ARITHMETICS {
        cases.run(format!("{accuracy:?} {kv_precision:?}"), || {
            let copy = Copy::of(MODEL);
            overwrite(&copy, "layers.1.input_layernorm.weight", Extent::All, f32::NAN);
            let options = LoadOptions { accuracy, kv_precision, ..load_options() };
            let model = Model::load(copy.path(), &options).unwrap();
            let mut session = model.session(SessionOptions::default()).unwrap();
            match session.generate(vec![5, 60], &GenerateOptions::default()) {
                Err(error)
                    if error.kind() == ErrorKind::InvalidModel
                        && error.hint().is_some_and(|hint| hint.contains("weights are damaged")) =>
                {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        });
    }
    cases.finish();
}
