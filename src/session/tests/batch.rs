//! Several sessions decoded together.

use super::super::{CancelToken, FinishReason, Prompt, generate_batch};
use super::*;
use crate::ErrorKind;
use crate::engine::Engine;
use crate::sampling::SamplingOptions;

fn sessions(engine: &Arc<FakeEngine>, count: usize) -> Vec<Session> {
    let make = || {
        let options = SessionOptions { prefill_chunk: 8, ..SessionOptions::default() };
        Session::new(Arc::clone(engine) as Arc<dyn Engine>, text(), options).unwrap()
    };
    (0..count).map(|_| make()).collect()
}

/// Runs the prompts together.
fn together(sessions: &mut [Session], requests: &[(Prompt, GenerateOptions)]) -> Vec<crate::Result<Answer>> {
    let requests = sessions
        .iter_mut()
        .zip(requests)
        .map(|(session, (prompt, options))| (session, prompt.clone(), options.clone()));
    generate_batch(requests.collect())
}

fn requests() -> Vec<(Prompt, GenerateOptions)> {
    let hot = SamplingOptions { temperature: 1.0, top_p: 0.9, seed: Some(4), ..SamplingOptions::default() };
    vec![
        (tokens(20).into(), greedy(6)),
        (
            "some text".into(),
            GenerateOptions { sampling: Some(hot), log_probabilities: Some(2), ..greedy(9) },
        ),
        (tokens(3).into(), greedy(1)),
        (tokens(20).into(), GenerateOptions { stop: vec!["a".to_owned(), "e".to_owned()], ..greedy(40) }),
        (tokens(9).into(), greedy(0)),
    ]
}

#[test]
fn each_answer_is_that_of_the_session_alone() {
    let engine = Arc::new(FakeEngine { switch: 22, ..FakeEngine::default() });
    let requests = requests();
    let mut alone = sessions(&engine, requests.len());
    let alone: Vec<Answer> = alone
        .iter_mut()
        .zip(&requests)
        .map(|(session, (prompt, options))| session.generate(prompt.clone(), options).unwrap())
        .collect();
    engine.take_calls();
    let mut batch = sessions(&engine, requests.len());
    let answers = together(&mut batch, &requests);
    for (answer, alone) in answers.iter().zip(&alone) {
        let answer = answer.as_ref().unwrap();
        assert_eq!((&answer.text, &answer.tokens), (&alone.text, &alone.tokens));
        assert_eq!(answer.log_probabilities, alone.log_probabilities);
        assert_eq!(answer.outcome.reason, alone.outcome.reason);
        assert_eq!(answer.outcome.statistics.decode_steps, alone.outcome.statistics.decode_steps);
    }
    assert!(engine.take_calls().iter().any(|call| call.tokens == [1, 1, 1]));
    for (session, (answer, alone)) in batch.iter_mut().zip(answers.iter().zip(&alone)) {
        assert_eq!(session.len(), answer.as_ref().unwrap().outcome.statistics.cache_bytes as usize / 8);
        assert_eq!(session.statistics().generated_tokens, alone.tokens.len());
        assert_answers(session, &engine, &tokens(5), 3);
    }
}

#[test]
fn decoding_takes_one_forward_a_step() {
    let engine = Arc::new(FakeEngine::default());
    let mut sessions = sessions(&engine, 4);
    let requests = vec![(Prompt::from(tokens(5)), greedy(7)); 4];
    for answer in together(&mut sessions, &requests) {
        assert_eq!(answer.unwrap().tokens, expected(&engine, &tokens(5), 7));
    }
    let calls = engine.take_calls();
    assert_eq!(calls.len(), 4 + 6, "one prefill each, then six steps");
    assert!(calls[4..].iter().all(|call| call.tokens == [1; 4] && call.rows == [1; 4]));
}

#[test]
fn large_batches_are_split_and_engines_kept_apart() {
    let small = Arc::new(FakeEngine { maximum_batch: 2, ..FakeEngine::default() });
    let other = Arc::new(FakeEngine { vocabulary: 280, ..FakeEngine::default() });
    let mut sessions: Vec<Session> =
        sessions(&small, 3).into_iter().chain(self::sessions(&other, 2)).collect();
    let requests = vec![(Prompt::from(tokens(4)), greedy(5)); 5];
    for (index, answer) in together(&mut sessions, &requests).into_iter().enumerate() {
        let engine = if index < 3 { &small } else { &other };
        assert_eq!(answer.unwrap().tokens, expected(engine, &tokens(4), 5));
    }
    assert!(other.take_calls().iter().any(|call| call.tokens == [1, 1]));
}

#[test]
fn one_failure_stays_with_its_request() {
    let engine = Arc::new(FakeEngine::default());
    let mut sessions = sessions(&engine, 3);
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let requests = vec![
        (Prompt::from(tokens(4)), greedy(5)),
        (Prompt::from(""), greedy(5)),
        (Prompt::from(tokens(4)), GenerateOptions { cancel: Some(cancelled), ..greedy(5) }),
    ];
    let answers = together(&mut sessions, &requests);
    assert_eq!(answers[0].as_ref().unwrap().tokens, expected(&engine, &tokens(4), 5));
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(answers[2].as_ref().unwrap().outcome.reason, FinishReason::Cancelled);
}

#[test]
fn a_failed_joint_pass_is_made_up_for_one_by_one() {
    // Two prefills, then the third call is the first joint one; the fourth is the first session alone.
    for (failing, errors) in [(vec![3], [false, false]), (vec![3, 4], [true, false])] {
        let engine = Arc::new(FakeEngine { failing, ..FakeEngine::default() });
        let mut sessions = sessions(&engine, 2);
        let requests = vec![(Prompt::from(tokens(4)), greedy(5)); 2];
        let answers = together(&mut sessions, &requests);
        for (answer, failed) in answers.iter().zip(errors) {
            match answer {
                Ok(answer) => assert_eq!(answer.tokens, expected(&engine, &tokens(4), 5)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io),
            }
            assert_eq!(answer.is_err(), failed);
        }
    }
}

#[test]
fn damaged_logits_fail_every_request_that_got_them() {
    let engine = Arc::new(FakeEngine { damaged: vec![4], ..FakeEngine::default() });
    let mut sessions = sessions(&engine, 2);
    let requests = vec![(Prompt::from(tokens(4)), greedy(5)); 2];
    for answer in together(&mut sessions, &requests) {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::InvalidModel);
    }
    for session in &mut sessions {
        assert_answers(session, &engine, &tokens(4), 5);
    }
}

#[test]
fn no_requests_no_answers() {
    assert!(generate_batch(Vec::new()).is_empty());
}
