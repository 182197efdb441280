//! Repetition, frequency and presence penalties.

use super::SamplingOptions;

/// Changes the logits of the tokens that occur in `recent`, first by the repetition penalty (Keskar et al.,
/// "CTRL", 2019: divides positive and multiplies negative logits, once however often the token occurs), then by
/// `count * frequency_penalty + presence_penalty`.
///
/// `recent` is sorted on return.
pub(super) fn apply(logits: &mut [f32], recent: &mut [u32], options: &SamplingOptions) {
    recent.sort_unstable();
    for run in recent.chunk_by(|a, b| a == b) {
        let Some(logit) = run.first().and_then(|&token| logits.get_mut(token as usize)) else { continue };
        if *logit == f32::NEG_INFINITY {
            continue;
        }
        let scaled = if *logit > 0.0 {
            *logit / options.repetition_penalty
        } else {
            *logit * options.repetition_penalty
        };
        let penalised = scaled - run.len() as f32 * options.frequency_penalty - options.presence_penalty;
        *logit = penalised.clamp(f32::MIN, f32::MAX);
    }
}

/// Whether the options ask for any penalty.
pub(super) fn wanted(options: &SamplingOptions) -> bool {
    options.penalty_window > 0
        && (options.repetition_penalty != 1.0
            || options.frequency_penalty != 0.0
            || options.presence_penalty != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(logits: &[f32], recent: &[u32], options: &SamplingOptions) -> Vec<f32> {
        let mut logits = logits.to_vec();
        apply(&mut logits, &mut recent.to_vec(), options);
        logits
    }

    #[test]
    fn repetition_pushes_both_signs_down_once() {
        let options = SamplingOptions { repetition_penalty: 2.0, ..Default::default() };
        assert_eq!(applied(&[4.0, -4.0, 0.0, 1.0], &[1, 0, 0, 2, 0], &options), [2.0, -8.0, 0.0, 1.0]);
    }

    #[test]
    fn frequency_counts_and_presence_does_not() {
        let options =
            SamplingOptions { frequency_penalty: 0.5, presence_penalty: 0.25, ..Default::default() };
        assert_eq!(applied(&[1.0, 1.0, 1.0], &[0, 2, 0, 0], &options), [-0.75, 1.0, 0.25]);
    }

    #[test]
    fn the_repetition_penalty_comes_first() {
        let options =
            SamplingOptions { repetition_penalty: 2.0, frequency_penalty: 1.0, ..Default::default() };
        assert_eq!(applied(&[8.0], &[0, 0], &options), [2.0]);
    }

    #[test]
    fn bans_stay_and_nothing_overflows_or_runs_outside() {
        let options = SamplingOptions {
            repetition_penalty: 0.01,
            frequency_penalty: -100.0,
            presence_penalty: -100.0,
            ..Default::default()
        };
        assert_eq!(
            applied(&[f32::NEG_INFINITY, f32::MAX], &[0, 1, 9, u32::MAX], &options),
            [f32::NEG_INFINITY, f32::MAX]
        );
    }

    #[test]
    fn neutral_values_ask_for_nothing() {
        assert!(!wanted(&SamplingOptions::default()));
        assert!(!wanted(&SamplingOptions {
            repetition_penalty: 1.5,
            penalty_window: 0,
            ..Default::default()
        }));
        assert!(wanted(&SamplingOptions { presence_penalty: -0.1, ..Default::default() }));
    }
}
