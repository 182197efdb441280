//! A small model answers what it is sure of, a larger one the rest, and a person what neither is sure of.
//!
//! `cargo run --release --example route_requests -- --task T.task.json --small DIR [--large DIR] < inputs.jsonl`
//!
//! Reads inputs from standard input, one JSON object a line with the fields of the task, and writes one JSON object a line: the
//! label, whether somebody is sure of it, and the record of who was asked, why, and what it took. Both models need a calibration of
//! the task (`edgeslm calibrate`), which says when they are sure. With the cargo feature `cloud` and `--endpoint URL` a remote model
//! comes last; only inputs without the field `private` reach it.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use edgeslm::answer::route::{Attempt, Router, Worker};
use edgeslm::answer::{Classifier, ClassifyOptions, Task};
use edgeslm::{Error, ErrorKind, LoadOptions, Model, Result};
use serde_json::{Map, Value};

/// Lets a small model answer what it is sure of, and others the rest
#[derive(Parser)]
struct Arguments {
    /// The task file
    #[arg(long, value_name = "FILE")]
    task: PathBuf,

    /// The model that is asked first
    #[arg(long, value_name = "DIR")]
    small: PathBuf,

    /// The model that is asked where the small one is not sure
    #[arg(long, value_name = "DIR")]
    large: Option<PathBuf>,

    /// An OpenAI-compatible endpoint that is asked where no model here is sure, such as https://example.org/v1; its key is read from
    /// the environment variable EDGESLM_KEY
    #[cfg(feature = "cloud")]
    #[arg(long, value_name = "URL", requires = "endpoint_model")]
    endpoint: Option<String>,

    /// The endpoint's name of the model
    #[cfg(feature = "cloud")]
    #[arg(long, value_name = "NAME")]
    endpoint_model: Option<String>,

    /// The most time for an input
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
}

type Fields = Map<String, Value>;

/// A model with its calibration for the task, as a worker.
fn worker<'a>(name: &'a str, directory: &Path, task: &Task) -> Result<Worker<'a, Fields, String>> {
    let model = Model::load(directory, &LoadOptions::default())?;
    let mut classifier = Classifier::new(&model, task.clone())?;
    classifier.load_calibration(directory.join(format!("{}.calibration.json", task.name())))?;
    Ok(Worker::new(name, move |fields: &Fields, limits| {
        let options = ClassifyOptions { deadline: limits.time, ..ClassifyOptions::default() };
        Ok(Attempt::from(classifier.decide_with(fields, &options)?).map(|decision| decision.label))
    }))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let time = Duration::try_from_secs_f64(arguments.seconds)
        .map_err(|error| Error::new(ErrorKind::InvalidArgument, format!("--seconds: {error}")))?;
    let task = Task::read(&arguments.task)?;
    let mut workers = vec![worker("small", &arguments.small, &task)?];
    if let Some(large) = &arguments.large {
        workers.push(worker("large", large, &task)?);
    }
    #[cfg(feature = "cloud")]
    if let Some(endpoint) = &arguments.endpoint {
        workers.push(cloud::worker(
            endpoint,
            arguments.endpoint_model.as_deref().unwrap_or_default(),
            &task,
        )?);
    }
    // Each passes on to the next.
    let names = ["large", "cloud"];
    let last = workers.len() - 1;
    let chain = workers.into_iter().enumerate().map(|(index, worker)| {
        if index == last {
            worker
        } else {
            worker.or_else(names[if arguments.large.is_some() { index } else { 1 }])
        }
    });
    let mut router =
        Router::new(chain.collect())?.time(time).may_leave(|fields: &Fields| !fields.contains_key("private"));
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::io(Path::new("standard input"), error))?;
        if line.trim().is_empty() {
            continue;
        }
        let fields: Fields = serde_json::from_str(&line)
            .map_err(|error| Error::new(ErrorKind::InvalidArgument, format!("{line:?}: {error}")))?;
        let routed = router.route(&fields)?;
        println!("{}", serde_json::json!(routed));
    }
    Ok(())
}

#[cfg(feature = "cloud")]
mod cloud {
    use edgeslm::answer::Task;
    use edgeslm::answer::cloud::{CloudClient, CloudOptions};
    use edgeslm::answer::route::{Attempt, Limits, Prices, Usage, Worker};
    use edgeslm::text::Message;
    use edgeslm::{Error, ErrorKind, Result};

    use super::Fields;

    /// The endpoint as a worker. Its answer counts only if it is a label.
    pub(super) fn worker<'a>(endpoint: &str, model: &str, task: &Task) -> Result<Worker<'a, Fields, String>> {
        let key = std::env::var("EDGESLM_KEY").ok().map(Into::into);
        let client =
            CloudClient::new(CloudOptions { key, max_tokens: 16, ..CloudOptions::new(endpoint, model) })?;
        let labels = task.labels().to_vec();
        // What the endpoint's operator asks, in the host's currency.
        let prices =
            Prices { million_prompt_tokens: 0.5, million_generated_tokens: 1.5, ..Prices::default() };
        let worker = Worker::new("cloud", move |fields: &Fields, limits: Limits| {
            let input = serde_json::Value::Object(fields.clone());
            let question = format!("{input}\n\nWhich label fits? Answer with one of: {}.", labels.join(", "));
            let Attempt { answer, usage, .. } = client.chat(&[Message::user(question)], limits.time)?;
            let label =
                labels.iter().find(|label| answer.trim().trim_end_matches('.').eq_ignore_ascii_case(label));
            let label =
                label.ok_or_else(|| Error::new(ErrorKind::Io, "the endpoint's answer is no label"))?;
            Ok(Attempt { usage, ..Attempt::new(label.clone()) })
        });
        Ok(worker.remote().priced(prices, Usage { prompt_tokens: 2000, generated_tokens: 16 }))
    }
}
