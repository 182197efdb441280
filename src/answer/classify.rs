//! Which of a closed set of labels continues a prompt, and with what probability.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::trie::{Node, Pass, Trie};
use crate::engine::RunControl;
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::{LogSoftmax, exp, ln};
use crate::session::sequence::rows_of;
use crate::session::{CancelToken, Prompt, Session, Statistics};

/// How a label's tokens are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LabelScore {
    /// The probability that the model continues with the label, each token's under the softmax over the whole
    /// vocabulary; then normalised over the labels.
    ///
    /// Where one label begins another (`urgent`, `urgent care`), the shorter one's probability is that of beginning
    /// with it and not with the longer, so that the labels exclude each other. A label of more tokens is less probable
    /// by nature: prefer labels of similar length, or [`TrieNormalised`](Self::TrieNormalised).
    #[default]
    Joint,
    /// The probability of the label when only the labels can be generated: each token's softmax is over the tokens
    /// with which some label goes on, as in constrained decoding. Where one label begins another, a stop token
    /// competes with going on.
    ///
    /// Cheaper, since only those rows of the lm_head are computed. What the model wants to say beside the labels
    /// does not count, token by token, so that a label with an improbable second token is not punished for it.
    TrieNormalised,
}

/// Options of [`Session::classify_with`].
#[derive(Debug, Clone, Default)]
pub struct ClassifyOptions {
    /// How labels are scored.
    pub score: LabelScore,
    /// How long it may take.
    pub deadline: Option<Duration>,
    /// Stops it when signalled.
    pub cancel: Option<CancelToken>,
}

/// The probabilities of a set of labels.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Classification {
    /// The index of the most probable label; of equals, the first.
    pub index: usize,
    /// The most probable label.
    pub label: String,
    /// One probability a label, in the order given; they sum to 1.
    pub probabilities: Vec<f32>,
    /// The natural logarithm of each label's probability before it was normalised over the labels: with
    /// [`LabelScore::Joint`], how probable the label is beside everything else the model could say.
    pub log_probabilities: Vec<f64>,
    /// Counts and times; the time for the labels is `decode_time`, their forward passes `decode_steps`.
    pub statistics: Statistics,
}

/// The most logits that one forward pass over the labels may give: 16 MiB of them.
const MAXIMUM_LOGITS: usize = 1 << 22;

impl Session {
    /// Which of `labels` the model would answer to `prompt`, scored by [`LabelScore::Joint`].
    ///
    /// The prompt is computed once (what the KV cache already holds of it is reused), and all labels together in
    /// one forward pass over the tree of their tokens. Afterwards the cache holds the prompt. The history is neither
    /// read nor changed.
    ///
    /// Labels are texts as the model would write them. After a raw prompt, prompt and label are tokenised as one
    /// text, since tokens may span the border; where that merges the end of the prompt with a label, what the
    /// prompt and all labels have in common counts as the prompt, so that every label is scored over the same text.
    /// After a chat prompt or tokens, each label is tokenised on its own, and special tokens that it spells out are
    /// plain text.
    ///
    /// ```no_run
    /// # fn example(session: &mut edgeslm::session::Session) -> edgeslm::Result<()> {
    /// use edgeslm::text::Message;
    ///
    /// let prompt = vec![Message::user("Chest pain since an hour. Answer emergency, urgent or routine.")];
    /// let answer = session.classify(prompt, &["emergency", "urgent", "routine"])?;
    /// println!("{} with probability {}", answer.label, answer.probabilities[answer.index]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without labels, for an empty one, for two that are the same or have the same
    /// tokens, and as [`Session::stream`]; [`ErrorKind::ContextLength`] where prompt and longest label do not fit
    /// the context; [`ErrorKind::InvalidModel`] for damaged logits.
    pub fn classify(&mut self, prompt: impl Into<Prompt>, labels: &[&str]) -> Result<Classification> {
        self.classify_with(prompt, labels, &ClassifyOptions::default())
    }

    /// Like [`classify`](Self::classify), with options.
    ///
    /// # Errors
    /// As [`classify`](Self::classify); [`ErrorKind::Cancelled`] and [`ErrorKind::DeadlineExceeded`], with what was
    /// computed of the prompt in the cache; [`ErrorKind::InvalidArgument`] where [`LabelScore::TrieNormalised`]
    /// needs a stop token and the model has none.
    pub fn classify_with(
        &mut self,
        prompt: impl Into<Prompt>,
        labels: &[&str],
        options: &ClassifyOptions,
    ) -> Result<Classification> {
        let started = Instant::now();
        let (context, continuations) = self.continuations(&prompt.into(), labels)?;
        let trie = Trie::new(&continuations).map_err(|(first, second)| {
            invalid(format!("the labels {:?} and {:?} have the same tokens", labels[first], labels[second]))
        })?;
        let scorer = Scorer::new(self, &trie, options.score)?;
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        self.check_length(context.len().saturating_add(longest))?;
        let passes = self.passes(&trie, &scorer, context.len())?;
        // The tree's tokens are in the cache while they are scored. Room for all of them at once keeps the engine
        // from switching a LongRoPE model's rotation in between.
        let tree = passes.iter().map(|pass| pass.tokens.len()).max().unwrap_or(0);
        let control = self.control(options.cancel.as_ref(), options.deadline, started);

        let mut statistics = Statistics { prompt_tokens: context.len(), ..Statistics::default() };
        statistics.reused_tokens = self.sequence.prepare(&context, context.len().saturating_add(tree))?;
        let mut scores = Scores::new(&trie);
        let chunk = self.chunk();
        loop {
            let logits = self.sequence.feed(&context, chunk, scorer.vocabulary(), &control)?;
            if let Some(logits) = logits {
                for row in rows_of(&logits, 1)? {
                    scorer.score(&trie, 0, row, &mut scores)?;
                }
                break;
            }
        }
        statistics.prefill_time = started.elapsed();
        let scoring = Instant::now();
        for pass in &passes {
            self.score_pass(&trie, pass, &scorer, &mut scores, &control)?;
        }
        statistics.decode_time = scoring.elapsed();
        statistics.decode_steps = passes.len();
        statistics.cache_bytes = self.cache_bytes();

        let log_probabilities = scores.of_labels(&trie, labels.len());
        let (index, probabilities) = normalise(&log_probabilities)?;
        let label = labels[index].to_owned();
        Ok(Classification { index, label, probabilities, log_probabilities, statistics })
    }

    /// The forward passes for the inner nodes, as few as the engine and the context allow.
    fn passes(&self, trie: &Trie, scorer: &Scorer, context: usize) -> Result<Vec<Pass>> {
        let engine = self.sequence.engine();
        let columns = scorer.vocabulary().map_or(engine.vocabulary_size(), <[u32]>::len);
        let tokens = engine.maximum_batch_tokens().min(engine.context_length().saturating_sub(context));
        let wanted = (1..trie.nodes.len()).filter(|&node| scorer.needs_logits(&trie.nodes[node]));
        trie.passes(wanted, tokens, MAXIMUM_LOGITS / columns.max(1))
    }

    fn score_pass(
        &mut self,
        trie: &Trie,
        pass: &Pass,
        scorer: &Scorer,
        scores: &mut Scores,
        control: &RunControl,
    ) -> Result<()> {
        let vocabulary = scorer.vocabulary();
        let logits =
            self.sequence.score_tree(&pass.tokens, &pass.parents, &pass.positions, vocabulary, control)?;
        for (&node, row) in pass.nodes.iter().zip(rows_of(&logits, pass.nodes.len())?) {
            scorer.score(trie, node, row, scores)?;
        }
        Ok(())
    }

    /// The tokens that prompt and labels have in common, and how each label goes on from there.
    fn continuations(&self, prompt: &Prompt, labels: &[&str]) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
        check_labels(labels)?;
        let mut context = self.prompt_tokens(prompt)?;
        let mut continuations = Vec::with_capacity(labels.len());
        if let Prompt::Raw(text) = prompt {
            for label in labels {
                let joint = self.text.raw_tokens(&format!("{text}{label}"))?;
                let common = context.iter().zip(&joint).take_while(|(a, b)| a == b).count();
                context.truncate(common);
                continuations.push(joint);
            }
            if context.is_empty() {
                return Err(invalid("tokenising merges the whole prompt with a label")
                    .with_hint("begin the prompt with at least one token of its own"));
            }
            for continuation in &mut continuations {
                continuation.drain(..context.len());
            }
        } else {
            for label in labels {
                continuations.push(self.text.tokenizer().encode_plain(label)?);
            }
        }
        for (label, continuation) in labels.iter().zip(&continuations) {
            self.check_known(continuation)?;
            if continuation.is_empty() {
                return Err(invalid(format!("the label {label:?} has no tokens")));
            }
        }
        Ok((context, continuations))
    }
}

fn check_labels(labels: &[&str]) -> Result<()> {
    if labels.is_empty() {
        return Err(invalid("there are no labels"));
    }
    if labels.iter().any(|label| label.is_empty()) {
        return Err(invalid("a label is empty"));
    }
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(invalid(format!("the label {:?} is given twice", pair[0]))),
        None => Ok(()),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Logarithms of conditional probabilities, by node.
struct Scores {
    /// Of the node's token after its parent.
    edges: Vec<f64>,
    /// Of going on from the node as no label does.
    elsewhere: Vec<f64>,
}

impl Scores {
    /// Before any logits: everything is certain.
    fn new(trie: &Trie) -> Self {
        let count = trie.nodes.len();
        Self { edges: vec![0.0; count], elsewhere: vec![f64::NEG_INFINITY; count] }
    }

    /// Of each label: of its tokens, and of not going on to a longer label.
    fn of_labels(&self, trie: &Trie, count: usize) -> Vec<f64> {
        let mut paths = self.edges.clone();
        for (index, node) in trie.nodes.iter().enumerate() {
            if let Some(parent) = node.parent {
                paths[index] += paths[parent];
            }
        }
        // By node, the probability of completing no label after it. Sums of positive terms, so that nothing
        // cancels; children come after their parents.
        let mut misses = vec![0.0; trie.nodes.len()];
        let mut labels = vec![f64::NEG_INFINITY; count];
        for (index, node) in trie.nodes.iter().enumerate().rev().filter(|(_, node)| node.is_in_label()) {
            let later = node.children.iter().map(|&child| match trie.nodes[child].label {
                Some(_) => 0.0,
                None => exp(self.edges[child]) * misses[child],
            });
            misses[index] = exp(self.elsewhere[index]) + later.sum::<f64>();
            if let Some(label) = node.label {
                let end = if node.children.is_empty() { 0.0 } else { log_or_impossible(misses[index]) };
                labels[label] = paths[index] + end;
            }
        }
        labels
    }
}

fn log_or_impossible(probability: f64) -> f64 {
    if probability < f64::MIN_POSITIVE { f64::NEG_INFINITY } else { ln(probability) }
}

/// Turns a position's logits into the scores of what follows it.
enum Scorer {
    Joint {
        /// Ids from here on are padding.
        vocabulary: usize,
    },
    TrieNormalised {
        /// The rows of the lm_head that are computed, ascending.
        rows: Vec<u32>,
        /// The tokens that end a label.
        ends: Vec<u32>,
    },
}

impl Scorer {
    fn new(session: &Session, trie: &Trie, score: LabelScore) -> Result<Self> {
        Ok(match score {
            LabelScore::Joint => Self::Joint { vocabulary: session.vocabulary() },
            LabelScore::TrieNormalised => {
                let mut ends = Vec::new();
                if trie.nodes.iter().any(Node::is_inner_label) {
                    ends.extend(
                        session.text.stop_ids().iter().filter(|id| session.check_known(&[**id]).is_ok()),
                    );
                    ends.sort_unstable();
                    ends.dedup();
                    if ends.is_empty() {
                        return Err(invalid("a label begins another one, and the model has no stop token")
                            .with_hint(
                                "score the labels jointly, or choose labels of which none begins another",
                            ));
                    }
                }
                let mut rows: Vec<u32> = trie.nodes.iter().skip(1).map(|node| node.token).collect();
                rows.extend_from_slice(&ends);
                rows.sort_unstable();
                rows.dedup();
                Self::TrieNormalised { rows, ends }
            }
        })
    }

    /// Which rows of the lm_head are needed; `None` for all.
    fn vocabulary(&self) -> Option<&[u32]> {
        match self {
            Self::Joint { .. } => None,
            Self::TrieNormalised { rows, .. } => Some(rows),
        }
    }

    fn needs_logits(&self, node: &Node) -> bool {
        match self {
            Self::Joint { .. } => !node.children.is_empty(),
            Self::TrieNormalised { .. } => node.ways() > 1,
        }
    }

    /// Scores the children of `node`, and what is beside them where that matters, given the logits after it.
    fn score(&self, trie: &Trie, node: usize, logits: &[f32], scores: &mut Scores) -> Result<()> {
        let children = &trie.nodes[node].children;
        let tokens: Vec<u32> = children.iter().map(|&child| trie.nodes[child].token).collect();
        let (edges, elsewhere) = match self {
            Self::Joint { vocabulary } => {
                joint(logits, *vocabulary, &tokens, trie.nodes[node].is_in_label())?
            }
            Self::TrieNormalised { rows, ends } => {
                let ends: &[u32] = if trie.nodes[node].is_inner_label() { ends } else { &[] };
                trie_normalised(logits, rows, &tokens, ends)?
            }
        };
        for (&child, edge) in children.iter().zip(edges) {
            scores.edges[child] = edge;
        }
        scores.elsewhere[node] = elsewhere;
        Ok(())
    }
}

/// Log-probabilities of `tokens` under the softmax over all of the vocabulary, and if wanted that of everything
/// else.
fn joint(logits: &[f32], vocabulary: usize, tokens: &[u32], elsewhere: bool) -> Result<(Vec<f64>, f64)> {
    let logits = logits.get(..vocabulary).ok_or_else(|| missing_logits(logits.len(), vocabulary))?;
    let softmax = LogSoftmax::new(logits)?;
    let of_token = |&token: &u32| {
        logits.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| softmax.log_probability(logit))
    };
    let edges = tokens.iter().map(of_token).collect();
    let mut of_others = f64::NEG_INFINITY;
    if elsewhere {
        let mut others = logits.to_vec();
        for &token in tokens {
            if let Some(logit) = others.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        // An error here means that there are no others.
        of_others = LogSoftmax::new(&others).map_or(f64::NEG_INFINITY, |others| others.log_share_of(softmax));
    }
    Ok((edges, of_others))
}

/// Log-probabilities of `tokens` under the softmax over them and `ends`, and that of `ends` together. The logits
/// are those of the ids in `rows`.
fn trie_normalised(logits: &[f32], rows: &[u32], tokens: &[u32], ends: &[u32]) -> Result<(Vec<f64>, f64)> {
    let of = |token: &u32| {
        let column = rows.binary_search(token).ok();
        column
            .and_then(|column| logits.get(column))
            .copied()
            .ok_or_else(|| missing_logits(logits.len(), rows.len()))
    };
    let edges: Vec<f32> = tokens.iter().map(of).collect::<Result<_>>()?;
    let ends: Vec<f32> = ends.iter().map(of).collect::<Result<_>>()?;
    let softmax = LogSoftmax::new(&[&edges[..], &ends[..]].concat())?;
    // An error here means that there are no ends, or only impossible ones.
    let of_ends = LogSoftmax::new(&ends).map_or(f64::NEG_INFINITY, |ends| ends.log_share_of(softmax));
    Ok((edges.into_iter().map(|logit| softmax.log_probability(logit)).collect(), of_ends))
}

fn missing_logits(given: usize, needed: usize) -> Error {
    Error::new(ErrorKind::Internal, format!("the engine returned {given} logits where {needed} were needed"))
}

/// The index of the largest, and the softmax.
fn normalise(log_probabilities: &[f64]) -> Result<(usize, Vec<f32>)> {
    let mut index = 0;
    for (candidate, &score) in log_probabilities.iter().enumerate() {
        if score > log_probabilities[index] {
            index = candidate;
        }
    }
    let maximum =
        log_probabilities.get(index).copied().filter(|score| score.is_finite()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidModel, "the model gives every label the probability 0")
        })?;
    let weights: Vec<f64> = log_probabilities.iter().map(|&score| exp(score - maximum)).collect();
    let total: f64 = weights.iter().sum();
    Ok((index, weights.into_iter().map(|weight| (weight / total) as f32).collect()))
}
