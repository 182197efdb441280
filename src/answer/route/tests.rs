//! Routing among workers that are closures.

use std::cell::RefCell;
use std::time::Duration;

use super::*;
use crate::error::{Error, ErrorKind, Result};

/// A worker that says its name with a confidence, for requests of at least this length.
fn worker(
    name: &'static str,
    confidence: impl Fn(&str) -> f32 + 'static,
) -> Worker<'static, String, &'static str> {
    Worker::new(name, move |request: &String, _| {
        let usage = Usage { prompt_tokens: 1000, generated_tokens: 10 };
        Ok(Attempt { answer: name, confidence: Some(confidence(request)), abstain: false, usage })
    })
}

fn failing(name: &'static str) -> Worker<'static, String, &'static str> {
    Worker::new(name, |_: &String, _| Err(Error::new(ErrorKind::Io, "the line is dead")))
}

fn route(router: &mut Router<'_, String, &'static str>, request: &str) -> Result<Routed<&'static str>> {
    router.route(&request.to_owned())
}

fn length(request: &str) -> f32 {
    1.0 - request.len() as f32 / 10.0
}

#[test]
fn small_then_large_by_confidence() {
    let prices = Prices { million_prompt_tokens: 3.0, request: 0.5, ..Prices::default() };
    let mut router = Router::new(vec![
        worker("small", length).sure_from(0.5).or_else("large"),
        worker("large", |_| 0.9).priced(prices, Usage::default()),
    ])
    .unwrap();
    let easy = route(&mut router, "abc").unwrap();
    assert_eq!(
        (easy.answer, easy.worker.as_str(), easy.is_sure, easy.confidence),
        ("small", "small", true, Some(0.7))
    );
    assert_eq!(easy.steps.len(), 1);
    assert_eq!((&easy.steps[0].reason, easy.cost().money), (&Reason::First, None));

    let hard = route(&mut router, "abcdefgh").unwrap();
    assert_eq!((hard.answer, hard.is_sure), ("large", true));
    assert_eq!(
        hard.steps[0].result,
        StepResult::Unsure { confidence: Some(length("abcdefgh")), needed: 0.5 }
    );
    assert_eq!(hard.steps[1].reason, Reason::Unsure { after: "small".to_owned() });
    assert_eq!(hard.steps[1].result, StepResult::Taken { confidence: Some(0.9) });
    let cost = hard.cost();
    assert_eq!(cost.usage, Usage { prompt_tokens: 2000, generated_tokens: 20 });
    assert!((cost.money.unwrap() - 0.503).abs() < 1e-12, "{cost:?}");
}

#[test]
fn nobody_sure_is_for_a_person() {
    let mut router = Router::new(vec![
        worker("small", |_| 0.1).sure_from(0.5).or_else("large"),
        worker("large", |_| 0.4).sure_from(0.5),
    ])
    .unwrap();
    let routed = route(&mut router, "x").unwrap();
    assert_eq!((routed.answer, routed.is_sure, routed.confidence), ("large", false, Some(0.4)));

    let abstaining = Worker::new("one", |_: &String, _| Ok(Attempt { abstain: true, ..Attempt::new("one") }));
    let mut router = Router::new(vec![abstaining]).unwrap();
    assert!(!route(&mut router, "x").unwrap().is_sure);
    let silent = Worker::new("one", |_: &String, _| Ok(Attempt::new("one"))).sure_from(0.5);
    let mut router = Router::new(vec![silent]).unwrap();
    assert!(!route(&mut router, "x").unwrap().is_sure, "an answer without a confidence is not sure");
}

#[test]
fn a_chooser_sends_requests_to_their_worker() {
    let choose = |request: &String| match request.as_str() {
        "broken" => Err(Error::new(ErrorKind::Io, "no model")),
        "unheard of" => Ok(Choice {
            worker: "nobody".into(),
            confidence: Some(0.9),
            abstain: false,
            usage: Usage::default(),
        }),
        request => Ok(Choice {
            worker: if request.ends_with('?') { "questions" } else { "orders" }.into(),
            confidence: Some(if request.len() < 4 { 0.2 } else { 0.8 }),
            abstain: request.starts_with('~'),
            usage: Usage { prompt_tokens: 5, generated_tokens: 0 },
        }),
    };
    let workers = vec![worker("orders", |_| 1.0), worker("questions", |_| 1.0), worker("person", |_| 1.0)];
    let mut router = Router::new(workers).unwrap().choose_with(0.5, "person", choose).unwrap();
    for (request, expected) in [
        ("two teas", "orders"),
        ("how much?", "questions"),
        ("hm?", "person"),
        ("~two teas", "person"),
        ("broken", "person"),
        ("unheard of", "person"),
    ] {
        assert_eq!(route(&mut router, request).unwrap().answer, expected, "{request}");
    }
    let routed = route(&mut router, "two teas").unwrap();
    assert_eq!(routed.steps[0].reason, Reason::Chosen { confidence: Some(0.8) });
    assert_eq!(routed.cost().usage.prompt_tokens, 1005);
    let undecided = route(&mut router, "hm?").unwrap();
    assert_eq!(undecided.steps[0].reason, Reason::Undecided { confidence: Some(0.2) });
    let failed = route(&mut router, "broken").unwrap();
    assert_eq!(failed.steps[0].reason, Reason::ChooserFailed { message: "no model".to_owned() });
}

#[test]
fn where_the_cloud_fails_the_device_answers() {
    let edge_and_cloud =
        || vec![worker("edge", |_| 0.3).sure_from(0.8).or_else("cloud"), failing("cloud").remote()];
    let mut router = Router::new(edge_and_cloud()).unwrap();
    let routed = route(&mut router, "x").unwrap();
    assert_eq!((routed.answer, routed.is_sure), ("edge", false));
    assert_eq!(routed.steps[1].result, StepResult::Failed { message: "the line is dead".to_owned() });

    let mut router = Router::new(edge_and_cloud()).unwrap().may_leave(|request| !request.contains("secret"));
    let routed = route(&mut router, "a secret").unwrap();
    assert_eq!((routed.answer, &routed.steps[1].result), ("edge", &StepResult::NotAllowed));
    assert_eq!(routed.steps[1].cost, Cost::default());

    let mut router =
        Router::new(vec![failing("edge").or_else("cloud"), worker("cloud", |_| 0.9).remote()]).unwrap();
    let routed = route(&mut router, "x").unwrap();
    assert_eq!(
        (routed.answer, &routed.steps[1].reason),
        ("cloud", &Reason::Failed { after: "edge".to_owned() })
    );

    let mut router = Router::new(vec![failing("edge")]).unwrap();
    let error = route(&mut router, "x").unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Io, "the line is dead"));
    let mut router = Router::new(vec![worker("cloud", |_| 1.0).remote()]).unwrap().may_leave(|_| false);
    assert_eq!(route(&mut router, "x").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn time_and_money_bound_what_is_asked() {
    let slow = Worker::new("slow", |_: &String, limits: Limits| {
        assert!(limits.time.unwrap() <= Duration::from_millis(300));
        std::thread::sleep(Duration::from_millis(60));
        Ok(Attempt { confidence: Some(0.1), ..Attempt::new("slow") })
    });
    let workers = vec![
        slow.sure_from(0.5).or_else("large"),
        worker("large", |_| 1.0).needs_time(Duration::from_millis(260)),
    ];
    let mut router = Router::new(workers).unwrap().time(Duration::from_millis(300));
    let routed = route(&mut router, "x").unwrap();
    assert_eq!((routed.answer, &routed.steps[1].result), ("slow", &StepResult::NoTime));
    assert!(routed.steps[0].cost.time >= Duration::from_millis(60));
    let mut router = Router::new(vec![worker("one", |_| 1.0)]).unwrap().time(Duration::ZERO);
    assert_eq!(route(&mut router, "x").unwrap_err().kind(), ErrorKind::DeadlineExceeded);

    let prices = Prices { million_prompt_tokens: 1000.0, ..Prices::default() };
    let most = Usage { prompt_tokens: 1000, generated_tokens: 0 };
    let workers = || {
        vec![
            worker("a", |_| 0.1).sure_from(0.5).priced(prices, most).or_else("b"),
            worker("b", |_| 1.0).priced(prices, most),
        ]
    };
    let mut router = Router::new(workers()).unwrap().money(2.0);
    assert_eq!(route(&mut router, "x").unwrap().answer, "b");
    let mut router = Router::new(workers()).unwrap().money(1.9);
    let routed = route(&mut router, "x").unwrap();
    assert_eq!((routed.answer, &routed.steps[1].result), ("a", &StepResult::NoMoney));
    assert_eq!(routed.cost().money, Some(1.0));
}

#[test]
fn one_model_can_be_asked_twice() {
    // Reasoning on demand: both workers use the same model, which a cell lends to one at a time.
    let model = RefCell::new(Vec::new());
    let ask = |reasoning: bool| {
        let model = &model;
        move |request: &String, _: Limits| {
            model.borrow_mut().push((request.clone(), reasoning));
            Ok(Attempt { confidence: Some(if reasoning { 0.9 } else { 0.4 }), ..Attempt::new(reasoning) })
        }
    };
    let mut router = Router::new(vec![
        Worker::new("direct", ask(false)).sure_from(0.5).or_else("reasoning"),
        Worker::new("reasoning", ask(true)),
    ])
    .unwrap();
    assert!(router.route(&"q".to_owned()).unwrap().answer);
    assert_eq!(model.borrow().len(), 2);
}

#[test]
fn bad_routes_are_refused() {
    let workers = |names: [(&'static str, &'static str); 2]| {
        names.map(|(name, then)| {
            let worker = worker(name, |_| 1.0);
            if then.is_empty() { worker } else { worker.or_else(then) }
        })
    };
    for (names, expected) in [
        ([("a", ""), ("a", "")], "two workers \"a\""),
        ([("a", "c"), ("b", "")], "no worker \"c\""),
        ([("a", "b"), ("b", "a")], "passes on to itself"),
        ([("a", "a"), ("b", "")], "passes on to itself"),
    ] {
        let error = Router::new(workers(names).into()).err().unwrap();
        assert!(error.message().contains(expected), "{error}");
    }
    assert!(Router::<String, &str>::new(Vec::new()).is_err());
    assert!(Router::new(vec![worker("a", |_| 1.0).sure_from(f32::NAN)]).is_err());
    let choose = |_: &String| Err(Error::new(ErrorKind::Io, ""));
    assert!(Router::new(vec![worker("a", |_| 1.0)]).unwrap().choose_with(0.5, "b", choose).is_err());
    assert!(Router::new(vec![worker("a", |_| 1.0)]).unwrap().choose_with(2.0, "a", choose).is_err());
}

#[test]
fn the_record_is_json() {
    let mut router =
        Router::new(vec![worker("a", |_| 0.25).sure_from(0.5).or_else("b"), failing("b")]).unwrap();
    let record = serde_json::to_value(route(&mut router, "x").unwrap()).unwrap();
    assert_eq!(record["steps"][0]["result"]["unsure"]["confidence"], 0.25);
    assert_eq!(record["steps"][1]["reason"]["unsure"]["after"], "a");
    assert_eq!(record["steps"][1]["result"]["failed"]["message"], "the line is dead");
    assert_eq!((record["worker"].as_str(), record["is_sure"].as_bool()), (Some("a"), Some(false)));
}
