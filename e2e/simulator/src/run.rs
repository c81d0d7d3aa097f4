//! One pattern under one rule.

use std::{cmp::Reverse, collections::BinaryHeap};

use switchyard_contract::{Lane, Lanes, QueueStats};

use crate::{
    Time,
    facts::Queue,
    fleet::{Fleet, START},
    hpa::{Hpa, PERIOD},
    pattern::Pattern,
    rule::Rule,
    tally::Tally,
};

/// The API answers with facts at most so old.
const FACTS: Time = 5_000;
/// How long after the pattern jobs have to come to their end.
const AFTER: Time = 4 * 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ended { pod: usize, job: usize },
    Ready { pod: usize },
    Back,
    Facts,
    Look,
    Round,
}

struct Run<'a> {
    pattern: &'a Pattern,
    rule: Rule,
    fleet: Fleet,
    hpa: Hpa,
    queues: [Queue; 4],
    facts: Option<Vec<QueueStats>>,
    /// When something was last ready, for the rule that asks.
    active: Time,
    events: BinaryHeap<Reverse<(Time, Event)>>,
    tally: Tally,
}

/// What comes of `pattern` under `rule`.
pub fn run(pattern: &Pattern, rule: Rule) -> Tally {
    let mut run = Run {
        pattern,
        rule,
        fleet: Fleet::default(),
        hpa: Hpa::new(rule.behavior(), pattern.bounds),
        queues: Default::default(),
        facts: None,
        active: 0,
        events: BinaryHeap::new(),
        tally: Tally::default(),
    };
    // The pool has stood there with its fewest pods.
    for pod in run.fleet.resize(pattern.bounds.0, 0) {
        run.fleet.ready(pod);
    }
    run.tally.sizes.push((0, run.fleet.replicas()));
    for event in [Event::Facts, Event::Look, Event::Round] {
        run.at(0, event);
    }
    if let Some((_, back)) = pattern.away {
        run.at(back, Event::Back);
    }
    run.go();
    run.tally
}

impl Run<'_> {
    fn at(&mut self, time: Time, event: Event) {
        self.events.push(Reverse((time, event)));
    }

    fn go(&mut self) {
        let (mut next, mut counted) = (0, false);
        loop {
            let job = self.pattern.jobs.get(next).map(|job| job.at);
            let event = self.events.peek().map(|Reverse((time, _))| *time);
            let now = match (job, event) {
                (Some(job), Some(event)) => job.min(event),
                (Some(time), None) | (None, Some(time)) => time,
                (None, None) => break,
            };
            if !counted && now >= self.pattern.lasts {
                counted = true;
                self.tally.used = self.fleet.used(self.pattern.lasts);
            }
            let done = self.tally.completed + self.tally.interrupted == self.tally.accepted;
            if counted && (done || now > self.pattern.lasts + AFTER) {
                break;
            }
            if job == Some(now) {
                self.arrive(next, now);
                next += 1;
            } else if let Some(Reverse((_, event))) = self.events.pop() {
                self.happen(event, now);
            }
        }
    }

    fn is_away(&self, now: Time) -> bool {
        self.pattern.away.is_some_and(|(from, to)| (from..to).contains(&now))
    }

    fn arrive(&mut self, job: usize, now: Time) {
        let lane = self.pattern.jobs[job].lane;
        let queue = &mut self.queues[lane as usize];
        if queue.waiting.len() >= Lanes::default().get(lane).capacity as usize {
            self.tally.refused += 1;
            return;
        }
        self.tally.accepted += 1;
        queue.take(job, now);
        self.begin(now);
    }

    /// Begins what can be begun.
    fn begin(&mut self, now: Time) {
        if self.is_away(now) {
            return;
        }
        for lane in Lane::ALL {
            while let Some((job, since)) = self.queues[*lane as usize].waiting.front().copied() {
                let Some(pod) = self.fleet.begin(*lane) else { break };
                self.queues[*lane as usize].waiting.pop_front();
                self.tally.waits.push((since, now - since));
                self.at(now + self.pattern.jobs[job].takes, Event::Ended { pod, job });
            }
        }
    }

    fn happen(&mut self, event: Event, now: Time) {
        match event {
            Event::Ended { pod, job } => {
                let job = self.pattern.jobs[job];
                if self.fleet.end(pod, job.lane, now) {
                    self.tally.completed += 1;
                    self.queues[job.lane as usize].ended(now, job.takes);
                } else {
                    self.tally.interrupted += 1;
                }
                self.begin(now);
            }
            Event::Ready { pod } => {
                self.fleet.ready(pod);
                self.begin(now);
            }
            Event::Back => self.begin(now),
            Event::Facts => {
                self.facts = (!self.is_away(now)).then(|| {
                    Lane::ALL.iter().map(|lane| self.queues[*lane as usize].facts(*lane, &self.fleet, now)).collect()
                });
                self.at(now + FACTS, event);
            }
            Event::Look => {
                let (pods, bounds) = (self.fleet.replicas(), self.pattern.bounds);
                let pods = self.rule.aside(self.facts.as_deref(), bounds, pods, now, &mut self.active);
                self.resize(pods, now);
                self.at(now + self.rule.looks_every(), event);
            }
            Event::Round => {
                let metric = self.rule.metric(self.facts.as_deref(), self.pattern.bounds);
                let pods = self.hpa.round(now, self.fleet.replicas(), metric);
                self.resize(pods, now);
                self.at(now + PERIOD, event);
            }
        }
    }

    fn resize(&mut self, pods: u32, now: Time) {
        if pods == self.fleet.replicas() {
            return;
        }
        for pod in self.fleet.resize(pods, now) {
            self.at(now + START, Event::Ready { pod });
        }
        if now < self.pattern.lasts {
            self.tally.sizes.push((now, pods));
        }
    }
}
