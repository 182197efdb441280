//! A set of tokens.

/// The tokens that may come next, one bit a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u32>,
}

impl Mask {
    /// Room for ids below `size`, none of them allowed.
    pub(crate) fn empty(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(32)] }
    }

    /// The ids below `size` whose bits are set in `words`.
    pub(super) fn from_words(words: &[u32], size: usize) -> Self {
        let mut mask = Self::empty(size);
        for (to, from) in mask.words.iter_mut().zip(words) {
            *to = *from;
        }
        if let Some(last) = mask.words.last_mut().filter(|_| !size.is_multiple_of(32)) {
            *last &= (1 << (size % 32)) - 1;
        }
        mask
    }

    /// Whether `id` may come next.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.words.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 != 0)
    }

    /// Without effect for an id beyond the size.
    pub(crate) fn allow(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word |= 1 << (id % 32);
        }
    }

    pub(crate) fn forbid(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word &= !(1 << (id % 32));
        }
    }

    /// Forbids every id from `size` on.
    pub(crate) fn truncate(&mut self, size: usize) {
        *self = Self::from_words(&self.words, size.min(32 * self.words.len()));
    }

    /// How many may come next.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The ids, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        let mut ids = Vec::with_capacity(self.count());
        for (base, word) in (0_u32..).step_by(32).zip(&self.words) {
            let mut rest = *word;
            while rest != 0 {
                ids.push(base + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        ids
    }

    /// Makes the logits of all other ids negative infinity.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        for (group, word) in logits.chunks_mut(32).zip(self.words.iter().chain(std::iter::repeat(&0))) {
            match *word {
                0 => group.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => {
                    for (bit, logit) in group.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_in_order_and_within_the_size() {
        let mut mask = Mask::from_words(&[0b101, u32::MAX, u32::MAX], 70);
        assert_eq!(mask.ids()[..4], [0, 2, 32, 33]);
        assert_eq!(mask.ids().last(), Some(&69));
        mask.allow(1);
        mask.allow(1_000);
        mask.forbid(69);
        assert!(mask.contains(1) && !mask.contains(69) && !mask.contains(70) && !mask.contains(1_000));
        assert_eq!(mask.count(), 3 + 32 + 5);
        mask.truncate(33);
        assert_eq!(mask.ids().last(), Some(&32));
    }

    #[test]
    fn applied_it_leaves_the_allowed_logits_alone() {
        let mut mask = Mask::empty(64);
        (32..64).for_each(|id| mask.allow(id));
        mask.allow(3);
        let mut logits: Vec<f32> = (0..100).map(|id| id as f32).collect();
        mask.apply(&mut logits);
        for (id, logit) in logits.iter().enumerate() {
            let expected = if id == 3 || (32..64).contains(&id) { id as f32 } else { f32::NEG_INFINITY };
            assert_eq!(*logit, expected, "{id}");
        }
    }
}
