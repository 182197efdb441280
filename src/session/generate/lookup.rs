//! Guesses of an answer's next tokens: what followed the last few tokens where they stood before, in the prompt or in the answer.
//!
//! Prompt lookup decoding (Saxena 2023, <https://github.com/apoorvumang/prompt-lookup-decoding>), with a length of the guesses that
//! follows how many were right.

/// The most tokens that are looked up.
const LONGEST_MATCH: usize = 3;

/// The fewest: a single token stands in too many places.
const SHORTEST_MATCH: usize = 2;

/// How many tokens are guessed at first.
const FIRST_GUESS: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Lookup {
    /// The most tokens of a guess; 0 for no guesses.
    most: usize,
    /// How many tokens the next guess may have.
    length: usize,
}

impl Lookup {
    pub(super) fn new(most: usize) -> Self {
        Self { most, length: most.min(FIRST_GUESS) }
    }

    /// Adds to `draft` at most `room` tokens that may follow `text`; none where its end is new.
    pub(super) fn guess(&self, text: &[u32], room: usize, draft: &mut Vec<u32>) {
        let most = self.length.min(room);
        if most == 0 {
            return;
        }
        let place = (SHORTEST_MATCH..=LONGEST_MATCH).rev().find_map(|count| last_place(text, count));
        if let Some(following) = place.and_then(|place| text.get(place..)) {
            // What has been repeated up to its end may begin anew.
            draft.extend(following.iter().cycle().take(most));
        }
    }

    /// After a pass with `guessed` tokens, of which the first `right` were right.
    pub(super) fn learn(&mut self, guessed: usize, right: usize) {
        if guessed == 0 {
            return;
        }
        self.length =
            if right >= guessed { (2 * self.length).min(self.most) } else { (right + 1).min(self.most) };
    }
}

/// Where the text goes on after the last place, but for its end, of its last `count` tokens.
fn last_place(text: &[u32], count: usize) -> Option<usize> {
    let end = text.len().checked_sub(count)?;
    let wanted = &text[end..];
    let before = &text[..text.len() - 1];
    before.windows(count).rposition(|window| window == wanted).map(|start| start + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(lookup: &Lookup, text: &[u32], room: usize) -> Vec<u32> {
        let mut draft = Vec::new();
        lookup.guess(text, room, &mut draft);
        draft
    }

    #[test]
    fn the_longest_match_and_of_those_the_last_is_followed() {
        let lookup = Lookup::new(4);
        // 1 2 3 stands at the beginning; 2 3 alone also later.
        assert_eq!(guess(&lookup, &[1, 2, 3, 10, 9, 2, 3, 11, 1, 2, 3], 8), [10, 9, 2, 3]);
        assert_eq!(guess(&lookup, &[1, 2, 3, 10, 1, 2, 3, 11, 1, 2, 3], 2), [11, 1]);
        assert_eq!(guess(&lookup, &[5, 2, 3, 10, 1, 2, 3], 1), [10]);
        // What repeats itself is expected to go on so.
        assert_eq!(guess(&lookup, &[7, 7, 7, 7], 8), [7, 7, 7, 7]);
        assert_eq!(guess(&lookup, &[5, 8, 9, 5, 8, 9, 5, 8], 8), [9, 5, 8, 9]);
    }

    #[test]
    fn there_is_no_guess_without_a_match_or_room() {
        let lookup = Lookup::new(4);
        for text in [&[][..], &[1], &[1, 2], &[1, 2, 3, 4], &[4, 1, 4]] {
            assert!(guess(&lookup, text, 8).is_empty(), "{text:?}");
        }
        assert!(guess(&lookup, &[1, 2, 1, 2], 0).is_empty());
        assert!(guess(&Lookup::new(0), &[1, 2, 1, 2], 8).is_empty());
    }

    #[test]
    fn guesses_become_longer_while_they_are_right() {
        let text: Vec<u32> = (0..100).chain(0..3).collect();
        let mut lookup = Lookup::new(12);
        let length = |lookup: &Lookup| guess(lookup, &text, 50).len();
        assert_eq!(length(&lookup), 4);
        lookup.learn(4, 4);
        assert_eq!(length(&lookup), 8);
        lookup.learn(8, 8);
        assert_eq!(length(&lookup), 12);
        lookup.learn(12, 2);
        assert_eq!(length(&lookup), 3);
        lookup.learn(3, 0);
        assert_eq!(length(&lookup), 1, "a wrong guess costs little");
        lookup.learn(0, 0);
        assert_eq!(length(&lookup), 1);
    }
}
