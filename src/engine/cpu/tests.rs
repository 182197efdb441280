//! The engine on its own: forward passes of the golden directories in every way of cutting them up.
//! Whole directories against their reference logits are in `tests/golden.rs`.

use std::path::{Path, PathBuf};

use super::*;
use crate::graph::{self, ProgramOptions};
use crate::kernels::GROUP_TOKENS;
use crate::model::{DirectoryOverrides, Load, ModelDirectory};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn engine_with(name: &str, options: CpuOptions) -> CpuEngine {
    let directory = ModelDirectory::open(&path(name), &DirectoryOverrides::default()).unwrap();
    let files = directory.open_graph(Load::Map).unwrap();
    let model = files.parse().unwrap();
    let context_length = directory.config().context_length.unwrap_or(512);
    let program_options = ProgramOptions {
        names: directory.config().names.clone(),
        context_length: Some(context_length),
        rotary_cache_offset: directory.config().rotary_cache_offset,
    };
    let mut program = graph::lower(&model, &files, &program_options).unwrap();
    graph::passes::run(&mut program);
    CpuEngine::new(program, &CpuOptions { context_length, ..options }).unwrap()
}

fn engine(name: &str, (accuracy, kv_precision): Arithmetic, threads: usize) -> CpuEngine {
    engine_with(name, CpuOptions { accuracy, kv_precision, threads: Some(threads), ..CpuOptions::default() })
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count).map(|index| 3 + (index * 7919 % 150) as u32).collect()
}

/// Feeds `all` in passes of `chunk` tokens and returns the logits of every position.
fn feed(engine: &CpuEngine, cache: &mut dyn KvCache, all: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let mut kept = engine.prepare(cache, all.len()).unwrap();
    let mut logits = Vec::new();
    while kept < all.len() {
        let end = all.len().min(kept + chunk);
        let new = &all[kept..end];
        let mut batch =
            [SequenceInput { cache, tokens: new, parents: None, logits: LogitsAt::All, vocabulary: None }];
        let result = engine.forward(&mut batch, &RunControl::default()).unwrap();
        logits.extend(result[0].rows().into_iter().map(|row| row.to_vec()));
        kept = end;
    }
    logits
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

/// Directories that between them have every step of the engine.
const DIRECTORIES: [&str; 9] = [
    "models/gemma-2-2b-int4",
    "models/llama-3.2-1b-int8",
    "variants/llama-3-layers",
    "variants/gemma-4-layers",
    "variants/longrope-in-attention-unstated",
    "variants/mixed-bits",
    "variants/qdq-int4",
    "variants/f16-dense",
    "variants/q4-ragged-zero-points",
];

/// The accuracy, and in which numbers keys and values are kept.
type Arithmetic = (Accuracy, KvPrecision);

const DEFAULT: Arithmetic = (Accuracy::Default, KvPrecision::Auto);
const STRICT: Arithmetic = (Accuracy::Strict, KvPrecision::Auto);
const ARITHMETICS: [Arithmetic; 5] = [
    DEFAULT,
    (Accuracy::Precise, KvPrecision::Auto),
    STRICT,
    (Accuracy::Default, KvPrecision::Int8),
    (Accuracy::Precise, KvPrecision::Int8),
];

#[test]
fn the_same_bits_however_a_prompt_is_cut_up() {
    for name in DIRECTORIES {
        for arithmetic in ARITHMETICS {
            let engine = engine(name, arithmetic, 2);
            let all = tokens(75);
            let whole = bits(&feed(&engine, engine.new_cache().as_mut(), &all, 256));
            for chunk in [1, 7, 64] {
                let parts = bits(&feed(&engine, engine.new_cache().as_mut(), &all, chunk));
                assert!(whole == parts, "{name} {arithmetic:?} in passes of {chunk}");
            }
        }
    }
}

#[test]
fn the_same_bits_with_one_thread_and_more() {
    for name in DIRECTORIES {
        for arithmetic in ARITHMETICS {
            let all = tokens(40);
            let of = |threads| {
                let engine = engine(name, arithmetic, threads);
                bits(&feed(&engine, engine.new_cache().as_mut(), &all, 33))
            };
            let one = of(1);
            assert!(one == of(2), "{name} {arithmetic:?} with 2 threads");
            assert!(one == of(5), "{name} {arithmetic:?} with 5 threads");
        }
    }
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn the_same_bits_wherever_the_threads_run() {
    let all = tokens(40);
    let of = |options: CpuOptions| {
        let engine = engine_with(DIRECTORIES[0], CpuOptions { threads: Some(3), ..options });
        bits(&feed(&engine, engine.new_cache().as_mut(), &all, 33))
    };
    let anywhere = of(CpuOptions::default());
    // Not every process may use the first processor; one of these is its own.
    let one = (0..1024).map(|processor| vec![processor]).find(|list| {
        TeamOptions { processors: Some(list.clone()), ..TeamOptions::default() }.count().is_ok()
    });
    assert!(anywhere == of(CpuOptions { processors: one, ..CpuOptions::default() }));
    assert!(anywhere == of(CpuOptions { priority: ThreadPriority::Low, ..CpuOptions::default() }));
}

#[test]
fn two_sequences_in_one_pass_equal_each_alone() {
    for name in DIRECTORIES {
        for arithmetic in ARITHMETICS {
            let engine = engine(name, arithmetic, 2);
            let (first, second) = (tokens(37), tokens(90)[50..].to_vec());
            let alone = [&first, &second]
                .map(|tokens| bits(&feed(&engine, engine.new_cache().as_mut(), tokens, 256)));
            let mut caches = [engine.new_cache(), engine.new_cache()];
            let mut logits = [Vec::new(), Vec::new()];
            for step in [0..20, 20..21, 21..37] {
                for cache in &mut caches {
                    engine.prepare(cache.as_mut(), step.end).unwrap();
                }
                let [left, right] = &mut caches;
                let input = |cache, tokens| SequenceInput {
                    cache,
                    tokens,
                    parents: None,
                    logits: LogitsAt::All,
                    vocabulary: None,
                };
                let mut batch = [
                    input(left.as_mut(), &first[step.clone()]),
                    input(right.as_mut(), &second[step.clone()]),
                ];
                let result = engine.forward(&mut batch, &RunControl::default()).unwrap();
                for (all, new) in logits.iter_mut().zip(&result) {
                    all.extend(new.rows().into_iter().map(|row| row.to_vec()));
                }
            }
            assert!(bits(&logits[0]) == alone[0][..37], "{name} {arithmetic:?} first");
            assert!(bits(&logits[1]) == alone[1][..37], "{name} {arithmetic:?} second");
        }
    }
}

#[test]
fn chosen_positions_and_vocabulary_are_parts_of_the_whole() {
    for name in DIRECTORIES {
        for arithmetic in ARITHMETICS {
            let engine = engine(name, arithmetic, 2);
            let all = tokens(20);
            let whole = feed(&engine, engine.new_cache().as_mut(), &all, 256);
            let vocabulary = [7_u32, 3, 149, 3];
            let positions = [12_usize, 3, 12, 19];
            let mut cache = engine.new_cache();
            engine.prepare(cache.as_mut(), 20).unwrap();
            let logits = LogitsAt::Positions(&positions);
            let mut batch = [SequenceInput {
                cache: cache.as_mut(),
                tokens: &all,
                parents: None,
                logits,
                vocabulary: Some(&vocabulary),
            }];
            let result = engine.forward(&mut batch, &RunControl::default()).unwrap();
            for (row, position) in result[0].rows().into_iter().zip(positions) {
                let expected: Vec<f32> =
                    vocabulary.iter().map(|entry| whole[position][*entry as usize]).collect();
                assert_eq!(row.to_vec(), expected, "{name} {arithmetic:?} at {position}");
            }
        }
    }
}

#[test]
fn a_tree_equals_its_branches_one_by_one() {
    for name in DIRECTORIES {
        for arithmetic in ARITHMETICS {
            let engine = engine(name, arithmetic, 2);
            let prompt = tokens(61);
            // 10 -> 11 -> 12, 10 -> 13, 14: as indices into the new tokens.
            let new = [10_u32, 11, 12, 13, 14];
            let parents = [None, Some(0), Some(1), Some(0), None];
            let paths: [&[u32]; 5] = [&[10], &[10, 11], &[10, 11, 12], &[10, 13], &[14]];
            let mut cache = engine.new_cache();
            feed(&engine, cache.as_mut(), &prompt, 256);
            engine.prepare(cache.as_mut(), prompt.len() + new.len()).unwrap();
            let mut batch = [SequenceInput {
                cache: cache.as_mut(),
                tokens: &new,
                parents: Some(&parents),
                logits: LogitsAt::All,
                vocabulary: None,
            }];
            let tree = engine.forward(&mut batch, &RunControl::default()).unwrap().remove(0);
            assert_eq!(cache.len(), prompt.len());
            for (row, path) in tree.rows().into_iter().zip(paths) {
                let alone = feed(&engine, engine.new_cache().as_mut(), &[&prompt[..], path].concat(), 256);
                // A branch lies at other places of the cache, so the sums of its softmax are rounded in another order,
                // and in default accuracy an activation may round to the neighbouring code.
                let bound = if arithmetic == STRICT { 1e-5 } else { 1e-2 };
                let (found, expected) = (row.to_vec(), alone.last().unwrap());
                let difference: f32 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
                let norm: f32 = expected.iter().map(|b| b.powi(2)).sum();
                assert!(
                    (difference / norm).sqrt() < bound,
                    "{name} {arithmetic:?} {path:?}: {difference} of {norm}"
                );
            }
        }
    }
}

#[test]
fn every_kernel_row_gives_the_same_bits() {
    for name in ["variants/llama-3-layers", "variants/mixed-bits"] {
        for arithmetic in ARITHMETICS {
            let (accuracy, kv_precision) = arithmetic;
            let all = tokens(30);
            let mut expected = None;
            for table in KernelTable::supported() {
                let kernels = Some(table.name().to_owned());
                let engine = engine_with(
                    name,
                    CpuOptions { accuracy, kv_precision, kernels, threads: Some(2), ..CpuOptions::default() },
                );
                let found = bits(&feed(&engine, engine.new_cache().as_mut(), &all, 256));
                assert!(
                    *expected.get_or_insert_with(|| found.clone()) == found,
                    "{name} {arithmetic:?} {}",
                    table.name()
                );
            }
        }
    }
}

#[test]
fn crossing_the_longrope_switch_starts_over() {
    let engine = engine("models/phi-4-mini-int4", STRICT, 2);
    let all = tokens(130);
    let mut cache = engine.new_cache();
    feed(&engine, cache.as_mut(), &all[..128], 128);
    assert_eq!(engine.prepare(cache.as_mut(), 128).unwrap(), 128);
    assert_eq!(engine.prepare(cache.as_mut(), 129).unwrap(), 0);
    let after = feed(&engine, cache.as_mut(), &all[..129], 50);
    let fresh = feed(&engine, engine.new_cache().as_mut(), &all[..129], 128);
    assert!(bits(&after) == bits(&fresh));
    assert_eq!(engine.prepare(cache.as_mut(), 128).unwrap(), 0, "going back needs the short tables again");
}

#[test]
fn memory_above_the_budget_is_refused_before_it_is_taken() {
    let options = CpuOptions { threads: Some(1), memory_budget: Some(0), ..CpuOptions::default() };
    let small = engine_with("variants/llama-3-layers", options.clone());
    let block = small.cache_bytes(1);
    let engine =
        engine_with("variants/llama-3-layers", CpuOptions { memory_budget: Some(2 * block), ..options });
    let mut first = engine.new_cache();
    assert_eq!(engine.prepare(first.as_mut(), BLOCK).unwrap(), 0);
    assert_eq!(first.bytes(), block);
    let error = engine.prepare(first.as_mut(), 2 * BLOCK + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MemoryBudget);
    assert_eq!(first.bytes(), block);
    let mut second = engine.new_cache();
    engine.prepare(second.as_mut(), 1).unwrap();
    assert_eq!(engine.prepare(first.as_mut(), BLOCK + 1).unwrap_err().kind(), ErrorKind::MemoryBudget);
    drop(second);
    engine.prepare(first.as_mut(), BLOCK + 1).unwrap();
}

const BLOCK: usize = crate::kernels::BLOCK_POSITIONS;

#[test]
fn impossible_requests_are_errors_and_leave_the_cache_alone() {
    let engine = engine("variants/llama-3-layers", DEFAULT, 1);
    let mut cache = engine.new_cache();
    feed(&engine, cache.as_mut(), &tokens(5), 256);
    let vocabulary = engine.vocabulary_size() as u32;
    let control = RunControl::default();
    let mut refused =
        |tokens: &[u32], parents: Option<&[Option<usize>]>, logits: LogitsAt<'_>, list: Option<&[u32]>| {
            let mut batch =
                [SequenceInput { cache: cache.as_mut(), tokens, parents, logits, vocabulary: list }];
            let kind = engine.forward(&mut batch, &control).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::InvalidArgument);
            assert_eq!(cache.len(), 5);
        };
    refused(&[], None, LogitsAt::Last, None);
    refused(&[1 << 20], None, LogitsAt::Last, None);
    refused(&[1], None, LogitsAt::Positions(&[1]), None);
    refused(&[1], None, LogitsAt::Last, Some(&[vocabulary]));
    refused(&[1, 2], Some(&[None]), LogitsAt::Last, None);
    refused(&[1, 2], Some(&[Some(1), None]), LogitsAt::Last, None);
    refused(&[1; 100], None, LogitsAt::Last, None);
    refused(&[1; 300], None, LogitsAt::Last, None);
    let mut foreign = engine_with("variants/llama-3-layers", CpuOptions::default()).new_cache();
    let mut batch = [SequenceInput {
        cache: foreign.as_mut(),
        tokens: &[1],
        parents: None,
        logits: LogitsAt::Last,
        vocabulary: None,
    }];
    assert_eq!(engine.forward(&mut batch, &control).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        engine.prepare(engine.new_cache().as_mut(), 1 << 30).unwrap_err().kind(),
        ErrorKind::ContextLength
    );
}

#[test]
fn a_cancelled_pass_leaves_the_cache_alone() {
    let engine = engine("variants/llama-3-layers", DEFAULT, 2);
    let mut cache = engine.new_cache();
    engine.prepare(cache.as_mut(), 4).unwrap();
    let cancel = crate::CancelToken::new();
    cancel.cancel();
    let past = std::time::Instant::now();
    for (control, kind) in [
        (RunControl { cancel: Some(cancel), deadline: None }, ErrorKind::Cancelled),
        (RunControl { cancel: None, deadline: Some(past) }, ErrorKind::DeadlineExceeded),
    ] {
        let mut batch = [SequenceInput {
            cache: cache.as_mut(),
            tokens: &[1, 2],
            parents: None,
            logits: LogitsAt::Last,
            vocabulary: None,
        }];
        assert_eq!(engine.forward(&mut batch, &control).unwrap_err().kind(), kind);
        assert_eq!(cache.len(), 0);
    }
}

/// A cache has room for whole blocks of positions, which may be more than the rotation tables cover.
#[test]
fn positions_beyond_the_rotation_tables_are_refused() {
    let engine = engine("variants/llama-3-layers", DEFAULT, 1);
    let rows = engine.context_length();
    assert_eq!(rows, 216);
    let mut cache = engine.new_cache();
    feed(&engine, cache.as_mut(), &tokens(rows), 64);
    let mut batch = [SequenceInput {
        cache: cache.as_mut(),
        tokens: &[5],
        parents: None,
        logits: LogitsAt::Last,
        vocabulary: None,
    }];
    let error = engine.forward(&mut batch, &RunControl::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("position 216 is beyond the rotation table"), "{error}");
    assert_eq!(cache.len(), rows);
}

#[test]
fn scratch_memory_is_told_beforehand() {
    for name in DIRECTORIES {
        for arithmetic in ARITHMETICS {
            let engine = engine(name, arithmetic, 1);
            // Whole groups, which all kernels hold alike.
            let all = tokens(6 * GROUP_TOKENS);
            let mut cache = engine.new_cache();
            engine.prepare(cache.as_mut(), all.len()).unwrap();
            let (cache, logits) = (cache.as_mut(), LogitsAt::Last);
            let input = SequenceInput { cache, tokens: &all, parents: None, logits, vocabulary: None };
            engine.forward(&mut [input], &RunControl::default()).unwrap();
            let held = engine.arena.lock().unwrap().bytes() as f64;
            let told = engine.plan.scratch_bytes(all.len()) as f64;
            // The rest is the one row after the last attention.
            assert!(told <= held && held < 1.05 * told, "{name} {arithmetic:?}: told {told}, held {held}");
            let held = engine.arena.lock().unwrap().thread_bytes(0) as u64;
            let told = engine.plan.thread_bytes(all.len(), 1);
            assert!(0 < held && held <= told, "{name} {arithmetic:?}, a thread: told {told}, held {held}");
        }
    }
}
