//! The queue statistics that the database would report.

use std::collections::VecDeque;

use switchyard_contract::{Kind, Lane, QueueStats};

use crate::{
    pods::Pods,
    time::{Time, seconds},
};

/// Window of the rates.
const LONG_WINDOW: Time = 300_000;
/// Window of the recent arrival rate.
const SHORT_WINDOW: Time = 60_000;
/// Kind of the simulated pool, one without a limit on concurrent jobs.
pub const KIND: Kind = Kind::Cdn;

/// A queue with its recent arrivals and completions.
#[derive(Debug, Default)]
pub struct Queue {
    /// Index and arrival time of each waiting job, the oldest first.
    pub waiting: VecDeque<(usize, Time)>,
    /// Arrival times within the long window.
    arrived: VecDeque<Time>,
    /// Completion times within the long window, each with the time that the job held a slot.
    ended: VecDeque<(Time, Time)>,
    /// Last known mean service time, in seconds.
    service: Option<f64>,
}

impl Queue {
    /// Adds an arriving job.
    pub fn push(&mut self, job: usize, now: Time) {
        self.waiting.push_back((job, now));
        self.arrived.push_back(now);
    }

    /// Records the completion of a job that held a slot for `held`.
    pub fn ended(&mut self, now: Time, held: Time) {
        self.ended.push_back((now, held));
    }

    /// The statistics of this queue as the queue of `lane`.
    pub fn stats(&mut self, lane: Lane, pods: &Pods, now: Time) -> QueueStats {
        let from = now.saturating_sub(LONG_WINDOW);
        while self.arrived.front().is_some_and(|at| *at <= from) {
            self.arrived.pop_front();
        }
        while self.ended.front().is_some_and(|(at, _)| *at <= from) {
            self.ended.pop_front();
        }
        let recent = now.saturating_sub(SHORT_WINDOW);
        let recently = self.arrived.iter().rev().take_while(|at| **at > recent).count();
        if !self.ended.is_empty() {
            self.service = Some(seconds(self.ended.iter().map(|(_, held)| held).sum()) / count(self.ended.len()));
        }
        QueueStats {
            kind: KIND,
            lane,
            paused: false,
            depth: i64::try_from(self.waiting.len()).unwrap_or(i64::MAX),
            oldest_age_seconds: self.waiting.front().map_or(0.0, |(_, since)| seconds(now - since)),
            running: i64::from(pods.running(lane)),
            retrying: 0,
            due_soon: 0,
            waiting: 0,
            arrival_rate: count(self.arrived.len()) / seconds(LONG_WINDOW),
            recent_arrival_rate: Some(count(recently) / seconds(SHORT_WINDOW)),
            completion_rate: count(self.ended.len()) / seconds(LONG_WINDOW),
            service_seconds: self.service,
        }
    }
}

const fn count(jobs: usize) -> f64 {
    jobs as f64
}
