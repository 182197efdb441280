//! Runs cases one by one and holds each to the limits.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use super::memory::{self, Usage};

/// What a case may use. The models are of 3 MB at most, most of which is mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Seconds, on a machine that does other work at the same time.
    pub(super) seconds: f64,
    /// Bytes of the largest single allocation.
    pub(super) largest: usize,
    /// Bytes held at a time.
    pub(super) peak: usize,
}

/// The limits of a case that says nothing else.
pub(super) const LIMITS: Limits = Limits { seconds: 20.0, largest: 16 << 20, peak: 64 << 20 };

/// After this time a case counts as one that never ends, and the whole binary is stopped.
const ENDLESS: Duration = Duration::from_secs(180);

thread_local! {
    /// Whether a case runs on this thread.
    static RUNS: Cell<bool> = const { Cell::new(false) };
    /// Panics of cases on this thread, caught ones too.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Cases that belong together. [`finish`](Self::finish) reports all that failed.
pub(super) struct Cases {
    group: &'static str,
    limits: Limits,
    count: usize,
    largest: Usage,
    slowest: f64,
    failures: Vec<String>,
}

impl Cases {
    pub(super) fn new(group: &'static str) -> Self {
        Self::within(group, LIMITS)
    }

    pub(super) fn within(group: &'static str, limits: Limits) -> Self {
        watch();
        Self { group, limits, count: 0, largest: Usage::default(), slowest: 0.0, failures: Vec::new() }
    }

    /// Runs one case; `work` says what is wrong with what came out. Returns whether nothing is.
    pub(super) fn run(&mut self, name: impl Display, work: impl FnOnce() -> Result<(), String>) -> bool {
        let name = format!("{}: {name}", self.group);
        running().insert(self.group, (name.clone(), Instant::now()));
        RUNS.set(true);
        let started = Instant::now();
        let (result, usage) = memory::measure(|| catch_unwind(AssertUnwindSafe(work)));
        let seconds = started.elapsed().as_secs_f64();
        RUNS.set(false);
        running().remove(self.group);
        self.count += 1;
        self.slowest = self.slowest.max(seconds);
        self.largest.largest = self.largest.largest.max(usage.largest);
        self.largest.peak = self.largest.peak.max(usage.peak);
        let Limits { seconds: most_seconds, largest, peak } = self.limits;
        let failed_before = self.failures.len();
        let mut fail = |what: String| self.failures.push(format!("{name}: {what}"));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => fail(wrong),
            Err(panic) => {
                let message = panic.downcast_ref::<String>().cloned();
                let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                fail(format!("panics: {}", message.unwrap_or_default()));
            }
        }
        if seconds > most_seconds {
            fail(format!("takes {seconds:.1} s"));
        }
        if usage.largest > largest || usage.peak > peak {
            fail(format!("allocates {} bytes at once and holds {}", usage.largest, usage.peak));
        }
        self.failures.len() == failed_before
    }

    /// Fails when a case failed.
    #[allow(
        clippy::print_stdout,
        reason = "what the cases used is worth showing with the result of the test"
    )]
    pub(super) fn finish(self) {
        let Self { group, count, largest: Usage { largest, peak }, slowest, failures, .. } = self;
        let panics = PANICS.take();
        println!(
            "{group}: {count} cases; largest allocation {largest} bytes, most held {peak}, slowest {slowest:.2} s, {panics} panics caught"
        );
        let shown: Vec<&str> = failures.iter().map(String::as_str).take(40).collect();
        assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), shown.join("\n"));
    }
}

type Running = BTreeMap<&'static str, (String, Instant)>;

fn running() -> std::sync::MutexGuard<'static, Running> {
    static RUNNING: Mutex<Running> = Mutex::new(Running::new());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that stops the binary when a case does not end, and counts the panics of cases in place of printing them.
fn watch() {
    static START: Once = Once::new();
    START.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if RUNS.get() {
                PANICS.set(PANICS.get() + 1);
            } else {
                print(panic);
            }
        }));
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let endless = running().values().find(|(_, since)| since.elapsed() > ENDLESS).cloned();
                if let Some((name, _)) = endless {
                    // Past the test harness, which keeps to itself what the threads of a test print.
                    let message = format!("{name}: does not end\n");
                    let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
                    std::process::exit(101);
                }
            }
        });
    });
}
