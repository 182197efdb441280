//! What form an answer is held to.

use std::path::PathBuf;

use clap::Args;
use edgeslm::Model;
use edgeslm::sampling::constraint::{Grammar, GrammarSource, limits};

use crate::failure::Failure;
use crate::input;

/// At most one of them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Form of the answer (free by default)")]
#[group(multiple = false)]
pub(crate) struct FormArguments {
    /// The answer is JSON that the schema in a file accepts
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,

    /// The answer as a whole matches a regular expression
    #[arg(long, value_name = "PATTERN")]
    regex: Option<String>,

    /// The answer is a text of the rule `start` of a Lark grammar in a file
    #[arg(long, value_name = "FILE")]
    lark: Option<PathBuf>,

    /// The answer is one of these texts; given once for each
    #[arg(long, value_name = "TEXT")]
    choice: Vec<String>,
}

impl FormArguments {
    /// The grammar, if a form was asked for.
    pub(crate) fn grammar(&self, model: &Model) -> Result<Option<Grammar>, Failure> {
        let Some((source, file)) = self.source()? else { return Ok(None) };
        let grammar = model.grammar(&source).map_err(|error| match file {
            Some(path) => error.with_file(path),
            None => error,
        })?;
        Ok(Some(grammar))
    }

    /// The source, and the file that it comes from.
    fn source(&self) -> Result<Option<(GrammarSource, Option<&PathBuf>)>, Failure> {
        let read = |path: &PathBuf| input::read_file(path, limits::SOURCE_BYTES);
        Ok(if let Some(path) = &self.json_schema {
            Some((GrammarSource::json_schema(read(path)?), Some(path)))
        } else if let Some(path) = &self.lark {
            Some((GrammarSource::lark(read(path)?), Some(path)))
        } else if let Some(pattern) = &self.regex {
            Some((GrammarSource::regex(pattern), None))
        } else if self.choice.is_empty() {
            None
        } else {
            Some((GrammarSource::choices(&self.choice), None))
        })
    }
}
