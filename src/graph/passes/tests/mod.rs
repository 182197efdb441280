//! Every rewrite before and after: the programs stand in the rewrites' own files.

mod builder;
mod describe;

pub(super) use builder::{Builder, columns};
use describe::describe;

use super::{PASSES, Rewrite};
use crate::engine::Accuracy;
use crate::engine::cpu::test_run::all_logits;
use crate::graph::{Operand, Program};

type Cases = fn() -> Vec<Case>;

/// The programs of each rewrite in [`PASSES`].
static CASES: &[(&str, Cases)] = &[
    ("bias", super::bias::tests::cases),
    ("gate_up", super::gate_up::tests::cases),
    ("gated", super::gated::tests::cases),
    ("norm", super::norm::tests::cases),
    ("residual", super::residual::tests::cases),
    ("rotation", super::rotation::tests::cases),
    ("silu", super::silu::tests::cases),
    ("softcap", super::softcap::tests::cases),
    ("unused", super::unused::tests::cases),
];

/// A program, and what a rewrite must make of it.
pub(super) struct Case {
    name: &'static str,
    before: Program,
    /// As [`describe`] writes it; `None`: the rewrite must leave the program alone.
    after: Option<Vec<&'static str>>,
}

/// A program that is to be rewritten. `build` adds the steps and returns the logits.
pub(super) fn becomes(
    name: &'static str,
    build: impl FnOnce(&mut Builder) -> Operand,
    after: &[&'static str],
) -> Case {
    Case { name, before: Builder::program(build), after: Some(after.to_vec()) }
}

/// A program that looks like one to be rewritten and is not.
pub(super) fn stays(name: &'static str, build: impl FnOnce(&mut Builder) -> Operand) -> Case {
    Case { name, before: Builder::program(build), after: None }
}

/// Calls `check` with every rewrite and each of its cases.
fn for_each_case(mut check: impl FnMut(&str, Rewrite, &Case)) {
    for (name, cases) in CASES {
        let (_, pass) = PASSES.iter().find(|(pass, _)| pass == name).unwrap();
        cases().iter().for_each(|case| check(name, *pass, case));
    }
}

#[test]
fn every_rewrite_has_programs_that_it_changes_and_that_it_leaves_alone() {
    let mut passes: Vec<&str> = PASSES.iter().map(|(name, _)| *name).collect();
    passes.sort_unstable();
    let tested: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(passes, tested, "each line of PASSES needs one in CASES");
    for (name, cases) in CASES {
        let cases = cases();
        assert!(cases.iter().any(|case| case.after.is_some()), "{name} has no program that it changes");
        assert!(cases.iter().any(|case| case.after.is_none()), "{name} has no program that it leaves alone");
    }
}

#[test]
fn rewrites_change_their_pattern_and_nothing_that_resembles_it() {
    let mut failures = Vec::new();
    for_each_case(|pass_name, pass, case| {
        let mut program = case.before.clone();
        pass(&mut program);
        let (before, found) = (describe(&case.before), describe(&program));
        let expected = match &case.after {
            Some(after) => after.iter().map(ToString::to_string).collect(),
            None => before.clone(),
        };
        if found != expected {
            failures.push(format!("{pass_name}, {}: {found:#?} should be {expected:#?}", case.name));
        } else if case.after.is_some() && found == before {
            failures.push(format!("{pass_name}, {}: there is nothing to rewrite", case.name));
        }
    });
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_rewritten_program_gives_the_same_logits() {
    for_each_case(|pass_name, pass, case| {
        let mut program = case.before.clone();
        pass(&mut program);
        let logits = |program| all_logits(program, Accuracy::Strict, &[0, 2, 1]);
        let (expected, found) = (logits(case.before.clone()), logits(program));
        assert_eq!(expected.len(), 3);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            let difference = (found - expected).abs();
            assert!(difference < 1e-5, "{pass_name}: {}: {found} for {expected}", case.name);
        }
    });
}
