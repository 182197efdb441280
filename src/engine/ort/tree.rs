//! A tree of continuations as runs of single chains.
//!
//! Graphs attend to all earlier positions, so a branch is fed after its ancestors, which stay in the cache while their other
//! branches are fed over what came after them.

#![forbid(unsafe_code)]

use crate::error::{Error, ErrorKind, Result};

/// Tokens that are fed after each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// How many tokens of the tree stand before the first.
    pub(super) depth: usize,
    /// Indices of the tokens in the tree.
    pub(super) tokens: Vec<usize>,
}

/// The runs of a tree, depth first. `whole`: every run begins at the root, since nothing can be fed over.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a parent that does not come before its child.
pub(super) fn runs(parents: &[Option<usize>], whole: bool) -> Result<Vec<Run>> {
    let mut children = vec![Vec::new(); parents.len()];
    let mut roots = Vec::new();
    for (index, parent) in parents.iter().enumerate() {
        match parent {
            None => roots.push(index),
            Some(parent) if *parent < index => children[*parent].push(index),
            Some(_) => {
                let message = format!("the parent of token {index} does not come before it");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
    }
    let mut runs = Vec::new();
    let mut depths = vec![0; parents.len()];
    let mut waiting: Vec<usize> = roots.into_iter().rev().collect();
    while let Some(start) = waiting.pop() {
        let depth = parents[start].map_or(0, |parent| depths[parent] + 1);
        let mut tokens = vec![start];
        depths[start] = depth;
        let mut last = start;
        while let [first, others @ ..] = children[last].as_slice() {
            waiting.extend(others.iter().rev());
            depths[*first] = depths[last] + 1;
            tokens.push(*first);
            last = *first;
        }
        if whole {
            let mut parent = parents[start];
            while let Some(index) = parent {
                tokens.insert(0, index);
                parent = parents[index];
            }
            runs.push(Run { depth: 0, tokens });
        } else {
            runs.push(Run { depth, tokens });
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(parents: &[Option<usize>], whole: bool) -> Vec<(usize, Vec<usize>)> {
        runs(parents, whole).unwrap().into_iter().map(|run| (run.depth, run.tokens)).collect()
    }

    #[test]
    fn branches_come_after_their_ancestors() {
        // 0 - 1 - 2
        //   \ 3 - 4
        //       \ 5
        // 6
        let tree = [None, Some(0), Some(1), Some(0), Some(3), Some(3), None];
        let expected = [(0, vec![0, 1, 2]), (1, vec![3, 4]), (2, vec![5]), (0, vec![6])];
        assert_eq!(plain(&tree, false), expected);
        let expected = [(0, vec![0, 1, 2]), (0, vec![0, 3, 4]), (0, vec![0, 3, 5]), (0, vec![6])];
        assert_eq!(plain(&tree, true), expected);
        assert!(plain(&[], false).is_empty());
    }

    #[test]
    fn what_stands_before_a_run_is_in_the_cache() {
        let tree = [None, Some(0), Some(0), Some(1), Some(2), Some(1), Some(4), Some(0), None, Some(8)];
        let mut cache: Vec<usize> = Vec::new();
        let mut seen = Vec::new();
        for run in runs(&tree, false).unwrap() {
            cache.truncate(run.depth);
            for token in run.tokens {
                assert_eq!(cache.last().copied(), tree[token], "token {token}");
                cache.push(token);
                seen.push(token);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..tree.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_parent_must_come_first() {
        assert_eq!(runs(&[Some(0)], false).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(runs(&[None, Some(5)], true).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
