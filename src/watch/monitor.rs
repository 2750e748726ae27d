//! Compares the measurements of one process with the rules. It does no input and has no clock.

use std::time::{Duration, SystemTime};

use dumpwright_target::Usage;

use super::rules::{Condition, Crossing, Metric, Reason, Relation, Rules};

/// What was measured of one process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measurement {
    /// What the process uses, as far as [`Rules::need`] requires.
    pub usage: Usage,
    /// When the file of the heartbeat was last modified. `None` if there is no such file.
    pub heartbeat: Option<SystemTime>,
}

/// Decides by measurements whether one process should be dumped.
#[derive(Debug, Clone)]
pub struct Monitor {
    rules: Rules,
    states: Vec<ConditionState>,
    /// The time and the CPU time of the last measurement.
    last: Option<(Duration, Duration)>,
    /// The last heartbeat, and when it was first seen.
    beat: Option<(Option<SystemTime>, Duration)>,
    /// When it may fire again because of conditions.
    ready: Duration,
    /// When it fires next by the schedule.
    scheduled: Option<Duration>,
    fired: u32,
}

/// What is remembered of a condition between measurements.
#[derive(Debug, Clone)]
struct ConditionState {
    /// Since when each limit has been reached.
    since: Vec<Option<Duration>>,
    /// How many limits are used up: an amount makes each of them fire once.
    spent: usize,
    value: u64,
}

impl ConditionState {
    /// The number of limits that have been reached for `lasting`.
    fn lasted(&self, now: Duration, lasting: Duration) -> usize {
        let has_lasted =
            |since: &&Option<Duration>| since.is_some_and(|since| now.saturating_sub(since) >= lasting);
        self.since.iter().take_while(has_lasted).count()
    }

    /// Takes in a measurement, which is true for the time since `from`.
    fn observe(&mut self, condition: &Condition, value: u64, from: Duration) {
        self.value = value;
        for (since, limit) in self.since.iter_mut().zip(&condition.limits) {
            let is_reached = match condition.relation {
                Relation::AtLeast => value >= *limit,
                Relation::Below => value < *limit,
            };
            *since = is_reached.then(|| since.unwrap_or(from));
        }
        let reached = self.since.iter().take_while(|since| since.is_some()).count();
        self.spent = self.spent.min(reached);
    }

    fn clear(&mut self) {
        self.since.fill(None);
    }
}

impl Monitor {
    /// Begins to monitor a process at the time `now`.
    #[must_use]
    pub fn new(rules: Rules, now: Duration) -> Self {
        let states = rules.conditions.iter().map(|condition| ConditionState {
            since: vec![None; condition.limits.len()],
            spent: 0,
            value: 0,
        });
        Self {
            states: states.collect(),
            last: None,
            beat: None,
            ready: Duration::ZERO,
            scheduled: rules.every.map(|interval| now.saturating_add(interval)),
            fired: 0,
            rules,
        }
    }

    /// Takes in a measurement that was made at the time `now`. Returns why the process should be
    /// dumped, if it should.
    ///
    /// Measurements must be in the order of their times. After a dump, call
    /// [`resume`](Self::resume).
    pub fn step(&mut self, now: Duration, measured: &Measurement) -> Option<Reason> {
        self.observe(now, measured);
        if self.rules.most.is_some_and(|most| self.fired >= most) {
            return None;
        }
        let reason = self.by_schedule(now).or_else(|| self.by_conditions(now));
        if reason.is_some() {
            self.fired += 1;
            self.ready = now.saturating_add(self.rules.cool_down);
        }
        reason
    }

    /// Continues after a dump that was finished at the time `now`. The cool-down begins then, and
    /// what was measured before does not count, because the dump has delayed the process.
    pub fn resume(&mut self, now: Duration) {
        self.ready = now.saturating_add(self.rules.cool_down);
        self.last = None;
        for (state, condition) in self.states.iter_mut().zip(&self.rules.conditions) {
            // An amount has not changed by the dump.
            if !condition.metric.is_amount() {
                state.clear();
            }
        }
        if let Some((_, seen)) = &mut self.beat {
            *seen = now;
        }
    }

    fn observe(&mut self, now: Duration, measured: &Measurement) {
        let usage = &measured.usage;
        let busy = usage.cpu.and_then(|cpu| {
            let (then, before) = self.last.replace((now, cpu))?;
            let passed = now.checked_sub(then).filter(|passed| !passed.is_zero())?;
            let percent = cpu.saturating_sub(before).as_secs_f64() / passed.as_secs_f64() * 100.0;
            // The fraction below a percent is not measured well.
            Some((percent.round() as u64, then))
        });
        // A file that vanishes is no heartbeat.
        if measured.heartbeat.is_some() && self.beat.is_none_or(|(known, _)| known != measured.heartbeat) {
            self.beat = Some((measured.heartbeat, now));
        }
        let silence = self.beat.map(|(_, seen)| (now.saturating_sub(seen), seen));
        for (state, condition) in self.states.iter_mut().zip(&self.rules.conditions) {
            let of_now = |value: u64| (value, now);
            let value = match condition.metric {
                Metric::CpuPercent => busy,
                Metric::Resident => usage.resident.map(of_now),
                Metric::Committed => usage.committed.map(of_now),
                Metric::Threads => usage.threads.map(of_now),
                Metric::Handles => usage.handles.map(of_now),
                Metric::Heartbeat => {
                    silence.map(|(silence, _)| of_now(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)))
                }
            };
            match value {
                Some((value, from)) => state.observe(condition, value, from),
                None => state.clear(),
            }
        }
    }

    fn by_schedule(&mut self, now: Duration) -> Option<Reason> {
        let (interval, due) = self.rules.every.zip(self.scheduled)?;
        if now < due {
            return None;
        }
        // Times that have been missed are not made up for.
        let mut next = due;
        while next <= now {
            next = next.checked_add(interval)?;
        }
        self.scheduled = Some(next);
        Some(Reason::Schedule(interval))
    }

    fn by_conditions(&mut self, now: Duration) -> Option<Reason> {
        if now < self.ready {
            return None;
        }
        let lasting = self.rules.lasting;
        let mut findings = Vec::new();
        let mut is_new = false;
        for (state, condition) in self.states.iter().zip(&self.rules.conditions) {
            let reached = state.lasted(now, lasting);
            let Some(index) = reached.checked_sub(1) else {
                if self.rules.all {
                    return None;
                }
                continue;
            };
            let fresh = !condition.metric.is_amount() || reached > state.spent;
            is_new |= fresh;
            if fresh || self.rules.all {
                findings.push(Crossing {
                    metric: condition.metric,
                    relation: condition.relation,
                    value: state.value,
                    limit: condition.limits[index],
                    lasted: state.since[index].map_or(Duration::ZERO, |since| now.saturating_sub(since)),
                });
            }
        }
        if !is_new {
            return None;
        }
        for state in &mut self.states {
            state.spent = state.spent.max(state.lasted(now, lasting));
        }
        Some(Reason::Conditions(findings))
    }
}
