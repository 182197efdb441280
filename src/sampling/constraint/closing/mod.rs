//! The shortest way to end a text: how many bytes the grammar needs at least from here, and which.
//!
//! llguidance says what may come next, not how far the end is. So the text is followed a second time, by an Earley chart
//! (J. Earley, "An efficient context-free parsing algorithm", 1970) over the same rules and lexemes. The least length of each
//! symbol is found once (D. E. Knuth, "A generalization of Dijkstra's algorithm", 1977); the least rest of the text follows
//! from the chart's items.
//!
//! The chart lets a lexeme end wherever it matches, where llguidance wants the longest match; so it may know a way that
//! llguidance refuses, and whoever takes a way from here has it checked there.

mod chart;
mod lexemes;
mod rules;

#[cfg(test)]
mod tests;

pub(super) use chart::{Chart, Mark};
pub(super) use lexemes::Lexemes;
pub(super) use rules::{Reading, Rules};
