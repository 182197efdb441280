//! Ends an answer at given strings.

#![forbid(unsafe_code)]

use crate::{Error, ErrorKind, Result};

/// Watches a stream of text for stop strings and holds back what may be the beginning of one.
///
/// The stop string that is complete first ends the text; if several are complete at the same character, it is the
/// longest of them. What is shown does not depend on how the text is cut into pieces. A character costs constant
/// time for each stop string.
///
/// ```
/// use edgeslm::text::StopMatcher;
/// let mut matcher = StopMatcher::new(vec!["\nUser:".to_owned()])?;
/// assert_eq!(matcher.push("Yes.\nUs"), "Yes.");
/// assert_eq!(matcher.push("er: and"), "");
/// assert_eq!(matcher.matched(), Some("\nUser:"));
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    /// Text that is not shown yet, at most as long as the longest stop string.
    held: String,
    include_match: bool,
    matched: Option<usize>,
}

/// A stop string as a Knuth-Morris-Pratt automaton over bytes.
#[derive(Debug, Clone)]
struct Stop {
    text: String,
    /// `fallbacks[n]`: length of the longest proper prefix of the stop string that ends its first `n + 1` bytes.
    fallbacks: Vec<usize>,
    /// How many bytes of the stop string end the text so far.
    matched: usize,
}

impl Stop {
    fn new(text: String) -> Self {
        let mut stop = Self { text, fallbacks: Vec::new(), matched: 0 };
        stop.fallbacks.push(0);
        for byte in stop.text.clone().bytes().skip(1) {
            stop.advance(byte);
            stop.fallbacks.push(stop.matched);
        }
        stop.matched = 0;
        stop
    }

    fn advance(&mut self, byte: u8) {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes.get(self.matched) != Some(&byte) {
            self.matched = self.fallbacks.get(self.matched - 1).copied().unwrap_or(0);
        }
        if bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
    }
}

impl StopMatcher {
    /// Watches for any of `stop_strings`; with none of them all text is shown at once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if a stop string is empty.
    pub fn new(stop_strings: Vec<String>) -> Result<Self> {
        if stop_strings.iter().any(String::is_empty) {
            return Err(Error::new(ErrorKind::InvalidArgument, "a stop string is empty")
                .with_hint("leave it out, or name the text at which the answer ends"));
        }
        let stops = stop_strings.into_iter().map(Stop::new).collect();
        Ok(Self { stops, held: String::new(), include_match: false, matched: None })
    }

    /// Whether the stop string itself is shown too. It is not by default.
    #[must_use]
    pub fn include_match(mut self, include: bool) -> Self {
        self.include_match = include;
        self
    }

    /// Takes the next piece and returns the text that can be shown. After a match nothing more is shown.
    #[must_use]
    pub fn push(&mut self, piece: &str) -> String {
        if self.matched.is_some() {
            return String::new();
        }
        let before = self.held.len();
        self.held.push_str(piece);
        for (index, byte) in piece.bytes().enumerate() {
            for stop in &mut self.stops {
                stop.advance(byte);
            }
            let complete = self.stops.iter().enumerate().filter(|(_, stop)| stop.matched == stop.text.len());
            if let Some((which, stop)) = complete.max_by_key(|(_, stop)| stop.text.len()) {
                let end = before + index + 1;
                let shown = if self.include_match { end } else { end - stop.text.len() };
                self.matched = Some(which);
                let mut text = std::mem::take(&mut self.held);
                text.truncate(shown);
                return text;
            }
        }
        let keep = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// The stop string that ended the text.
    #[must_use]
    pub fn matched(&self) -> Option<&str> {
        self.stops.get(self.matched?).map(|stop| stop.text.as_str())
    }

    /// Ends the text: returns what was held back.
    #[must_use]
    pub fn finish(&mut self) -> String {
        for stop in &mut self.stops {
            stop.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(stops.iter().map(|stop| (*stop).to_owned()).collect()).unwrap()
    }

    #[test]
    fn a_suffix_that_may_begin_a_stop_string_is_held_back() {
        let mut matcher = matcher(&["###", "END"]);
        assert_eq!(matcher.push("a#"), "a");
        assert_eq!(matcher.push("#b"), "##b");
        assert_eq!(matcher.push("x EN"), "x ");
        assert_eq!(matcher.push("E"), "EN");
        assert_eq!(matcher.push("ND and more"), "");
        assert_eq!(matcher.matched(), Some("END"));
        assert_eq!((matcher.push("more"), matcher.finish()), (String::new(), String::new()));
    }

    #[test]
    fn the_first_complete_match_wins_and_then_the_longest() {
        for (stops, text, shown, matched) in [
            (&["abcd", "bc"][..], "xabcd", "xa", Some("bc")),
            (&["c", "abc", "bc"], "xabc", "x", Some("abc")),
            (&["aab"], "aaaab", "aa", Some("aab")),
            (&["é!"], "Ãé?é!", "Ãé?", Some("é!")),
            (&["no"], "yes n", "yes n", None),
            (&[], "anything", "anything", None),
        ] {
            let mut matcher = matcher(stops);
            let mut all: String =
                text.chars().map(|character| matcher.push(character.encode_utf8(&mut [0; 4]))).collect();
            all.push_str(&matcher.finish());
            assert_eq!((all.as_str(), matcher.matched()), (shown, matched), "{stops:?} in {text}");
        }
    }

    #[test]
    fn the_match_itself_is_shown_on_request() {
        let mut matcher = matcher(&["</a>"]).include_match(true);
        assert_eq!(matcher.push("x</"), "x");
        assert_eq!(matcher.push("a>y"), "</a>");
    }

    #[test]
    fn empty_stop_strings_are_refused() {
        let error = StopMatcher::new(vec!["x".to_owned(), String::new()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    /// The text up to the first end of a stop string, by trying every end.
    fn naive(stops: &[String], text: &str) -> (String, Option<usize>) {
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let before = &text[..end];
            let found = stops.iter().filter(|stop| before.ends_with(stop.as_str())).map(String::len).max();
            if let Some(length) = found {
                return (before[..end - length].to_owned(), Some(length));
            }
        }
        (text.to_owned(), None)
    }

    proptest! {
        #[test]
        fn pieces_end_where_a_naive_search_ends(
            stops in prop::collection::vec("[abé]{1,5}", 0..4),
            pieces in prop::collection::vec("[abcé]{0,4}", 0..12),
        ) {
            let mut matcher = StopMatcher::new(stops.clone()).unwrap();
            let mut shown: String = pieces.iter().map(|piece| matcher.push(piece)).collect();
            shown.push_str(&matcher.finish());
            let (text, length) = naive(&stops, &pieces.concat());
            prop_assert_eq!(shown, text);
            prop_assert_eq!(matcher.matched().map(str::len), length);
        }

        #[test]
        fn no_more_is_held_back_than_may_begin_a_stop_string(
            stops in prop::collection::vec("[ab]{1,6}", 1..4),
            text in "[abc]{0,30}",
        ) {
            let mut matcher = StopMatcher::new(stops.clone()).unwrap();
            let shown = matcher.push(&text);
            if matcher.matched().is_none() {
                let held = &text[shown.len()..];
                let longest = (0..=text.len()).map(|start| &text[start..])
                    .find(|suffix| stops.iter().any(|stop| stop.starts_with(suffix)));
                prop_assert_eq!(held, longest.unwrap_or_default());
            }
        }
    }
}
