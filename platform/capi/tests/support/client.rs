//! The commands for `client.c` that describe a scenario, for every system.

use dumpwright_fixtures::recorded::scenario::{Change, Done, Rule, Scenario, Step};

/// Returns the lines for the rules of a scenario. `threads` are the ids of the threads.
pub fn rules(scenario: &Scenario, threads: &[u32]) -> String {
    let rule = |rule: &Rule| {
        let Rule {
            kind,
            first,
            last,
            steps,
        } = rule;
        let kind = kind.map_or(-1, |kind| kind as i32);
        let steps: Vec<_> = steps.iter().map(|step| words(step, threads)).collect();
        format!("rule {kind} {first} {last} {}\n", steps.join(","))
    };
    scenario.rules.iter().map(rule).collect()
}

/// Returns a step with numbers instead of names.
fn words(step: &Step, threads: &[u32]) -> String {
    let change = |change: &Change| match change {
        Change::To(to) => format!("{to:#x}"),
        Change::By(by) if *by < 0 => format!("-{:#x}", by.unsigned_abs()),
        Change::By(by) => format!("+{by:#x}"),
    };
    match step {
        Step::At(range) => format!("at={:#x}/{:#x}", range.start(), range.end()),
        Step::LongerThan(len) => format!("minsize={}", len + 1),
        Step::Thread(number) => format!("tid={}", threads[*number as usize]),
        Step::Return(said) => format!("ret={}", u8::from(*said)),
        Step::Flags(flags) => format!("flags={flags:#x}"),
        Step::Or(flags) => format!("or={flags:#x}"),
        Step::Memory(base, size) => format!("mem={base:#x}/{size:#x}"),
        Step::CheckCancel(check) => format!("check={}", u8::from(*check)),
        Step::Cancel(cancel) => format!("cancel={}", u8::from(*cancel)),
        Step::Continue(cont) => format!("cont={}", u8::from(*cont)),
        Step::RegionBase(base) => format!("rbase={}", change(base)),
        Step::RegionSize(size) => format!("rsize={}", change(size)),
        Step::RegionProtect(protect) => format!("rprot={protect:#x}"),
        Step::RegionState(state) => format!("rstate={state:#x}"),
        Step::Handle(handle) => format!("handle={handle}"),
        Step::ReadReally => "real".to_owned(),
        Step::Fill(byte) => format!("fill={byte}"),
        Step::Done(Done::All) => "done=all".to_owned(),
        Step::Done(Done::Half) => "done=half".to_owned(),
        Step::Done(Done::Over) => "done=over".to_owned(),
        Step::Done(Done::Bytes(count)) => format!("done={count}"),
        Step::Flip(range, mask) => format!("xorat={:#x}/{:#x}/{mask:#x}", range.start(), range.end()),
        Step::AskSystem => "query".to_owned(),
        Step::QueryStatus(status) => format!("qstatus={status:#x}"),
        Step::Parallelism(count) => format!("par={count}"),
        Step::TransferSize(size) => format!("xfer={size:#x}"),
    }
}
