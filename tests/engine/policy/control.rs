//! Cancelling, deadlines and progress.

use super::*;

#[test]
fn a_token_stops_a_dump_at_whichever_question_it_is_used() {
    // Counts the Cancel calls.
    let polls = Cell::new(0);
    let counting = |ask: Ask<'_>| {
        polls.set(polls.get() + u32::from(ask.kind() == AskKind::Cancel));
        true
    };
    run(0x2, &mut Chain::new().then(counting).then(CancelToken::new()));
    assert_eq!(
        polls.get(),
        1,
        "a link that does not renew CheckCancel is asked once, whatever the others do"
    );
    let all = Cell::new(0);
    let mut patient = |ask: Ask<'_>| {
        if let Ask::Cancel { answer } = ask {
            answer.check_cancel = true;
            all.set(all.get() + 1);
        }
        true
    };
    run(0x2, &mut patient);
    assert!(all.get() > 20, "{}", all.get());
    for stop_at in 1..=all.get() {
        let token = CancelToken::new();
        let seen = Cell::new(0);
        let stopping = |ask: Ask<'_>| {
            if let Ask::Cancel { answer } = ask {
                answer.check_cancel = true;
                seen.set(seen.get() + 1);
                if seen.get() == stop_at {
                    token.cancel();
                }
            }
            true
        };
        let mut process = process();
        let mut policy = Chain::new().then(stopping).then(token.clone());
        let error = attempt(&mut process, &request(0x2), &mut policy).expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert_eq!(seen.get(), stop_at, "at once");
        assert_eq!(process.freezes, process.releases);
    }
}

#[test]
fn a_deadline_that_is_over_stops_and_one_that_is_far_does_not() {
    let mut over = Deadline::after(Duration::ZERO);
    let error = attempt(&mut process(), &request(0), &mut over).expect_err("too late");
    assert!(matches!(error, Error::Cancelled), "{error}");
    // The clock starts again with every dump.
    let mut far = Deadline::after(Duration::from_secs(86_400));
    for _ in 0..2 {
        run(0, &mut far);
    }
}

#[test]
fn progress_goes_through_the_phases_and_counts() {
    for (dump_type, bytes) in [
        (0, 0x6800 + 0x200),
        (0x2, 0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000),
    ] {
        let mut phases: Vec<Phase> = Vec::new();
        let mut last = None;
        let progress = Progress::new(|step| {
            if phases.last() != Some(&step.phase) {
                phases.push(step.phase);
            }
            last = Some(*step);
        });
        run(dump_type, &mut progress.counting_bytes());
        let last = last.expect("called");
        assert_eq!((last.threads, last.modules, last.bytes), (2, 2, bytes));
        let all = [
            Phase::Negotiate,
            Phase::Select,
            Phase::Collect,
            Phase::Memory,
            Phase::Write,
            Phase::Done,
        ];
        assert_eq!(phases, all, "{dump_type:#x}");
    }
}
