//! Label texts as a tree of tokens.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};

/// A place in the tree: the tokens from the root to it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The last token; meaningless for the root.
    pub(super) token: u32,
    /// `None` for the root.
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    /// The label that is complete here.
    pub(super) label: Option<usize>,
    /// Whether a label is complete before here.
    pub(super) follows_label: bool,
}

impl Node {
    /// Whether a label is complete here while others go on.
    pub(super) fn is_inner_label(&self) -> bool {
        self.label.is_some() && !self.children.is_empty()
    }

    /// Whether a label is complete here or before.
    pub(super) fn is_in_label(&self) -> bool {
        self.label.is_some() || self.follows_label
    }

    /// How many ways lead on from here, where ending at an inner label is one.
    pub(super) fn ways(&self) -> usize {
        self.children.len() + usize::from(self.is_inner_label())
    }
}

/// All labels, with common beginnings shared. Node 0 is the root; parents come before children, depth first.
#[derive(Debug)]
pub(super) struct Trie {
    pub(super) nodes: Vec<Node>,
}

impl Trie {
    /// The tree of `labels`, each a list of tokens.
    ///
    /// # Errors
    /// The numbers of two labels that are the same.
    pub(super) fn new(labels: &[Vec<u32>]) -> Result<Self, (usize, usize)> {
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by(|&a, &b| labels[a].cmp(&labels[b]));
        let mut nodes = vec![Node::default()];
        for label in order {
            let mut at = 0;
            for &token in &labels[label] {
                // Labels are sorted, so only the last child can be the same.
                let last = nodes[at].children.last().copied().filter(|&child| nodes[child].token == token);
                at = last.unwrap_or_else(|| {
                    let child = nodes.len();
                    // A label that begins others comes before them in the order.
                    let follows_label = nodes[at].is_in_label();
                    nodes.push(Node { token, parent: Some(at), follows_label, ..Node::default() });
                    nodes[at].children.push(child);
                    child
                });
            }
            if let Some(same) = nodes[at].label.replace(label) {
                return Err((same.min(label), same.max(label)));
            }
        }
        Ok(Self { nodes })
    }

    /// The nodes on the way from the root to `node`, without the root.
    fn path(&self, node: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut at = node;
        while let Some(parent) = self.nodes[at].parent {
            path.push(at);
            at = parent;
        }
        path.reverse();
        path
    }

    /// Forward passes that give the logits of every node of `wanted` (without the root), each of at most
    /// `maximum_tokens` tokens and `maximum_rows` rows of logits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a label too long for one pass.
    pub(super) fn passes(
        &self,
        wanted: impl Iterator<Item = usize>,
        maximum_tokens: usize,
        maximum_rows: usize,
    ) -> Result<Vec<Pass>> {
        let mut passes: Vec<Pass> = Vec::new();
        let mut current = Pass::default();
        for node in wanted {
            let path = self.path(node);
            if path.len() > maximum_tokens {
                let message =
                    format!("a label has {} tokens, the engine takes {maximum_tokens} at once", path.len());
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            let missing = path.iter().filter(|on_path| !current.places.contains_key(on_path)).count();
            let full = current.tokens.len() + missing > maximum_tokens
                || current.positions.len() >= maximum_rows.max(1);
            if full && !current.tokens.is_empty() {
                passes.push(std::mem::take(&mut current));
            }
            let place = path.iter().fold(None, |parent, &on_path| Some(current.place(self, on_path, parent)));
            if let Some(place) = place {
                current.nodes.push(node);
                current.positions.push(place);
            }
        }
        if !current.tokens.is_empty() {
            passes.push(current);
        }
        Ok(passes)
    }
}

/// One forward pass over a part of the tree.
#[derive(Debug, Default)]
pub(super) struct Pass {
    pub(super) tokens: Vec<u32>,
    pub(super) parents: Vec<Option<usize>>,
    /// The nodes whose logits come out, row by row.
    pub(super) nodes: Vec<usize>,
    /// Their indices into `tokens`.
    pub(super) positions: Vec<usize>,
    places: HashMap<usize, usize>,
}

impl Pass {
    fn place(&mut self, trie: &Trie, node: usize, parent: Option<usize>) -> usize {
        *self.places.entry(node).or_insert_with(|| {
            self.tokens.push(trie.nodes[node].token);
            self.parents.push(parent);
            self.tokens.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie() -> Trie {
        // a: 1 2 3, b: 1 2, c: 4, d: 1 5 6
        Trie::new(&[vec![1, 2, 3], vec![1, 2], vec![4], vec![1, 5, 6]]).unwrap()
    }

    #[test]
    fn common_beginnings_are_shared() {
        let trie = trie();
        let tokens: Vec<u32> = trie.nodes.iter().map(|node| node.token).collect();
        assert_eq!(tokens, [0, 1, 2, 3, 5, 6, 4]);
        let labels: Vec<Option<usize>> = trie.nodes.iter().map(|node| node.label).collect();
        assert_eq!(labels, [None, None, Some(1), Some(0), None, Some(3), Some(2)]);
        assert_eq!(trie.nodes[0].children, [1, 6]);
        assert!(trie.nodes[2].is_inner_label() && !trie.nodes[3].is_inner_label());
        let follows: Vec<bool> = trie.nodes.iter().map(|node| node.follows_label).collect();
        assert_eq!(follows, [false, false, false, true, false, false, false]);
        assert_eq!((trie.nodes[1].ways(), trie.nodes[2].ways(), trie.nodes[3].ways()), (2, 2, 0));
    }

    #[test]
    fn equal_labels_are_named() {
        assert_eq!(Trie::new(&[vec![1], vec![2], vec![1]]).unwrap_err(), (0, 2));
    }

    #[test]
    fn passes_cover_what_is_wanted_with_its_ancestors() {
        let trie = trie();
        let all = trie.passes([1, 2, 4].into_iter(), 100, 100).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].tokens, [1, 2, 5]);
        assert_eq!(all[0].parents, [None, Some(0), Some(0)]);
        assert_eq!((&all[0].nodes[..], &all[0].positions[..]), (&[1, 2, 4][..], &[0, 1, 2][..]));

        let split = trie.passes([1, 2, 4].into_iter(), 2, 100).unwrap();
        assert_eq!(
            split.iter().map(|pass| pass.tokens.clone()).collect::<Vec<_>>(),
            [vec![1, 2], vec![1, 5]]
        );
        assert_eq!((&split[1].nodes[..], &split[1].positions[..]), (&[4][..], &[1][..]));

        let rows = trie.passes([1, 2, 4].into_iter(), 100, 1).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1].parents, [None, Some(0)]);

        assert_eq!(
            trie.passes([2].into_iter(), 1, 1).unwrap_err().kind(),
            ErrorKind::InvalidArgument,
            "two tokens do not fit in passes of one"
        );
        assert!(trie.passes(std::iter::empty(), 1, 1).unwrap().is_empty());
    }
}
