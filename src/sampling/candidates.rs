//! Tokens that are still in the draw.

use std::cmp::Ordering;

/// A token and its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) logit: f32,
}

impl Candidate {
    /// The more probable first, of equals the lower id: no two candidates are equal, so that any sort gives the
    /// same order. Logits are never NaN here.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        other.logit.partial_cmp(&self.logit).unwrap_or(Ordering::Equal).then(self.token.cmp(&other.token))
    }
}

/// The logits with their token ids, without those of negative infinity.
pub(super) fn possible(logits: &[f32]) -> impl Iterator<Item = Candidate> + '_ {
    (0..)
        .zip(logits)
        .map(|(token, &logit)| Candidate { token, logit })
        .filter(|c| c.logit > f32::NEG_INFINITY)
}
