//! Several sessions of one engine, decoded together.

use std::sync::Arc;
use std::time::Instant;

use super::{Answer, Event, GenerateOptions, Prompt, Session, Stream};
use crate::engine::{RunControl, SequenceInput};
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::LogProbabilities;

/// Answers several prompts, each in its own session, with one forward pass a step for all of them. Decoding is
/// bound by reading the weights, so that several answers take little longer than one.
///
/// Each answer is what [`Session::generate`] gives for it alone, with its own options, errors, cancelling and
/// deadline (those two are looked at between steps while decoding). Prompts are computed one after another.
/// Sessions of different engines are allowed; those of one engine share its forward passes.
pub fn generate_batch(requests: Vec<(&mut Session, Prompt, GenerateOptions)>) -> Vec<Result<Answer>> {
    let mut lanes: Vec<Lane<'_>> = requests.into_iter().map(Lane::new).collect();
    while lanes.iter().any(|lane| lane.stream.is_some()) {
        let ready: Vec<&mut Lane<'_>> = lanes.iter_mut().filter_map(Lane::advance).collect();
        for mut group in by_engine(ready) {
            step_together(&mut group);
        }
    }
    lanes
        .into_iter()
        .map(|lane| {
            let unfinished = || Error::new(ErrorKind::Internal, "the answer ended without a result");
            lane.result.unwrap_or_else(|| Err(unfinished()))
        })
        .collect()
}

/// One request of a batch.
struct Lane<'a> {
    /// Until the end.
    stream: Option<Stream<'a>>,
    log_probabilities: Vec<LogProbabilities>,
    result: Option<Result<Answer>>,
}

impl<'a> Lane<'a> {
    fn new((session, prompt, options): (&'a mut Session, Prompt, GenerateOptions)) -> Self {
        let (stream, result) = match session.stream(prompt, &options) {
            Ok(stream) => (Some(stream), None),
            Err(error) => (None, Some(Err(error))),
        };
        Self { stream, log_probabilities: Vec::new(), result }
    }

    /// Goes on alone until a single token is to be fed, or to the end, for which it returns `None`.
    fn advance(&mut self) -> Option<&mut Self> {
        loop {
            let stream = self.stream.as_mut()?;
            if stream.generation.is_ready_to_decode(stream.session) {
                return Some(self);
            }
            self.pull();
        }
    }

    /// Takes one event.
    fn pull(&mut self) {
        let Some(stream) = self.stream.as_mut() else { return };
        match stream.next() {
            Some(Ok(Event::Token { log_probabilities: Some(of_token), .. })) => {
                self.log_probabilities.push(of_token);
            }
            Some(Ok(Event::Finished(_))) => {
                self.result = Some(stream.answer(std::mem::take(&mut self.log_probabilities)));
                self.stream = None;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                self.result = Some(Err(error));
                self.stream = None;
            }
            None => self.stream = None,
        }
    }
}

/// Groups of lanes with the same engine, none larger than the engine takes at once.
fn by_engine<'l, 'a>(lanes: Vec<&'l mut Lane<'a>>) -> Vec<Vec<&'l mut Lane<'a>>> {
    let mut groups: Vec<Vec<&'l mut Lane<'a>>> = Vec::new();
    for lane in lanes {
        let Some(stream) = &lane.stream else { continue };
        let engine = stream.session.sequence.engine();
        let group = groups.iter_mut().find(|group| {
            let first = group.first().and_then(|lane| lane.stream.as_ref());
            group.len() < engine.maximum_batch_tokens()
                && first.is_some_and(|first| Arc::ptr_eq(first.session.sequence.engine(), engine))
        });
        match group {
            Some(group) => group.push(lane),
            None => groups.push(vec![lane]),
        }
    }
    groups
}

/// Feeds one token of each lane in one forward pass.
fn step_together(lanes: &mut [&mut Lane<'_>]) {
    let started = Instant::now();
    let mut streams: Vec<&mut Stream<'_>> =
        lanes.iter_mut().filter_map(|lane| lane.stream.as_mut()).collect();
    let Some(engine) = streams.first().map(|stream| Arc::clone(stream.session.sequence.engine())) else {
        return;
    };
    let mut inputs: Vec<SequenceInput<'_>> = streams
        .iter_mut()
        .map(|stream| {
            let (target, rows) = (stream.generation.target(), stream.generation.rows());
            stream.session.sequence.last_token_input(target, rows)
        })
        .collect();
    match engine.forward(&mut inputs, &RunControl::default()) {
        Ok(logits) => {
            drop(inputs);
            for (stream, logits) in streams.into_iter().zip(&logits) {
                stream.generation.decoded(stream.session, logits, started);
            }
        }
        // Nothing has changed. Each alone, so that only who is at fault fails.
        Err(_) => lanes.iter_mut().for_each(|lane| lane.pull()),
    }
}
