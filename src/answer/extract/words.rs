//! Whether a text contains some words, however it writes spaces, letters' case, quotes and dashes.

use std::ops::Range;

/// A text made comparable, with the place in the original of each of its characters.
pub(super) struct Words {
    characters: Vec<char>,
    places: Vec<Range<usize>>,
}

impl Words {
    pub(super) fn new(text: &str) -> Self {
        let (mut characters, mut places) = (Vec::new(), Vec::new());
        for (start, character) in text.char_indices() {
            let place = start..start + character.len_utf8();
            if character.is_whitespace() {
                // One space for any number of them, none at the start.
                if characters.last().is_some_and(|last| *last != ' ') {
                    characters.push(' ');
                    places.push(place);
                }
                continue;
            }
            for lower in plain(character).to_lowercase() {
                characters.push(lower);
                places.push(place.clone());
            }
        }
        if characters.last() == Some(&' ') {
            characters.pop();
            places.pop();
        }
        Self { characters, places }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// Where all of `other` stands in a row, as whole words.
    pub(super) fn find(&self, other: &Self) -> Option<Range<usize>> {
        let length = other.characters.len();
        if length == 0 || length > self.characters.len() {
            return None;
        }
        let start = (0..=self.characters.len() - length).find(|start| {
            self.characters.get(*start..start + length) == Some(&other.characters[..])
                && self.is_border(*start)
                && self.is_border(start + length)
        })?;
        Some(self.places.get(start)?.start..self.places.get(start + length - 1)?.end)
    }

    /// Whether no word goes on over `index`.
    fn is_border(&self, index: usize) -> bool {
        let is_word =
            |index: usize| self.characters.get(index).is_some_and(|character| character.is_alphanumeric());
        !(index > 0 && is_word(index - 1) && is_word(index))
    }
}

fn plain(character: char) -> char {
    match character {
        '‘' | '’' | '‚' | '‛' | '`' | '´' => '\'',
        '“' | '”' | '„' | '«' | '»' => '"',
        '‐' | '‑' | '‒' | '–' | '—' | '−' => '-',
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(words: &str, text: &'a str) -> Option<&'a str> {
        Words::new(text).find(&Words::new(words)).map(|place| &text[place])
    }

    #[test]
    fn words_are_found_in_other_spellings() {
        for (words, text, place) in [
            ("corner café", "at the CORNER\n  CAFÉ, 12", "CORNER\n  CAFÉ"),
            ("O'Neil", "Mr. O’Neil", "O’Neil"),
            ("a-b", "x a–b", "a–b"),
            ("12", "no. 12.", "12"),
            ("\"x\"", "says “X”!", "“X”"),
            ("été", "L'ÉTÉ", "ÉTÉ"),
        ] {
            assert_eq!(found(words, text), Some(place), "{words} in {text}");
        }
    }

    #[test]
    fn parts_of_words_are_no_words() {
        for (words, text) in
            [("art", "a cart"), ("art", "arts"), ("1", "12"), ("", "x"), ("longer", "long"), ("a b", "a, b")]
        {
            assert_eq!(found(words, text), None, "{words} in {text}");
        }
        assert!(Words::new(" \n").is_empty());
    }
}
