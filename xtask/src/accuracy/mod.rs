//! `cargo xtask accuracy`: how far the next token's distribution of each runtime is from that of fp32 arithmetic on the same weights.
//!
//! The weights are those of the demonstration's model in 4 bits; the reference is edgeslm in strict accuracy, which ONNX Runtime in fp32
//! has to confirm. onnxruntime-genai reads the same directory as it is, with 8-bit activations. llama.cpp reads the same codes as Q4_0,
//! with scales rounded to 16 bits, which alone moves fp32 arithmetic by 2e-6 nats in the mean. OpenVINO GenAI is left out: its pipelines
//! give tokens and no logits.

mod divergence;
mod peer;

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, ensure};
use edgeslm::engine::{Engine, LogitsAt, RunControl, SequenceInput};
use edgeslm::{Accuracy, KvPrecision, LoadOptions, Model};

use self::divergence::Divergence;
use self::peer::Peer;
use crate::bench_peers::llama;
use crate::bench_peers::model::{Model as Files, REAL};
use crate::demo::workspace;
use crate::python;

/// Positions that are computed together, from an empty cache.
const WINDOW: usize = 512;

/// The least positions that tell something.
const LEAST_POSITIONS: usize = 2000;

/// The largest mean that two implementations of fp32 arithmetic may be apart, in nats.
const SAME: f64 = 1e-6;

#[derive(clap::Args)]
#[command(after_help = "\
KL is the Kullback-Leibler divergence in nats, at every position of the texts in windows of 512 tokens. Fails where edgeslm's mean is \
above that of a peer, and where ONNX Runtime in fp32 does not confirm the reference. The peers come from PyPI as for bench-peers.

Examples:
  cargo xtask accuracy
  cargo xtask accuracy README.md docs/answers.md")]
pub(crate) struct Arguments {
    /// Files of text, of 2,000 tokens together at least
    #[arg(value_name = "FILE", default_values = ["tests/data/text/perplexity.txt", "docs/evaluation.md"])]
    texts: Vec<PathBuf>,
}

/// Gives the logits after each of a window's tokens, one row a token.
type Logits<'a> = Box<dyn FnMut(&[u32]) -> anyhow::Result<Vec<f32>> + 'a>;

/// A row of the table.
struct Row<'a> {
    name: String,
    logits: Logits<'a>,
    divergence: Divergence,
}

/// Prints the table and the verdict.
#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let files = Files::prepare(REAL, true)?;
    let load = |accuracy, kv_precision| {
        Model::load(&files.directory, &LoadOptions { accuracy, kv_precision, ..LoadOptions::default() })
    };
    let strict = load(Accuracy::Strict, KvPrecision::Auto)?;
    let default = load(Accuracy::Default, KvPrecision::Auto)?;
    let int8_cache = load(Accuracy::Default, KvPrecision::Int8)?;
    let precise = load(Accuracy::Precise, KvPrecision::Auto)?;
    let windows = windows(&strict, &arguments.texts)?;
    let vocabulary = strict.engine().vocabulary_size();
    let [genai, onnxruntime, llama] = peers(&files)?;
    let of_peer = |mut peer: Peer| -> Logits<'_> { Box::new(move |tokens| peer.logits(tokens, vocabulary)) };
    let of_ours = |model: &'_ Model| -> Logits<'static> {
        let engine = Arc::clone(model.engine());
        Box::new(move |tokens| logits(engine.as_ref(), tokens))
    };
    let version = |package| format!("{package} {}", python::pinned(python::REQUIREMENTS, package));
    let mut rows = [
        ("edgeslm".to_owned(), of_ours(&default)),
        ("edgeslm, KV cache in int8".to_owned(), of_ours(&int8_cache)),
        ("edgeslm, precise".to_owned(), of_ours(&precise)),
        (version("onnxruntime-genai"), of_peer(genai)),
        (format!("llama.cpp (llama-cpp-python {})", llama::VERSION), of_peer(llama)),
        (format!("{} in fp32", version("onnxruntime")), of_peer(onnxruntime)),
    ]
    .map(|(name, logits)| Row { name, logits, divergence: Divergence::default() });
    for window in &windows {
        let expected = logits(strict.engine().as_ref(), window)?;
        for row in &mut rows {
            let compared =
                (row.logits)(window).and_then(|found| row.divergence.add(&expected, &found, vocabulary));
            compared.with_context(|| row.name.clone())?;
        }
    }
    print!("{}", table(&rows));
    let [ours, _, _, genai, llama, check] = &rows;
    let apart = check.divergence.mean();
    ensure!(apart <= SAME, "the reference is not what {} computes: {apart:.1e} nats apart", check.name);
    println!("\n{}", verdict(ours, &[genai, llama])?);
    Ok(())
}

/// The tokens of the texts, cut into windows.
fn windows(model: &Model, texts: &[PathBuf]) -> anyhow::Result<Vec<Vec<u32>>> {
    let mut windows = Vec::new();
    for path in texts {
        let path = workspace().join(path);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        windows.extend(model.text().raw_tokens(&text)?.chunks(WINDOW).map(<[u32]>::to_vec));
    }
    let positions: usize = windows.iter().map(Vec::len).sum();
    ensure!(positions >= LEAST_POSITIONS, "{positions} tokens of text are fewer than {LEAST_POSITIONS}");
    Ok(windows)
}

/// onnxruntime-genai, ONNX Runtime in fp32 and llama.cpp.
fn peers(files: &Files) -> anyhow::Result<[Peer; 3]> {
    let python = python::environment()?;
    let script = workspace().join("benches/peers/logits.py");
    let start = |name| Peer::start(Command::new(&python).arg(&script).arg(name).arg(&files.directory));
    let gguf = files.gguf.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))?;
    let (program, kernels) = llama::best("logits-llama")?;
    let threads = available_parallelism().map_or(1, NonZero::get);
    let mut llama = Command::new(program);
    llama.arg(kernels).arg(gguf).args([threads, WINDOW].map(|number| number.to_string()));
    Ok([start("genai")?, start("onnxruntime")?, Peer::start(&mut llama)?])
}

/// The logits after each of `tokens`, from an empty cache.
fn logits(engine: &dyn Engine, tokens: &[u32]) -> anyhow::Result<Vec<f32>> {
    let mut cache = engine.new_cache();
    engine.prepare(cache.as_mut(), tokens.len())?;
    let mut logits = Vec::with_capacity(tokens.len() * engine.vocabulary_size());
    for tokens in tokens.chunks(engine.maximum_batch_tokens()) {
        let cache = cache.as_mut();
        let input = SequenceInput { cache, tokens, parents: None, logits: LogitsAt::All, vocabulary: None };
        for rows in engine.forward(&mut [input], &RunControl::default())? {
            logits.extend(rows.iter());
        }
    }
    Ok(logits)
}

/// A table in Markdown.
fn table(rows: &[Row<'_>]) -> String {
    let positions = rows.first().map_or(0, |row| row.divergence.positions());
    let mut text = format!(
        "{REAL}, {positions} positions of text in windows of {WINDOW}, against fp32 arithmetic on the same weights:\n\n\
         | runtime | mean KL | 99th percentile | largest | same most probable token |\n|---|---|---|---|---|\n"
    );
    for Row { name, divergence, .. } in rows {
        text += &format!(
            "| {name} | {} | {} | {} | {:.2} % |\n",
            nats(divergence.mean()),
            nats(divergence.percentile(99)),
            nats(divergence.percentile(100)),
            100.0 * divergence.same_choice()
        );
    }
    text
}

/// Five decimals; a power of ten where those would say nothing.
fn nats(value: f64) -> String {
    if value < 1e-4 { format!("{value:.1e}") } else { format!("{value:.5}") }
}

/// Whether ours is as near as each of the peers.
///
/// # Errors
/// It is not, or there are no positions.
fn verdict(ours: &Row<'_>, peers: &[&Row<'_>]) -> anyhow::Result<String> {
    let mean = ours.divergence.mean();
    let beside = |peer: &&Row<'_>| format!("{:.2} of {}'s", mean / peer.divergence.mean(), peer.name);
    let ratios = peers.iter().map(beside).collect::<Vec<_>>().join(" and ");
    let no_worse = peers.iter().all(|peer| mean <= peer.divergence.mean());
    ensure!(no_worse, "edgeslm is further from fp32 than a peer: its mean KL is {ratios}");
    Ok(format!("edgeslm is no further from fp32 than the others: its mean KL is {ratios}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One position: 1/2, 1/2 expected, and the logits `x`, 0 found.
    fn row(name: &str, x: f32) -> Row<'static> {
        let mut divergence = Divergence::default();
        divergence.add(&[0.0, 0.0], &[x, 0.0], 2).unwrap();
        Row { name: name.to_owned(), logits: Box::new(|_| Ok(Vec::new())), divergence }
    }

    #[test]
    fn the_verdict_is_against_every_peer() {
        let [near, far] = [row("near", 0.1), row("far", 1.0)];
        let text = verdict(&near, &[&near, &far]).unwrap();
        assert!(text.ends_with("its mean KL is 1.00 of near's and 0.01 of far's"), "{text}");
        assert!(verdict(&far, &[&near, &far]).is_err());
        let nothing = Row { divergence: Divergence::default(), ..row("nothing", 0.0) };
        assert!(verdict(&nothing, &[&far]).is_err());
    }

    #[test]
    fn every_row_has_its_cells() {
        let text = table(&[row("a", 3_f32.ln()), row("b", 0.002)]);
        // ln(2 / sqrt 3), and x² / 8
        assert!(text.contains(", 1 positions of text"), "{text}");
        assert!(text.contains("| a | 0.14384 | 0.14384 | 0.14384 | 0.00 % |\n"), "{text}");
        assert!(text.contains("| b | 5.0e-7 | 5.0e-7 | 5.0e-7 | 0.00 % |\n"), "{text}");
    }
}
