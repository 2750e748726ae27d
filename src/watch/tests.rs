//! What these tests would catch: a condition that fires at the wrong time, not at all, or too
//! often. The clock is a number.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use dumpwright_target::{Fault, FaultKind, Gauge, Usage, UsageNeed};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: [u64; 0] = [];

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn no_cool_down() -> Rules {
    Rules::new().cool_down(Duration::ZERO)
}

fn threads(count: u64) -> Measurement {
    Measurement {
        usage: Usage {
            threads: Some(count),
            ..Usage::default()
        },
        heartbeat: None,
    }
}

fn resident(mebibytes: u64) -> Measurement {
    Measurement {
        usage: Usage {
            resident: Some(mebibytes << 20),
            ..Usage::default()
        },
        heartbeat: None,
    }
}

fn cpu(total: Duration) -> Measurement {
    Measurement {
        usage: Usage {
            cpu: Some(total),
            ..Usage::default()
        },
        heartbeat: None,
    }
}

/// The seconds at which the rules fire, for one measurement each second.
fn fired(rules: Rules, measured: impl IntoIterator<Item = Measurement>) -> Vec<u64> {
    let mut monitor = Monitor::new(rules, Duration::ZERO);
    let steps = measured.into_iter().enumerate();
    let times = steps.filter_map(|(at, measured)| {
        let at = at as u64;
        monitor.step(seconds(at), &measured).map(|_| at)
    });
    times.collect()
}

/// Measurements of a process that uses this percentage of a processor in each second.
fn busy(percentages: &[u64]) -> Vec<Measurement> {
    let mut total = Duration::ZERO;
    let first = std::iter::once(cpu(total));
    let mut all: Vec<_> = first.collect();
    all.extend(percentages.iter().map(|percent| {
        total += Duration::from_millis(percent * 10);
        cpu(total)
    }));
    all
}

#[test]
fn an_amount_fires_once_when_it_reaches_a_limit_and_again_after_it_was_below() {
    let rules = || no_cool_down().at_least(Metric::Threads, [10]);
    assert_eq!(fired(rules(), [9, 9, 9, 9].map(threads)), NEVER);
    assert_eq!(fired(rules(), [9, 10, 11, 10, 9, 9, 10, 12].map(threads)), [1, 6]);
    let rules = no_cool_down().below(Metric::Threads, [10]);
    assert_eq!(fired(rules, [11, 10, 9, 8, 10, 9].map(threads)), [2, 5]);
}

#[test]
fn each_limit_of_a_list_fires_once_on_the_way_up() {
    let rules = || no_cool_down().at_least(Metric::Resident, [300 << 20, 100 << 20, 200 << 20]);
    assert_eq!(
        fired(rules(), [99, 100, 150, 200, 250, 299].map(resident)),
        [1, 3]
    );
    // Two limits at once are one dump.
    assert_eq!(fired(rules(), [0, 250, 250, 300, 300].map(resident)), [1, 3]);
    // Back below the second one.
    assert_eq!(fired(rules(), [250, 150, 250].map(resident)), [0, 2]);
}

#[test]
fn the_reason_names_the_highest_limit() {
    let rules = no_cool_down().at_least(Metric::Resident, [100 << 20, 200 << 20]);
    let mut monitor = Monitor::new(rules, Duration::ZERO);
    let reason = monitor.step(SECOND, &resident(250)).expect("it is above both");
    assert_eq!(reason.to_string(), "resident memory 250 MiB (limit 200 MiB)");
    let Reason::Conditions(findings) = reason else {
        panic!("no schedule")
    };
    let [finding] = &findings[..] else {
        panic!("one condition")
    };
    assert_eq!((finding.metric, finding.limit), (Metric::Resident, 200 << 20));
}

#[test]
fn cpu_time_is_measured_between_two_steps_and_fires_as_long_as_it_lasts() {
    let rules = || no_cool_down().at_least(Metric::CpuPercent, [80]);
    assert_eq!(fired(rules(), busy(&[79, 79, 79])), NEVER);
    assert_eq!(fired(rules(), busy(&[10, 80, 200, 10, 90])), [2, 3, 5]);
    let rules = || no_cool_down().below(Metric::CpuPercent, [5]);
    assert_eq!(fired(rules(), busy(&[5, 100])), NEVER);
    assert_eq!(fired(rules(), busy(&[50, 4, 50])), [2]);
}

#[test]
fn a_condition_has_to_last() {
    let rules = || {
        no_cool_down()
            .at_least(Metric::CpuPercent, [80])
            .lasting(seconds(3))
    };
    // The time before the first of these measurements counts, because it was busy then.
    assert_eq!(fired(rules(), busy(&[90, 90, 10, 90, 90, 10])), NEVER);
    assert_eq!(fired(rules(), busy(&[10, 90, 90, 90, 10])), [4]);
    let rules = || no_cool_down().at_least(Metric::Threads, [5]).lasting(seconds(2));
    assert_eq!(fired(rules(), [5, 5, 4, 5, 5, 4].map(threads)), NEVER);
    assert_eq!(fired(rules(), [4, 5, 5, 5, 5].map(threads)), [3]);
    // Each limit has to last by itself.
    let rules = no_cool_down()
        .at_least(Metric::Threads, [5, 9])
        .lasting(seconds(2));
    assert_eq!(fired(rules, [5, 5, 9, 9, 9].map(threads)), [2, 4]);
}

#[test]
fn one_condition_is_enough_unless_all_are_required() {
    let both = |threads, mebibytes: u64| Measurement {
        usage: Usage {
            threads: Some(threads),
            resident: Some(mebibytes << 20),
            ..Usage::default()
        },
        heartbeat: None,
    };
    let rules = || {
        no_cool_down()
            .at_least(Metric::Threads, [10])
            .at_least(Metric::Resident, [100 << 20])
    };
    let course = [
        both(9, 99),
        both(10, 50),
        both(9, 100),
        both(10, 100),
        both(10, 100),
    ];
    assert_eq!(fired(rules(), course), [1, 2, 3]);
    assert_eq!(fired(rules().all(true), course), [3]);
    assert_eq!(
        fired(rules().all(true).lasting(SECOND), course),
        [4],
        "both have lasted"
    );
    let mut monitor = Monitor::new(rules().all(true), Duration::ZERO);
    let reason = monitor.step(SECOND, &both(12, 100)).expect("both hold");
    assert_eq!(
        reason.to_string(),
        "12 threads (limit 10) and resident memory 100 MiB (limit 100 MiB)"
    );
}

#[test]
fn a_cool_down_and_a_number_limit_the_dumps() {
    let always = || vec![threads(1); 10];
    let rules = || Rules::new().below(Metric::CpuPercent, [1]);
    let idle = || busy(&[0; 9]);
    assert_eq!(fired(rules().cool_down(seconds(4)), idle()), [1, 5, 9]);
    assert_eq!(fired(rules().cool_down(SECOND).per_process(2), idle()), [1, 2]);
    // A limit that is reached during the cool-down is not forgotten.
    let rules = Rules::new()
        .at_least(Metric::Threads, [1, 2])
        .cool_down(seconds(3));
    assert_eq!(fired(rules, [1, 2, 2, 2, 2].map(threads)), [0, 3]);
    assert_eq!(fired(Rules::new(), always()), NEVER);
    assert!(Rules::new().is_empty());
}

#[test]
fn after_a_dump_the_cool_down_begins_and_cpu_time_is_measured_anew() {
    let rules = Rules::new().below(Metric::CpuPercent, [10]).cool_down(seconds(2));
    let mut monitor = Monitor::new(rules, Duration::ZERO);
    let idle = cpu(Duration::ZERO);
    assert!(monitor.step(seconds(0), &idle).is_none());
    assert!(monitor.step(seconds(1), &idle).is_some());
    // The dump has stopped the process for 9 seconds. Then it works.
    monitor.resume(seconds(10));
    assert!(monitor.step(seconds(10), &idle).is_none());
    assert!(monitor.step(seconds(12), &cpu(seconds(2))).is_none());
    assert!(monitor.step(seconds(13), &cpu(seconds(2))).is_some());
}

#[test]
fn a_schedule_fires_at_its_intervals_and_does_not_make_up_for_missed_ones() {
    let rules = || Rules::new().every(seconds(3));
    assert_eq!(fired(rules(), vec![threads(1); 8]), [3, 6]);
    let mut monitor = Monitor::new(rules(), seconds(100));
    assert!(monitor.step(seconds(102), &threads(1)).is_none());
    let reason = monitor.step(seconds(110), &threads(1)).expect("it is due");
    assert_eq!(reason, Reason::Schedule(seconds(3)));
    assert!(monitor.step(seconds(111), &threads(1)).is_none());
    assert!(monitor.step(seconds(112), &threads(1)).is_some());
}

#[test]
fn a_heartbeat_that_stops() {
    let beat = |at: Option<u64>| Measurement {
        usage: Usage::default(),
        heartbeat: at.map(|at| SystemTime::UNIX_EPOCH + seconds(at)),
    };
    let rules = || no_cool_down().heartbeat("/run/beat.%p", seconds(3));
    // It beats every two seconds, by a clock that is wrong.
    let beats = [70, 70, 72, 72, 74, 74, 76];
    assert_eq!(fired(rules(), beats.map(|at| beat(Some(at)))), NEVER);
    let stops = [70, 71, 71, 71, 71, 71];
    assert_eq!(fired(rules(), stops.map(|at| beat(Some(at)))), [4, 5]);
    // A file that is not there yet, and one that is removed.
    assert_eq!(fired(rules(), vec![beat(None); 9]), NEVER);
    let removed = [Some(70), None, None, None];
    assert_eq!(fired(rules(), removed.map(beat)), [3]);
    assert_eq!(
        rules().heartbeat_of(17),
        Some("/run/beat.17".into()),
        "each process has its own"
    );
    // It is given the whole time after a dump.
    let mut monitor = Monitor::new(rules(), Duration::ZERO);
    assert!(monitor.step(seconds(0), &beat(Some(1))).is_none());
    assert!(monitor.step(seconds(3), &beat(Some(1))).is_some());
    monitor.resume(seconds(5));
    assert!(monitor.step(seconds(7), &beat(Some(1))).is_none());
    assert!(monitor.step(seconds(8), &beat(Some(1))).is_some());
}

/// Whatever the phase, a load that lasts two intervals fills one of them.
#[test]
fn a_thousand_crossings_of_two_intervals_are_all_found() {
    let interval = 1000;
    let mut random = 1_u64;
    for _ in 0..1000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let start = 1000 + (random >> 33) % 5000;
        let end = start + 2 * interval + (random >> 50) % 500;
        // The CPU time up to a moment, in milliseconds.
        let used = |at: u64| at.clamp(start, end) - start;
        let mut cpu_time = Monitor::new(no_cool_down().at_least(Metric::CpuPercent, [100]), Duration::ZERO);
        let mut amount = Monitor::new(no_cool_down().at_least(Metric::Threads, [2]), Duration::ZERO);
        let (mut by_cpu, mut by_amount) = (0, 0);
        for at in (0..10_000).step_by(interval as usize) {
            let now = Duration::from_millis(at);
            let measured = cpu(Duration::from_millis(used(at)));
            by_cpu += usize::from(cpu_time.step(now, &measured).is_some());
            let count = if (start..end).contains(&at) { 2 } else { 1 };
            by_amount += usize::from(amount.step(now, &threads(count)).is_some());
        }
        assert!(by_cpu > 0, "busy from {start} to {end}");
        assert_eq!(by_amount, 1, "two threads from {start} to {end}");
    }
}

/// A gauge that returns prepared facts.
struct Prepared {
    id: u32,
    facts: VecDeque<Result<Usage, Fault>>,
    needed: UsageNeed,
}

impl Gauge for Prepared {
    fn process_id(&self) -> u32 {
        self.id
    }

    fn read(&mut self, need: UsageNeed) -> Result<Usage, Fault> {
        assert_eq!(need, self.needed);
        self.facts.pop_front().expect("it is not read after its end")
    }
}

#[test]
fn a_watcher_forgets_processes_that_have_ended_and_goes_on_with_the_others() {
    let gone = || Fault::new(FaultKind::Gone, "watch process 7", "it has ended");
    let refused = || Fault::new(FaultKind::NotPermitted, "watch process 8", "no");
    let count = |count| Ok(threads(count).usage);
    let rules = no_cool_down().at_least(Metric::Threads, [10]);
    let needed = rules.need();
    assert!(needed.threads && !needed.cpu && !needed.resident && !needed.committed && !needed.handles);
    let mut watcher = Watcher::new(rules);
    for (id, facts) in [
        (7, vec![count(9), Err(gone())]),
        (8, vec![Err(refused())]),
        (9, vec![count(10), count(9), count(11)]),
    ] {
        let facts = facts.into();
        watcher.add(Box::new(Prepared { id, facts, needed }), Duration::ZERO);
    }
    let mut events = Vec::new();
    for at in 0..3 {
        watcher.step(seconds(at), &mut |event| events.push((at, event)));
        watcher.resume(9, seconds(at));
    }
    assert_eq!(watcher.len(), 1);
    let texts: Vec<_> = events
        .into_iter()
        .map(|(at, event)| match event {
            WatchEvent::Fired { process_id, reason } => format!("{at} {process_id} {reason}"),
            WatchEvent::Ended { process_id } => format!("{at} {process_id} ended"),
            WatchEvent::Failed { process_id, fault } => format!("{at} {process_id} {fault}"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "0 8 cannot watch process 8: no",
            "0 9 10 threads (limit 10)",
            "1 7 ended",
            "2 9 11 threads (limit 10)",
        ]
    );
    watcher.remove(9);
    assert!(watcher.is_empty());
}
