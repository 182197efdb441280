//! Single passes of the engine: which logits, how tokens are cut into passes, what is refused.

use edgeslm::ErrorKind;
use edgeslm::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use ndarray::Array2;

use super::{load, tokens};

fn feed(
    engine: &dyn Engine,
    cache: &mut dyn KvCache,
    tokens: &[u32],
    parents: Option<&[Option<usize>]>,
    logits: LogitsAt<'_>,
    vocabulary: Option<&[u32]>,
) -> edgeslm::Result<Array2<f32>> {
    let total = cache.len() + tokens.len();
    engine.prepare(cache, total)?;
    let input = SequenceInput { cache, tokens, parents, logits, vocabulary };
    Ok(engine.forward(&mut [input], &RunControl::default())?.remove(0))
}

fn assert_near(found: &Array2<f32>, expected: &Array2<f32>, what: &str) {
    assert_eq!(found.dim(), expected.dim(), "{what}");
    let size = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 0.02 * size, "{what}: {a} and {b}");
    }
}

#[test]
fn the_logits_that_are_asked_for() {
    let Some(model) = load("llama-3.2-1b-int4") else { return };
    let engine = model.engine().as_ref();
    let all_tokens = tokens(30, 1);
    let all = feed(engine, engine.new_cache().as_mut(), &all_tokens, None, LogitsAt::All, None).unwrap();
    assert_eq!(all.dim(), (30, engine.vocabulary_size()));
    let fed = |logits, vocabulary| {
        feed(engine, engine.new_cache().as_mut(), &all_tokens, None, logits, vocabulary).unwrap()
    };
    assert_eq!(fed(LogitsAt::None, None).dim(), (0, engine.vocabulary_size()));
    assert_eq!(fed(LogitsAt::Last, None).row(0), all.row(29));
    let picked = fed(LogitsAt::Positions(&[7, 3, 7]), Some(&[5, 400, 2]));
    for (row, position) in [7, 3, 7].into_iter().enumerate() {
        for (column, entry) in [5, 400, 2].into_iter().enumerate() {
            assert_eq!(picked[[row, column]], all[[position, entry]]);
        }
    }
}

#[test]
fn a_tree_is_scored_as_its_branches() {
    let Some(model) = load("phi-4-mini-int4") else { return };
    let engine = model.engine().as_ref();
    let prompt = tokens(20, 1);
    let mut cache = engine.new_cache();
    engine.prepare(cache.as_mut(), 40).unwrap();
    feed(engine, cache.as_mut(), &prompt, None, LogitsAt::None, None).unwrap();
    let tree = [30, 31, 32, 33, 34, 35, 36];
    let parents = [None, Some(0), Some(1), Some(0), Some(3), Some(3), None];
    let found = feed(engine, cache.as_mut(), &tree, Some(&parents), LogitsAt::All, None).unwrap();
    assert_eq!(cache.len(), prompt.len());
    for branch in [vec![0, 1, 2], vec![0, 3, 4], vec![0, 3, 5], vec![6]] {
        let mut sequence = prompt.clone();
        sequence.extend(branch.iter().map(|index| tree[*index]));
        let alone = feed(engine, engine.new_cache().as_mut(), &sequence, None, LogitsAt::Last, None).unwrap();
        let last = *branch.last().unwrap();
        let row = found.slice(ndarray::s![last..=last, ..]).to_owned();
        assert_near(&row, &alone, &format!("branch {branch:?}"));
    }
    // What was in the cache still is.
    let after = feed(engine, cache.as_mut(), &[40], None, LogitsAt::Last, None).unwrap();
    let mut sequence = prompt.clone();
    sequence.push(40);
    let alone = feed(engine, engine.new_cache().as_mut(), &sequence, None, LogitsAt::Last, None).unwrap();
    assert_near(&after, &alone, "after the tree");
}

#[test]
fn impossible_requests_are_refused_and_change_nothing() {
    let Some(model) = load("llama-3.2-1b-int4") else { return };
    let other = load("llama-3.2-1b-int8").unwrap();
    let engine = model.engine().as_ref();
    let mut cache = engine.new_cache();
    let prompt = tokens(10, 1);
    feed(engine, cache.as_mut(), &prompt, None, LogitsAt::None, None).unwrap();
    let vocabulary = engine.vocabulary_size() as u32;
    let invalid = |result: edgeslm::Result<Array2<f32>>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
    };
    invalid(feed(engine, cache.as_mut(), &[], None, LogitsAt::None, None));
    invalid(feed(engine, cache.as_mut(), &[vocabulary], None, LogitsAt::Last, None));
    invalid(feed(engine, cache.as_mut(), &[1], None, LogitsAt::Positions(&[1]), None));
    invalid(feed(engine, cache.as_mut(), &[1], None, LogitsAt::Last, Some(&[vocabulary])));
    invalid(feed(engine, cache.as_mut(), &[1, 2], Some(&[Some(1), None]), LogitsAt::All, None));
    invalid(feed(engine, cache.as_mut(), &[1, 2], Some(&[None]), LogitsAt::All, None));
    invalid(feed(engine, other.engine().new_cache().as_mut(), &[1], None, LogitsAt::Last, None));
    let too_many = vec![1; engine.maximum_batch_tokens() + 1];
    if too_many.len() + 10 <= engine.context_length() {
        invalid(feed(engine, cache.as_mut(), &too_many, None, LogitsAt::Last, None));
    }
    let error = engine.prepare(cache.as_mut(), engine.context_length() + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    assert_eq!(cache.len(), 10);
    let mut unprepared = engine.new_cache();
    let input = SequenceInput {
        cache: unprepared.as_mut(),
        tokens: &[1],
        parents: None,
        logits: LogitsAt::Last,
        vocabulary: None,
    };
    invalid(engine.forward(&mut [input], &RunControl::default()).map(|mut all| all.remove(0)));
}
