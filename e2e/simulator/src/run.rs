//! The discrete-event simulation of one pattern with one rule.

use std::{cmp::Reverse, collections::BinaryHeap};

use switchyard_contract::{Lane, Lanes, QueueStats};

use crate::{
    hpa::{Hpa, SYNC_PERIOD},
    pattern::Pattern,
    pods::{Pods, STARTUP},
    queue::Queue,
    rule::Rule,
    tally::Tally,
    time::Time,
};

/// Age of the statistics at which the API refreshes them, in milliseconds.
const STATS_INTERVAL: Time = 5_000;
/// How long after the pattern jobs have to finish.
const DRAIN_TIME: Time = 4 * 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    JobEnded { pod: usize, job: usize },
    PodReady { pod: usize },
    OutageEnded,
    RefreshStats,
    Activation,
    HpaSync,
}

/// State of a simulation.
struct Run<'a> {
    pattern: &'a Pattern,
    rule: Rule,
    pods: Pods,
    hpa: Hpa,
    queues: [Queue; 4],
    /// The last refreshed statistics; `None` during an outage.
    stats: Option<Vec<QueueStats>>,
    /// Last time at which a message was ready, for the queue-length rule.
    active: Time,
    /// Future events, the earliest first.
    events: BinaryHeap<Reverse<(Time, Event)>>,
    tally: Tally,
}

/// Simulates `pattern` with `rule`.
pub fn run(pattern: &Pattern, rule: Rule) -> Tally {
    let mut run = Run {
        pattern,
        rule,
        pods: Pods::default(),
        hpa: Hpa::new(rule.behavior(), pattern.bounds),
        queues: Default::default(),
        stats: None,
        active: 0,
        events: BinaryHeap::new(),
        tally: Tally::default(),
    };
    // The pool starts with its minimum of ready pods.
    for pod in run.pods.resize(pattern.bounds.min().cast_unsigned(), 0) {
        run.pods.mark_ready(pod);
    }
    run.tally.sizes.push((0, run.pods.replicas()));
    for event in [Event::RefreshStats, Event::Activation, Event::HpaSync] {
        run.schedule(0, event);
    }
    if let Some((_, end)) = pattern.outage {
        run.schedule(end, Event::OutageEnded);
    }
    run.process();
    run.tally
}

impl Run<'_> {
    fn schedule(&mut self, time: Time, event: Event) {
        self.events.push(Reverse((time, event)));
    }

    fn process(&mut self) {
        let (mut next, mut counted) = (0, false);
        loop {
            let job = self.pattern.jobs.get(next).map(|job| job.at);
            let event = self.events.peek().map(|Reverse((time, _))| *time);
            let now = match (job, event) {
                (Some(job), Some(event)) => job.min(event),
                (Some(time), None) | (None, Some(time)) => time,
                (None, None) => break,
            };
            if !counted && now >= self.pattern.duration {
                counted = true;
                self.tally.pod_time = self.pods.run_time(self.pattern.duration);
            }
            let finished = self.tally.completed + self.tally.interrupted == self.tally.accepted;
            if counted && (finished || now > self.pattern.duration + DRAIN_TIME) {
                break;
            }
            if job == Some(now) {
                self.arrive(next, now);
                next += 1;
            } else if let Some(Reverse((_, event))) = self.events.pop() {
                self.handle(event, now);
            }
        }
    }

    fn is_outage(&self, now: Time) -> bool {
        self.pattern.outage.is_some_and(|(from, to)| (from..to).contains(&now))
    }

    fn arrive(&mut self, job: usize, now: Time) {
        let lane = self.pattern.jobs[job].lane;
        let queue = &mut self.queues[lane as usize];
        if queue.waiting.len() >= Lanes::default().get(lane).capacity as usize {
            self.tally.refused += 1;
            return;
        }
        self.tally.accepted += 1;
        queue.push(job, now);
        self.start_jobs(now);
    }

    /// Starts every waiting job for which a pod has a free slot.
    fn start_jobs(&mut self, now: Time) {
        if self.is_outage(now) {
            return;
        }
        for lane in Lane::ALL {
            while let Some((job, since)) = self.queues[*lane as usize].waiting.front().copied() {
                let Some(pod) = self.pods.assign(*lane) else { break };
                self.queues[*lane as usize].waiting.pop_front();
                self.tally.waits.push((since, now - since));
                self.schedule(now + self.pattern.jobs[job].takes, Event::JobEnded { pod, job });
            }
        }
    }

    fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::JobEnded { pod, job } => {
                let job = self.pattern.jobs[job];
                if self.pods.finish(pod, job.lane, now) {
                    self.tally.completed += 1;
                    self.queues[job.lane as usize].ended(now, job.takes);
                } else {
                    self.tally.interrupted += 1;
                }
                self.start_jobs(now);
            }
            Event::PodReady { pod } => {
                self.pods.mark_ready(pod);
                self.start_jobs(now);
            }
            Event::OutageEnded => self.start_jobs(now),
            Event::RefreshStats => {
                self.stats = (!self.is_outage(now)).then(|| {
                    Lane::ALL.iter().map(|lane| self.queues[*lane as usize].stats(*lane, &self.pods, now)).collect()
                });
                self.schedule(now + STATS_INTERVAL, event);
            }
            Event::Activation => {
                let (pods, bounds) = (self.pods.replicas(), self.pattern.bounds);
                let pods = self.rule.activation(self.stats.as_deref(), bounds, pods, now, &mut self.active);
                self.resize(pods, now);
                self.schedule(now + self.rule.activation_interval(), event);
            }
            Event::HpaSync => {
                let metric = self.rule.metric(self.stats.as_deref(), self.pattern.bounds);
                let pods = self.hpa.sync(now, self.pods.replicas(), metric);
                self.resize(pods, now);
                self.schedule(now + SYNC_PERIOD, event);
            }
        }
    }

    fn resize(&mut self, pods: u32, now: Time) {
        if pods == self.pods.replicas() {
            return;
        }
        for pod in self.pods.resize(pods, now) {
            self.schedule(now + STARTUP, Event::PodReady { pod });
        }
        if now < self.pattern.duration {
            self.tally.sizes.push((now, pods));
        }
    }
}
