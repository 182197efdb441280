//! What the system says of the threads of a team, read back from `/proc`.

#![cfg(target_os = "linux")]

use std::sync::{Barrier, Mutex};

use crate::{ErrorKind, Team, TeamOptions, ThreadPriority, schedule_this_thread};

/// Processors that the calling thread may run on, and its nice level.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Schedule {
    processors: Vec<usize>,
    nice: i64,
}

fn schedule() -> Schedule {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        first.parse::<usize>().unwrap()..=last.parse().unwrap()
    };
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name in brackets may hold anything; the nice level is the 17th field after it.
    let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap();
    Schedule { processors: list.trim().split(',').flat_map(range).collect(), nice: nice.parse().unwrap() }
}

/// What each thread of the team says, the caller's first.
fn schedules(team: &Team) -> Vec<Schedule> {
    let (all_there, told) = (Barrier::new(team.threads()), Mutex::new(Vec::new()));
    team.enter(|scope| {
        // Each thread waits in its chunk for the others, and so has one.
        scope.run(team.threads(), |_, worker| {
            all_there.wait();
            told.lock().unwrap().push((worker, schedule()));
        });
    });
    let mut told = told.into_inner().unwrap();
    told.sort_by_key(|(worker, _)| *worker);
    told.into_iter().map(|(_, schedule)| schedule).collect()
}

fn options(processors: &[usize], threads: Option<usize>) -> TeamOptions {
    TeamOptions { threads, processors: Some(processors.to_vec()), ..TeamOptions::default() }
}

#[test]
fn workers_run_on_the_chosen_processors_and_the_caller_where_it_did() {
    let before = schedule();
    let (first, last) = (before.processors[0], *before.processors.last().unwrap());
    for chosen in [vec![first], vec![last], before.processors.clone()] {
        let told = schedules(&Team::new(&options(&chosen, Some(3))).unwrap());
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], before);
        for worker in &told[1..] {
            assert_eq!((&worker.processors, worker.nice), (&chosen, before.nice));
        }
        assert_eq!(schedule(), before);
    }
}

#[test]
fn workers_have_the_chosen_priority_and_the_caller_its_own() {
    let before = schedule();
    for (priority, nice) in [
        (ThreadPriority::Normal, before.nice),
        (ThreadPriority::Low, before.nice.max(10)),
        (ThreadPriority::High, before.nice.min(-5)),
    ] {
        let team = Team::new(&TeamOptions { threads: Some(2), priority, ..TeamOptions::default() });
        let team = match team {
            Err(error) if priority == ThreadPriority::High => {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains("high priority"), "{error}");
                println!("skipped: {error}");
                continue;
            }
            team => team.unwrap(),
        };
        let told = schedules(&team);
        assert_eq!(told[0], before);
        assert_eq!((&told[1].processors, told[1].nice), (&before.processors, nice), "{priority:?}");
        assert_eq!(schedule(), before);
    }
}

#[test]
fn a_team_is_as_large_as_its_processors() {
    let all = schedule().processors;
    let threads = |processors: &[usize]| options(processors, None).count().unwrap();
    assert_eq!(threads(&all[..1]), 1);
    assert_eq!(threads(&[all[0], all[0]]), 1);
    let most = threads(&all);
    assert_eq!(most, Team::available_threads().min(all.len()));
    assert_eq!(options(&all[..1], Some(4)).count().unwrap(), 4);
    // Also where the caller itself is held to fewer.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            schedule_this_thread(Some(&all[..1]), ThreadPriority::Normal).unwrap();
            assert_eq!(Team::available_threads(), 1);
            assert_eq!(threads(&all), most);
        });
    });
}

#[test]
fn a_thread_of_the_host_can_be_scheduled_alike() {
    let before = schedule();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let last = *before.processors.last().unwrap();
            for _ in 0..2 {
                schedule_this_thread(Some(&[last]), ThreadPriority::Low).unwrap();
                assert_eq!(schedule(), Schedule { processors: vec![last], nice: before.nice.max(10) });
            }
        });
    });
    assert_eq!(schedule(), before);
}

#[test]
fn what_is_refused_leaves_a_thread_as_it_was() {
    let all = schedule().processors;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let last = *all.last().unwrap();
            schedule_this_thread(Some(&[last]), ThreadPriority::Normal).unwrap();
            let before = schedule();
            for processors in [&[8191][..], &[]] {
                schedule_this_thread(Some(processors), ThreadPriority::Low).unwrap_err();
                assert_eq!(schedule(), before);
            }
            if let Err(error) = schedule_this_thread(Some(&all[..1]), ThreadPriority::High) {
                assert_eq!((error.kind(), schedule()), (ErrorKind::Unsupported, before));
            }
        });
    });
}

#[test]
fn processors_that_cannot_be_used_are_refused_by_number() {
    let present = schedule().processors[0];
    for (processors, named) in [
        (vec![], "empty list"),
        (vec![8191], "processor 8191"),
        (vec![present, 8190, 8191], "processors 8190-8191"),
        (vec![usize::MAX], &format!("processor {}", usize::MAX)),
    ] {
        for threads in [None, Some(1), Some(2)] {
            let error = Team::new(&options(&processors, threads)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(named), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }
}
