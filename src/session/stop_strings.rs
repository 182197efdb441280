//! Texts that end an answer, wherever token borders fall.

/// Looks for stop strings in a text that comes in pieces.
pub(super) struct StopStrings {
    stops: Vec<String>,
    /// The end of the text so far, as much of it as may begin a stop string.
    held: String,
}

impl StopStrings {
    /// Of the non-empty `stops`.
    pub(super) fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new() }
    }

    /// Adds a piece. Returns what is now known to come before any stop string, and whether one is complete.
    pub(super) fn push(&mut self, piece: &str) -> (String, bool) {
        if self.stops.is_empty() {
            return (piece.to_owned(), false);
        }
        self.held.push_str(piece);
        if let Some(start) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let may_begin_a_stop = |(start, _): &(usize, char)| {
            let end = self.held.get(*start..).unwrap_or_default();
            self.stops.iter().any(|stop| stop.starts_with(end))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let nearest = self.held.len().saturating_sub(longest);
        let keep = self.held.char_indices().filter(|(start, _)| *start >= nearest).find(may_begin_a_stop);
        let rest = keep.map_or_else(String::new, |(start, _)| self.held.split_off(start));
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is still held back at the end of the text.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Stop strings, pieces, what comes out after each piece and at the end, and whether a stop string did.
    type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool);

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut matcher = StopStrings::new(&stops);
        let mut out = Vec::new();
        for piece in pieces {
            let (text, stopped) = matcher.push(piece);
            out.push(text);
            if stopped {
                return (out, true);
            }
        }
        out.push(matcher.finish());
        (out, false)
    }

    #[test]
    fn only_what_may_begin_a_stop_string_is_held_back() {
        let cases: [Case; 7] = [
            (&["END"], &["a E", "N", "D b"], &["a ", "", ""], true),
            (&["END"], &["a E", "N", "X"], &["a ", "", "ENX", ""], false),
            (&["aab"], &["aa", "a", "b"], &["", "a", ""], true),
            (&["ab", "bcd"], &["xb", "c", "ab"], &["x", "", "bc"], true),
            (&["é!"], &["aé", "!"], &["a", ""], true),
            (&["日本"], &["日", "日", "x"], &["", "日", "日x", ""], false),
            (&[], &["a", ""], &["a", "", ""], false),
        ];
        for (stops, pieces, out, stopped) in cases {
            let (given, why) = run(stops, pieces);
            assert_eq!((given.iter().map(String::as_str).collect::<Vec<_>>(), why), (out.to_vec(), stopped));
        }
    }

    proptest! {
        #[test]
        fn equals_a_search_in_the_whole_text(
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
            pieces in prop::collection::vec("[abé]{0,3}", 0..20),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            // The first piece with which a stop string is complete, and where that begins.
            let mut text = String::new();
            let mut end = None;
            for piece in &pieces {
                text.push_str(piece);
                end = stops.iter().filter_map(|stop| text.find(stop)).min();
                if end.is_some() {
                    break;
                }
            }
            let (given, stopped) = run(&stops, &pieces);
            prop_assert_eq!(stopped, end.is_some());
            prop_assert_eq!(given.concat(), &text[..end.unwrap_or(text.len())]);
        }
    }
}
