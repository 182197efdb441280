//! The most probable token.

/// The highest logit and its lowest id; `None` when there is none above negative infinity or when a logit is NaN
/// or positive infinity.
pub(super) fn best(logits: &[f32]) -> Option<(u32, f32)> {
    let maximum = maximum(logits)?;
    let index = logits.iter().position(|&logit| logit == maximum)?;
    Some((u32::try_from(index).ok()?, maximum))
}

/// The highest logit, under the same conditions. In lanes, because the compiler may not reorder a maximum.
pub(super) fn maximum(logits: &[f32]) -> Option<f32> {
    const LANES: usize = 16;
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut unordered = [false; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let logit = chunk[lane];
            highest[lane] = if logit > highest[lane] { logit } else { highest[lane] };
            unordered[lane] |= logit.is_nan();
        }
    }
    let mut maximum = f32::NEG_INFINITY;
    for &logit in highest.iter().chain(rest) {
        if logit > maximum {
            maximum = logit;
        }
    }
    let damaged = unordered.contains(&true) || rest.iter().any(|logit| logit.is_nan());
    (maximum.is_finite() && !damaged).then_some(maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_id_of_equals_wins() {
        assert_eq!(best(&[1.0, 3.0, 2.0, 3.0]), Some((1, 3.0)));
        assert_eq!(best(&[-0.0, 0.0]), Some((0, -0.0)));
        assert_eq!(best(&[f32::NEG_INFINITY, f32::MIN]), Some((1, f32::MIN)));
    }

    #[test]
    fn every_position_is_looked_at() {
        for length in [1, 15, 16, 17, 31, 32, 33, 100] {
            for position in 0..length {
                let mut logits = vec![-5.0; length];
                logits[position] = 1.0;
                assert_eq!(best(&logits), Some((position as u32, 1.0)));
                for bad in [f32::NAN, f32::INFINITY] {
                    logits[position] = bad;
                    assert_eq!(best(&logits), None, "{bad} at {position} of {length}");
                }
            }
        }
    }

    #[test]
    fn nothing_to_choose_from() {
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[f32::NEG_INFINITY; 20]), None);
    }
}
