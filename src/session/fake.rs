//! An engine without a model: its logits are a hash of everything in the cache, so that a stale or missing position
//! changes every answer after it.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ndarray::Array2;

use crate::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use crate::error::{Error, ErrorKind, Result};

/// What was cached at a position: the token and whether it was rotated for a long sequence.
type Position = (u32, bool);

pub(crate) struct FakeCache {
    positions: Vec<Position>,
    /// As the last `prepare` decided.
    long: bool,
    /// For how many positions there is room.
    room: usize,
    /// As [`FakeEngine::block`].
    block: usize,
}

impl KvCache for FakeCache {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn truncate(&mut self, length: usize) {
        if length < self.positions.len() {
            self.positions.truncate(length / self.block * self.block);
        }
    }

    fn bytes(&self) -> u64 {
        self.positions.len() as u64 * 8
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// One call of `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// New tokens of each sequence.
    pub(crate) tokens: Vec<usize>,
    /// Positions that got logits, of each sequence.
    pub(crate) rows: Vec<usize>,
    /// Columns of the first sequence's logits.
    pub(crate) columns: usize,
}

/// Chooses the next token of a sequence, instead of the hash.
type Script = dyn Fn(&[u32]) -> Option<u32> + Send + Sync;

pub(crate) struct FakeEngine {
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) maximum_batch: usize,
    /// Sequences longer than this rotate differently, as LongRoPE's do.
    pub(crate) switch: usize,
    /// Caches are cut at multiples of this only.
    pub(crate) block: usize,
    /// The most positions that the memory budget allows a sequence.
    pub(crate) budget: AtomicUsize,
    /// How long a token takes.
    pub(crate) token_time: Duration,
    /// The calls of `forward`, counted from 1, that fail.
    pub(crate) failing: Vec<usize>,
    /// The calls of `forward` that give NaN.
    pub(crate) damaged: Vec<usize>,
    pub(crate) script: Option<Box<Script>>,
    /// Called before each token is computed, with how many have been computed before.
    pub(crate) on_token: Option<Box<dyn Fn(usize) + Send + Sync>>,
    pub(crate) record: Record,
}

/// What an engine was asked for.
#[derive(Default)]
pub(crate) struct Record {
    computed: AtomicUsize,
    attempts: AtomicUsize,
    calls: Mutex<Vec<Call>>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self {
            vocabulary: 300,
            context: 10_000,
            maximum_batch: 4_096,
            switch: usize::MAX,
            block: 1,
            budget: AtomicUsize::new(usize::MAX),
            token_time: Duration::ZERO,
            failing: Vec::new(),
            damaged: Vec::new(),
            script: None,
            on_token: None,
            record: Record::default(),
        }
    }
}

impl FakeEngine {
    /// An engine that answers any prompt that ends in `marker` with `tokens`.
    pub(crate) fn scripted(marker: u32, tokens: Vec<u32>) -> Self {
        let script = move |sequence: &[u32]| {
            let start = sequence.iter().rposition(|token| *token == marker)? + 1;
            tokens.get(sequence.len() - start).copied()
        };
        Self { script: Some(Box::new(script)), ..Self::default() }
    }

    /// How many tokens have been computed.
    pub(crate) fn computed(&self) -> usize {
        self.record.computed.load(Ordering::SeqCst)
    }

    /// The successful calls since the last time.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.record.calls.lock().unwrap())
    }

    /// The logits after `sequence`, as an engine that had cached nothing would give them.
    pub(crate) fn logits_after(&self, sequence: &[u32]) -> Vec<f32> {
        let long = sequence.len() > self.switch;
        let positions: Vec<Position> = sequence.iter().map(|&token| (token, long)).collect();
        (0..self.vocabulary as u32).map(|token| self.logit(&positions, token)).collect()
    }

    fn logit(&self, positions: &[Position], token: u32) -> f32 {
        if let Some(script) = &self.script {
            let tokens: Vec<u32> = positions.iter().map(|position| position.0).collect();
            if let Some(next) = script(&tokens) {
                return if next == token { 50.0 } else { 0.0 };
            }
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &(cached, long) in positions {
            hash = mix(hash ^ (u64::from(cached) << 1 | u64::from(long)));
        }
        let hash = mix(hash ^ (u64::from(token) << 32));
        (hash >> 40) as f32 / (1 << 24) as f32 * 8.0 - 4.0
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (value ^ (value >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (value >> 32)
}

impl Engine for FakeEngine {
    fn describe(&self) -> String {
        "fake".to_owned()
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary
    }

    fn context_length(&self) -> usize {
        self.context
    }

    fn maximum_batch_tokens(&self) -> usize {
        self.maximum_batch
    }

    fn new_cache(&self) -> Box<dyn KvCache> {
        Box::new(FakeCache { positions: Vec::new(), long: false, room: 0, block: self.block })
    }

    fn cache_bytes(&self, positions: usize) -> u64 {
        positions as u64 * 8
    }

    fn prepare(&self, cache: &mut dyn KvCache, total_length: usize) -> Result<usize> {
        let cache: &mut FakeCache = cache.as_any_mut().downcast_mut().unwrap();
        if total_length > self.context {
            return Err(Error::new(ErrorKind::ContextLength, "too long for the fake"));
        }
        if total_length > self.budget.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::MemoryBudget, "too much for the fake"));
        }
        let long = total_length > self.switch;
        let valid = if cache.long == long { cache.len() } else { 0 };
        cache.long = long;
        cache.room = total_length;
        Ok(valid)
    }

    fn forward(&self, batch: &mut [SequenceInput<'_>], control: &RunControl) -> Result<Vec<Array2<f32>>> {
        let attempt = self.record.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(!batch.is_empty() && batch.iter().all(|input| !input.tokens.is_empty()));
        let total: usize = batch.iter().map(|input| input.tokens.len()).sum();
        assert!(total <= self.maximum_batch, "{total} tokens in one forward");
        for _ in 0..total {
            let before = self.record.computed.fetch_add(1, Ordering::SeqCst);
            if let Some(on_token) = &self.on_token {
                on_token(before);
            }
            std::thread::sleep(self.token_time);
            control.check()?;
        }
        if self.failing.contains(&attempt) {
            return Err(Error::new(ErrorKind::Io, format!("forward {attempt} fails")));
        }
        let mut call = Call { tokens: Vec::new(), rows: Vec::new(), columns: 0 };
        let mut results = Vec::new();
        for input in batch.iter_mut() {
            let cache: &mut FakeCache = input.cache.as_any_mut().downcast_mut().unwrap();
            assert!(cache.len() + input.tokens.len() <= cache.room, "prepared for too few positions");
            let paths = paths(cache, input.tokens, input.parents);
            let wanted: Vec<usize> = match input.logits {
                LogitsAt::None => Vec::new(),
                LogitsAt::Last => vec![input.tokens.len() - 1],
                LogitsAt::All => (0..input.tokens.len()).collect(),
                LogitsAt::Positions(positions) => positions.to_vec(),
            };
            let all: Vec<u32> = (0..self.vocabulary as u32).collect();
            let vocabulary = input.vocabulary.unwrap_or(&all);
            results.push(Array2::from_shape_fn((wanted.len(), vocabulary.len()), |(row, column)| {
                if self.damaged.contains(&attempt) {
                    return f32::NAN;
                }
                self.logit(&paths[wanted[row]], vocabulary[column])
            }));
            if input.parents.is_none() {
                cache.positions = paths.last().unwrap().clone();
            }
            call.tokens.push(input.tokens.len());
            call.rows.push(wanted.len());
            call.columns = call.columns.max(if wanted.is_empty() { 0 } else { vocabulary.len() });
        }
        self.record.calls.lock().unwrap().push(call);
        Ok(results)
    }
}

/// Of each new token, everything that it attends to and itself.
fn paths(cache: &FakeCache, tokens: &[u32], parents: Option<&[Option<usize>]>) -> Vec<Vec<Position>> {
    let mut paths: Vec<Vec<Position>> = Vec::new();
    for (index, &token) in tokens.iter().enumerate() {
        let parent = match parents {
            Some(parents) => parents[index],
            None => index.checked_sub(1),
        };
        let mut path = parent.map_or_else(|| cache.positions.clone(), |parent| paths[parent].clone());
        path.push((token, cache.long));
        paths.push(path);
    }
    paths
}

/// An engine behind the type that sessions take.
pub(crate) fn shared(engine: FakeEngine) -> (Arc<FakeEngine>, Arc<dyn Engine>) {
    let engine = Arc::new(engine);
    let shared: Arc<dyn Engine> = Arc::clone(&engine) as Arc<dyn Engine>;
    (engine, shared)
}
