//! The list of behaviour cases that all languages share, through the Rust API.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the count, and the skipped cases by name")]

mod behaviour {
    pub(crate) mod list;
}
#[cfg(feature = "ort")]
#[path = "ort/library.rs"]
mod library;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use edgeslm::answer::{ClassifyOptions, Extractor, LabelScore};
use edgeslm::engine::{EngineChoice, ThreadPriority};
use edgeslm::kernels::KernelTable;
use edgeslm::model::{Load, Source};
use edgeslm::sampling::SamplingOptions;
use edgeslm::sampling::constraint::GrammarSource;
use edgeslm::session::{Event, GenerateOptions, Prompt, SessionOptions, Stream};
use edgeslm::text::{Message, RenderOptions, Role, SpecialTokens};
use edgeslm::{Accuracy, Error, KvPrecision, LoadOptions, Model, Result};

use behaviour::list::{self, Given, Lines};

/// What runs the cases.
#[derive(Debug, Clone)]
enum Engine {
    /// A row of this library's kernels.
    Cpu(&'static str),
    /// ONNX Runtime.
    #[cfg(feature = "ort")]
    Ort(edgeslm::engine::OrtOptions),
}

fn load_options(case: &Given, engine: &Engine) -> LoadOptions {
    let (engine, kernels) = match engine {
        Engine::Cpu(kernels) => (EngineChoice::Cpu, Some(*kernels)),
        #[cfg(feature = "ort")]
        Engine::Ort(options) => (EngineChoice::Ort(options.clone()), None),
    };
    LoadOptions {
        engine,
        accuracy: match case.find("accuracy") {
            None => Accuracy::Default,
            Some("precise") => Accuracy::Precise,
            Some("strict") => Accuracy::Strict,
            Some(other) => panic!("there is no accuracy {other}"),
        },
        kv_precision: match case.find("kv_precision") {
            Some("int8") => KvPrecision::Int8,
            _ => KvPrecision::Auto,
        },
        load: if case.has("copy") { Load::Copy } else { Load::Map },
        threads: case.number("threads"),
        processors: case.has("processors").then(|| case.numbers("processors")),
        priority: if case.has("low_priority") { ThreadPriority::Low } else { ThreadPriority::Normal },
        context_length: case.number("context_length"),
        memory_budget: case.number("memory_budget"),
        kernels: case.find("kernels").or(kernels).map(str::to_owned),
        ..LoadOptions::default()
    }
}

fn session_options(case: &Given) -> SessionOptions {
    let defaults = SessionOptions::default();
    SessionOptions {
        context: case.number("context"),
        prefill_chunk: case.number("prefill_chunk").unwrap_or(defaults.prefill_chunk),
        system: case.find("system").map(str::to_owned),
        ..defaults
    }
}

fn sampling_options(case: &Given) -> SamplingOptions {
    let defaults = SamplingOptions::default();
    let bias = |entry: &str| {
        let (token, bias) = entry.split_once(' ').unwrap();
        (token.parse().unwrap(), bias.parse().unwrap())
    };
    SamplingOptions {
        temperature: case.number("temperature").unwrap_or(defaults.temperature),
        top_k: case.number("top_k").unwrap_or(defaults.top_k),
        top_p: case.number("top_p").unwrap_or(defaults.top_p),
        min_p: case.number("min_p").unwrap_or(defaults.min_p),
        repetition_penalty: case.number("repetition_penalty").unwrap_or(defaults.repetition_penalty),
        frequency_penalty: case.number("frequency_penalty").unwrap_or(defaults.frequency_penalty),
        presence_penalty: case.number("presence_penalty").unwrap_or(defaults.presence_penalty),
        penalty_window: case.number("penalty_window").unwrap_or(defaults.penalty_window),
        logit_bias: case.all("bias").map(bias).collect(),
        seed: case.number("seed"),
    }
}

/// The grammar of a case, if it has one.
fn grammar_source(case: &Given) -> Option<GrammarSource> {
    let Some((kind, source)) = case.find("grammar").and_then(|grammar| grammar.split_once(' ')) else {
        return case.has("choice").then(|| GrammarSource::choices(case.all("choice")));
    };
    Some(match kind {
        "schema" => GrammarSource::json_schema(source),
        "regex" => GrammarSource::regex(source),
        "lark" => GrammarSource::lark(source),
        other => panic!("there is no grammar of kind {other}"),
    })
}

fn generate_options(case: &Given, model: &Model) -> Result<GenerateOptions> {
    let defaults = GenerateOptions::default();
    Ok(GenerateOptions {
        grammar: grammar_source(case).map(|source| model.grammar(&source)).transpose()?,
        max_tokens: case.number("max_tokens").unwrap_or(defaults.max_tokens),
        sampling: Some(sampling_options(case)),
        stop: case.all("stop").map(str::to_owned).collect(),
        stop_tokens: case.numbers("stop_token"),
        ignore_stop_tokens: case.has("ignore_stop_tokens"),
        log_probabilities: case.number("log_probabilities"),
        draft_tokens: case.number("draft_tokens").unwrap_or(0),
        ..defaults
    })
}

/// The messages of a case, or `None` where one has a role that cannot be said in Rust.
fn messages(case: &Given) -> Option<Vec<Message>> {
    let message = |line: &str| {
        let (role, content) = line.split_once(' ').unwrap();
        Some(Message::new(Role::from_name(role)?, content))
    };
    case.all("message").map(message).collect()
}

/// The prompt of a case: its messages, or its text.
fn prompt(case: &Given) -> Option<Prompt> {
    Some(case.find("prompt").map_or(messages(case)?.into(), Prompt::from))
}

fn words<T>(items: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> String {
    items.into_iter().map(show).collect::<Vec<_>>().join(" ")
}

fn ids(tokens: &[u32]) -> String {
    words(tokens, u32::to_string)
}

/// Reads an answer to its end.
fn answer(case: &Given, stream: Stream<'_>) -> Result<Lines> {
    let (mut tokens, mut text, mut probabilities, mut outcome) =
        (Vec::new(), String::new(), Vec::new(), None);
    for event in stream {
        match event? {
            Event::Token { id, log_probabilities } => {
                tokens.push(id);
                probabilities.extend(log_probabilities);
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::Finished(end) => outcome = Some(end),
            _ => {}
        }
    }
    let outcome = outcome.expect("an answer has an end");
    let mut lines =
        vec![("tokens", ids(&tokens)), ("text", text), ("finish", outcome.reason.name().to_owned())];
    if grammar_source(case).is_some() {
        lines.push(("completion", outcome.completion.name().to_owned()));
    }
    if case.has("seed") {
        lines.push(("seed", outcome.seed.to_string()));
    }
    if case.has("log_probabilities") {
        lines.push(("top", words(&probabilities, |of| of.top.len().to_string())));
        lines.push(("log_probabilities", words(&probabilities, |of| format!("{:.7}", of.chosen))));
    }
    let statistics = outcome.statistics;
    let counts = [statistics.prompt_tokens, statistics.reused_tokens, statistics.generated_tokens];
    lines.push(("counts", words(counts, |count| count.to_string())));
    if case.has("draft_tokens") {
        let drafts = [statistics.drafted_tokens, statistics.accepted_tokens];
        lines.push(("drafts", words(drafts, |count| count.to_string())));
    }
    Ok(lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn line(key: &str, value: impl ToString) -> Lines {
    vec![(key.to_owned(), value.to_string())]
}

fn tokenize(model: &Model, case: &Given) -> Result<Vec<u32>> {
    let (tokenizer, text) = (model.text().tokenizer(), case.text("text"));
    match case.find("mode").unwrap_or("prompt") {
        "prompt" => model.text().raw_tokens(text),
        "continuation" => tokenizer.encode(text, SpecialTokens::None),
        "plain" => tokenizer.encode_plain(text),
        other => panic!("there is no mode {other}"),
    }
}

/// The files of a directory, but one.
struct Pack<'a> {
    directory: &'a Path,
    missing: &'a str,
}

impl Source for Pack<'_> {
    fn size(&self, name: &str) -> io::Result<u64> {
        if name == self.missing {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.directory.join(name).metadata()?.len())
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = File::open(self.directory.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        file.read(buffer)
    }
}

/// What a case gives, or `None` where it cannot be said in Rust.
fn run(case: &Given, engine: &Engine) -> Result<Option<Lines>> {
    let Some(messages) = messages(case) else { return Ok(None) };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(case.text("model"));
    let options = load_options(case, engine);
    let model = if case.has("source") {
        let missing = case.find("missing").unwrap_or_default();
        Model::load_from(&Pack { directory: &directory, missing }, &options)?
    } else {
        Model::load(directory, &options)?
    };
    let session = || model.session(session_options(case));
    Ok(Some(match case.text("do") {
        "generate" | "chat" => {
            let Some(prompt) = prompt(case) else { return Ok(None) };
            answer(case, session()?.stream(prompt, &generate_options(case, &model)?)?)?
        }
        "turns" => {
            let (mut session, mut lines) = (session()?, Lines::new());
            for turn in case.all("turn") {
                lines.extend(answer(case, session.chat(turn, &generate_options(case, &model)?)?)?);
            }
            lines
        }
        "classify" => {
            let Some(prompt) = prompt(case) else { return Ok(None) };
            let labels: Vec<&str> = case.all("label").collect();
            let score = match case.find("score").unwrap_or("joint") {
                "joint" => LabelScore::Joint,
                "trie_normalised" => LabelScore::TrieNormalised,
                other => panic!("there is no score {other}"),
            };
            let options = ClassifyOptions { score, ..ClassifyOptions::default() };
            let result = session()?.classify_with(prompt, &labels, &options)?;
            let probabilities = words(result.probabilities, |probability| format!("{probability:.8}"));
            [line("index", result.index), line("probabilities", probabilities)].concat()
        }
        "extract" => {
            let extractor = Extractor::new(case.text("schema"), model.text())?;
            let options = generate_options(case, &model)?;
            let found = session()?.extract(&extractor, case.text("source_text"), &options)?;
            let support = words(&found.fields, |field| format!("{}={}", field.path, field.support.name()));
            let completion = found.outcome.completion.name();
            [line("value", &found.value), line("support", support), line("completion", completion)].concat()
        }
        "tokenize" => line("tokens", ids(&tokenize(&model, case)?)),
        "count" => line("count", tokenize(&model, case)?.len()),
        "detokenize" => {
            let skip = case.has("skip_special_tokens");
            line("text", model.text().tokenizer().decode(&case.numbers("ids"), skip))
        }
        "render" => line("text", model.text().render(&messages, &RenderOptions::default())?),
        other => panic!("there is nothing to do called {other}"),
    }))
}

#[test]
fn the_shared_cases_with_every_kernel_row() {
    let cases = list::read();
    let rows: Vec<&str> = KernelTable::supported().map(KernelTable::name).collect();
    for (index, row) in rows.iter().enumerate() {
        let mut results = Vec::new();
        let mut skipped = 0;
        for case in &cases {
            let found = case.given().and_then(|given| {
                run(&given, &Engine::Cpu(row))
                    .unwrap_or_else(|error: Error| Some(line("status", error.kind().name())))
            });
            if found.is_none() {
                skipped += 1;
                println!("skipped: {}: it cannot be said in Rust", case.name);
            }
            results.push(found);
        }
        if index == 0 && std::env::var("EDGESLM_BLESS").as_deref() == Ok("1") {
            list::write(&results);
            return;
        }
        for (case, found) in cases.iter().zip(&results) {
            let Some(found) = found else { continue };
            assert!(
                list::same(found, &case.expected, list::TOLERANCE),
                "{} with {row} kernels:\nexpected {:#?}\nfound {found:#?}",
                case.name,
                case.expected
            );
        }
        println!("{} cases with {row} kernels, {skipped} skipped", cases.len() - skipped);
        assert!(skipped <= 2, "a text that is no UTF-8 and a role that there is not");
    }
}

/// Cases in which ONNX Runtime gives something else, and why.
#[cfg(feature = "ort")]
const ORT_DIFFERS: [(&str, &str); 9] = [
    ("an answer during which LongRoPE switches", NEAR_TIES),
    ("sampling with a temperature", DRAWN),
    ("sampling with another seed", DRAWN),
    ("sampling from few tokens", DRAWN),
    ("a JSON object that its token limit shortens", DRAWN),
    ("threads of low priority", OF_CPU_ENGINE),
    ("precise accuracy", OF_CPU_ENGINE),
    ("a KV cache in 8 bits", OF_CPU_ENGINE),
    ("a KV cache in 8 bits beside strict arithmetic", OF_CPU_ENGINE),
];

/// Its products round in another way, and the weights are random.
#[cfg(feature = "ort")]
const NEAR_TIES: &str = "among 160 tokens of a model with random weights are near ties";
#[cfg(feature = "ort")]
const OF_CPU_ENGINE: &str = "an option of this library's engine";
#[cfg(feature = "ort")]
const DRAWN: &str =
    "a token drawn from nearly uniform probabilities changes with their last digits, and all after it";

/// How far the CPU provider's probabilities may be from this library's: both quantise activations, in blocks of different size.
#[cfg(feature = "ort")]
const ORT_TOLERANCE: f64 = 0.1;

#[cfg(feature = "ort")]
#[test]
fn the_shared_cases_in_onnx_runtime() {
    let Some(options) = library::options() else { return };
    let engine = Engine::Ort(options);
    let cases = list::read();
    let (mut failures, mut passed) = (Vec::new(), 0);
    for case in &cases {
        if let Some((_, reason)) = ORT_DIFFERS.iter().find(|(name, _)| *name == case.name) {
            println!("skipped: {}: {reason}", case.name);
            continue;
        }
        let found = case.given().and_then(|given| {
            run(&given, &engine).unwrap_or_else(|error: Error| Some(line("status", error.kind().name())))
        });
        let Some(found) = found else {
            println!("skipped: {}: it cannot be said in Rust", case.name);
            continue;
        };
        if list::same(&found, &case.expected, ORT_TOLERANCE) {
            passed += 1;
        } else {
            failures.push(format!("{}:\nexpected {:?}\nfound {found:?}", case.name, case.expected));
        }
    }
    println!("{passed} of {} cases in ONNX Runtime", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for (name, _) in ORT_DIFFERS {
        assert!(cases.iter().any(|case| case.name == name), "there is no case {name}");
    }
}
