//! Code completion on a laptop: what comes next at the cursor, for one file or for an editor plugin that asks again and again.
//!
//! `cargo run --release --example code_completion -- --model DIR FILE --line 12 --column 5`
//! `cargo run --release --example code_completion -- --model DIR --requests`
//!
//! Made for a code model of 0.5 to 3 billion parameters with tokens for filling in the middle (Qwen 2.5 Coder, StarCoder,
//! DeepSeek Coder), and for answers within half a second; with any other model, such as the small one of the demonstration,
//! only the text before the cursor is used. What an editor sends again from one request to the next stays in the KV cache.
//!
//! With `--requests` each line of the input is a request, and each line of the output answers one:
//!
//! ```text
//! {"id": 1, "language": "python", "prefix": "def add(a, b):\n    return ", "suffix": "\n"}
//! {"id": 2, "file": "src/main.rs", "line": 12, "column": 5, "max_lines": 3}
//! {"id": 3, "cancel": true}
//! ```
//!
//! A request cancels those before it that are not answered yet, since the text has changed; they get `"cancelled": true`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

mod completer;
mod position;
mod requests;
#[path = "../common/small_model.rs"]
mod small_model;
#[path = "../common/text_file.rs"]
mod text_file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use edgeslm::session::CancelToken;
use edgeslm::{Error, ErrorKind, Result};

use self::completer::{Completer, Settings};
use self::small_model::ModelArguments;

/// The longest program that is read, in bytes.
const MAXIMUM_PROGRAM: u64 = 2 << 20;

/// Completes code at the cursor
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// The file to complete
    #[arg(value_name = "FILE", required_unless_present = "requests")]
    file: Option<PathBuf>,

    /// The cursor's line, from 1 [default: the last]
    #[arg(long, value_name = "N")]
    line: Option<usize>,

    /// The character before which the cursor stands, from 1 [default: after the line's last]
    #[arg(long, value_name = "N")]
    column: Option<usize>,

    /// The language of the program [default: by the file's name]
    #[arg(long, value_name = "NAME")]
    language: Option<String>,

    /// Answer requests from the input, one JSON object a line, for an editor plugin
    #[arg(long, conflicts_with_all = ["file", "line", "column"])]
    requests: bool,

    /// What of the file the model sees
    #[arg(long, value_enum, default_value = "auto")]
    mode: Mode,

    /// The most lines of a completion
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_lines: usize,

    /// The most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_tokens: usize,

    /// End a completion after so long
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 3000)]
    deadline: u64,

    /// Print a JSON object with counts and times in place of the text
    #[arg(long)]
    json: bool,
}

/// What of a file the model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Both sides of the cursor if the model has tokens for that
    Auto,
    /// Both sides of the cursor
    Middle,
    /// The text before the cursor
    Prefix,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.load()?;
    let settings = Settings {
        max_lines: arguments.max_lines.max(1),
        max_tokens: arguments.max_tokens,
        deadline: Duration::from_millis(arguments.deadline),
    };
    let mut completer = Completer::new(&model, arguments.mode, settings)?;
    if arguments.mode == Mode::Auto && !completer.fills_in_the_middle() {
        eprintln!(
            "note: the model has no tokens for filling in the middle; it sees only what is before the cursor"
        );
    }
    if arguments.requests {
        return requests::serve(&mut completer);
    }
    // Required by the parser unless there are requests.
    let Some(file) = arguments.file else { return Ok(()) };
    let (prefix, suffix) = split_file(&file, arguments.line, arguments.column)?;
    let language = arguments.language.as_deref().or_else(|| language_of(&file));
    let completion = completer.complete(language, &prefix, &suffix, None, CancelToken::new())?;
    if arguments.json {
        println!("{}", completion.to_json());
    } else {
        println!("{}", completion.text);
    }
    Ok(())
}

/// What a file's name says of its language.
fn language_of(path: &Path) -> Option<&'static str> {
    const LANGUAGES: [(&str, &str); 16] = [
        ("py", "python"),
        ("rs", "rust"),
        ("js", "javascript"),
        ("mjs", "javascript"),
        ("ts", "typescript"),
        ("c", "c"),
        ("h", "c"),
        ("cpp", "cpp"),
        ("cc", "cpp"),
        ("hpp", "cpp"),
        ("cs", "csharp"),
        ("java", "java"),
        ("go", "go"),
        ("sql", "sql"),
        ("sh", "shell"),
        ("bash", "shell"),
    ];
    let extension = path.extension()?.to_str()?;
    LANGUAGES.iter().find(|(name, _)| *name == extension).map(|(_, language)| *language)
}

/// What of a file is before the cursor and after it.
fn split_file(path: &Path, line: Option<usize>, column: Option<usize>) -> Result<(String, String)> {
    let text = text_file::read(path, MAXIMUM_PROGRAM)?;
    let offset = position::offset(&text, line, column).map_err(|message| {
        Error::new(ErrorKind::InvalidArgument, message)
            .with_file(path)
            .with_hint("lines and columns are counted from 1")
    })?;
    let (prefix, suffix) = text.split_at(offset);
    Ok((prefix.to_owned(), suffix.to_owned()))
}
