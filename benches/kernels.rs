//! Products at the shapes of small models, per kernel row: bytes a second for one token, operations a second for
//! many, beside the speed at which this machine reads memory.
//!
//! `EDGESLM_BENCH_THREADS` sets the threads (default: all that the process may use).

#![allow(missing_docs, reason = "criterion's macros define public functions")]
#![allow(clippy::expect_used, reason = "a benchmark has nobody to report an error to")]

use std::hint::black_box;
use std::sync::Mutex;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeslm::kernels::{
    ActivationLayout, AttentionScale, AttentionState, BlockActivations, BlockMatrix, BlockShape, Floats,
    KernelTable, KvBlock, SCALE_COLUMNS, Scope, Team, TeamOptions, WeightPanel, ZeroPoints,
};

/// Output and input features.
const SHAPES: [(usize, usize); 4] = [(576, 1536), (2048, 2048), (2048, 8192), (8192, 2048)];
/// More than the last-level cache holds, so that decoding reads memory.
const COLD_BYTES: usize = 256 << 20;
const PREFILL_TOKENS: usize = 256;

fn team() -> Team {
    let threads = std::env::var("EDGESLM_BENCH_THREADS").ok().and_then(|threads| threads.parse().ok());
    Team::new(&TeamOptions { threads, ..TeamOptions::default() }).expect("threads")
}

fn panels(team: &Team) -> Vec<Mutex<WeightPanel>> {
    (0..team.threads()).map(|_| Mutex::default()).collect()
}

struct Weights {
    shape: BlockShape,
    codes: Vec<u8>,
    scales: Vec<u8>,
}

impl Weights {
    /// Several matrices of one shape below each other.
    fn new(rows: usize, columns: usize, bits: u32, copies: usize) -> Self {
        let rows = rows * copies;
        let shape = BlockShape { rows, columns, bits, block_size: 32, signed: false };
        let bytes = rows * columns * bits as usize / 8;
        let codes = (0..bytes).map(|index| ((index * 167) >> 3) as u8).collect();
        let scales = (0..rows * shape.blocks()).flat_map(|_| 0x2c00_u16.to_le_bytes()).collect();
        Self { shape, codes, scales }
    }

    fn view(&self) -> BlockMatrix<'_> {
        BlockMatrix::new(self.shape, &self.codes, Floats::F16(&self.scales), ZeroPoints::None, None)
            .expect("lengths fit")
    }
}

fn activations(kernels: &KernelTable, matrix: &BlockMatrix<'_>, tokens: usize) -> BlockActivations {
    let x: Vec<_> = (0..matrix.columns()).map(|k| (k % 97) as f32 * 0.01 - 0.5).collect();
    let mut activations = BlockActivations::new();
    activations.reset(tokens, matrix.columns(), kernels.layout(matrix.shape().bits, tokens));
    for mut token in activations.tokens_mut() {
        kernels.quantise(&x, &mut token);
    }
    activations
}

fn multiply(
    kernels: &KernelTable,
    scope: &mut Scope<'_>,
    matrix: &BlockMatrix<'_>,
    activations: &BlockActivations,
    panels: &[Mutex<WeightPanel>],
    out: &mut [f32],
) {
    scope.run_columns(out, matrix.rows(), 128, |rows, out, worker| {
        let mut panel = panels[worker].lock().expect("no thread panicked");
        kernels.multiply_int8(matrix, rows, activations, &mut panel, out);
    });
}

fn read_bandwidth(criterion: &mut Criterion) {
    let team = team();
    let memory: Vec<u64> = (0..COLD_BYTES as u64 / 8).collect();
    let mut group = criterion.benchmark_group("read");
    group.sample_size(20).throughput(Throughput::Bytes(COLD_BYTES as u64));
    let chunks: Vec<_> = memory.chunks(1 << 16).collect();
    group.bench_function("memory", |bencher| {
        team.enter(|scope| {
            bencher.iter(|| {
                scope.run(chunks.len(), |chunk, _| {
                    let mut sums = [0_u64; 32];
                    for words in chunks[chunk].as_chunks::<32>().0 {
                        for (sum, word) in sums.iter_mut().zip(words) {
                            *sum ^= word;
                        }
                    }
                    black_box(sums);
                });
            });
        });
    });
}

fn decode(criterion: &mut Criterion) {
    let team = team();
    let panels = panels(&team);
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    for bits in [4, 8] {
        for (rows, columns) in SHAPES {
            let bytes = rows * columns * bits as usize / 8;
            let weights = Weights::new(rows, columns, bits, COLD_BYTES / bytes);
            let matrix = weights.view();
            let mut out = vec![0.0; matrix.rows()];
            group.throughput(Throughput::Bytes(matrix.bytes() as u64));
            for kernels in KernelTable::supported().filter(|kernels| kernels.name() != "scalar") {
                let activations = activations(kernels, &matrix, 1);
                let id =
                    BenchmarkId::new(format!("{}/int{bits}", kernels.name()), format!("{rows}x{columns}"));
                group.bench_function(id, |bencher| {
                    team.enter(|scope| {
                        bencher.iter(|| multiply(kernels, scope, &matrix, &activations, &panels, &mut out));
                    });
                });
            }
        }
    }
}

fn prefill(criterion: &mut Criterion) {
    let team = team();
    let panels = panels(&team);
    let mut group = criterion.benchmark_group("prefill");
    group.sample_size(10);
    for bits in [4, 8] {
        for (rows, columns) in SHAPES {
            let weights = Weights::new(rows, columns, bits, 1);
            let matrix = weights.view();
            let mut out = vec![0.0; PREFILL_TOKENS * rows];
            let x: Vec<_> = (0..PREFILL_TOKENS * columns).map(|k| (k % 97) as f32 * 0.01 - 0.5).collect();
            // One element is one operation: a multiplication or an addition.
            group.throughput(Throughput::Elements((2 * rows * columns * PREFILL_TOKENS) as u64));
            for kernels in KernelTable::supported().filter(|kernels| kernels.name() != "scalar") {
                let activations = activations(kernels, &matrix, PREFILL_TOKENS);
                let shape = format!("{rows}x{columns}");
                let id = BenchmarkId::new(format!("{}/int{bits}", kernels.name()), &shape);
                group.bench_function(id, |bencher| {
                    team.enter(|scope| {
                        bencher.iter(|| multiply(kernels, scope, &matrix, &activations, &panels, &mut out));
                    });
                });
                if bits == 4 {
                    group.bench_function(
                        BenchmarkId::new(format!("{}/f32", kernels.name()), &shape),
                        |bencher| {
                            team.enter(|scope| {
                                bencher.iter(|| {
                                    scope.run_columns(&mut out, rows, 64, |rows, out, _| {
                                        kernels.multiply_f32(&matrix, rows, &x, out);
                                    });
                                });
                            });
                        },
                    );
                }
            }
        }
    }
}

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    let head_dim = 64;
    let halves = vec![half::f16::from_f32(0.5); 64 * head_dim];
    let codes = vec![3; 64 * head_dim];
    let scales = vec![half::f16::from_f32(0.1); 64 * head_dim.div_ceil(SCALE_COLUMNS)];
    let blocks = [("f16", KvBlock::F16(&halves)), ("int8", KvBlock::Int8 { codes: &codes, scales: &scales })];
    for queries in [1, 4, 64] {
        let x = vec![0.1; queries * head_dim];
        let visible = vec![u64::MAX; queries];
        // Scores and values: two operations each.
        group.throughput(Throughput::Elements((4 * queries * head_dim * 64) as u64));
        for kernels in KernelTable::supported().filter(|kernels| kernels.name() != "scalar") {
            let mut state = AttentionState::new();
            state.reset(queries, head_dim);
            let scale = AttentionScale { scale: 0.125, softcap: None };
            for (precision, block) in blocks {
                let id = BenchmarkId::new(format!("{}/{precision}", kernels.name()), queries);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        kernels.attend_block(&x, block, block, &visible, scale, &mut state);
                    });
                });
            }
        }
    }
}

fn small(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("small");
    let x: Vec<_> = (0..2048).map(|k| (k % 97) as f32 * 0.01 - 0.5).collect();
    let mut out = x.clone();
    for kernels in KernelTable::supported().filter(|kernels| kernels.name() != "scalar") {
        let mut activations = BlockActivations::new();
        activations.reset(1, x.len(), ActivationLayout::Split);
        group.bench_function(BenchmarkId::new("quantise 2048", kernels.name()), |bencher| {
            bencher.iter(|| kernels.quantise(&x, &mut activations.token_mut(0)));
        });
        group.bench_function(BenchmarkId::new("rms_norm 2048", kernels.name()), |bencher| {
            bencher.iter(|| kernels.rms_norm(&x, &x, 1e-5, &mut out));
        });
        group.bench_function(BenchmarkId::new("silu_mul 2048", kernels.name()), |bencher| {
            bencher.iter(|| kernels.silu_mul(&mut out, &x));
        });
    }
    let team = team();
    group.bench_function("fork and join", |bencher| {
        team.enter(|scope| bencher.iter(|| scope.run(2, |chunk, _| _ = black_box(chunk))));
    });
}

criterion_group!(benches, read_bandwidth, decode, prefill, attention, small);
criterion_main!(benches);
