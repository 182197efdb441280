//! The policy.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::Attempt;
use super::record::{Cost, Prices, Reason, Routed, Step, StepResult, Usage};
use crate::answer::classify::invalid;
use crate::error::{Error, ErrorKind, Result};

/// How much a worker may take.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// The time that is left for the request.
    pub time: Option<Duration>,
}

type Answering<'a, Q, A> = Box<dyn FnMut(&Q, Limits) -> Result<Attempt<A>> + 'a>;

/// Somebody who can answer: a model on the device, the same model with a prompt that lets it reason, a larger one, an
/// endpoint elsewhere.
pub struct Worker<'a, Q, A> {
    name: String,
    answer: Answering<'a, Q, A>,
    needed: f32,
    then: Option<String>,
    prices: Option<Prices>,
    most_usage: Usage,
    least_time: Duration,
    is_remote: bool,
}

impl<'a, Q, A> Worker<'a, Q, A> {
    /// A worker whose answers are taken unless it abstains.
    pub fn new(name: impl Into<String>, answer: impl FnMut(&Q, Limits) -> Result<Attempt<A>> + 'a) -> Self {
        Self {
            name: name.into(),
            answer: Box::new(answer),
            needed: 0.0,
            then: None,
            prices: None,
            most_usage: Usage::default(),
            least_time: Duration::ZERO,
            is_remote: false,
        }
    }

    /// Takes only answers that are right with at least this probability. An answer without a confidence is then not
    /// taken.
    #[must_use]
    pub fn sure_from(mut self, confidence: f32) -> Self {
        self.needed = confidence;
        self
    }

    /// Names the worker to ask when this one is not sure or fails.
    #[must_use]
    pub fn or_else(mut self, worker: impl Into<String>) -> Self {
        self.then = Some(worker.into());
        self
    }

    /// What its answers cost, and the most tokens that one may take, for [`Router::money`].
    #[must_use]
    pub fn priced(mut self, prices: Prices, most: Usage) -> Self {
        self.prices = Some(prices);
        self.most_usage = most;
        self
    }

    /// Does not ask it when less time than this is left.
    #[must_use]
    pub fn needs_time(mut self, least: Duration) -> Self {
        self.least_time = least;
        self
    }

    /// Says that requests leave the device, so that [`Router::may_leave`] decides which it gets.
    #[must_use]
    pub fn remote(mut self) -> Self {
        self.is_remote = true;
        self
    }
}

/// Which worker a request is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The worker's name.
    pub worker: String,
    /// How probably it is the right one, where the chooser knows.
    pub confidence: Option<f32>,
    /// Whether the chooser itself says that it is not sure.
    pub abstain: bool,
    /// The tokens that choosing took.
    pub usage: Usage,
}

type Choosing<'a, Q> = Box<dyn FnMut(&Q) -> Result<Choice> + 'a>;
type Leaving<'a, Q> = Box<dyn FnMut(&Q) -> bool + 'a>;

/// Workers and the rules by which one of them answers.
///
/// One policy serves the usual patterns:
/// - *classifier and workers*: [`choose_with`](Self::choose_with) sends a request to the worker for its kind;
/// - *small, then large*: the small worker is [`sure_from`](Worker::sure_from) a calibrated probability, or abstains as
///   its calibration says, and names the large one with [`or_else`](Worker::or_else);
/// - *reasoning on demand*: the same with one model that is asked for the bare answer first and then with reasons;
/// - *edge and cloud*: the last worker is [`remote`](Worker::remote); requests reach it only if
///   [`may_leave`](Self::may_leave) allows, and where it fails, the device's own answer is given as one that is not sure.
///
/// ```
/// use edgeslm::answer::route::{Attempt, Router, Worker};
///
/// let small = |question: &&str, _| Ok(Attempt { confidence: Some(if question.len() < 10 { 0.9 } else { 0.4 }), ..Attempt::new("small") });
/// let large = |_: &&str, _| Ok(Attempt::new("large"));
/// let mut router = Router::new(vec![
///     Worker::new("small", small).sure_from(0.8).or_else("large"),
///     Worker::new("large", large),
/// ])?;
/// assert_eq!(router.route(&"1 + 1?")?.answer, "small");
/// let routed = router.route(&"Why is there something rather than nothing?")?;
/// assert_eq!((routed.answer, routed.steps.len()), ("large", 2));
/// # Ok::<(), edgeslm::Error>(())
/// ```
pub struct Router<'a, Q, A> {
    workers: Vec<Worker<'a, Q, A>>,
    chooser: Option<(Choosing<'a, Q>, f32, usize)>,
    may_leave: Option<Leaving<'a, Q>>,
    time: Option<Duration>,
    money: Option<f64>,
}

impl<'a, Q, A> Router<'a, Q, A> {
    /// A router that asks the first worker first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without workers, for two of one name, for one that passes on to a worker that there
    /// is not or, over any number of workers, to itself, and for a confidence that is not between 0 and 1.
    pub fn new(workers: Vec<Worker<'a, Q, A>>) -> Result<Self> {
        if workers.is_empty() {
            return Err(invalid("there are no workers"));
        }
        let mut names = HashSet::new();
        for worker in &workers {
            if !names.insert(worker.name.as_str()) {
                return Err(invalid(format!("there are two workers {:?}", worker.name)));
            }
            if !(0.0..=1.0).contains(&worker.needed) {
                return Err(invalid(format!("{:?} is sure from {}", worker.name, worker.needed))
                    .with_hint("it is between 0 and 1"));
            }
        }
        let router = Self { workers, chooser: None, may_leave: None, time: None, money: None };
        for worker in &router.workers {
            let mut at = worker.then.as_deref();
            let mut seen = HashSet::from([worker.name.as_str()]);
            while let Some(name) = at {
                if !seen.insert(name) {
                    return Err(invalid(format!("{:?} passes on to itself", worker.name)));
                }
                at = router.workers[router.find(name)?].then.as_deref();
            }
        }
        Ok(router)
    }

    /// Lets `choose` name the worker to begin with. Where it is less sure than `sure_from`, abstains, or fails, `undecided`
    /// is asked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a worker that there is not and for a confidence that is not between 0 and 1.
    pub fn choose_with(
        mut self,
        sure_from: f32,
        undecided: &str,
        choose: impl FnMut(&Q) -> Result<Choice> + 'a,
    ) -> Result<Self> {
        if !(0.0..=1.0).contains(&sure_from) {
            return Err(
                invalid(format!("the chooser is sure from {sure_from}")).with_hint("it is between 0 and 1")
            );
        }
        let undecided = self.find(undecided)?;
        self.chooser = Some((Box::new(choose), sure_from, undecided));
        Ok(self)
    }

    /// Lets `may_leave` decide which requests may reach [`remote`](Worker::remote) workers. Without it all may.
    #[must_use]
    pub fn may_leave(mut self, may_leave: impl FnMut(&Q) -> bool + 'a) -> Self {
        self.may_leave = Some(Box::new(may_leave));
        self
    }

    /// Gives each request so much time. Workers learn what is left of it and are not asked when it is less than they
    /// [need](Worker::needs_time).
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Lets no request cost more: a worker is not asked if the most that its answer may cost is more than what is left.
    #[must_use]
    pub fn money(mut self, most: f64) -> Self {
        self.money = Some(most);
        self
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Where no worker gave any answer: the error of the last that failed; [`ErrorKind::DeadlineExceeded`] or
    /// [`ErrorKind::InvalidArgument`] where none was asked.
    pub fn route(&mut self, request: &Q) -> Result<Routed<A>> {
        let started = Instant::now();
        let (mut at, mut reason, choosing) = self.begin(request);
        let mut steps: Vec<Step> = Vec::new();
        // The best answer that was not taken: the last, since workers pass on to better ones.
        let mut unsure: Option<(A, String, Option<f32>)> = None;
        let mut failure: Option<Error> = None;
        loop {
            let spent = steps.iter().fold(choosing, |sum, step| sum.plus(step.cost));
            let left = self.time.map(|time| time.saturating_sub(started.elapsed()));
            let worker = &mut self.workers[at];
            let refused =
                if worker.is_remote && self.may_leave.as_mut().is_some_and(|may_leave| !may_leave(request)) {
                    Some(StepResult::NotAllowed)
                } else if left.is_some_and(|left| left.is_zero() || left < worker.least_time) {
                    Some(StepResult::NoTime)
                } else if let (Some(most), Some(prices)) = (self.money, worker.prices)
                    && spent.money.unwrap_or(0.0) + prices.of(worker.most_usage) > most
                {
                    Some(StepResult::NoMoney)
                } else {
                    None
                };
            let name = worker.name.clone();
            let asked = Instant::now();
            let (result, usage) = match refused {
                Some(refused) => (refused, None),
                None => match (worker.answer)(request, Limits { time: left }) {
                    Ok(attempt) => {
                        let Attempt { answer, confidence, abstain, usage } = attempt;
                        let is_sure = !abstain
                            && (worker.needed == 0.0
                                || confidence.is_some_and(|found| found >= worker.needed));
                        let cost = cost(Some(usage), asked.elapsed(), worker.prices);
                        if is_sure {
                            let result = StepResult::Taken { confidence };
                            steps.push(Step { worker: name.clone(), reason, result, cost });
                            return Ok(Routed { answer, worker: name, confidence, is_sure, steps, choosing });
                        }
                        unsure = Some((answer, name.clone(), confidence));
                        (StepResult::Unsure { confidence, needed: worker.needed }, Some(usage))
                    }
                    Err(error) => {
                        let message = error.to_string();
                        failure = Some(error);
                        (StepResult::Failed { message }, Some(Usage::default()))
                    }
                },
            };
            let next = match result {
                StepResult::Unsure { .. } => Reason::Unsure { after: name.clone() },
                _ => Reason::Failed { after: name.clone() },
            };
            let cost = match usage {
                Some(usage) => cost(Some(usage), asked.elapsed(), worker.prices),
                None => Cost::default(),
            };
            let then = worker.then.clone();
            steps.push(Step { worker: name, reason, result, cost });
            match then {
                Some(then) => {
                    at = self.find(&then)?;
                    reason = next;
                }
                None => break,
            }
        }
        if let Some((answer, worker, confidence)) = unsure {
            return Ok(Routed { answer, worker, confidence, is_sure: false, steps, choosing });
        }
        Err(failure.unwrap_or_else(|| nobody(&steps)))
    }

    /// The worker to begin with.
    fn begin(&mut self, request: &Q) -> (usize, Reason, Cost) {
        let Some((choose, sure_from, undecided)) = &mut self.chooser else {
            return (0, Reason::First, Cost::default());
        };
        let started = Instant::now();
        let (sure_from, undecided) = (*sure_from, *undecided);
        match choose(request) {
            Ok(Choice { worker, confidence, abstain, usage }) => {
                let cost = cost(Some(usage), started.elapsed(), None);
                let is_sure =
                    !abstain && (sure_from == 0.0 || confidence.is_some_and(|found| found >= sure_from));
                if !is_sure {
                    return (undecided, Reason::Undecided { confidence }, cost);
                }
                match self.find(&worker) {
                    Ok(at) => (at, Reason::Chosen { confidence }, cost),
                    Err(error) => (undecided, Reason::ChooserFailed { message: error.to_string() }, cost),
                }
            }
            Err(error) => {
                let cost = cost(None, started.elapsed(), None);
                (undecided, Reason::ChooserFailed { message: error.to_string() }, cost)
            }
        }
    }

    fn find(&self, name: &str) -> Result<usize> {
        let found = self.workers.iter().position(|worker| worker.name == name);
        found.ok_or_else(|| invalid(format!("there is no worker {name:?}")))
    }
}

fn cost(usage: Option<Usage>, time: Duration, prices: Option<Prices>) -> Cost {
    let usage = usage.unwrap_or_default();
    Cost { usage, time, money: prices.map(|prices| prices.of(usage)) }
}

/// Why no worker was asked at all.
fn nobody(steps: &[Step]) -> Error {
    let no_time = steps.iter().any(|step| step.result == StepResult::NoTime);
    let (kind, message) = if no_time {
        (ErrorKind::DeadlineExceeded, "no time was left to ask a worker")
    } else {
        (
            ErrorKind::InvalidArgument,
            "no worker may be asked: the request may not leave the device, or costs too much",
        )
    };
    Error::new(kind, message)
}
