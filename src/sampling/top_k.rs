//! Top-k: the most probable tokens, without sorting the vocabulary.

use super::candidates::{Candidate, possible};

/// Fills `kept` with the `k` most probable tokens in order, or with all possible ones where there are fewer.
///
/// One pass that collects what is above the `k`-th best so far and drops all but the best `k` whenever the
/// buffer is full: linear time, and no more than about `2 * k` entries.
pub(super) fn select(logits: &[f32], k: usize, kept: &mut Vec<Candidate>) {
    kept.clear();
    if k == 0 {
        return;
    }
    let room = k.saturating_mul(2).max(64);
    let mut threshold = f32::NEG_INFINITY;
    for candidate in possible(logits) {
        // An equal of the k-th best comes after it, since its id is higher.
        if candidate.logit > threshold {
            kept.push(candidate);
            if kept.len() == room {
                let (_, kth, _) = kept.select_nth_unstable_by(k - 1, Candidate::order);
                threshold = kth.logit;
                kept.truncate(k);
            }
        }
    }
    if kept.len() > k {
        kept.select_nth_unstable_by(k - 1, Candidate::order);
        kept.truncate(k);
    }
    kept.sort_unstable_by(Candidate::order);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selected(logits: &[f32], k: usize) -> Vec<u32> {
        let mut kept = vec![Candidate { token: 99, logit: 0.0 }];
        select(logits, k, &mut kept);
        kept.iter().map(|candidate| candidate.token).collect()
    }

    #[test]
    fn the_best_in_order_with_ties_by_id() {
        let logits = [1.0, 5.0, 3.0, 5.0, f32::NEG_INFINITY, 4.0];
        assert_eq!(selected(&logits, 3), [1, 3, 5]);
        assert_eq!(selected(&logits, 1), [1]);
        assert_eq!(selected(&logits, 99), [1, 3, 5, 2, 0]);
        assert_eq!(selected(&logits, usize::MAX), [1, 3, 5, 2, 0]);
        assert!(selected(&logits, 0).is_empty());
    }

    proptest! {
        #[test]
        fn equals_a_full_sort(values in prop::collection::vec(-20_i8..20, 1..600), k in 1_usize..200) {
            let logits: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
            let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
            sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            sorted.truncate(k);
            prop_assert_eq!(selected(&logits, k), sorted);
        }
    }
}
