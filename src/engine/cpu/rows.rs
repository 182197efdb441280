//! The tokens of a batch as rows: which sequence each belongs to, where it stands, and what it sees.

use super::Request;
use super::cache::CpuCache;
use crate::engine::LogitsAt;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::BLOCK_POSITIONS;

/// One new token.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Index in the batch.
    pub(crate) index: usize,
    /// Index of the sequence in the batch.
    pub(crate) sequence: usize,
    /// Index in the cache.
    pub(crate) slot: usize,
    /// Position for the rotation and for windows: the slot, but in a tree its depth after the cached positions.
    pub(crate) position: usize,
    /// In a tree: the slots of the token itself and its ancestors among the new tokens, descending, and how many slots
    /// before the tree all see.
    pub(crate) branch: Option<(Vec<(usize, usize)>, usize)>,
    /// Whether its logits are wanted.
    pub(crate) wanted: bool,
}

impl Row {
    /// The first slot within a window of `window` positions.
    pub(crate) fn first_visible(&self, window: Option<usize>) -> usize {
        window.map_or(0, |window| (self.position + 1).saturating_sub(window))
    }

    /// Which of the block's positions the token sees, as bits.
    pub(crate) fn visible(&self, block: usize, window: Option<usize>) -> u64 {
        let first = self.first_visible(window);
        let start = block * BLOCK_POSITIONS;
        match &self.branch {
            None => bits(first, self.slot + 1, start),
            Some((branch, past)) => {
                let mut visible = bits(first, *past, start);
                for (slot, position) in branch {
                    if *position >= first && (start..start + BLOCK_POSITIONS).contains(slot) {
                        visible |= 1 << (slot - start);
                    }
                }
                visible
            }
        }
    }
}

/// Bits for the slots from `first` to `end` in the block that begins at `start`.
fn bits(first: usize, end: usize, start: usize) -> u64 {
    let low = first.saturating_sub(start).min(BLOCK_POSITIONS);
    let high = end.saturating_sub(start).min(BLOCK_POSITIONS);
    let below = |count: usize| if count == BLOCK_POSITIONS { u64::MAX } else { (1 << count) - 1 };
    if high <= low { 0 } else { below(high) & !below(low) }
}

/// Checks one sequence's request and lays its tokens out.
pub(crate) fn rows_of(
    sequence: usize,
    input: &Request<'_>,
    cache: &CpuCache,
    vocabulary: usize,
    table: usize,
) -> Result<Vec<Row>> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message);
    let past = cache.length;
    let count = input.tokens.len();
    if count == 0 {
        return Err(invalid(format!("sequence {sequence} has no new tokens")));
    }
    if let Some(token) = input.tokens.iter().find(|token| **token as usize >= table) {
        return Err(invalid(format!("token {token} is not below {table}, the entries of the embedding")));
    }
    if let Some(entry) = input.vocabulary.into_iter().flatten().find(|entry| **entry as usize >= vocabulary) {
        return Err(invalid(format!("vocabulary entry {entry} is not below {vocabulary}")));
    }
    if past.checked_add(count).is_none_or(|total| total > cache.capacity()) {
        return Err(invalid(format!("the cache was not prepared for {count} more positions")));
    }
    let mut wanted = vec![false; count];
    match input.logits {
        LogitsAt::None => {}
        LogitsAt::Last => wanted[count - 1] = true,
        LogitsAt::All => wanted.fill(true),
        LogitsAt::Positions(positions) => {
            for position in positions {
                *wanted
                    .get_mut(*position)
                    .ok_or_else(|| invalid(format!("logits wanted at {position} of {count} tokens")))? = true;
            }
        }
    }
    let mut rows: Vec<Row> = Vec::with_capacity(count);
    for (index, wanted) in wanted.into_iter().enumerate() {
        let slot = past + index;
        let (position, branch) = match input.parents {
            None => (slot, None),
            Some(parents) => {
                let parent = *parents
                    .get(index)
                    .ok_or_else(|| invalid(format!("{} parents for {count} tokens", parents.len())))?;
                let (position, mut branch) = match parent.map(|parent| rows.get(parent)) {
                    None => (past, Vec::new()),
                    Some(Some(Row { position, branch: Some((branch, _)), .. })) => {
                        (position + 1, branch.clone())
                    }
                    Some(_) => {
                        return Err(invalid(format!("the parent of token {index} does not come before it")));
                    }
                };
                branch.insert(0, (slot, position));
                (position, Some((branch, past)))
            }
        };
        rows.push(Row { index, sequence, slot, position, branch, wanted });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cover_the_part_of_a_range_that_lies_in_the_block() {
        assert_eq!(bits(0, 64, 0), u64::MAX);
        assert_eq!(bits(0, 1, 0), 1);
        assert_eq!(bits(2, 5, 0), 0b11100);
        assert_eq!(bits(60, 70, 64), 0b11_1111);
        assert_eq!(bits(60, 70, 0), 0xF << 60);
        assert_eq!(bits(0, 64, 64), 0);
        assert_eq!(bits(70, 70, 64), 0);
    }

    #[test]
    fn a_branch_sees_the_past_and_its_ancestors_within_the_window() {
        let row = Row {
            index: 0,
            sequence: 0,
            slot: 12,
            position: 11,
            branch: Some((vec![(12, 11), (10, 10)], 10)),
            wanted: true,
        };
        assert_eq!(row.visible(0, None), 0b1_0111_1111_1111);
        assert_eq!(row.visible(0, Some(3)), (1 << 12) | (1 << 10) | (1 << 9));
    }
}
