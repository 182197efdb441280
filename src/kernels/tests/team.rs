use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::ErrorKind;
use crate::{ActivationLayout, BlockActivations, Team, TeamOptions};

const TEAMS: [usize; 4] = [1, 2, 3, 16];

fn threads(threads: usize) -> TeamOptions {
    TeamOptions { threads: Some(threads), ..TeamOptions::default() }
}

fn team_of(count: usize) -> Team {
    Team::new(&threads(count)).unwrap()
}

#[test]
fn each_chunk_runs_once() {
    for threads in TEAMS {
        let team = team_of(threads);
        for _ in 0..20 {
            team.enter(|scope| {
                for chunks in [0, 1, 2, 3, 7, 64, 1000] {
                    let counts: Vec<_> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                    scope.run(chunks, |chunk, worker| {
                        assert!(worker < threads);
                        counts[chunk].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            });
        }
    }
}

#[test]
fn thousands_of_small_forks_and_regions_pass() {
    for threads in [2, 5] {
        let team = team_of(threads);
        let mut sum = 0;
        for region in 0..300 {
            sum += team.enter(|scope| {
                let total = AtomicUsize::new(0);
                for fork in 0..30 {
                    // A stack value that is gone after the fork.
                    let add = fork + region;
                    scope.run(5, |chunk, _| {
                        total.fetch_add(add + chunk, Ordering::Relaxed);
                    });
                }
                total.into_inner()
            });
        }
        let expected: usize =
            (0..300).map(|region| (0..30).map(|fork| 5 * (fork + region) + 10).sum::<usize>()).sum();
        assert_eq!(sum, expected);
    }
}

#[test]
fn workers_take_part_after_they_have_slept() {
    let team = team_of(2);
    team.enter(|scope| {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            let workers: Vec<_> = (0..2).map(|_| AtomicUsize::new(0)).collect();
            scope.run(40, |_, worker| {
                workers[worker].fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            });
            assert!(workers.iter().all(|chunks| chunks.load(Ordering::Relaxed) > 0), "{workers:?}");
        }
    });
}

#[test]
fn a_panic_comes_out_after_all_chunks_and_the_team_lives_on() {
    for threads in TEAMS {
        let team = team_of(threads);
        for bad in [0, 3, 9] {
            let ran = AtomicUsize::new(0);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                team.enter(|scope| {
                    scope.run(10, |chunk, _| {
                        ran.fetch_add(1, Ordering::Relaxed);
                        if chunk == bad {
                            panic!("chunk {chunk}");
                        }
                    });
                });
            }));
            let message = *outcome.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("chunk {bad}"));
            if threads > 1 {
                assert_eq!(ran.into_inner(), 10);
            }
        }
        let done = AtomicUsize::new(0);
        team.enter(|scope| {
            scope.run(10, |_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!(done.into_inner(), 10);
    }
}

#[test]
fn a_fork_goes_on_after_a_caught_panic_in_the_same_region() {
    let team = team_of(3);
    team.enter(|scope| {
        for _ in 0..50 {
            let outcome = catch_unwind(AssertUnwindSafe(|| scope.run(8, |_, _| panic!("all"))));
            assert!(outcome.is_err());
            let done = AtomicUsize::new(0);
            scope.run(8, |_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 8);
        }
    });
}

#[test]
fn threads_may_share_a_team() {
    let team = team_of(3);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..50 {
                    let total = AtomicUsize::new(0);
                    team.enter(|scope| {
                        for _ in 0..10 {
                            scope.run(6, |chunk, _| {
                                total.fetch_add(chunk, Ordering::Relaxed);
                            });
                        }
                    });
                    assert_eq!(total.into_inner(), 150);
                }
            });
        }
    });
}

#[test]
fn columns_and_rows_are_disjoint_and_complete() {
    for threads in TEAMS {
        let team = team_of(threads);
        team.enter(|scope| {
            let mut table = vec![0.0; 3 * 600];
            scope.run_columns(&mut table, 600, 64, |range, view, _| {
                assert_eq!((view.tokens(), view.columns()), (3, range.len()));
                for token in 0..3 {
                    for (value, column) in view.row_mut(token).iter_mut().zip(range.clone()) {
                        *value += (token * 600 + column) as f32;
                    }
                }
            });
            assert!(table.iter().enumerate().all(|(index, &value)| value == index as f32));
            scope.run_rows(&mut table, 600, 2, |range, values, _| {
                assert_eq!(values.len(), 600 * range.len());
                values.iter_mut().for_each(|value| *value -= (range.start * 600) as f32);
            });
            assert_eq!((table[599], table[600], table[1200]), (599.0, 600.0, 0.0));

            let mut activations = BlockActivations::new();
            activations.reset(3, 600, ActivationLayout::Split);
            let done = [const { AtomicUsize::new(0) }; 3];
            scope.quantise_each(&mut activations, |token, to| {
                assert_eq!(to.columns(), 600);
                done[token].fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.map(AtomicUsize::into_inner), [1; 3]);
        });
    }
}

#[test]
fn impossible_teams_are_refused() {
    assert_eq!(Team::new(&threads(0)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Team::new(&threads(5000)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(Team::new(&TeamOptions::default()).unwrap().threads() >= 1);
}
