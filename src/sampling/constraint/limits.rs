//! What a grammar may ask for. All are far above what published schemas and grammars need, and bound what a hostile one can
//! do to a device: beyond them it is refused with [`ErrorKind::Grammar`](crate::ErrorKind::Grammar).

use std::time::Duration;

use llguidance::api::ParserLimits;

/// Longest text of a JSON schema, in bytes.
pub const SCHEMA_BYTES: usize = 512 << 10;

/// The most values in a JSON schema.
pub const SCHEMA_VALUES: usize = 20_000;

/// Deepest nesting of a JSON schema's text.
pub const SCHEMA_DEPTH: usize = 64;

/// The most ways that one `anyOf`, `oneOf` or `allOf` may name, and names that one `patternProperties` may have: they are
/// compared in pairs.
pub const SCHEMA_WAYS: usize = 256;

/// The most properties that `patternProperties` may name in one object.
pub const SCHEMA_PATTERNS: usize = 16;

/// Largest lower bound of a length or count, such as `minLength`, `minItems` or `minProperties`.
pub const SCHEMA_LEAST: u64 = 4096;

/// Longest regular expression or Lark grammar, in bytes.
pub const SOURCE_BYTES: usize = 64 << 10;

/// Deepest nesting of brackets in a regular expression or Lark grammar.
pub const SOURCE_DEPTH: usize = 100;

/// The most choices of a list.
pub const CHOICES: usize = 4096;

/// How long compiling may take. The limits on work end most grammars sooner; a thread that is still at it then is left
/// behind, and ends when its own limits are reached.
pub const COMPILE_TIME: Duration = Duration::from_secs(5);

/// How many threads may be left behind at a time. With as many, further grammars are refused.
pub const LEFT_BEHIND: usize = 2;

/// Stack of the thread that compiles.
pub(super) const STACK_BYTES: usize = 16 << 20;

/// States of the lexer, about 1 to 2 kB each, for all answers of a grammar together. At half as many a grammar starts afresh.
pub(super) const LEXER_STATES: usize = 32_000;

/// Limits of the parser: about 50 ms of work for the first state and 20 ms a token.
pub(super) fn of_parser() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2_000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: LEXER_STATES,
        max_grammar_size: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}
