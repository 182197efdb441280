//! Logit bias: single tokens made more or less probable, or banned.

/// Adds each bias to its token's logit. Ids outside `logits` are the caller's to refuse.
pub(super) fn apply(logits: &mut [f32], biases: &[(u32, f32)]) {
    for &(token, bias) in biases {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_bans_and_accumulates() {
        let mut logits = [1.0, 2.0, 3.0, 4.0];
        apply(&mut logits, &[(0, 0.5), (2, f32::NEG_INFINITY), (3, -1.0), (3, -1.5)]);
        assert_eq!(logits, [1.5, 2.0, f32::NEG_INFINITY, 1.5]);
    }
}
