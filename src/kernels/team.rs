//! The threads of an engine: fork and join in microseconds while a forward pass runs, asleep otherwise.

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::activations::{ActivationsMut, BlockActivations};
use super::columns::ColumnsMut;
use super::scheduling::{ThreadPriority, rehearse, schedule_this_thread};
use crate::error::{Error, ErrorKind, Result};

/// How often a thread looks for work, or for the end of work, before it sleeps: some tens of microseconds.
const SPINS: u32 = 2000;

/// Chunks of one fork; bits of a chunk number in the claim word.
const CHUNK_BITS: u32 = 24;
const CHUNK_MASK: u64 = (1 << CHUNK_BITS) - 1;

/// How a [`Team`] is made. The workers alone are scheduled as it says: the caller's thread belongs to the host, and stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TeamOptions {
    /// Threads, the caller's included. `None`: as many as `processors`, or as the process may use where there is no such list; a CPU
    /// quota counts in both cases.
    pub threads: Option<usize>,
    /// The processors that the workers may run on, in any order, as the system numbers them. `None`: those that the
    /// thread which makes the team may run on.
    pub processors: Option<Vec<usize>>,
    /// How urgent the workers are.
    pub priority: ThreadPriority,
}

impl TeamOptions {
    /// How many threads the team has, the caller's included.
    ///
    /// # Errors
    /// As [`Team::new`].
    pub fn count(&self) -> Result<usize> {
        let available = if self.schedules_workers() {
            rehearse(self.processors.as_deref(), self.priority)?
        } else {
            Team::available_threads()
        };
        let threads = self.threads.unwrap_or(available);
        if threads == 0 || threads > Team::MOST_THREADS {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("a team of {threads} threads"))
                .with_hint(format!("use 1 to {}", Team::MOST_THREADS)));
        }
        Ok(threads)
    }

    fn schedules_workers(&self) -> bool {
        self.processors.is_some() || self.priority != ThreadPriority::Normal
    }
}

/// The threads of one engine: the caller, and workers in a pool of its own.
#[derive(Debug)]
pub struct Team {
    threads: usize,
    pool: Option<ThreadPool>,
}

impl Team {
    /// The largest team.
    pub const MOST_THREADS: usize = 1024;

    /// As many threads as the process may use (affinity mask and CPU quota), [`MOST_THREADS`](Self::MOST_THREADS) at most.
    #[must_use]
    pub fn available_threads() -> usize {
        std::thread::available_parallelism().map_or(1, |count| count.get().min(Self::MOST_THREADS))
    }

    /// Starts the workers of a team.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for zero threads or more than [`MOST_THREADS`](Self::MOST_THREADS), and, as
    /// [`ErrorKind::Unsupported`], where the workers cannot be scheduled as wanted: see [`schedule_this_thread`];
    /// [`ErrorKind::Threads`] when a thread cannot be started. No worker is left after an error.
    pub fn new(options: &TeamOptions) -> Result<Self> {
        let threads = options.count()?;
        if threads == 1 {
            return Ok(Self { threads, pool: None });
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads - 1)
            .thread_name(|index| format!("edgeslm-{}", index + 1))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Threads, format!("cannot start {} threads", threads - 1))
                    .with_source(error)
            })?;
        if options.schedules_workers() {
            let outcomes =
                pool.broadcast(|_| schedule_this_thread(options.processors.as_deref(), options.priority));
            outcomes.into_iter().collect::<Result<()>>()?;
        }
        Ok(Self { threads, pool: Some(pool) })
    }

    /// Threads, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `body` on this thread with the workers at hand. They look for forks until `body` returns.
    ///
    /// Several threads may be inside at once; the workers then serve who came first, and the others run alone.
    pub fn enter<R>(&self, body: impl FnOnce(&mut Scope<'_>) -> R) -> R {
        let region = Arc::new(Region::new());
        if let Some(pool) = &self.pool {
            for worker in 1..self.threads {
                let region = Arc::clone(&region);
                pool.spawn(move || region.work(worker));
            }
        }
        let _close = Close(&region);
        body(&mut Scope { region: &region, threads: self.threads, leader_only: PhantomData })
    }
}

/// Ends a region even when its body panics.
struct Close<'a>(&'a Region);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.closed.swap(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// A fork: a closure somewhere on the leader's stack, without its type.
#[derive(Clone, Copy)]
struct Job {
    closure: *const (),
    call: unsafe fn(*const (), usize, usize),
}

/// What the leader of one region shares with the workers.
///
/// `claim` holds the number of the fork, its chunks and the next chunk. A chunk belongs to whoever raises the next
/// chunk by one. The leader changes `job` only while no chunk is claimed and unfinished and none can be claimed, so that who has
/// claimed a chunk may read `job` and call the closure; a worker that comes late finds nothing to claim.
///
/// Who goes to sleep announces it and looks once more; who has news publishes it and looks for sleepers. What is published this way
/// is swapped in, not stored: with stores a thread has been seen to sleep on under qemu, which plays 64-bit ARM on x86-64.
struct Region {
    claim: AtomicU64,
    job: UnsafeCell<Job>,
    finished: AtomicUsize,
    closed: AtomicBool,
    leader: Thread,
    leader_sleeps: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    bell: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is the only field that is not `Sync`; see the type for who may touch it when.
unsafe impl Sync for Region {}
// SAFETY: `Job` points to a closure that is `Sync`, and is used only while the leader keeps it alive.
unsafe impl Send for Region {}

impl Region {
    fn new() -> Self {
        Self {
            claim: AtomicU64::new(0),
            job: UnsafeCell::new(Job { closure: std::ptr::null(), call: |_, _, _| {} }),
            finished: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            leader: std::thread::current(),
            leader_sleeps: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            bell: Condvar::new(),
            panic: Mutex::new(None),
        }
    }

    fn has_chunk(&self) -> bool {
        let claim = self.claim.load(Ordering::SeqCst);
        claim & CHUNK_MASK < claim >> CHUNK_BITS & CHUNK_MASK
    }

    /// Claims and runs one chunk, if there is one.
    fn run_chunk(&self, worker: usize) -> bool {
        let mut claim = self.claim.load(Ordering::Acquire);
        loop {
            let (next, chunks) = (claim & CHUNK_MASK, claim >> CHUNK_BITS & CHUNK_MASK);
            if next >= chunks {
                return false;
            }
            // The next chunk is below `chunks`, so that adding one does not carry.
            match self.claim.compare_exchange_weak(claim, claim + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.run_claimed(next as usize, chunks as usize, worker);
                    return true;
                }
                Err(changed) => claim = changed,
            }
        }
    }

    fn run_claimed(&self, chunk: usize, chunks: usize, worker: usize) {
        // SAFETY: the caller has claimed a chunk, so the leader waits for it before it changes `job`.
        let job = unsafe { *self.job.get() };
        // SAFETY: `fork` made `call` for the type of `closure`, and keeps the closure alive until every claimed chunk is
        // finished.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(job.closure, chunk, worker) }));
        if let Err(panic) = outcome {
            lock(&self.panic).get_or_insert(panic);
        }
        // From here on the leader may go on, and the closure be gone.
        if self.finished.fetch_add(1, Ordering::SeqCst) + 1 == chunks
            && self.leader_sleeps.load(Ordering::SeqCst)
        {
            self.leader.unpark();
        }
    }

    /// A worker's life in this region.
    fn work(&self, worker: usize) {
        loop {
            while self.run_chunk(worker) {}
            let mut spins = 0;
            while !self.has_chunk() {
                if self.closed.load(Ordering::SeqCst) {
                    return;
                }
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    self.sleep();
                }
            }
        }
    }

    /// Sleeps until there may be a chunk or the region is closed.
    fn sleep(&self) {
        let mut guard = lock(&self.lock);
        // Announced before looking once more: a leader that did not see the sleeper has published before that look.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !self.has_chunk() && !self.closed.load(Ordering::SeqCst) {
            guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.lock));
            self.bell.notify_all();
        }
    }

    /// Runs `closure(chunk, worker)` for each chunk; called by the leader only.
    fn fork<F: Fn(usize, usize) + Sync>(&self, chunks: usize, closure: &F) {
        unsafe fn call<F: Fn(usize, usize)>(closure: *const (), chunk: usize, worker: usize) {
            // SAFETY: `closure` points to the `F` that `fork` borrows until all chunks are finished.
            unsafe { (*closure.cast::<F>())(chunk, worker) }
        }
        self.finished.store(0, Ordering::SeqCst);
        let job = Job { closure: std::ptr::from_ref(closure).cast(), call: call::<F> };
        // SAFETY: all chunks of the fork before are finished and no chunk can be claimed, so nobody reads `job`.
        unsafe { *self.job.get() = job };
        let number = (self.claim.load(Ordering::Relaxed) >> (2 * CHUNK_BITS)).wrapping_add(1);
        let claim = number << (2 * CHUNK_BITS) | (chunks as u64) << CHUNK_BITS;
        self.claim.swap(claim, Ordering::SeqCst);
        self.wake();
        while self.run_chunk(0) {}
        let mut spins = 0;
        while self.finished.load(Ordering::SeqCst) < chunks {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                self.leader_sleeps.swap(true, Ordering::SeqCst);
                // A worker that missed the announcement has finished before this look.
                if self.finished.load(Ordering::SeqCst) < chunks {
                    std::thread::park();
                }
                self.leader_sleeps.store(false, Ordering::SeqCst);
            }
        }
        let panic = lock(&self.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forks work while a region is open; see [`Team::enter`].
#[derive(Debug)]
pub struct Scope<'a> {
    region: &'a Region,
    threads: usize,
    /// Only the thread that entered may fork.
    leader_only: PhantomData<*const ()>,
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").finish_non_exhaustive()
    }
}

impl Scope<'_> {
    /// Threads of the team.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `body(chunk, worker)` for every chunk from 0 to `chunks - 1`, each once, on any thread; `worker` is below
    /// [`threads`](Self::threads) and differs between threads. Returns when all are done.
    ///
    /// # Panics
    /// When a chunk panicked, with its panic, after all chunks are done.
    pub fn run(&mut self, chunks: usize, body: impl Fn(usize, usize) + Sync) {
        if self.threads == 1 || chunks <= 1 {
            for chunk in 0..chunks {
                body(chunk, 0);
            }
            return;
        }
        let most = CHUNK_MASK as usize;
        for first in (0..chunks).step_by(most) {
            self.region.fork(most.min(chunks - first), &|chunk, worker| body(first + chunk, worker));
        }
    }

    /// Runs `body(item, worker)` for every item, each once, on any thread.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_each<T: Send>(&mut self, items: &mut [T], body: impl Fn(&mut T, usize) + Sync) {
        let items = Items { first: items.as_mut_ptr(), count: items.len(), marker: PhantomData };
        self.run(items.count, |chunk, worker| {
            // SAFETY: `run` gives each chunk to one call.
            body(unsafe { items.get(chunk) }, worker);
        });
    }

    /// Runs `body(columns, view, worker)` for ranges of `chunk` columns of `table`, whose rows have `width` numbers.
    ///
    /// # Panics
    /// As [`run`](Self::run), and when `table` does not consist of whole rows.
    pub fn run_columns(
        &mut self,
        table: &mut [f32],
        width: usize,
        chunk: usize,
        body: impl Fn(Range<usize>, &mut ColumnsMut<'_>, usize) + Sync,
    ) {
        let mut views = ColumnsMut::new(table, width).chunks(chunk);
        self.run_each(&mut views, |(range, view), worker| body(range.clone(), view, worker));
    }

    /// Runs `body(rows, values, worker)` for ranges of `chunk` rows of `table`, whose rows have `width` numbers.
    ///
    /// # Panics
    /// As [`run`](Self::run), and when `table` does not consist of whole rows.
    pub fn run_rows(
        &mut self,
        table: &mut [f32],
        width: usize,
        chunk: usize,
        body: impl Fn(Range<usize>, &mut [f32], usize) + Sync,
    ) {
        assert!(width > 0 && table.len().is_multiple_of(width), "a table of whole rows");
        let mut parts: Vec<_> = table.chunks_mut(chunk * width).enumerate().collect();
        self.run_each(&mut parts, |(index, values), worker| {
            let first = *index * chunk;
            body(first..first + values.len() / width, values, worker);
        });
    }

    /// Runs `quantise(token, to)` for every token of `activations`.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn quantise_each(
        &mut self,
        activations: &mut BlockActivations,
        quantise: impl Fn(usize, &mut ActivationsMut<'_>) + Sync,
    ) {
        let neighbours = activations.layout().neighbours();
        let mut tokens: Vec<_> = activations.tokens_mut().into_iter().enumerate().collect();
        let mut tasks: Vec<_> = tokens.chunks_mut(neighbours).collect();
        self.run_each(&mut tasks, |tokens, _| {
            for (token, to) in tokens.iter_mut() {
                quantise(*token, to);
            }
        });
    }
}

/// A slice whose items go to one thread each.
struct Items<'a, T> {
    first: *mut T,
    count: usize,
    marker: PhantomData<&'a mut [T]>,
}

// SAFETY: an item is handed to one thread, as `T: Send` allows.
unsafe impl<T: Send> Sync for Items<'_, T> {}

impl<T> Items<'_, T> {
    /// # Safety
    /// No index may be asked for twice.
    #[expect(clippy::mut_from_ref, reason = "each item is borrowed once")]
    unsafe fn get(&self, index: usize) -> &mut T {
        assert!(index < self.count, "item {index} of {}", self.count);
        // SAFETY: inside the slice, and the caller makes sure that no other borrow of this item exists.
        unsafe { &mut *self.first.add(index) }
    }
}
